//! A call that was received and is handed on, and a stream's calls: no answer of theirs is held.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::private::capability::{ParamsHook, ResultsHook};

use super::cancel::{cancel, is_canceling, leave};
use super::in_flight::{Calls, Hold, InFlight, Kind, Promised};
use super::noted::{self, Noted};
use super::results;
use crate::membrane::Direction;
use crate::membrane::cap_table::Incoming;
use crate::membrane::client::Node;
use crate::membrane::policy::Scope;
use crate::membrane::state::{Ref, State};
use crate::membrane::turn::Turn;

/// What there is of a call that was received.
#[derive(Default)]
pub(in crate::membrane) struct Received {
    /// Tells its results whether it is still there. Zero is nobody's.
    id: u64,
    results: Kept,
    /// What its work runs in.
    scope: Option<Rc<dyn Scope>>,
    promise: Option<Promise<(), capnp::Error>>,
}

impl Received {
    fn of(membrane: &State, results: Kept, scope: Option<Rc<dyn Scope>>) -> Self {
        let id = membrane.last_received.get() + 1;
        membrane.last_received.set(id);
        Self {
            id,
            results,
            scope,
            promise: None,
        }
    }
}

/// Who has the results of a call that was received.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kept {
    /// Nobody any more.
    #[default]
    Not,
    /// The service, which has not returned.
    ByService,
    /// A service that has returned. They have a hold on the call.
    ForLater,
}

impl Kind for Received {
    fn calls(membrane: &State) -> &Calls<Self> {
        &membrane.received
    }

    /// What it holds inside; its results are to find it.
    fn let_go(&mut self) -> Self {
        let mut taken = Self::default();
        taken.promise = self.promise.take();
        taken
    }
}

impl Promised for Received {
    type Output = ();

    fn promise(&mut self) -> &mut Option<Promise<(), capnp::Error>> {
        &mut self.promise
    }

    fn scope(&self) -> Option<&Rc<dyn Scope>> {
        self.scope.as_ref()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        cancel(self.promise.take());
    }
}

/// How its results find a call that was received, which holds the promise that holds them.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    key: usize,
    id: u64,
}

impl Ticket {
    /// Looks at the call, unless it was canceled. As with [`Hold::with`], no foreign code may run within.
    pub(super) fn with<R>(
        self,
        membrane: &State,
        f: impl FnOnce(&mut InFlight<Received>) -> R,
    ) -> Option<R> {
        let found = membrane
            .received
            .with(self.key, |call| (call.kind.id == self.id).then(|| f(call)));
        found.flatten()
    }

    /// Its results are let go of, and with them a call that has returned before.
    pub(super) fn end(self, membrane: &State) {
        let kept = self.with(membrane, |call| std::mem::take(&mut call.kind.results));
        if kept == Some(Kept::ForLater) {
            membrane.received.release(self.key);
        }
    }
}

/// Hands on a call of `method` on `target`: `call` gets what the other side is to see.
pub(in crate::membrane) fn deliver(
    params: Box<dyn ParamsHook>,
    results: Box<dyn ResultsHook>,
    target: &Rc<Node>,
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
    let noted = target.call_begins(method);
    let origin = noted.origin(false);
    let scope = noted::scope(&noted, target);
    let received = Received::of(membrane, Kept::ByService, scope);
    in_flight(membrane, noted, received, |ticket| {
        let params = Box::new(Params {
            incoming: Some(Incoming::new(params, origin)),
            back: direction.reverse(),
            membrane: membrane.clone(),
        });
        let results = results::results(results, direction, membrane, ticket);
        call(params, results)
    })
}

/// What `promise` does, unless the membrane is revoked before: then it fails with the reason.
pub(super) fn until_revoked(
    membrane: &Ref,
    noted: Noted,
    promise: Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    match membrane.revoked() {
        Some(reason) => {
            drop(promise);
            noted.ended(Err(reason));
            Promise::err(reason.clone())
        }
        None => {
            let received = Received::of(membrane, Kept::Not, None);
            in_flight(membrane, noted, received, |_| promise)
        }
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
            let mut waiting = Delivered::new(membrane, Noted::default(), Received::default());
            waiting.is_call = false;
            membrane.waits.set(membrane.waits.get() + 1);
            waiting.hold.with(|call| call.kind.promise = Some(promise));
            Promise::from_future(waiting)
        }
    }
}

/// A call in flight; `start` begins it.
fn in_flight(
    membrane: &Ref,
    noted: Noted,
    received: Received,
    start: impl FnOnce(Ticket) -> Promise<(), capnp::Error>,
) -> Promise<(), capnp::Error> {
    let id = received.id;
    let delivered = Delivered::new(membrane, noted, received);
    let key = delivered.hold.key();
    let mut promise = Some(start(Ticket { key, id }));
    delivered.hold.with(|call| {
        // If not, it was revoked by what was started: the promise goes with this turn.
        if call.error.is_none() {
            call.kind.promise = promise.take();
        }
    });
    Promise::from_future(delivered)
}

struct Delivered {
    hold: Hold<Received>,
    /// If not, it is among the membrane's waits.
    is_call: bool,
}

impl Delivered {
    fn new(membrane: &Ref, noted: Noted, received: Received) -> Self {
        Self {
            hold: Hold::new(membrane.clone(), noted, received),
            is_call: true,
        }
    }

    /// It has returned. A service that still has the results may go on to fill them: they keep the call.
    fn leave_results(&self) {
        let is_kept = self.hold.with(|call| {
            let is_kept = call.kind.results == Kept::ByService;
            if is_kept {
                call.kind.results = Kept::ForLater;
            }
            is_kept
        });
        if is_kept {
            self.hold.retain();
        }
    }
}

impl Future for Delivered {
    type Output = Result<(), capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _turn = Turn::begin(self.hold.membrane());
        let polled = self.hold.poll(cx);
        if let Poll::Ready(Ok(())) = polled {
            self.leave_results();
        }
        polled
    }
}

impl Drop for Delivered {
    /// Nobody waits any more. The call goes with its hold, which is the only one unless it has returned. A
    /// service may keep the results of one that was canceled: nobody is told of what becomes of them.
    fn drop(&mut self) {
        if !self.is_call {
            let waits = &self.hold.membrane().waits;
            waits.set(waits.get() - 1);
        }
    }
}

struct Params {
    /// Taken by the drop.
    incoming: Option<Incoming<Box<dyn ParamsHook>>>,
    back: Direction,
    membrane: Ref,
}

impl ParamsHook for Params {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        match &self.incoming {
            Some(incoming) => incoming.get(&self.membrane, self.back),
            None => Err(capnp::Error::failed("the parameters are gone".into())),
        }
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        let Some(mut incoming) = self.incoming.take() else {
            return;
        };
        match is_canceling() {
            // What belongs inside is before the reference to the membrane.
            true => leave((incoming, self.membrane.clone())),
            false => incoming.close(&self.membrane),
        }
    }
}
