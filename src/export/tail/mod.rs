//! Each invocation of a service, told to another service while it goes on.
//!
//! - [`Tail`]: the observer.
//! - `invocations`, `invocation`: which spans belong together, and what of them is new.
//! - `queue`: what waits to be sent.
//! - `send`: sends it.
//! - [`TailLimits`], [`TailCounts`]: how much may wait, and what was lost.

mod invocation;
mod invocations;
mod limits;
mod queue;
mod send;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use invocations::{Invocations, Wakes};
pub use limits::{TailCounts, TailLimits};
use send::Sending;

use crate::drive::Tasks;
use crate::pipeline::Pipeline;
use crate::trace::{Clock, Observer, SpanRecord, SystemClock, Timestamp};

/// Tells each invocation to a receiver, a service that takes
/// [tails](crate::pipeline::Service::tail), while it goes on.
///
/// An invocation begins with a span of the kind [`Server`](crate::trace::SpanKind::Server) whose parent is
/// elsewhere, or that has none: as a [`Callee`](crate::pipeline::Callee) opens one for each event. The spans
/// below it that the same tracer opens belong to it. It is over when its own span and those below have
/// closed. Each invocation is an event of the receiver's; that of a receiver which is told to a tail itself
/// is left out, so that no tail tells of tails.
///
/// The service never waits for the receiver. What that does not take in time waits here, within
/// [`TailLimits`]; what goes beyond is lost, which the receiver sees by the numbers of the
/// [tail events](crate::trace::TailEvent), and is counted in [`TailCounts`]. A clone is a handle to the same
/// tail. To tell others as well, give a tracer a pair of observers.
///
/// ```
/// # use capspan::export::Tail;
/// # use capspan::pipeline::Pipeline;
/// # use capspan::trace::{MemoryObserver, Tracer};
/// # fn tracer(receiver: Pipeline, tasks: &capspan::Tasks, spans: MemoryObserver) -> Tracer {
/// let tail = Tail::new(receiver, tasks);
/// Tracer::new((spans, tail)).with_service("users")
/// # }
/// ```
#[derive(Clone)]
pub struct Tail {
    shared: Rc<Shared>,
}

struct Shared {
    /// Taken when all is over.
    receiver: Option<Pipeline>,
    tasks: Tasks,
    clock: RefCell<Rc<dyn Clock>>,
    /// Borrowed only while no code but ours runs.
    invocations: RefCell<Invocations>,
}

impl Tail {
    /// Tells `receiver`, by the system's clock. `tasks` sends, and is kept until all has been sent.
    pub fn new(receiver: Pipeline, tasks: &Tasks) -> Self {
        Self {
            shared: Rc::new(Shared {
                receiver: Some(receiver),
                tasks: tasks.clone(),
                clock: RefCell::new(Rc::new(SystemClock::new())),
                invocations: RefCell::default(),
            }),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: TailLimits) -> Self {
        self.shared.invocations.borrow_mut().limits = limits;
        self
    }

    /// The same by another clock. It is asked when a span changes; openings and ends have times of their own.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        let _old = self.shared.clock.replace(Rc::new(clock));
        self
    }

    /// What has become of all that was told so far.
    pub fn counts(&self) -> TailCounts {
        self.shared.invocations.borrow().counts
    }

    fn now(&self) -> Timestamp {
        let clock = self.shared.clock.borrow().clone();
        clock.now()
    }

    fn change(&self, change: impl FnOnce(&mut Invocations) -> Wakes) {
        let wakes = change(&mut self.shared.invocations.borrow_mut());
        wakes.into_iter().for_each(Waker::wake);
    }
}

impl Observer for Tail {
    fn opened(&self, span: &SpanRecord) {
        let mut begun = None;
        self.change(|invocations| {
            let (index, wakes) = invocations.opened(span);
            begun = index;
            wakes
        });
        if let Some(index) = begun {
            let sending = Sending::new(&self.shared, index);
            self.shared.tasks.spawn(sending.run());
        }
    }

    fn renamed(&self, span: &SpanRecord, _previous: &str) {
        let now = self.now();
        self.change(|invocations| invocations.renamed(span, now));
    }

    fn updated(&self, span: &SpanRecord) {
        let now = self.now();
        self.change(|invocations| invocations.updated(span, now));
    }

    fn closed(&self, span: &SpanRecord) {
        self.change(|invocations| invocations.closed(span));
    }
}

impl Drop for Shared {
    /// It may be dropped with the last span, where no capability may be.
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.tasks.drop_later(receiver);
        }
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
