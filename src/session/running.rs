//! The events of one callee that are running, until it is drained.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;

use super::end::SessionEnd;
use super::life::Life;
use crate::error::{Error, Result};
use crate::slots::Slots;
use crate::trace::Outcome;
use crate::waiting::Waiting;

const REASON: &str = "the service is shutting down";

/// The events of one callee that have been delivered and are not over, and whether more may come.
#[derive(Default)]
pub(crate) struct Running {
    lives: RefCell<Slots<Weak<Life>>>,
    /// No more may come.
    is_closed: Cell<bool>,
    /// How many have ended since.
    ended: Cell<usize>,
    /// How many of these were cut.
    cut: Cell<usize>,
    refused: Cell<u64>,
    /// Who waits until none is running.
    waiting: Waiting,
}

/// An event's place among those that are running. It leaves when this is dropped.
pub(super) struct RunningEvent {
    running: Rc<Running>,
    place: usize,
}

impl Running {
    /// May one more event be announced, or delivered?
    pub(crate) fn admit(&self) -> Result<()> {
        match self.is_closed.get() {
            false => Ok(()),
            true => {
                self.refused.set(self.refused.get().saturating_add(1));
                Err(Error::overloaded(format!(
                    "{REASON} and takes no more events"
                )))
            }
        }
    }

    /// Lets no more come. At the `deadline` those that are left are cut, if anybody waits for it.
    pub(crate) fn drain(self: &Rc<Self>, deadline: impl Future<Output = ()> + 'static) -> Drain {
        self.is_closed.set(true);
        Drain {
            running: self.clone(),
            place: None,
            deadline: Box::pin(deadline),
        }
    }

    pub(super) fn enter(self: &Rc<Self>, life: &Rc<Life>) -> RunningEvent {
        RunningEvent {
            running: self.clone(),
            place: self.lives.borrow_mut().insert(Rc::downgrade(life)),
        }
    }

    fn cut(&self) {
        // What is told of an end may come back here.
        let lives: Vec<_> = {
            let mut lives = self.lives.borrow_mut();
            lives.iter_mut().filter_map(|life| life.upgrade()).collect()
        };
        for life in lives {
            if life.end().is_none() {
                self.cut.set(self.cut.get() + 1);
                life.abort(SessionEnd::new(Outcome::Revoked, Some(REASON)));
            }
        }
    }

    fn drained(&self) -> Drained {
        Drained {
            finished: self.ended.get() - self.cut.get(),
            cut: self.cut.get(),
            refused: self.refused.get(),
        }
    }
}

impl Drop for RunningEvent {
    fn drop(&mut self) {
        let Running {
            lives,
            is_closed,
            ended,
            waiting,
            ..
        } = &*self.running;
        let gone = lives.borrow_mut().remove(self.place);
        drop(gone);
        if is_closed.get() {
            ended.set(ended.get() + 1);
            if lives.borrow().is_empty() {
                waiting.wake();
            }
        }
    }
}

/// A callee that takes no more events, until none is running: see
/// [`Callee::drain`](crate::pipeline::Callee::drain).
#[must_use = "at its deadline events are cut only if it is polled"]
pub struct Drain {
    running: Rc<Running>,
    place: Option<usize>,
    deadline: LocalBoxFuture<'static, ()>,
}

/// What became of the events of a callee that was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Those that were running then and have ended by themselves.
    pub finished: usize,
    /// Those that were ended at the deadline.
    pub cut: usize,
    /// Those that were refused.
    pub refused: u64,
}

impl Future for Drain {
    type Output = Drained;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        let Self {
            running,
            place,
            deadline,
        } = self.get_mut();
        if !running.lives.borrow().is_empty() {
            if deadline.as_mut().poll(cx).is_pending() {
                running.waiting.wait(place, cx.waker());
                return Poll::Pending;
            }
            running.cut();
        }
        Poll::Ready(running.drained())
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.running.waiting.leave(self.place);
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("running", &self.running.lives.borrow().len())
            .finish_non_exhaustive()
    }
}
