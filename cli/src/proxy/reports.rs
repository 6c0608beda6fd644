//! Where the proxy tells what it has seen: span records, and lines for people.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use capspan::export::{ExportCounts, Otel};
use capspan::guard::{GuardObserver, Refusal};
use capspan::page::{Board, Page, Token};
use capspan::session::{LiveEvents, SessionEnd};
use capspan::trace::{FastClock, JsonLines, LateUpdate, Observer, SpanRecord, Tracer};
use capspan::{Tasks, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_local};

use super::config::Config;
use super::relay::Gate;
use super::stream::Peer;
use crate::failure::Failure;
use crate::metrics::MetricsText;
use crate::terminal::escape;
use crate::web;

mod lines;

use lines::{Lines, LinesWriter, To};

/// How long what waits at the end may take to be written, and to be read on the standard error.
const TIME_TO_WRITE: Duration = Duration::from_secs(5);
const TIME_TO_SAY: Duration = Duration::from_secs(1);

/// How long the last spans may take to a collector.
const TIME_TO_EXPORT: Duration = Duration::from_secs(5);

/// What all event loops have in common.
#[derive(Clone)]
pub(super) struct Reports {
    shared: Arc<Shared>,
}

struct Shared {
    json: Option<Lines>,
    /// Lines for people.
    log: Option<Lines>,
    otel: Option<Otel>,
    page: Option<Page>,
    /// Where there is a page.
    metrics: Option<MetricsText>,
}

/// What one event loop tells.
#[derive(Clone)]
pub(super) struct LoopReports {
    inner: Rc<Inner>,
}

struct Inner {
    reports: Reports,
    json: Option<JsonLines<LinesWriter>>,
    board: Option<Board>,
    live: LiveEvents,
    tracer: Tracer,
    guards: Vec<Box<dyn GuardObserver>>,
    /// Looks at what is alive, for the metrics.
    watch: Option<JoinHandle<Infallible>>,
}

/// All who are told of the spans of one event loop.
struct Observers(Vec<Box<dyn Observer>>);

