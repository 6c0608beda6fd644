//! Calls in flight, kept where a revocation finds them.
//!
//! They lie side by side in the membrane's state, so that a call allocates nothing for it. Whoever has
//! to do with a call has a [`Hold`]; with the last one the call is gone, and all that it held inside.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::any_pointer;
use capnp::capability::{Promise, Response};
use capnp::private::capability::{PipelineHook, ResponseHook};

use super::noted::Noted;
use crate::membrane::cap_table::Incoming;
use crate::membrane::inspect::Introducing;
use crate::membrane::policy::CallWatch;
use crate::membrane::state::{Ref, State};
use crate::slots::Slots;

/// The calls in flight that end with a `T`.
pub(in crate::membrane) struct Calls<T> {
    slots: RefCell<Slots<InFlight<T>>>,
}

/// How a call ends: with a response, or, where it is handed on, with its results being done.
pub(in crate::membrane) trait End: Sized {
    fn calls(membrane: &State) -> &Calls<Self>;
}

impl End for Response<any_pointer::Owned> {
    fn calls(membrane: &State) -> &Calls<Self> {
        &membrane.answers
    }
}

impl End for () {
    fn calls(membrane: &State) -> &Calls<Self> {
        &membrane.deliveries
    }
}

/// One call in flight.
pub(super) struct InFlight<T> {
    holds: usize,
    /// Until it has ended; taken out while it is polled.
    pub(super) promise: Option<Promise<T, capnp::Error>>,
    /// Where capabilities that are asked for before it has ended come from.
    pub(super) pipeline: Option<Box<dyn PipelineHook>>,
    /// Its response, where pipelines look at that, too.
    pub(super) response: Option<Rc<Incoming<Box<dyn ResponseHook>>>>,
    pub(super) waker: Option<Waker>,
    /// Where somebody wants to know of it.
    pub(super) noted: Option<Box<Noted>>,
    /// Why it fails, whatever the promise says.
    pub(super) error: Option<Box<capnp::Error>>,
}

/// A hold on a call in flight, and on its membrane.
pub(super) struct Hold<T: End> {
    key: usize,
    membrane: Ref,
    end: std::marker::PhantomData<T>,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self {
            slots: RefCell::default(),
        }
    }
}

impl<T> Calls<T> {
    fn insert(
        &self,
        holds: usize,
        noted: Option<Box<Noted>>,
        promise: Option<Promise<T, capnp::Error>>,
        pipeline: Option<Box<dyn PipelineHook>>,
    ) -> usize {
        self.slots.borrow_mut().insert(InFlight {
            holds,
            promise,
            pipeline,
            response: None,
            waker: None,
            noted,
            error: None,
        })
    }

