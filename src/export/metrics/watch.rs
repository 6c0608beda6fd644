//! What only the event loop's own thread can see, looked at now and then.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::alive::{Alive, Side};
use crate::session::LiveEvents;
use crate::timer::Timer;
use crate::trace::{SpanKind, Tracer};

/// How long it takes at least: the loop has other things to do.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Keeps those numbers true that no span tells of, of one thread: how many capabilities are alive, and how
/// many changes came after the end of their span. Made by [`Metrics::watch`](super::Metrics::watch).
///
/// What is alive on a thread can be asked only there, while numbers are collected on another: so it looks at
/// an interval, and what is shown is as old as that at most. The events and calls that are under way, which
/// spans tell of, are shown as they are.
#[must_use = "it looks at nothing until it is run"]
pub struct Watch {
    shared: Arc<Shared>,
    timer: Rc<dyn Timer>,
    interval: Duration,
    live: Vec<LiveEvents>,
    tracers: Vec<Seen>,
}

/// A tracer, and how many late changes of it have been counted.
struct Seen {
    tracer: Tracer,
    late: u64,
}

/// While it runs. When it is dropped, nothing that it has seen counts as alive any more.
struct Running {
    watch: Watch,
    alive: Arc<Alive>,
}

impl Watch {
    pub(super) fn new(shared: &Arc<Shared>, timer: impl Timer) -> Self {
        Self {
            shared: shared.clone(),
            timer: Rc::new(timer),
            interval: Duration::from_secs(1),
            live: Vec::new(),
            tracers: Vec::new(),
        }
    }

    /// Counts the capabilities of these as well.
    pub fn live(mut self, live: &LiveEvents) -> Self {
        self.live.push(live.clone());
        self
    }

    /// Counts changes that come after the end of this tracer's spans as well. Tracers that are made of one
    /// [`Tracer::new`] count together: one of them is enough.
    pub fn tracer(mut self, tracer: &Tracer) -> Self {
        self.tracers.push(Seen {
            tracer: tracer.clone(),
            late: 0,
        });
        self
    }

    /// How long it takes from one look to the next; default a second, at least 10 ms.
    ///
    /// A look at an event takes a fraction of a microsecond, and a little for each of its capabilities.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(MIN_INTERVAL);
        self
    }

    /// Looks until it is dropped: a future to be spawned on the thread's event loop.
    pub fn run(self) -> impl Future<Output = Infallible> + use<> {
        let alive = self.shared.threads.enter();
        let mut running = Running { watch: self, alive };
        async move {
            loop {
                running.look();
                let Watch {
                    timer, interval, ..
                } = &running.watch;
                timer.sleep_until(timer.now() + *interval).await;
            }
        }
    }
}

impl Running {
    fn look(&mut self) {
        let mut capabilities = [[0, 0]; 2];
        for event in self.watch.live.iter().flat_map(LiveEvents::events) {
            let side = Side::of(event.side().unwrap_or(SpanKind::Server));
            let [ours, theirs] = &mut capabilities[side as usize];
            *ours += event.count_capabilities(true);
            *theirs += event.count_capabilities(false);
        }
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        for side in Side::ALL {
            let [ours, theirs] = capabilities[side as usize];
            self.alive.our_capabilities.set(side, count(ours));
            self.alive.their_capabilities.set(side, count(theirs));
        }
        self.count_late();
    }

    fn count_late(&mut self) {
        for Seen { tracer, late } in &mut self.watch.tracers {
            let now = tracer.late_updates();
            let more = now.saturating_sub(*late);
            *late = now;
            self.watch.shared.count_enrichment("late", more);
        }
    }
}

impl Drop for Running {
    /// What came since the last look counts as well.
    fn drop(&mut self) {
        self.count_late();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
