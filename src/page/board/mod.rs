//! What happens on one event loop, noted for the page.
//!
//! - [`Board`]: the handle; `state`: what it keeps, and answers from.
//! - [`BoardObserver`]: is told of spans; [`BoardGuard`]: of what guards refuse.
//! - `sessions`, `session`, `spans`: what is known of each; `said`: what is written on it.
//! - `methods`: calls by method; `refusals`.
//! - `look`: what is said of all that, when the page asks.

mod guard;
mod look;
mod methods;
mod observer;
mod refusals;
mod said;
mod session;
mod sessions;
mod spans;
mod state;

use std::fmt;
use std::rc::Rc;

use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{AbortHandle, abortable};

pub use guard::BoardGuard;
pub use observer::BoardObserver;
pub(super) use state::State;

use crate::drive::Tasks;
use crate::session::{CallSpans, LiveEvents};
use crate::trace::Clock;

/// Something to be asked on the board's event loop. It sends the answer itself.
pub(super) type Job = Box<dyn FnOnce(&State) + Send>;

/// Where is noted what happens on one event loop, to be seen on a [`Page`](super::Page). A clone is a handle
/// to the same board.
///
/// It is there as long as one of its handles is: keep one. What it hands out may be dropped later.
///
/// ```
/// # use capspan::guard::GuardOptions;
/// # use capspan::page::Page;
/// # use capspan::trace::Tracer;
/// # fn example(page: &Page, tasks: &capspan::Tasks) {
/// let board = page.board("loop 0", tasks);
/// let tracer = Tracer::new(board.observer());
/// let guard = GuardOptions::default().observer(board.guard_observer());
/// # }
/// ```
#[derive(Clone)]
pub struct Board {
    state: Rc<State>,
    _answering: Rc<Answering>,
}

/// Ends the task that answers.
struct Answering(AbortHandle);

impl Board {
    /// One that is asked through `jobs`.
    pub(super) fn new(tasks: &Tasks, mut jobs: mpsc::Receiver<Job>) -> Self {
        let state = Rc::new(State::default());
        let asked = state.clone();
        let (answering, handle) = abortable(async move {
            while let Some(job) = jobs.next().await {
                job(&asked);
            }
        });
        tasks.spawn(async move {
            let _aborted = answering.await;
        });
        Self {
            state,
            _answering: Rc::new(Answering(handle)),
        }
    }

    /// The same with names for interfaces and methods, as calls have them.
    #[must_use]
    pub fn with_names(self, names: &CallSpans) -> Self {
        self.state.set_names(names.clone());
        self
    }

    /// Other names from now on.
    pub fn set_names(&self, names: &CallSpans) {
        self.state.set_names(names.clone());
    }

    /// The same by another clock: that of the tracer, where that has one of its own.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        self.state.set_clock(Rc::new(clock));
        self
    }

    /// Is told of spans: for a [`Tracer`](crate::trace::Tracer). A pair of observers tells others as well.
    /// Where a service has a tracer for each channel, give it to one of them, or all is seen twice.
    ///
    /// Each call takes a few looks into tables at its beginning and at its end. What is written on a session's
    /// span is copied each time that it changes, within the limits of the page.
    pub fn observer(&self) -> BoardObserver {
        BoardObserver::new(&self.state)
    }

    /// Knows what is under way: for [`Callee::live`](crate::pipeline::Callee::live),
    /// [`Pipeline::live`](crate::pipeline::Pipeline::live) and
    /// [`SessionBuilder::live`](crate::session::SessionBuilder::live). It tells the capabilities alive.
    pub fn live(&self) -> LiveEvents {
        self.state.live.clone()
    }

    /// Is told of what guards refuse: for [`GuardOptions::observer`](crate::guard::GuardOptions::observer).
    pub fn guard_observer(&self) -> BoardGuard {
        BoardGuard::new(&self.state)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("live", &self.state.live)
            .finish_non_exhaustive()
    }
}
