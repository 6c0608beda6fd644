//! Spans to an OpenTelemetry collector, over OTLP.
//!
//! - [`Otel`]: one a process, shared by its threads; [`OtelBuilder`] sets it up.
//! - [`OtelObserver`]: what a tracer tells.
//! - [`OtelCounts`]: what became of it.
//!
//! In the thread of a service:
//!
//! - `packed`: a copy of a record, in two pieces
//! - `queue`: what waits, within limits; what became of the rest
//!
//! In the worker's thread:
//!
//! - `worker`: takes batches, sends them, and again where that is sensible
//! - `unpacked`: a copy taken apart again
//! - `span`, `late`: the same as spans and log records of the SDK
//! - `value`, `keys`, and `semantics` beside this module: attributes, ours and those of the conventions
//! - `exporters`, `transport`, `answer`: the way to the collector, and what it says
//! - `wait`: for a future, in a thread

mod answer;
mod builder;
mod counts;
mod exporters;
mod keys;
mod late;
mod packed;
mod queue;
mod span;
mod transport;
mod unpacked;
mod value;
mod wait;
mod worker;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use builder::OtelBuilder;
pub use counts::OtelCounts;
use packed::Packer;
use queue::Queue;
use wait::from_now;

use crate::trace::{LateUpdate, Observer, SpanContext, SpanRecord};

/// Exports spans to an OpenTelemetry collector.
///
/// There is one in a process, with a thread of its own. Each thread that has a tracer takes an
/// [`observer`](Self::observer) of it. A clone is a handle to the same.
///
/// A service never waits for the collector: in its thread a record is copied into a queue. Whatever the collector
/// does, or if there is none, the queue stays within its limits, and what is lost is
/// [counted](Self::counts). A batch that the collector may take later, or that does not reach it, is tried
/// again until its [time](OtelBuilder::export_timeout) is over.
///
/// ```no_run
/// # async fn serve() {}
/// # async fn run() -> Result<(), capspan::Error> {
/// use std::time::Duration;
/// use capspan::export::Otel;
/// use capspan::trace::Tracer;
///
/// let otel = Otel::builder().endpoint("http://127.0.0.1:4318").build()?;
/// let tracer = Tracer::new(otel.observer()).with_service("users");
/// serve().await;
/// let counts = otel.shutdown(Duration::from_secs(5)).await;
/// if counts.dropped() > 0 {
///     eprintln!("{} spans are lost: {:?}", counts.dropped(), otel.last_failure());
/// }
/// # Ok(()) }
/// ```
///
/// # Its end
///
/// [`shutdown`](Self::shutdown) exports what waits. A program that ends without it loses that. When the last
/// handle and observer is dropped nobody is kept waiting: the worker goes on in the background until all is
/// exported, for as long as one export may take.
#[derive(Clone)]
pub struct Otel {
    handle: Arc<Handle>,
    only_sampled: bool,
}

/// When it is dropped, nobody has anything to export any more.
struct Handle {
    queue: Arc<Queue>,
    timeout: Duration,
}

impl Otel {
    /// Sets one up.
    pub fn builder() -> OtelBuilder {
        OtelBuilder::new()
    }

    /// What a tracer of this thread is to tell.
    pub fn observer(&self) -> OtelObserver {
        OtelObserver {
            otel: self.clone(),
            packer: RefCell::default(),
        }
    }

    /// What became of all records so far.
    pub fn counts(&self) -> OtelCounts {
        self.handle.queue.counts()
    }

    /// The same for one who asks later, and does not keep it from ending.
    #[cfg(feature = "metrics")]
    pub(super) fn counts_later(&self) -> impl Fn() -> OtelCounts + Send + Sync + use<> {
        let queue = self.handle.queue.clone();
        move || queue.counts()
    }

    /// Why an export, or an attempt, has failed: of those that have, the last one.
    pub fn last_failure(&self) -> Option<String> {
        self.handle.queue.last_failure()
    }

    /// Exports all that waits, without waiting for more. It begins now; the future is done when all records that
    /// were emitted before are exported or dropped, and blocks no event loop.
    pub fn flush(&self) -> impl Future<Output = OtelCounts> + Send + use<> {
        let done = self.handle.queue.flush();
        let handle = self.handle.clone();
        // The queue answers everybody; if not, this is as good an answer.
        async move { done.await.unwrap_or_else(|_| handle.queue.counts()) }
    }

    /// The same in a thread without an event loop, for at most `within`. Never call it on an event loop: that
    /// would stand still.
    pub fn flush_blocking(&self, within: Duration) -> OtelCounts {
        let flush = self.flush();
        wait::block_on(flush, from_now(within)).unwrap_or_else(|| self.counts())
    }

    /// Lets no more records in, and exports those that wait. It begins now; the future is done when all is over,
    /// at the latest after `within`, and blocks no event loop. What is not exported by then is counted as
    /// dropped. If it was called before, the earlier of the deadlines counts.
    pub fn shutdown(&self, within: Duration) -> impl Future<Output = OtelCounts> + Send + use<> {
        let deadline = from_now(within);
        let done = self.handle.queue.end(deadline);
        // The worker may be in the middle of a request, and futures know no time.
        let queue = self.handle.queue.clone();
        let started = thread::Builder::new()
            .name("capspan-otel-end".to_owned())
            .spawn(move || queue.close_at(deadline));
        if started.is_err() {
            self.handle.queue.close();
        }
        let handle = self.handle.clone();
        async move { done.await.unwrap_or_else(|_| handle.queue.counts()) }
    }

    /// The same in a thread without an event loop. Never call it on an event loop: that would stand still.
    pub fn shutdown_blocking(&self, within: Duration) -> OtelCounts {
        let deadline = from_now(within);
        drop(self.handle.queue.end(deadline));
        self.handle.queue.close_at(deadline);
        self.counts()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.queue.end(from_now(self.timeout)));
    }
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otel")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Tells an [`Otel`] of the spans of one thread: of each when it has ended, and of what comes after that, if the
/// [rules](crate::trace::EnrichRules::keep_late) keep it.
pub struct OtelObserver {
    otel: Otel,
    /// Borrowed only while no code but ours runs.
    packer: RefCell<Packer>,
}

impl OtelObserver {
    /// The same to which it tells.
    pub fn otel(&self) -> &Otel {
        &self.otel
    }

    fn is_wanted(&self, context: &SpanContext) -> bool {
        !self.otel.only_sampled || context.flags().is_some_and(|flags| flags.is_sampled())
    }
}

impl Observer for OtelObserver {
    fn closed(&self, span: &SpanRecord) {
        if self.is_wanted(span.context()) {
            let record = self.packer.borrow_mut().span(span);
            self.otel.handle.queue.push(record);
        }
    }

    fn late(&self, update: &LateUpdate) {
        if self.is_wanted(update.context()) {
            let record = self.packer.borrow_mut().late(update);
            self.otel.handle.queue.push(record);
        }
    }
}

impl fmt::Debug for OtelObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelObserver")
            .field("otel", &self.otel)
            .finish_non_exhaustive()
    }
}
