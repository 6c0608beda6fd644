//! The end of a connection, and who is told of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

use slab::Slab;

use crate::error::Error;
use crate::outbox::Outbox;
use crate::waiting::Waiting;

/// The end of one connection: whether it has come, and why. Clones share it.
#[derive(Clone, Default)]
pub struct Ending {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    reason: OnceCell<Error>,
    /// The peer has closed it, between two messages.
    is_closed_by_peer: Cell<bool>,
    watchers: RefCell<Slab<Weak<dyn OnEnd>>>,
    has_stopped: Cell<bool>,
    waiting: Waiting,
    outbox: Outbox,
}

/// What has to end with a connection.
pub(crate) trait OnEnd {
    /// The connection has ended. Called once, in a clean turn: nothing of `capnp-rpc` is borrowed.
    fn connection_ended(&self, reason: &Error);
}

/// That somebody is told of an end. Dropping it is not to be told any more.
pub(crate) struct Registration {
    ending: Weak<Inner>,
    key: usize,
}

impl Ending {
    /// Why the connection has ended; `None` while it has not.
    pub fn reason(&self) -> Option<&Error> {
        self.inner.reason.get()
    }

    /// Has the peer closed it, between two messages, as who has no more to say does?
    pub fn is_closed_by_peer(&self) -> bool {
        self.inner.is_closed_by_peer.get()
    }

    /// That the connection is lost, where it is: what calls over it fail with then may say anything.
    pub(crate) fn lost_or(&self, error: Error) -> Error {
        match self.reason() {
            Some(lost) if !error.is_disconnected() => lost.clone(),
            _ => error,
        }
    }

    /// What is to be sent over the connection before anything that must not overtake it.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.inner.outbox
    }

    /// Lets `watcher` be told. If the end has come already it never is: ask [`reason`](Self::reason).
    pub(crate) fn register(&self, watcher: Weak<dyn OnEnd>) -> Registration {
        Registration {
            ending: Rc::downgrade(&self.inner),
            key: self.inner.watchers.borrow_mut().insert(watcher),
        }
    }

    /// Waits until nothing runs the connection any more. `capnp-rpc` leaves calls unanswered then whose
    /// pipelines are held.
    pub(crate) async fn stopped(&self) {
        let mut waiter = self.inner.waiting.waiter();
        poll_fn(|cx| {
            if self.inner.has_stopped.get() {
                return Poll::Ready(());
            }
            waiter.wait(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Nothing runs the connection any more, which has ended.
    pub(super) fn stop(&self) {
        self.inner.has_stopped.set(true);
        self.inner.waiting.wake();
    }

    /// The peer has closed it.
    pub(super) fn close(&self) {
        if self.reason().is_none() {
            self.inner.is_closed_by_peer.set(true);
            self.end(Error::disconnected("the peer closed the connection"));
        }
    }

    /// Ends the connection for all who have part in it. Of several reasons the first one counts.
    pub(super) fn end(&self, reason: Error) {
        if self.inner.reason.set(reason).is_err() {
            return;
        }
        let watchers = self.inner.watchers.take();
        if let Some(reason) = self.inner.reason.get() {
            for (_, watcher) in watchers {
                if let Some(watcher) = watcher.upgrade() {
                    watcher.connection_ended(reason);
                }
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.upgrade() {
            ending.watchers.borrow_mut().try_remove(self.key);
        }
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending")
            .field("reason", &self.reason())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Default)]
    struct Count(Cell<u32>);

    impl OnEnd for Count {
        fn connection_ended(&self, reason: &Error) {
            assert!(reason.is_disconnected());
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn who_is_registered_is_told_once_of_the_first_reason() {
        let ending = Ending::default();
        let (told, gone) = (Rc::new(Count::default()), Rc::new(Count::default()));
        let watcher: Weak<dyn OnEnd> = Rc::downgrade(&(told.clone() as Rc<dyn OnEnd>));
        let kept = ending.register(watcher);
        let watcher: Weak<dyn OnEnd> = Rc::downgrade(&(gone.clone() as Rc<dyn OnEnd>));
        drop(ending.register(watcher));
        ending.end(Error::disconnected("first"));
        ending.end(Error::failed("second"));
        drop(kept);
        assert_eq!((told.0.get(), gone.0.get()), (1, 0));
        assert_eq!(ending.reason().map(Error::reason), Some("first"));
    }
}
