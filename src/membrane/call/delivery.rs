//! A call that was received and is handed on, and a stream's calls: no answer of theirs is held.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::private::capability::{ParamsHook, ResultsHook};

use super::results;
use crate::membrane::Direction;
use crate::membrane::cap_table::Incoming;
use crate::membrane::state::{Ref, Revoke};

/// One call, while it is in flight.
pub(super) struct Delivery {
    in_flight: RefCell<InFlight>,
    key: usize,
    membrane: Ref,
}

#[derive(Default)]
struct InFlight {
    /// Taken out while it is polled.
    promise: Option<Promise<(), capnp::Error>>,
    waker: Option<Waker>,
    /// Why it fails whatever the promise says.
    error: Option<capnp::Error>,
}

/// Hands on a call that goes in `direction`: `call` gets what the other side is to see.
pub(in crate::membrane) fn deliver(
    params: Box<dyn ParamsHook>,
    results: Box<dyn ResultsHook>,
    direction: Direction,
    membrane: &Ref,
    call: impl FnOnce(Box<dyn ParamsHook>, Box<dyn ResultsHook>) -> Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    if let Some(reason) = membrane.revoked() {
        return Promise::err(reason.clone());
    }
    in_flight(membrane, |delivery| {
        let params = Box::new(Params {
            incoming: Incoming::new(params),
            back: direction.reverse(),
            membrane: membrane.clone(),
        });
        let results = results::results(results, direction, membrane.clone(), delivery);
        call(params, results)
    })
}

/// What `promise` does, unless the membrane is revoked before: then it fails with the reason.
pub(in crate::membrane) fn until_revoked(
    membrane: &Ref,
    promise: Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    match membrane.revoked() {
        Some(reason) => Promise::err(reason.clone()),
        None => in_flight(membrane, |_| promise),
    }
}

/// A call in flight; `start` begins it.
pub(super) fn in_flight(
    membrane: &Ref,
    start: impl FnOnce(Weak<Delivery>) -> Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    let delivery = Rc::new_cyclic(|delivery: &Weak<Delivery>| Delivery {
        in_flight: RefCell::default(),
        key: membrane.enter_call(delivery.clone()),
        membrane: membrane.clone(),
    });
    let promise = start(Rc::downgrade(&delivery));
    {
        let mut in_flight = delivery.in_flight.borrow_mut();
        // Revoked by what was started: the promise goes with this turn.
        if in_flight.error.is_none() {
            in_flight.promise = Some(promise);
        }
    }
    Promise::from_future(Delivered(delivery))
}

impl Delivery {
    /// Makes the call fail, also when its promise succeeds.
    pub(super) fn fail(&self, error: capnp::Error) {
        self.in_flight.borrow_mut().error.get_or_insert(error);
    }
}

impl Revoke for Delivery {
    fn revoke(&self, reason: &capnp::Error) {
        let (promise, waker) = {
            let mut in_flight = self.in_flight.borrow_mut();
            in_flight.error.get_or_insert_with(|| reason.clone());
            (in_flight.promise.take(), in_flight.waker.take())
        };
        drop(promise);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.membrane.leave_call(self.key);
    }
}

struct Delivered(Rc<Delivery>);

impl Future for Delivered {
    type Output = Result<(), capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let delivery = &self.0;
        let promise = {
            let mut in_flight = delivery.in_flight.borrow_mut();
            if !in_flight
                .waker
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                in_flight.waker = Some(cx.waker().clone());
            }
            in_flight.promise.take()
        };
        let Some(mut promise) = promise else {
            // Revoked, or polled again after its end.
            let error = delivery.in_flight.borrow().error.clone();
            return Poll::Ready(Err(error.unwrap_or_else(|| {
                capnp::Error::failed("the call has ended already".into())
            })));
        };
        let polled = Pin::new(&mut promise).poll(cx);
        if polled.is_ready() {
            delivery.membrane.before_return();
        }
        let mut in_flight = delivery.in_flight.borrow_mut();
        match (polled, &in_flight.error) {
            (Poll::Pending, None) => {
                in_flight.promise = Some(promise);
                Poll::Pending
            }
            (Poll::Ready(result), None) => Poll::Ready(result),
            (_, Some(error)) => {
                let error = error.clone();
                drop(in_flight);
                drop(promise);
                Poll::Ready(Err(error))
            }
        }
    }
}

struct Params {
    incoming: Incoming<Box<dyn ParamsHook>>,
    back: Direction,
    membrane: Ref,
}

impl ParamsHook for Params {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.incoming
            .get(|hook| self.membrane.cross(hook, self.back))
    }
}
