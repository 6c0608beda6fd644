//! What a call of this process is inside: it knows of no membrane, and may go on when that is gone.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use capnp::capability::{Client, Promise};
use capnp::private::capability::{ClientHook, PipelineOp};
use capnp::private::layout::CapTable;

use super::bell::{Bell, Listener};
use super::early::Early;
use super::message::{Body, Message, capability};
use crate::membrane::call::cancel::cancel;
use crate::membrane::call::noted;
use crate::membrane::client::Node;
use crate::membrane::policy::Scope;

/// The work of a service on one call. It is canceled when nobody holds it any more: neither the call in
/// flight nor what is promised from its results.
#[derive(Default)]
pub(super) struct Work {
    progress: RefCell<Progress>,
    scope: OnceCell<Rc<dyn Scope>>,
    /// The results, when the service is done with them.
    body: OnceCell<Body>,
    /// The capabilities in them, until they are taken.
    table: RefCell<CapTable>,
    /// How many [`Promised`] there are, which may want them.
    promised: Cell<usize>,
    /// Has the caller taken the capabilities?
    is_taken: Cell<bool>,
}

#[derive(Default)]
struct Progress {
    /// The service's; taken out while it is polled.
    promise: Option<Promise<(), capnp::Error>>,
    /// What that has come to.
    returned: Option<capnp::Result<()>>,
    /// What pipelined capabilities are taken from before it returns, where the service says so.
    early: Option<Rc<Message>>,
    /// The wrappers of capabilities that were asked for before they were there.
    promises: Vec<Weak<Node>>,
    waker: Option<Waker>,
    /// Wakes all, where several may wait.
    bell: Option<Arc<Bell>>,
}

impl Work {
    /// The service has begun, and runs in `scope`.
    pub(super) fn begin(&self, promise: Promise<(), capnp::Error>, scope: Option<Rc<dyn Scope>>) {
        if let Some(scope) = scope {
            let _only_once = self.scope.set(scope);
        }
        self.progress.borrow_mut().promise = Some(promise);
    }

    /// The service is done with the results.
    pub(super) fn fill(&self, message: Message) {
        if let Some(Err(_)) = self.progress.borrow().returned {
            return;
        }
        let Message { body, table } = message;
        // They are filled once, as there are no others: their drop does it.
        if self.body.set(body).is_ok() {
            *self.table.borrow_mut() = table;
        }
        let waker = {
            let mut progress = self.progress.borrow_mut();
            match progress.returned {
                Some(_) => progress.waker.take(),
                // It is being polled, or will be.
                None => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Pipelined capabilities are taken from `message` from now on.
    pub(super) fn fill_early(&self, message: Message) {
        let mut early = Some(Rc::new(message));
        let promises = {
            let mut progress = self.progress.borrow_mut();
            if let Some(Err(_)) = progress.returned {
                return;
            }
            std::mem::swap(&mut progress.early, &mut early);
            std::mem::take(&mut progress.promises)
        };
        settle(promises);
    }

    pub(super) fn early(&self) -> Option<Rc<Message>> {
        self.progress.borrow().early.clone()
    }

    /// Has it ended, with or without results?
    pub(super) fn is_over(&self) -> bool {
        match &self.progress.borrow().returned {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(())) => self.body.get().is_some(),
        }
    }

    /// Its results, or why there are none.
    pub(super) fn body(&self) -> capnp::Result<&Body> {
        if let Some(Err(error)) = &self.progress.borrow().returned {
            return Err(error.clone());
        }
        let body = self.body.get();
        body.ok_or_else(|| capnp::Error::failed("the call has not returned".into()))
    }

    pub(super) fn has_capabilities(&self) -> bool {
        !self.table.borrow().is_empty()
    }

    /// The capabilities in its results: moved where nobody else could want them, else kept until nobody does.
    pub(super) fn take_table(&self) -> CapTable {
        self.is_taken.set(true);
        match self.promised.get() {
            0 => self.table.take(),
            _ => self.table.borrow().clone(),
        }
    }

    /// Lets it go on until its results are there.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        listener: &mut Listener,
    ) -> Poll<capnp::Result<()>> {
        let (promise, bell) = {
            let mut progress = self.progress.borrow_mut();
            (progress.promise.take(), progress.bell.clone())
        };
        match bell {
            None => {
                let polled = self.poll_with(cx, promise);
                // There may be several since: whoever is not listening would not be woken.
                if polled.is_pending() && self.progress.borrow().bell.is_some() {
                    cx.waker().wake_by_ref();
                }
                polled
            }
            Some(bell) => {
                listener.listen(&bell, cx.waker());
                let waker = Waker::from(bell);
                self.poll_with(&mut Context::from_waker(&waker), promise)
            }
        }
    }

    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        promise: Option<Promise<(), capnp::Error>>,
    ) -> Poll<capnp::Result<()>> {
        if let Some(mut promise) = promise {
            let panics = Panics(self);
            let polled = noted::within(self.scope.get(), cx, |cx| Pin::new(&mut promise).poll(cx));
            match polled {
                Poll::Pending => self.progress.borrow_mut().promise = Some(promise),
                Poll::Ready(returned) => {
                    // It may hold the results.
                    drop(promise);
                    if returned.is_err() {
                        // Nobody gets what it was about to give.
                        drop(self.table.take());
                    }
                    self.progress.borrow_mut().returned = Some(returned);
                }
            }
            std::mem::forget(panics);
        }
        if self.is_over() {
            self.tell();
            return Poll::Ready(self.body().map(|_| ()));
        }
        let old = {
            let mut progress = self.progress.borrow_mut();
            match &progress.waker {
                Some(old) if old.will_wake(cx.waker()) => None,
                _ => progress.waker.replace(cx.waker().clone()),
            }
        };
        drop(old);
        Poll::Pending
    }

