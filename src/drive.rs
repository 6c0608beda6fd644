//! Work that must not be done where it comes up: [`Tasks`] takes it, [`Driver`] does it.
//!
//! `capnp-rpc` drops capabilities while its tables are borrowed. Whoever is called by such a drop must
//! not drop others, send, or run a user's code. So it hands its work over, and the driver, a future of
//! its own, does it in a clean turn of the event loop. It is also what keeps a session's own calls
//! polled, whatever the application does with its futures. There is one for each event loop.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, Stream};

/// Hands work to a [`Driver`]. Clones hand it to the same one.
///
/// Work handed over after the driver is gone is dropped at once.
#[derive(Clone)]
pub struct Tasks {
    inbox: Rc<Inbox>,
}

/// Does the work that its [`Tasks`] hand over: a future to be spawned once for each event loop.
///
/// It ends when every [`Tasks`] is gone and no work is left. Dropping it drops the work that is left.
#[must_use = "futures do nothing unless polled"]
pub struct Driver {
    inbox: Weak<Inbox>,
    shared: Rc<Shared>,
    running: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// On their way to `running`: empty between polls, kept for what it has allocated.
    arriving: Vec<LocalBoxFuture<'static, ()>>,
}

struct Inbox {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: RefCell<State>,
    /// Apart from the state, which is not borrowed when it is told: it may run anybody's code.
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    closed: bool,
    spawned: Vec<LocalBoxFuture<'static, ()>>,
    garbage: VecDeque<Box<dyn Any>>,
}

impl Tasks {
    /// A driver, and the handle that feeds it.
    ///
    /// ```
    /// let (tasks, driver) = capspan::Tasks::new();
    /// tasks.spawn(async { /* … */ });
    /// drop(tasks);
    /// futures::executor::block_on(driver);
    /// ```
    pub fn new() -> (Self, Driver) {
        let shared = Rc::new(Shared::default());
        let inbox = Rc::new(Inbox {
            shared: shared.clone(),
        });
        let driver = Driver {
            inbox: Rc::downgrade(&inbox),
            shared,
            running: FuturesUnordered::new(),
            arriving: Vec::new(),
        };
        (Self { inbox }, driver)
    }

    /// Runs `future` to its end, unless the driver is dropped before.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut state = self.inbox.shared.state.borrow_mut();
        if !state.closed {
            state.spawned.push(Box::pin(future));
            drop(state);
            self.inbox.shared.wake();
        }
    }

    /// Is nothing waiting to be dropped?
    pub(crate) fn has_no_garbage(&self) -> bool {
        self.inbox.shared.state.borrow().garbage.is_empty()
    }

    /// Drops `value` in a clean turn of the event loop, after all that was handed over before it.
    pub fn drop_later(&self, value: impl Any) {
        let mut state = self.inbox.shared.state.borrow_mut();
        if state.closed {
            drop(state);
            drop(value);
        } else {
            state.garbage.push_back(Box::new(value));
            drop(state);
            self.inbox.shared.wake();
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Drop for Inbox {
    /// The last handle is gone: the driver may end.
    fn drop(&mut self) {
        self.shared.wake();
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            inbox,
            shared,
            running,
            arriving,
        } = &mut *self;
        shared.wake_later(cx.waker());
        loop {
            shared.take_out_garbage();
            std::mem::swap(arriving, &mut shared.state.borrow_mut().spawned);
            running.extend(arriving.drain(..));
            match Pin::new(&mut *running).poll_next(cx) {
                Poll::Ready(Some(())) => continue,
                Poll::Pending if shared.has_mail() => continue,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) if shared.has_mail() => continue,
                Poll::Ready(None) if inbox.strong_count() == 0 => return Poll::Ready(()),
                Poll::Ready(None) => return Poll::Pending,
            }
        }
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Drops what waits to be dropped, one by one: each may bring more.
    fn take_out_garbage(&self) {
        loop {
            let garbage = self.state.borrow_mut().garbage.pop_front();
            if garbage.is_none() {
                return;
            }
        }
    }

    fn wake_later(&self, waker: &Waker) {
        let is_known = matches!(&*self.waker.borrow(), Some(known) if known.will_wake(waker));
        if !is_known {
            let old = self.waker.replace(Some(waker.clone()));
            drop(old);
        }
    }

    fn has_mail(&self) -> bool {
        let state = self.state.borrow();
        !state.spawned.is_empty() || !state.garbage.is_empty()
    }
}

impl Drop for Driver {
    /// Drops run a user's code, which may hand over more: taken out first, dropped without a borrow.
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.state.borrow_mut();
            state.closed = true;
            (
                std::mem::take(&mut state.spawned),
                std::mem::take(&mut state.garbage),
            )
        };
        drop(left);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::cell::Cell;

    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    #[test]
    fn garbage_is_dropped_in_order_and_not_before_the_driver_runs() {
        let (tasks, mut driver) = Tasks::new();
        let log = Rc::new(RefCell::new(Vec::new()));
        for n in 0..3 {
            let log = log.clone();
            tasks.drop_later(OnDrop(move || log.borrow_mut().push(n)));
        }
        assert!(log.borrow().is_empty());
        assert!((&mut driver).now_or_never().is_none());
        assert_eq!(*log.borrow(), [0, 1, 2]);
    }

    #[test]
    fn a_drop_may_hand_over_more() {
        let (tasks, mut driver) = Tasks::new();
        let done = Rc::new(Cell::new(false));
        let (again, flag) = (tasks.clone(), done.clone());
        tasks.drop_later(OnDrop(move || {
            let flag = flag.clone();
            again.spawn(async move { flag.set(true) });
        }));
        assert!((&mut driver).now_or_never().is_none());
        assert!(done.get());
    }

    #[test]
    fn the_driver_ends_when_the_last_handle_is_gone() {
        let (tasks, mut driver) = Tasks::new();
        let other = tasks.clone();
        drop(tasks);
        assert!((&mut driver).now_or_never().is_none());
        drop(other);
        assert!((&mut driver).now_or_never().is_some());
    }

    #[test]
    fn what_comes_after_the_driver_is_dropped_at_once() {
        let (tasks, driver) = Tasks::new();
        drop(driver);
        let dropped = Rc::new(Cell::new(false));
        let flag = dropped.clone();
        tasks.drop_later(OnDrop(move || flag.set(true)));
        assert!(dropped.get());
    }

    #[test]
    fn who_is_woken_may_hand_over_more_at_once() {
        thread_local! {
            static TASKS: RefCell<Option<Tasks>> = const { RefCell::new(None) };
        }
        struct Eager;
        impl std::task::Wake for Eager {
            fn wake(self: std::sync::Arc<Self>) {
                if let Some(tasks) = TASKS.take() {
                    tasks.drop_later(());
                    tasks.spawn(std::future::ready(()));
                }
            }
        }
        let (tasks, mut driver) = Tasks::new();
        let waker = std::sync::Arc::new(Eager).into();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut driver).poll(&mut cx).is_pending());
        TASKS.set(Some(tasks.clone()));
        tasks.spawn(std::future::ready(()));
        TASKS.set(Some(tasks.clone()));
        tasks.drop_later(());
        drop(tasks);
        assert!(Pin::new(&mut driver).poll(&mut cx).is_ready());
    }
}
