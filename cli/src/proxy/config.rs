//! What the user wants of the proxy.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use capspan::guard::{Budget, GuardLimits};
use capspan::membrane;

use super::address::Address;
use super::listen::Listen;
use super::names::Names;
use super::rules::Rules;

/// As long as a quick service takes for a call, and who is to be woken for it.
pub(super) const BUSY_POLL: Duration = Duration::from_micros(200);

/// All that a proxy is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Where the service is.
    pub upstream: Address,
    /// How many event loops there are.
    pub threads: NonZeroUsize,
    /// How long they look for the next message before they sleep; zero is not at all.
    pub busy_poll: Duration,
    /// The service that its spans are of.
    pub service: String,
    /// Whether events join their callers' traces; if not, they link to them.
    pub joins_trace: bool,
    /// What interfaces and methods are called.
    pub names: Names,
    /// Which of them may be called.
    pub rules: Rules,
    /// How much of everything.
    pub limits: Limits,
    /// How long it tries to reach the service for one connection.
    pub connect_timeout: Duration,
    /// How long sessions may go on when it is told to end.
    pub drain_timeout: Duration,
    /// A file for span records as JSON lines, or `-`.
    pub json: Option<PathBuf>,
    /// Say nothing on the standard error but what is wrong at the start, or at the end.
    pub is_quiet: bool,
    /// Where to send spans by OTLP over HTTP.
    pub otlp: Option<String>,
    /// Where the live page is.
    pub page: Option<SocketAddr>,
    /// What who wants to see the page has to know.
    pub page_token: Option<String>,
}

/// How much there may be at once, and for how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. Those that come with as many are closed.
    pub connections: usize,
    /// What all clients may have, together.
    pub together: Together,
    /// What a client, or the service, may do on one connection.
    pub guard: GuardLimits,
    /// What may pass through one session at once.
    pub membrane: membrane::Limits,
    /// How long a session may last.
    pub session: Option<Duration>,
    /// How long nothing may happen in it.
    pub idle: Option<Duration>,
}

/// What all clients may have at once, together; and the service, on all connections to it. Each event loop has its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Together {
    /// Calls that are not over.
    pub calls: Option<usize>,
    /// Capabilities: those that they hold, and those that they have given.
    pub capabilities: Option<usize>,
    /// Bytes of calls in flight, of messages that arrive, and of what waits to be read.
    pub bytes: Option<u64>,
}

impl Together {
    /// One event loop's part, of so many.
    pub(super) fn part(&self, of: NonZeroUsize) -> Budget {
        let count = |all: Option<usize>| all.map_or(usize::MAX, |all| all / of);
        let bytes = self.bytes.map_or(u64::MAX, |all| all / of.get() as u64);
        Budget::new()
            .calls(count(self.calls))
            .capabilities(count(self.capabilities))
            .bytes(bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            together: Together::default(),
            guard: GuardLimits::default(),
            membrane: membrane::Limits::default(),
            session: None,
            idle: None,
        }
    }
}

impl Config {
    /// With nothing but two addresses.
    pub fn new(listen: impl Into<Listen>, upstream: Address) -> Self {
        Self {
            listen: vec![listen.into()],
            upstream,
            threads: NonZeroUsize::MIN,
            busy_poll: BUSY_POLL,
            service: "capspan-proxy".into(),
            joins_trace: true,
            names: Names::default(),
            rules: Rules::default(),
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            json: None,
            is_quiet: false,
            otlp: None,
            page: None,
            page_token: None,
        }
    }

    /// What is different in `new`, and holds only from the start.
    pub(super) fn kept_until_restart(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("listen", self.listen != new.listen),
            ("threads", self.threads != new.threads),
            (
                "all-calls, all-capabilities or all-bytes",
                self.limits.together != new.limits.together,
            ),
            ("service", self.service != new.service),
            ("json", self.json != new.json),
            ("otlp", self.otlp != new.otlp),
            (
                "page",
                self.page != new.page || self.page_token != new.page_token,
            ),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(what, _)| what).collect()
    }
}
