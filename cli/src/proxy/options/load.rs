//! From what a user has said to what the proxy does.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::num::{NonZero, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use capspan::guard::GuardLimits;
use capspan::membrane;

use super::{Options, OrNone, Period, ProxyArgs, Size, file};
use crate::failure::Failure;
use crate::proxy::config::{BUSY_POLL, Config, Limits, Together};
use crate::proxy::rules::Rules;
use crate::proxy::schemas;

#[cfg(test)]
mod tests;

/// No machine has as many cores that it would be good for.
const MAX_THREADS: u16 = 1024;

/// Who waits as long has slept by then.
const LONGEST_BUSY_POLL: Duration = Duration::from_millis(10);

/// A token that can't be guessed, and is still one.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// What was said, and what comes of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The proxy's configuration.
    pub config: Config,
    /// All options that hold, defaults among them.
    options: Options,
}

impl ProxyArgs {
    /// Reads all that these arguments name: the file, and the schemas.
    ///
    /// # Errors
    /// All that is wrong, a line for each.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let (file, lines) = match &self.config {
            Some(path) => {
                let file = file::read(Path::new(path)).map_err(Failure::Wrong)?;
                (file.options, file.lines)
            }
            None => (Options::default(), BTreeMap::new()),
        };
        let options = Options::defaults()
            .overlaid(&file)
            .and_then(|options| options.overlaid(&self.options))
            .map_err(|error| Failure::told(error.to_string()))?;
        let mut problems = Problems {
            path: self.config.as_deref(),
            lines: &lines,
            on_command_line: keys_of(&self.options),
            told: Vec::new(),
        };
        let config = options.config(&mut problems);
        match config {
            Some(config) if problems.told.is_empty() => Ok(Loaded { config, options }),
            _ => Err(Failure::Wrong(problems.told)),
        }
    }
}

impl Loaded {
    /// All options that hold, as a file that says the same.
    ///
    /// # Errors
    /// Never; but that is not for a type to say.
    pub fn to_toml(&self) -> Result<String, Failure> {
        let named = self.config.names.interfaces().count();
        let options = toml::to_string(&self.options);
        let options = options.map_err(|error| Failure::told(error.to_string()))?;
        Ok(format!("# Interfaces with names: {named}\n{options}"))
    }
}

/// What is wrong, and where each option was said.
struct Problems<'a> {
    path: Option<&'a str>,
    lines: &'a BTreeMap<String, usize>,
    on_command_line: toml::Table,
    told: Vec<String>,
}

impl Problems<'_> {
    fn tell(&mut self, key: &str, message: impl std::fmt::Display) {
        let told = match (self.path, self.lines.get(key)) {
            (Some(path), Some(line)) if !self.on_command_line.contains_key(key) => {
                format!("{path}:{line}: {key}: {message}")
            }
            _ => format!("--{key}: {message}"),
        };
        self.told.push(told);
    }

    /// What was read for `key`, if it could be.
    fn ok<T>(&mut self, key: &str, read: Result<T, impl std::fmt::Display>) -> Option<T> {
        read.map_err(|error| self.tell(key, error)).ok()
    }
}

fn keys_of(options: &Options) -> toml::Table {
    // It is a table, as it is a struct.
    toml::Table::try_from(options).unwrap_or_default()
}

impl Options {
    /// What holds where nothing is said.
    pub fn defaults() -> Self {
        let seconds = |seconds| Some(Period(Duration::from_secs(seconds)));
        let bytes = |bytes| Some(Size(bytes));
        Self {
            connect_timeout: seconds(10),
            drain_timeout: seconds(30),
            threads: Some(1),
            busy_poll: Some(OrNone(Some(Period(BUSY_POLL)))),
            no_propagation: Some(false),
            service: Some("capspan-proxy".into()),
            quiet: Some(false),
            max_connections: NonZero::new(10_000),
            all_calls: Some(OrNone(None)),
            all_capabilities: Some(OrNone(None)),
            all_bytes: Some(OrNone(None)),
            session_time: Some(OrNone(None)),
            idle_time: Some(OrNone(None)),
            session_capabilities: NonZero::new(10_000),
            session_message_capabilities: NonZero::new(1_024),
            session_calls: NonZero::new(1_024),
            max_calls: NonZero::new(16_384),
            max_unfinished: NonZero::new(65_536),
            max_call_bytes: bytes(64 << 20),
            max_exports: NonZero::new(65_536),
            max_imports: NonZero::new(65_536),
            max_capabilities: NonZero::new(1_024),
            max_pipeline_depth: NonZero::new(64),
            max_hops: NonZero::new(64),
            max_waiting: NonZero::new(1_024),
            messages_a_second: Some(OrNone(None)),
            bytes_a_second: Some(OrNone(None)),
            max_canceled_of: NonZero::new(500),
            max_queued: bytes(4 << 20),
            max_burst: bytes(64 << 20),
            first_message: seconds(30),
            half_message: seconds(30),
            last_message: seconds(30),
            ..Self::default()
        }
    }