    /// It is over: tells all who wait for it, and before them those who have called what is in its
    /// results.
    pub(super) fn tell(&self) {
        let (promises, bell, early, waker) = {
            let mut progress = self.progress.borrow_mut();
            let promises = std::mem::take(&mut progress.promises);
            let Progress {
                bell, early, waker, ..
            } = &mut *progress;
            (promises, bell.take(), early.take(), waker.take())
        };
        settle(promises);
        // A response that is held keeps nothing but what is in it.
        drop(early);
        if let Some(bell) = bell {
            bell.ring();
        }
        drop(waker);
    }

    /// There will be several who wait for it.
    fn share(&self) {
        let waker = {
            let mut progress = self.progress.borrow_mut();
            match progress.bell {
                Some(_) => None,
                // Whoever waits already is to listen from now on.
                None => {
                    progress.bell = Some(Arc::default());
                    progress.waker.take()
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What is to be told when the results are there: the wrapper of a [`Promised`].
    pub(super) fn promise_to(&self, wrapper: &Rc<Node>) {
        let mut progress = self.progress.borrow_mut();
        let promises = &mut progress.promises;
        // Those that are gone go when there is no room left.
        if promises.len() == promises.capacity() {
            promises.retain(|promise| promise.strong_count() > 0);
        }
        promises.push(Rc::downgrade(wrapper));
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        cancel(self.progress.get_mut().promise.take());
    }
}

/// Its drop says that the service panicked: whoever else waits for it is not to wait for ever.
struct Panics<'a>(&'a Work);

impl Drop for Panics<'_> {
    fn drop(&mut self) {
        let Self(work) = self;
        let bell = {
            let mut progress = work.progress.borrow_mut();
            let error = capnp::Error::failed("the service panicked".into());
            progress.returned = Some(Err(error));
            progress.bell.clone()
        };
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}

/// Lets promises know that they can resolve: what was called on them goes on now, before what is called
/// on what they resolve to.
fn settle(promises: Vec<Weak<Node>>) {
    for promise in promises {
        if let Some(promise) = promise.upgrade() {
            promise.settle();
        }
    }
}

/// A capability that will be in the results, inside.
pub(super) struct Promised {
    work: Rc<Work>,
    ops: Vec<PipelineOp>,
    listener: Listener,
}

impl Promised {
    pub(super) fn new(work: Rc<Work>, ops: &[PipelineOp]) -> Self {
        work.share();
        work.promised.set(work.promised.get() + 1);
        Self {
            work,
            ops: ops.to_vec(),
            listener: Listener::default(),
        }
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        let Self { work, .. } = self;
        work.promised.set(work.promised.get() - 1);
        if work.promised.get() == 0 && work.is_taken.get() {
            drop(work.table.take());
        }
    }
}

impl Future for Promised {
    type Output = capnp::Result<Client>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            work,
            ops,
            listener,
        } = self.get_mut();
        let polled = match work.early() {
            Some(_) => Poll::Pending,
            None => work.poll(cx, listener),
        };
        // They may be given early by what was polled just now.
        let hook: Box<dyn ClientHook> = match work.early() {
            Some(early) => Box::new(Early {
                inside: capability(&early.body, &early.table, ops),
                work: work.clone(),
            }),
            None => {
                ready!(polled)?;
                capability(work.body()?, &work.table.borrow(), ops)
            }
        };
        Poll::Ready(Ok(Client::new(hook)))
    }
}
