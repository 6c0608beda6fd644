//! Where the proxy tells what it has seen: span records, and lines for people.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use capspan::Tasks;
use capspan::guard::Refusal;
use capspan::session::{LiveEvents, SessionEnd};
use capspan::trace::{FastClock, JsonLines, NoopObserver, Observer, Tracer};

use super::config::Config;
use super::relay::Gate;
use super::stream::Peer;
use crate::failure::Failure;
use crate::terminal::escape;

mod lines;

use lines::{Lines, LinesWriter};

/// What all event loops have in common.
#[derive(Clone)]
pub(super) struct Reports {
    shared: Arc<Shared>,
}

struct Shared {
    json: Option<Lines>,
    is_quiet: bool,
}

/// What one event loop tells.
#[derive(Clone)]
pub(super) struct LoopReports {
    inner: Rc<Inner>,
}

struct Inner {
    reports: Reports,
    json: Option<JsonLines<LinesWriter>>,
    live: LiveEvents,
}

impl Reports {
    /// Opens what `config` names.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let json = config.json.as_deref().map(Lines::open).transpose()?;
        Ok(Self {
            shared: Arc::new(Shared {
                json,
                is_quiet: config.is_quiet,
            }),
        })
    }

    /// Opens files anew that somebody may have moved away.
    pub(super) fn reopen(&self) {
        if let Some(json) = &self.shared.json {
            json.reopen();
        }
    }

    /// Says something on the standard error, as one line.
    pub(super) fn log(&self, text: &str) {
        if !self.shared.is_quiet {
            // Where that is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "capspan proxy: {}", escape(text));
        }
    }

    /// There are too many connections.
    pub(super) fn refused_connection(&self, max: usize) {
        self.log(&format!(
            "a connection was closed at once: {max} are open, which is the limit"
        ));
    }

    pub(super) fn of_loop(&self, _number: usize, _tasks: &Tasks) -> LoopReports {
        let json = self.shared.json.as_ref();
        LoopReports {
            inner: Rc::new(Inner {
                json: json.map(|lines| JsonLines::new(lines.writer())),
                live: LiveEvents::new(),
                reports: self.clone(),
            }),
        }
    }

    /// Writes what waits to be written. The event loops have ended.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let json = self.shared.json.as_ref();
        json.map_or(Ok(()), Lines::finish)
    }
}

impl LoopReports {
    /// The tracer of the loop's sessions.
    pub(super) fn tracer(&self, config: &Config) -> Tracer {
        let observer: Rc<dyn Observer> = match &self.inner.json {
            Some(json) => Rc::new(json.clone()),
            None => Rc::new(NoopObserver),
        };
        Tracer::new(observer)
            .with_clock(FastClock::new())
            .with_service(&config.service)
    }

    /// What is under way on the loop.
    pub(super) fn live(&self) -> &LiveEvents {
        &self.inner.live
    }

    pub(super) fn log(&self, text: &str) {
        self.inner.reports.log(text);
    }

    /// A session is over.
    pub(super) fn session(&self, peer: &Peer, end: &SessionEnd, gate: &Gate) {
        let reason = end.reason().map(|reason| format!(" ({reason})"));
        let refused = match gate.refused.get() {
            0 => String::new(),
            refused => format!(", {refused} refused"),
        };
        self.log(&format!(
            "{}: {}{}, {} calls{refused}",
            peer.name(),
            end.outcome().as_str(),
            reason.unwrap_or_default(),
            gate.begun.get(),
        ));
    }

    /// A guard has refused something.
    pub(super) fn refused(&self, refusal: &Refusal<'_>) {
        let what = match refusal.ends {
            true => "connection ended",
            false => "refused",
        };
        self.log(&format!(
            "{}: {what}: {} ({})",
            refusal.peer, refusal.text, refusal.breach
        ));
    }

    /// The loop has ended: what is open is told of as such.
    pub(super) fn finish(&self) {
        if let Some(json) = &self.inner.json {
            // What can't be written is counted where it is.
            let _ = json.finish();
        }
    }
}

/// How a file is called in errors.
fn title(path: &Path) -> PathBuf {
    match path.to_str() {
        Some("-") => "standard output".into(),
        _ => path.to_owned(),
    }
}