    /// These, with what `other` says in place of theirs.
    fn overlaid(&self, other: &Self) -> Result<Self, toml::de::Error> {
        let mut table = keys_of(self);
        table.extend(keys_of(other));
        table.try_into()
    }

    /// What comes of these, or else what is wrong with them.
    fn config(&self, problems: &mut Problems<'_>) -> Option<Config> {
        if self.listen.is_empty() {
            problems.told.push(
                "where to listen? give --listen ADDRESS, as --listen unix:/run/a.sock".into(),
            );
        }
        if self.upstream.is_none() {
            problems
                .told
                .push("where is the service? give --upstream ADDRESS".into());
        }
        self.check_zeros(problems);
        let threads = self.threads(problems);
        self.check_busy_poll(problems);
        self.check_parts(threads, problems);
        self.check_texts(problems);
        let page_token = self.page_token(problems);
        let named = self.named(problems);
        let (names, rules) = named?;
        let mut config = Config::new(self.listen.first()?.clone(), self.upstream.clone()?);
        config.listen.clone_from(&self.listen);
        config.threads = threads?;
        config.busy_poll = self.busy_poll?.0.map_or(Duration::ZERO, |time| time.0);
        config.service = self.service.clone()?;
        config.joins_trace = !self.no_propagation?;
        config.names = names;
        config.rules = rules;
        config.limits = self.limits()?;
        config.connect_timeout = self.connect_timeout?.0;
        config.drain_timeout = self.drain_timeout?.0;
        config.json = self.json.as_ref().map(PathBuf::from);
        config.is_quiet = self.quiet?;
        config.otlp.clone_from(&self.otlp);
        config.page = self.page;
        config.page_token = page_token;
        Some(config)
    }

    fn check_zeros(&self, problems: &mut Problems<'_>) {
        let limited = |limit: Option<OrNone<Period>>| limit.and_then(|limit| limit.0);
        for (key, time) in [
            ("connect-timeout", self.connect_timeout),
            ("session-time", limited(self.session_time)),
            ("idle-time", limited(self.idle_time)),
            ("first-message", self.first_message),
            ("half-message", self.half_message),
            ("last-message", self.last_message),
        ] {
            if time.is_some_and(|time| time.0.is_zero()) {
                problems.tell(key, "no time at all lets nothing happen");
            }
        }
        for (key, size) in [
            ("all-bytes", self.all_bytes.and_then(|limit| limit.0)),
            ("max-call-bytes", self.max_call_bytes),
            (
                "bytes-a-second",
                self.bytes_a_second.and_then(|limit| limit.0),
            ),
            ("max-queued", self.max_queued),
            ("max-burst", self.max_burst),
        ] {
            if size == Some(Size(0)) {
                problems.tell(key, "no bytes at all let nothing pass");
            }
        }
    }

