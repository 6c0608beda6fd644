//! A call that was received and is handed on, and a stream's calls: no answer of theirs is held.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::private::capability::{ParamsHook, ResultsHook};

use super::in_flight::{Calls, Hold, Kind};
use super::noted::Noted;
use super::{Room, results};
use crate::membrane::Direction;
use crate::membrane::cap_table::Incoming;
use crate::membrane::client::Node;
use crate::membrane::state::{Ref, State};
use crate::membrane::turn::Turn;

/// There is nothing else to be kept of a call that was received.
#[derive(Default)]
pub(in crate::membrane) struct Received;

impl Kind for Received {
    type Output = ();

    fn calls(membrane: &State) -> &Calls<Self> {
        &membrane.received
    }
}

/// Hands on a call of `method` on `target`: `call` gets what the other side is to see.
pub(in crate::membrane) fn deliver(
    params: Box<dyn ParamsHook>,
    results: Box<dyn ResultsHook>,
    target: &Node,
    method: (u64, u16),
    call: impl FnOnce(Box<dyn ParamsHook>, Box<dyn ResultsHook>) -> Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    let (membrane, direction) = (target.membrane(), target.direction());
    if let Some(reason) = membrane.revoked() {
        return Promise::err(reason.clone());
    }
    if let Err(error) = membrane.admit_call() {
        return Promise::err(error);
    }
    in_flight(membrane, target.call_begins(method), |hold| {
        let params = Box::new(Params {
            incoming: Incoming::new(params),
            back: direction.reverse(),
            membrane: membrane.clone(),
            _room: Room::NEW,
        });
        if let Some(_introducing) = membrane.introducing_params(method) {
            // Looked at now, as it is known by whom. Whoever reads it sees what is wrong with it.
            let _ = params.get();
        }
        let results = results::results(results, direction, hold.clone());
        call(params, results)
    })
}

/// What `promise` does, unless the membrane is revoked before: then it fails with the reason.
pub(super) fn until_revoked(
    membrane: &Ref,
    noted: Option<Box<Noted>>,
    promise: Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    match membrane.revoked() {
        Some(reason) => {
            drop(promise);
            if let Some(noted) = noted {
                noted.ended(Err(reason));
            }
            Promise::err(reason.clone())
        }
        None => in_flight(membrane, noted, |_| promise),
    }
}

/// Does the same for what is no call, but waits for a promise to resolve.
pub(in crate::membrane) fn wait_until_revoked(
    membrane: &Ref,
    promise: Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    match membrane.revoked() {
        Some(reason) => Promise::err(reason.clone()),
        None => {
            let mut waiting = Delivered::new(membrane, None);
            waiting.is_call = false;
            membrane.waits.set(membrane.waits.get() + 1);
            waiting.hold.with(|call| call.promise = Some(promise));
            Promise::from_future(waiting)
        }
    }
}

/// A call in flight; `start` begins it.
fn in_flight(
    membrane: &Ref,
    noted: Option<Box<Noted>>,
    start: impl FnOnce(&Hold<Received>) -> Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    let delivered = Delivered::new(membrane, noted);
    let mut promise = Some(start(&delivered.hold));
    delivered.hold.with(|call| {
        // If not, it was revoked by what was started: the promise goes with this turn.
        if call.error.is_none() {
            call.promise = promise.take();
        }
    });
    Promise::from_future(delivered)
}

struct Delivered {
    hold: Hold<Received>,
    /// If not, it is among the membrane's waits.
    is_call: bool,
    _room: Room<1>,
}

impl Delivered {
    fn new(membrane: &Ref, noted: Option<Box<Noted>>) -> Self {
        Self {
            hold: Hold::new(membrane.clone(), noted, Received),
            is_call: true,
            _room: Room::NEW,
        }
    }
}

impl Future for Delivered {
    type Output = Result<(), capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _turn = Turn::begin(self.hold.membrane());
        self.hold.poll(cx)
    }
}

impl Drop for Delivered {
    /// Nobody waits any more. The promise may hold the results, which have a hold on the call: with its
    /// own hold alone it would never go.
    fn drop(&mut self) {
        let held = self.hold.with(|call| {
            let promise = call.promise.take()?;
            // Canceled: the results need not cross any more. They go with the promise, but a service may
            // keep them for longer: nobody is told of what becomes of them.
            call.error.get_or_insert_with(|| Box::new(canceled()));
            Some((promise, call.noted.take()))
        });
        drop(held);
        if !self.is_call {
            // Its hold is the only one, and goes now.
            let waits = &self.hold.membrane().waits;
            waits.set(waits.get() - 1);
        }
    }
}

fn canceled() -> capnp::Error {
    capnp::Error::failed("the call was canceled".into())
}

struct Params {
    incoming: Incoming<Box<dyn ParamsHook>>,
    back: Direction,
    membrane: Ref,
    _room: Room<3>,
}

impl ParamsHook for Params {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.incoming.get(&self.membrane, self.back)
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        self.incoming.close(&self.membrane);
    }
}
