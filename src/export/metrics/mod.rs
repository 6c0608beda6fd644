//! Sessions, calls and refusals as metrics of OpenTelemetry.
//!
//! - [`Metrics`]: makes the instruments, and gives out who writes to them.
//! - [`MetricsObserver`]: spans, of one thread.
//! - [`RefusalMetrics`]: what guards refuse.
//! - [`Watch`]: what only the event loop's own thread can see.
//! - [`ExportCounts`]: what exporters say of themselves.
//! - `instruments`: the instruments; `alive`: how much is alive, on any thread.
//! - `methods`: which methods are told apart; `results`: how a call or an event ended.

mod alive;
mod exporters;
mod instruments;
mod methods;
mod observer;
mod refusals;
mod results;
mod watch;

use std::fmt;
use std::sync::Arc;

use opentelemetry::metrics::Meter;

use self::alive::Threads;
use self::exporters::Exporters;
use self::instruments::Instruments;
use self::methods::Methods;
use crate::timer::Timer;

pub use self::exporters::ExportCounts;
pub use self::observer::MetricsObserver;
pub use self::refusals::RefusalMetrics;
pub use self::watch::Watch;

/// Counts what happens in sessions, calls and guards, for all threads of a process.
///
/// It takes the API of OpenTelemetry alone: the meter is the service's, and so is where its numbers go. What
/// has a name in OpenTelemetry's semantic conventions has that name (`rpc.server.call.duration`), the rest is
/// called `capspan.…`; `docs/metrics.md` has a table of all.
///
/// Each event loop has an [observer](Self::observer) of its own, on one channel: a call that is told of on
/// both would count twice. Clones are handles to the same instruments, and go to other threads.
///
/// ```
/// # use capspan::export::Metrics;
/// # use capspan::guard::GuardOptions;
/// # use capspan::session::LiveEvents;
/// # use capspan::trace::{MemoryObserver, Tracer};
/// # fn example(meter: &opentelemetry::metrics::Meter, timer: impl capspan::Timer, spans: MemoryObserver) {
/// let metrics = Metrics::new(meter); // once for the process
///
/// // On each of its threads:
/// let tracer = Tracer::new((spans, metrics.observer())).with_service("users");
/// let options = GuardOptions::default().observer(metrics.guard_observer());
/// let live = LiveEvents::new();
/// tokio::task::spawn_local(metrics.watch(timer).live(&live).tracer(&tracer).run());
/// # drop(options);
/// # }
/// ```
///
/// # How many time series there are
///
/// A peer can call what does not exist, so that names are not taken as they come. 256 methods are told apart
/// in a process, 128 of them at most by the id of their interface, where
/// [`CallSpans`](crate::session::CallSpans) has no name for it; and such a one only from the first call on
/// that has returned, which one that does not exist never does. The others are counted together, as `_OTHER`.
/// No other text of a peer's becomes the value of an attribute.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

/// What all threads write to.
struct Shared {
    instruments: Instruments,
    methods: Methods,
    threads: Arc<Threads>,
    exporters: Arc<Exporters>,
}

impl Metrics {
    /// Makes the instruments of `meter`: once for each meter, or there are two of each.
    pub fn new(meter: &Meter) -> Self {
        let threads = Arc::<Threads>::default();
        let exporters = Arc::<Exporters>::default();
        threads.observe(meter);
        exporters.observe(meter);
        Self {
            shared: Arc::new(Shared {
                instruments: Instruments::new(meter),
                methods: Methods::default(),
                threads,
                exporters,
            }),
        }
    }

    /// Counts the spans of the tracers that it is given to, on this thread. To tell others as well, give a
    /// tracer a pair of observers.
    ///
    /// A call costs no allocation. It may wait for a moment while the numbers are collected.
    pub fn observer(&self) -> MetricsObserver {
        MetricsObserver::new(&self.shared)
    }

    /// Counts what the guards refuse that it is given to.
    pub fn guard_observer(&self) -> RefusalMetrics {
        RefusalMetrics::new(&self.shared)
    }

    /// Looks at what is alive on this thread, at an interval that `timer` measures.
    pub fn watch(&self, timer: impl Timer) -> Watch {
        Watch::new(&self.shared, timer)
    }

    /// Shows what an exporter says of itself, under this name. `counts` is called each time that the numbers
    /// are collected, several times, on the thread that does; and is kept as long as the meter is: it must not
    /// hold a [`Metrics`] itself.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # use capspan::export::{ExportCounts, Metrics};
    /// # fn example(metrics: &Metrics, sent: Arc<AtomicU64>, lost: Arc<AtomicU64>) {
    /// metrics.exporter("file", move || {
    ///     let [sent, lost] = [&sent, &lost].map(|count| count.load(Ordering::Relaxed));
    ///     ExportCounts::new(sent + lost, sent).dropped("disk_full", lost)
    /// });
    /// # }
    /// ```
    pub fn exporter(
        &self,
        name: impl Into<String>,
        counts: impl Fn() -> ExportCounts + Send + Sync + 'static,
    ) {
        self.shared.exporters.add(name.into(), counts);
    }

    /// Shows what has become of the spans that `otel` was given, under the name `otlp`. It may end all the same.
    #[cfg(feature = "otel")]
    pub fn otel(&self, otel: &super::Otel) {
        let counts = otel.counts_later();
        self.exporter("otlp", move || ExportCounts::from(counts()));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
