//! Calls in flight, kept where a revocation finds them.
//!
//! They lie side by side in the membrane's state, so that a call allocates nothing for it. Whoever has
//! to do with a call has a [`Hold`]; with the last one the call is gone, and all that it held inside.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::capability::Promise;
use capnp::private::capability::ClientHook;

use super::cancel::cancel_all;
use super::noted::{self, Noted};
use crate::membrane::client::Node;
use crate::membrane::inspect::{Introducing, Origin};
use crate::membrane::policy::{CallWatch, Scope};
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
    holds: u32,
    /// How many of them are capabilities that are pipelined on it; until it has ended.
    pipelined: u32,
    /// What calls of this kind have besides.
    pub(super) kind: K,
    pub(super) waker: Option<Waker>,
    /// Where somebody wants to know of it.
    pub(super) noted: Noted,
    /// Why it fails, whatever the promise says.
    pub(super) error: Option<Box<capnp::Error>>,
}

/// A call that a wrapper keeps, of a capability that is pipelined on it.
#[derive(Clone, Copy)]
pub(in crate::membrane) struct Pipelined {
    key: usize,
    number: u32,
    is_kept: fn(&State, usize, u32) -> bool,
    release: fn(&State, usize, u32),
}

impl Pipelined {
    /// Is it kept still? It is not when it has ended.
    pub(in crate::membrane) fn is_kept(self, membrane: &State) -> bool {
        (self.is_kept)(membrane, self.key, self.number)
    }

    /// The wrapper is gone. To be called where anything may be dropped.
    pub(in crate::membrane) fn release(self, membrane: &State) {
        (self.release)(membrane, self.key, self.number);
    }
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
        self.release_if(key, |_| true);
    }

    /// A capability that was pipelined on a call goes.
    fn release_pipelined(&self, key: usize, number: u32) {
        self.release_if(key, |call| {
            let is_kept = call.is_kept(number);
            call.pipelined -= u32::from(is_kept);
            is_kept
        });
    }

    #[inline]
    fn release_if(&self, key: usize, has_hold: impl FnOnce(&mut InFlight<K>) -> bool) {
        let mut slots = self.slots.borrow_mut();
        let Some(call) = slots.get_mut(key) else {
            return;
        };
        if !has_hold(call) {
            return;
        }
        call.holds -= 1;
        let gone = match call.holds {
            0 => slots.remove(key),
            _ => None,
        };
        drop(slots);
        if let Some(gone) = gone {
            gone.go();
        }
    }

    /// Makes every call fail with `reason`, and drops what it holds.
    pub(in crate::membrane) fn revoke(&self, reason: &capnp::Error) {
        // What is dropped may run anybody's code, which may come back here: nothing is borrowed then.
        let held: Vec<_> = {
            let mut slots = self.slots.borrow_mut();
            let revoked = slots.iter_mut().map(|call| {
                call.error.get_or_insert_with(|| Box::new(reason.clone()));
                let inside = call.kind.let_go();
                (inside, call.noted.take(), call.waker.take())
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
    /// Drops what is left of it: before whoever has let go lets the membrane go, and with nothing borrowed.
    fn go(mut self) {
        let is_known = self.noted.number != 0;
        let waker = self.waker.take();
        drop(self);
        // Who waits for its answer in the place of others is to see that it is gone.
        if is_known && let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Is it the call of this number, and do capabilities that are pipelined on it keep it?
    fn is_kept(&self, number: u32) -> bool {
        self.noted.number == number && self.pipelined > 0
    }

    /// What it is known by.
    fn number(&mut self, membrane: &State) -> u32 {
        if self.noted.number == 0 {
            self.noted.number = membrane.next_number();
        }
        self.noted.number
    }

    /// Who is to be told that it has ended, the first time. What is pipelined on it needs it no more, nor does
    /// it need what it is pipelined on: that is to be dropped.
    fn tell(&mut self) -> (Option<Rc<dyn CallWatch>>, Option<Rc<Node>>) {
        // Whoever comes here has a hold of his own.
        self.holds -= std::mem::take(&mut self.pipelined);
        (self.noted.tell(), self.noted.on.take())
    }

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
    fn begun(membrane: Ref, holds: u32, noted: Noted, kind: K) -> Self {
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

    fn insert(membrane: Ref, holds: u32, noted: Noted, kind: K) -> Self {
        let key = K::calls(&membrane).slots.borrow_mut().insert(InFlight {
            holds,
            pipelined: 0,
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

    /// The promise is being dropped, and nobody else waits for the answer. If the call goes on, and somebody is
    /// to be told of its end: a number for [`find`](Self::find).
    pub(super) fn leave_unasked(&self) -> Option<u32> {
        self.with(|call| {
            let is_left = call.holds > 1 && call.noted.is_awaited();
            is_left.then(|| call.number(&self.membrane))
        })
    }

    /// A hold on the call of this number, if it is still there.
    pub(super) fn find(membrane: Ref, key: usize, number: u32) -> Option<Self> {
        let found = K::calls(&membrane).with(key, |call| {
            let is_it = call.noted.number == number;
            call.holds += u32::from(is_it);
            is_it
        });
        found?.then(|| Self::of(key, membrane))
    }

    /// Lets `wrapper`, of a capability that is pipelined on the call, keep the call until it has ended, where
    /// somebody is to be told of that: what is pipelined keeps it inside as well.
    pub(super) fn keep_by(&self, wrapper: &dyn ClientHook) {
        if self.membrane.inspection().is_none() || self.membrane.tasks().is_none() {
            return;
        }
        let Some(node) = self.membrane.recognise(wrapper) else {
            return;
        };
        if node.keeps_call() {
            return;
        }
        self.with(|call| {
            if !call.noted.is_awaited() {
                return;
            }
            let kept = Pipelined {
                key: self.key,
                number: call.number(&self.membrane),
                is_kept: |membrane, key, number| {
                    let is_kept = |call: &mut InFlight<K>| call.is_kept(number);
                    K::calls(membrane).with(key, is_kept) == Some(true)
                },
                release: |membrane, key, number| {
                    K::calls(membrane).release_pipelined(key, number);
                },
            };
            if node.keep(kept) {
                call.holds += 1;
                call.pipelined += 1;
            }
        });
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
        // Its call is there as long as a hold is: each is counted, what is pipelined besides, and only where none
        // is left is the call taken out.
        f(slots.get_mut(self.key).expect("a hold keeps its call"))
    }

    /// It ends with `result`, unless it has failed meanwhile: that counts. Gives what it ends with.
    pub(super) fn end<T>(&self, result: capnp::Result<T>) -> capnp::Result<T> {
        self.membrane.before_return();
        let (failed, (watch, _on)) = self.with(|call| (call.error.clone(), call.tell()));
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
            Some((error, call.tell()))
        });
        let Some((error, (watch, _on))) = failed else {
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
