//! The end of a membrane, as a future.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::clock::Timestamp;
use crate::waiting::Waiting;

/// Resolves once, when nothing refers through the membrane any more, in either direction.
///
/// That means: no wrapper, no request that was not sent, no call in flight, no pipeline, and no
/// message that was received is held, and what the wrappers wrapped has been let go. Some messages of a
/// call that stayed in this process do not count: the parameters and the results that its service keeps
/// for longer than the call, but for wrappers in them, and its response, where that has no capabilities.
/// (Behind a second membrane: where it is nothing but a struct whose pointers lead to nothing that holds
/// pointers.)
/// It keeps nothing alive itself. Clones resolve together; one that is dropped is no loss.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Completion {
    inner: Rc<Inner>,
    place: Option<usize>,
}

/// That a membrane is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    at: Option<Timestamp>,
}

impl Completed {
    pub(super) fn new(at: Option<Timestamp>) -> Self {
        Self { at }
    }

    /// When the last reference was dropped; `None` where the membrane has no clock.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

#[derive(Debug, Default)]
struct Inner {
    completed: Cell<Option<Completed>>,
    waiting: Waiting,
}

/// The membrane's end of a [`Completion`]. Where nobody asks for one, there is none.
#[derive(Default)]
pub(super) struct Completer {
    inner: OnceCell<Rc<Inner>>,
}

impl Completer {
    pub(super) fn completion(&self) -> Completion {
        let inner = self.inner.get_or_init(Rc::default).clone();
        Completion { inner, place: None }
    }

    pub(super) fn complete(&self, completed: Completed) {
        let Some(inner) = self.inner.get() else {
            return;
        };
        inner.completed.set(Some(completed));
        inner.waiting.wake();
    }
}

impl Completion {
    /// Is it complete already?
    pub fn is_complete(&self) -> bool {
        self.inner.completed.get().is_some()
    }
}

impl Future for Completion {
    type Output = Completed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completed> {
        let Self { inner, place } = self.get_mut();
        if let Some(completed) = inner.completed.get() {
            return Poll::Ready(completed);
        }
        inner.waiting.wait(place, cx.waker());
        Poll::Pending
    }
}

impl Clone for Completion {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            place: None,
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.inner.waiting.leave(self.place);
    }
}