    pub(in crate::membrane) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Makes every call fail with `reason`, and drops what it holds.
    pub(in crate::membrane) fn revoke(&self, reason: &capnp::Error) {
        // What is dropped may run anybody's code, which may come back here: nothing is borrowed then.
        let held: Vec<_> = {
            let mut slots = self.slots.borrow_mut();
            let revoked = slots.iter_mut().map(|call| {
                call.error.get_or_insert_with(|| Box::new(reason.clone()));
                let inside = (
                    call.promise.take(),
                    call.pipeline.take(),
                    call.response.take(),
                );
                (inside, call.noted.take(), call.waker.take())
            });
            revoked.collect()
        };
        for (inside, noted, waker) in held {
            drop(inside);
            if let Some(noted) = noted {
                noted.ended(Err(reason));
            }
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> InFlight<T> {
    /// Who is to be told that it has ended, the first time.
    #[inline]
    fn end_noted(&mut self) -> Option<Box<dyn CallWatch>> {
        self.noted.as_mut()?.watch.take()
    }

    /// Sets the waker; gives back the one that was set, to be dropped where nothing is borrowed.
    fn wake_later(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.waker {
            Some(old) if old.will_wake(waker) => None,
            _ => self.waker.replace(waker.clone()),
        }
    }
}

impl<T: End> Hold<T> {
    /// A call that is about to begin.
    pub(super) fn new(membrane: Ref, noted: Option<Box<Noted>>) -> Self {
        let key = T::calls(&membrane).insert(1, noted, None, None);
        Self::of(key, membrane)
    }

    /// A call that has begun, with a hold for its promise and one for its pipelines.
    pub(super) fn pair(
        membrane: Ref,
        noted: Option<Box<Noted>>,
        promise: Promise<T, capnp::Error>,
        pipeline: Box<dyn PipelineHook>,
    ) -> [Self; 2] {
        let key = Self::begun(&membrane, 2, noted, Some(promise), pipeline);
        [Self::of(key, membrane.clone()), Self::of(key, membrane)]
    }

    /// A call of somebody else's.
    pub(super) fn foreign(membrane: Ref, pipeline: Box<dyn PipelineHook>) -> Self {
        let key = Self::begun(&membrane, 1, None, None, pipeline);
        Self::of(key, membrane)
    }

    /// Keeps what has begun. What began it may have revoked the membrane: no revocation comes by again.
    fn begun(
        membrane: &Ref,
        holds: usize,
        noted: Option<Box<Noted>>,
        promise: Option<Promise<T, capnp::Error>>,
        pipeline: Box<dyn PipelineHook>,
    ) -> usize {
        let calls = T::calls(membrane);
        let Some(reason) = membrane.revoked() else {
            return calls.insert(holds, noted, promise, Some(pipeline));
        };
        drop((promise, pipeline));
        if let Some(noted) = noted {
            noted.ended(Err(reason));
        }
        let key = calls.insert(holds, None, None, None);
        if let Some(call) = calls.slots.borrow_mut().get_mut(key) {
            call.error = Some(Box::new(reason.clone()));
        }
        key
    }

    fn of(key: usize, membrane: Ref) -> Self {
        Self {
            key,
            membrane,
            end: std::marker::PhantomData,
        }
    }

    pub(super) fn membrane(&self) -> &Ref {
        &self.membrane
    }

    /// While it lives, what crosses is introduced by this call.
    pub(super) fn introducing(&self) -> Option<Introducing<'_>> {
        let inspection = self.membrane.inspection()?;
        let by = self.with(|call| call.noted.as_ref()?.introduces)?;
        Some(inspection.introducing(by))
    }

    /// Looks at the call. No foreign code may run within, drops included: the others are borrowed, too.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut InFlight<T>) -> R) -> R {
        let mut slots = T::calls(&self.membrane).slots.borrow_mut();
        // Its call is there as long as a hold is: only the drop of the last one takes it out.
        f(slots.get_mut(self.key).expect("a hold keeps its call"))
    }

    /// Lets the call go on. It ends once, and its promise is gone then.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, capnp::Error>> {
        let Some(mut promise) = self.with(|call| call.promise.take()) else {
            return self.failed();
        };
        let polled = Pin::new(&mut promise).poll(cx);
        match polled {
            Poll::Pending => {
                // What does not go back is dropped here, where nothing is borrowed.
                let mut promise = Some(promise);
                let _old_waker = self.with(|call| match call.error {
                    None => {
                        call.promise = promise.take();
                        call.wake_later(cx.waker())
                    }
                    Some(_) => None,
                });
                self.failed()
            }
            Poll::Ready(result) => {
                self.membrane.before_return();
                let (failed, noted) = self.with(|call| (call.error.clone(), call.end_noted()));
                // Failed meanwhile: that counts.
                let result = match failed {
                    Some(error) => Err(*error),
                    None => result,
                };
                if let Err(error) = &result {
                    let _pipeline = self.with(|call| {
                        call.error.get_or_insert_with(|| Box::new(error.clone()));
                        call.pipeline.take()
                    });
                }
                if let Some(watch) = noted {
                    watch.ended(result.as_ref().map(|_| ()));
                }
                Poll::Ready(result)
            }
        }
    }

    /// Why it fails, if it does. Pending as well where it is asked from within its own poll, which goes
    /// on.
    fn failed(&self) -> Poll<Result<T, capnp::Error>> {
        let failed = self.with(|call| {
            let error = call.error.clone()?;
            Some((error, call.end_noted()))
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

impl<T: End> Clone for Hold<T> {
    fn clone(&self) -> Self {
        self.with(|call| call.holds += 1);
        Self::of(self.key, self.membrane.clone())
    }
}

impl<T: End> Drop for Hold<T> {
    fn drop(&mut self) {
        let mut slots = T::calls(&self.membrane).slots.borrow_mut();
        let Some(call) = slots.get_mut(self.key) else {
            return;
        };
        call.holds -= 1;
        let gone = match call.holds {
            0 => slots.remove(self.key),
            _ => None,
        };
        drop(slots);
        // Before the reference to the membrane, and with nothing borrowed.
        drop(gone);
    }
}
