//! Calls in flight, kept where a revocation finds them.
//!
//! They lie side by side in the membrane's state, so that a call allocates nothing for it. Whoever has
//! to do with a call has a [`Hold`]; with the last one the call is gone, and all that it held inside.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::capability::Promise;

use super::cancel::cancel_all;
use super::noted::{self, Noted};
use crate::membrane::inspect::{Introducing, Origin};
use crate::membrane::policy::Scope;
use crate::membrane::state::{Ref, State};
use crate::slots::Slots;

/// The calls in flight of one kind.
pub(in crate::membrane) struct Calls<K: Kind> {
    slots: RefCell<Slots<InFlight<K>>>,
}

/// A way to call, and what there is to be kept of such a call.
pub(in crate::membrane) trait Kind: Default {
    fn calls(membrane: &State) -> &Calls<Self>;

    /// What a revocation takes out of it.
    fn let_go(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// A kind of calls whose promise is kept with them.
pub(super) trait Promised: Kind {
    /// What it gives.
    type Output;

    /// Until the call has ended; taken out while it is polled.
    fn promise(&mut self) -> &mut Option<Promise<Self::Output, capnp::Error>>;

    /// What its work runs in.
    fn scope(&self) -> Option<&Rc<dyn Scope>> {
        None
    }
}

/// One call in flight.
pub(super) struct InFlight<K: Kind> {
    holds: usize,
    /// What calls of this kind have besides.
    pub(super) kind: K,
    pub(super) waker: Option<Waker>,
    /// Where somebody wants to know of it.
    pub(super) noted: Noted,
    /// Why it fails, whatever the promise says.
    pub(super) error: Option<Box<capnp::Error>>,
}

/// A hold on a call in flight, and on its membrane.
pub(super) struct Hold<K: Kind> {
    key: usize,
    membrane: Ref,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> Default for Calls<K> {
    fn default() -> Self {
        Self {
            slots: RefCell::default(),
        }
    }
}

impl<K: Kind> Calls<K> {
    pub(in crate::membrane) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Looks at the call in a place, if there is one. See [`Hold::with`].
    pub(super) fn with<R>(&self, key: usize, f: impl FnOnce(&mut InFlight<K>) -> R) -> Option<R> {
        self.slots.borrow_mut().get_mut(key).map(f)
    }

    /// A hold on the call in a place goes.
    pub(super) fn release(&self, key: usize) {
        let mut slots = self.slots.borrow_mut();
        let Some(call) = slots.get_mut(key) else {
            return;
        };
        call.holds -= 1;
        let gone = match call.holds {
            0 => slots.remove(key),
            _ => None,
        };
        drop(slots);
        // Before whoever has let go lets the membrane go, and with nothing borrowed.
        drop(gone);
    }

    /// Makes every call fail with `reason`, and drops what it holds.
    pub(in crate::membrane) fn revoke(&self, reason: &capnp::Error) {
        // What is dropped may run anybody's code, which may come back here: nothing is borrowed then.
        let held: Vec<_> = {
            let mut slots = self.slots.borrow_mut();
            let revoked = slots.iter_mut().map(|call| {
                call.error.get_or_insert_with(|| Box::new(reason.clone()));
                let inside = call.kind.let_go();
                (inside, std::mem::take(&mut call.noted), call.waker.take())
            });
            revoked.collect()
        };
        for (inside, noted, waker) in held {
            cancel_all(inside);
            noted.ended(Err(reason));
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<K: Kind> InFlight<K> {
    /// Sets the waker; gives back the one that was set, to be dropped where nothing is borrowed.
    pub(super) fn wake_later(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.waker {
            Some(old) if old.will_wake(waker) => None,
            _ => self.waker.replace(waker.clone()),
        }
    }
}

impl<K: Kind> Hold<K> {
    /// A call that is about to begin.
    pub(super) fn new(membrane: Ref, noted: Noted, kind: K) -> Self {
        Self::insert(membrane, 1, noted, kind)
    }

    /// A call that has begun, with a hold for its promise and one for its pipelines.
    pub(super) fn pair(membrane: Ref, noted: Noted, kind: K) -> [Self; 2] {
        let first = Self::begun(membrane, 2, noted, kind);
        let second = Self::of(first.key, first.membrane.clone());
        [first, second]
    }

    /// A call of somebody else's.
    pub(super) fn foreign(membrane: Ref, kind: K) -> Self {
        Self::begun(membrane, 1, Noted::default(), kind)
    }

    /// Keeps what has begun. What began it may have revoked the membrane: no revocation comes by again.
    fn begun(membrane: Ref, holds: usize, noted: Noted, kind: K) -> Self {
        let Some(reason) = membrane.revoked() else {
            return Self::insert(membrane, holds, noted, kind);
        };
        drop(kind);
        noted.ended(Err(reason));
        let reason = Box::new(reason.clone());
        let hold = Self::insert(membrane, holds, Noted::default(), K::default());
        hold.with(|call| call.error = Some(reason));
        hold
    }

    fn insert(membrane: Ref, holds: usize, noted: Noted, kind: K) -> Self {
        let key = K::calls(&membrane).slots.borrow_mut().insert(InFlight {
            holds,
            kind,
            waker: None,
            noted,
            error: None,
        });
        Self::of(key, membrane)
    }

    fn of(key: usize, membrane: Ref) -> Self {
        Self {
            key,
            membrane,
            kind: std::marker::PhantomData,
        }
    }

    /// Where its call is, as long as this hold is.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    pub(super) fn membrane(&self) -> &Ref {
        &self.membrane
    }

    /// One more hold on its call, for who lets go of it by [`Calls::release`].
    pub(super) fn retain(&self) {
        self.with(|call| call.holds += 1);
    }

    /// While it lives, what crosses is introduced by this call.
    pub(super) fn introducing(&self) -> Option<Introducing<'_>> {
        let inspection = self.membrane.inspection()?;
        Some(inspection.introducing(self.origin()?))
    }

    /// The call, as what introduces the capabilities in its results.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.with(|call| call.noted.origin(true))
    }

    /// Looks at the call. No foreign code may run within, drops included: the others are borrowed, too.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut InFlight<K>) -> R) -> R {
        let mut slots = K::calls(&self.membrane).slots.borrow_mut();
        // Its call is there as long as a hold is: only the drop of the last one takes it out.
        f(slots.get_mut(self.key).expect("a hold keeps its call"))
    }

    /// It ends with `result`, unless it has failed meanwhile: that counts. Gives what it ends with.
    pub(super) fn end<T>(&self, result: capnp::Result<T>) -> capnp::Result<T> {
        self.membrane.before_return();
        let (failed, watch) = self.with(|call| (call.error.clone(), call.noted.tell()));
        let result = match failed {
            Some(error) => Err(*error),
            None => result,
        };
        if let Err(error) = &result {
            self.with(|call| {
                call.error.get_or_insert_with(|| Box::new(error.clone()));
            });
            self.membrane.call_failed();
        }
        if let Some(watch) = watch {
            watch.ended(result.as_ref().map(|_| ()));
        }
        result
    }

    /// Why it fails, if it does. Pending as well where it is asked from within its own poll, which goes
    /// on.
    pub(super) fn failed<T>(&self) -> Poll<capnp::Result<T>> {
        let failed = self.with(|call| {
            let error = call.error.clone()?;
            Some((error, call.noted.tell()))
        });
        let Some((error, watch)) = failed else {
            return Poll::Pending;
        };
        if let Some(watch) = watch {
            watch.ended(Err(&error));
        }
        Poll::Ready(Err(*error))
    }
}

impl<K: Promised> Hold<K> {
    /// Lets the call go on. It ends once, and its promise is gone then.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<K::Output, capnp::Error>> {
        let taken = self.with(|call| {
            let promise = call.kind.promise().take()?;
            Some((promise, call.kind.scope().cloned()))
        });
        let Some((mut promise, scope)) = taken else {
            return self.failed();
        };
        let polled = noted::within(scope.as_ref(), cx, |cx| Pin::new(&mut promise).poll(cx));
        match polled {
            Poll::Ready(result) => Poll::Ready(self.end(result)),
            Poll::Pending => {
                // What does not go back is dropped here, where nothing is borrowed.
                let mut promise = Some(promise);
                let _old_waker = self.with(|call| match call.error {
                    None => {
                        *call.kind.promise() = promise.take();
                        call.wake_later(cx.waker())
                    }
                    Some(_) => None,
                });
                self.failed()
            }
        }
    }
}

impl<K: Kind> Clone for Hold<K> {
    fn clone(&self) -> Self {
        self.retain();
        Self::of(self.key, self.membrane.clone())
    }
}

impl<K: Kind> Drop for Hold<K> {
    fn drop(&mut self) {
        K::calls(&self.membrane).release(self.key);
    }
}