impl Reports {
    /// Opens what `config` names.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let failed = |error: capspan::Error| Failure::told(error.to_string());
        let json = config
            .json
            .as_deref()
            .map(|path| Lines::open(To::path(path)));
        let json = json.transpose()?;
        let log = (!config.is_quiet)
            .then(|| Lines::open(To::Errors))
            .transpose()?;
        let otel = config.otlp.as_deref().map(|url| {
            let otel = Otel::builder().endpoint(url);
            otel.resource_attribute(
                "service.instance.id",
                i64::from(std::process::id()).to_string(),
            )
            .build()
        });
        let otel = otel.transpose().map_err(failed)?;
        let page = config.page.map(|_| page(config)).transpose()?;
        let metrics = page
            .as_ref()
            .map(|_| MetricsText::new(&config.service))
            .transpose()?;
        if let (Some(metrics), Some(otel)) = (&metrics, &otel) {
            let otel = otel.clone();
            metrics.metrics().exporter("otlp", move || {
                let counts = otel.counts();
                ExportCounts::new(counts.emitted, counts.exported)
                    .queued(counts.queued)
                    .dropped("queue_full", counts.dropped_queue_full)
                    .dropped("export_failed", counts.dropped_export_failed)
                    .dropped("shut_down", counts.dropped_shut_down)
            });
        }
        if let (Some(metrics), Some(json)) = (&metrics, &json) {
            metrics.metrics().exporter("json", json.counting());
        }
        Ok(Self {
            shared: Arc::new(Shared {
                json,
                otel,
                page,
                metrics,
                log,
            }),
        })
    }

    /// Serves the page until `stop`, where there is one.
    ///
    /// # Errors
    /// Where it can't listen there.
    pub(super) async fn serve_page(
        &self,
        config: &Config,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Option<JoinHandle<()>>, Failure> {
        let (Some(page), Some(address)) = (self.shared.page.clone(), config.page) else {
            return Ok(None);
        };
        web::check_address(address, page.has_token())?;
        let failed = |error| Failure::told(format!("the page at {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let metrics = self.shared.metrics.clone();
        let metrics = metrics.map(|metrics| move || metrics.text());
        self.log(&format!("the page is at http://{at}/"));
        Ok(Some(tokio::spawn(web::serve(
            listener, page, metrics, stop,
        ))))
    }

    /// Opens files anew that somebody may have moved away.
    pub(super) fn reopen(&self) {
        if let Some(json) = &self.shared.json {
            json.reopen();
        }
    }

    /// Says something on the standard error, as one line.
    pub(super) fn log(&self, text: &str) {
        if let Some(log) = &self.shared.log {
            // Where that is closed there is nobody to tell.
            let line = format!("capspan proxy: {}\n", escape(text));
            let _ = log.writer().write_all(line.as_bytes());
        }
    }

    /// There are too many connections.
    pub(super) fn refused_connection(&self, max: usize) {
        self.log(&format!(
            "a connection was closed at once: {max} are open, which is the limit"
        ));
    }

    /// What the event loop tells that this runs on.
    pub(super) fn of_loop(&self, number: usize, config: &Config, tasks: &Tasks) -> LoopReports {
        let Shared {
            json,
            otel,
            page,
            metrics,
            ..
        } = &*self.shared;
        let clock = FastClock::new();
        let json = json.as_ref().map(|lines| JsonLines::new(lines.writer()));
        let board = page.as_ref().map(|page| {
            let board = page.board(&format!("loop {number}"), tasks);
            let board = board.with_clock(clock.clone());
            board.with_names(&config.names.call_spans())
        });
        let mut observers: Vec<Box<dyn Observer>> = Vec::new();
        let mut guards: Vec<Box<dyn GuardObserver>> = Vec::new();
        if let Some(json) = &json {
            observers.push(Box::new(json.clone()));
        }
        if let Some(otel) = otel {
            observers.push(Box::new(otel.observer()));
        }
        if let Some(board) = &board {
            observers.push(Box::new(board.observer()));
            guards.push(Box::new(board.guard_observer()));
        }
        if let Some(metrics) = metrics {
            observers.push(Box::new(metrics.metrics().observer()));
            guards.push(Box::new(metrics.metrics().guard_observer()));
        }
        let tracer = Tracer::new(Observers(observers))
            .with_clock(clock)
            .with_service(&config.service);
        let live = board.as_ref().map(Board::live).unwrap_or_default();
        let watch = metrics.as_ref().map(|metrics| {
            let watch = metrics.metrics().watch(TokioTimer);
            spawn_local(watch.live(&live).tracer(&tracer).run())
        });
        LoopReports {
            inner: Rc::new(Inner {
                reports: self.clone(),
                json,
                board,
                live,
                tracer,
                guards,
                watch,
            }),
        }
    }

    /// Writes and sends what waits. The event loops have ended.
    pub(super) async fn finish(self) -> Result<(), Failure> {
        if let Some(otel) = &self.shared.otel {
            let counts = otel.shutdown(TIME_TO_EXPORT).await;
            if counts.dropped() > 0 {
                let why = otel.last_failure();
                let why = why.map(|why| format!(" (the last failure: {why})"));
                self.log(&format!(
                    "of {} span records {} were not exported{}",
                    counts.emitted,
                    counts.dropped(),
                    why.unwrap_or_default()
                ));
            }
        }
        let json = self.shared.json.as_ref();
        let written = json.map_or(Ok(()), |json| json.finish(TIME_TO_WRITE));
        if let Some(log) = &self.shared.log {
            // Who does not read what it says is not told that it was not read.
            let _ = log.finish(TIME_TO_SAY);
        }
        written
    }
}

/// The page, for who may see it.
fn page(config: &Config) -> Result<Page, Failure> {
    let page = Page::new(tokio::time::sleep).title(&config.service);
    Ok(match &config.page_token {
        Some(token) => {
            let token: Token = token
                .parse()
                .map_err(|error: capspan::Error| Failure::told(error.to_string()))?;
            page.token(token)
        }
        None => page,
    })
}

impl LoopReports {
    /// The tracer of the loop's sessions.
    pub(super) fn tracer(&self) -> &Tracer {
        &self.inner.tracer
    }

    /// What is called otherwise from now on.
    pub(super) fn configure(&self, config: &Config) {
        if let Some(board) = &self.inner.board {
            board.set_names(&config.names.call_spans());
        }
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
        for guard in &self.inner.guards {
            guard.refused(refusal);
        }
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
        if let Some(watch) = &self.inner.watch {
            watch.abort();
        }
        if let Some(json) = &self.inner.json {
            // What can't be written is counted where it is.
            let _ = json.finish();
        }
    }
}

impl Observer for Observers {
    fn opened(&self, span: &SpanRecord) {
        self.0.iter().for_each(|it| it.opened(span));
    }

    fn renamed(&self, span: &SpanRecord, previous: &str) {
        self.0.iter().for_each(|it| it.renamed(span, previous));
    }

    fn updated(&self, span: &SpanRecord) {
        self.0.iter().for_each(|it| it.updated(span));
    }

    fn closed(&self, span: &SpanRecord) {
        self.0.iter().for_each(|it| it.closed(span));
    }

    fn late(&self, update: &LateUpdate) {
        self.0.iter().for_each(|it| it.late(update));
    }
}