    fn threads(&self, problems: &mut Problems<'_>) -> Option<NonZeroUsize> {
        match self.threads? {
            0 => Some(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
            more if more > MAX_THREADS => {
                problems.tell("threads", format!("{more} are more than {MAX_THREADS}"));
                None
            }
            threads => NonZeroUsize::new(threads.into()),
        }
    }

    fn check_busy_poll(&self, problems: &mut Problems<'_>) {
        let asked = self.busy_poll.and_then(|time| time.0);
        if asked.is_some_and(|time| time.0 > LONGEST_BUSY_POLL) {
            problems.tell(
                "busy-poll",
                format!("more than {LONGEST_BUSY_POLL:?} would be a waste of a core"),
            );
        }
    }

    /// What one connection may have is to have room in its event loop's part of what all may have.
    fn check_parts(&self, threads: Option<NonZeroUsize>, problems: &mut Problems<'_>) {
        let loops = threads.map_or(1, NonZero::get) as u64;
        let count = |limit: Option<NonZeroUsize>| limit.map(|limit| limit.get() as u64);
        let bytes = |limit: Option<Size>| limit.map(|limit| limit.0);
        for (key, all, one_key, one) in [
            (
                "all-calls",
                self.all_calls.and_then(|it| count(it.0)),
                "session-calls",
                count(self.session_calls),
            ),
            (
                "all-capabilities",
                self.all_capabilities.and_then(|it| count(it.0)),
                "session-capabilities",
                count(self.session_capabilities),
            ),
            (
                "all-bytes",
                self.all_bytes.and_then(|it| bytes(it.0)),
                "max-call-bytes",
                bytes(self.max_call_bytes),
            ),
        ] {
            if let (Some(all), Some(one)) = (all, one)
                && all > 0
                && all / loops <= one
            {
                problems.tell(
                    key,
                    format!("of {all} each of {loops} event loops has its part, and --{one_key} lets one session have {one}"),
                );
            }
        }
    }

    fn check_texts(&self, problems: &mut Problems<'_>) {
        if let Some(url) = &self.otlp {
            let parsed = url.parse::<http::Uri>().ok();
            let is_http = parsed.is_some_and(|url| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
            });
            if !is_http {
                problems.tell(
                    "otlp",
                    format!("'{url}' is no URL as http://127.0.0.1:4318 is"),
                );
            }
        }
        if self.service.as_deref() == Some("") {
            problems.tell("service", "a service has a name");
        }
        if self.json.as_deref() == Some("") {
            problems.tell("json", "a file has a name");
        }
        if let Some(page) = self.page
            && !page.ip().is_loopback()
            && self.page_token_file.is_none()
        {
            problems.tell(
                "page",
                format!(
                    "others than this machine reach {}: the page needs --page-token-file there",
                    page.ip()
                ),
            );
        }
    }

    fn page_token(&self, problems: &mut Problems<'_>) -> Option<String> {
        let path = self.page_token_file.as_ref()?;
        let read = read_token(path).map_err(|error| format!("{path}: {error}"));
        problems.ok("page-token-file", read)
    }

    fn named(&self, problems: &mut Problems<'_>) -> Option<(crate::proxy::Names, Rules)> {
        let read = schemas::read(&self.schema, &self.import_path);
        let names = problems.ok("schema", read)?;
        let (rules, wrong) = Rules::new(&self.allow, &self.deny, &names);
        for (key, message) in wrong {
            problems.tell(key, message);
        }
        Some((names, rules))
    }

    fn limits(&self) -> Option<Limits> {
        let guard = GuardLimits::default()
            .max_calls(self.max_calls?.get())
            .max_unfinished(self.max_unfinished?.get())
            .max_call_bytes(self.max_call_bytes?.0)
            .max_exports(self.max_exports?.get())
            .max_imports(self.max_imports?.get())
            .max_capabilities(self.max_capabilities?.get())
            .max_pipeline_depth(self.max_pipeline_depth?.get())
            .max_hops(self.max_hops?.get())
            .max_waiting(self.max_waiting?.get())
            .max_canceled_of(self.max_canceled_of?.get())
            .max_queued(self.max_queued?.0)
            .max_burst(self.max_burst?.0)
            .first_message(self.first_message?.0)
            .half_message(self.half_message?.0)
            .last_message(self.last_message?.0);
        let guard = match self.messages_a_second?.0 {
            Some(limit) => guard.messages_a_second(limit.get()),
            None => guard,
        };
        let guard = match self.bytes_a_second?.0 {
            Some(limit) => guard.bytes_a_second(limit.0),
            None => guard,
        };
        let membrane = membrane::Limits::default()
            .capabilities(self.session_capabilities?.get())
            .capabilities_in_a_message(self.session_message_capabilities?.get())
            .calls(self.session_calls?.get());
        Some(Limits {
            connections: self.max_connections?.get(),
            together: Together {
                calls: self.all_calls?.0.map(NonZero::get),
                capabilities: self.all_capabilities?.0.map(NonZero::get),
                bytes: self.all_bytes?.0.map(|size| size.0),
            },
            guard,
            membrane,
            session: self.session_time?.0.map(|time| time.0),
            idle: self.idle_time?.0.map(|time| time.0),
        })
    }
}

fn read_token(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(4096)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let token = text.trim_end_matches(['\r', '\n']);
    let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible && TOKEN_BYTES.contains(&token.len()) {
        Ok(token.to_owned())
    } else {
        Err(format!(
            "a token is one line of {} to {} visible ASCII characters",
            TOKEN_BYTES.start(),
            TOKEN_BYTES.end()
        ))
    }
}
