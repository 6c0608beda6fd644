//! A request that has not been sent.

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise};
use capnp::private::capability::{PipelineHook, RequestHook};

use super::answer;
use super::delivery;
use crate::membrane::Direction;
use crate::membrane::cap_table::Outgoing;
use crate::membrane::state::Ref;

struct Request {
    outgoing: Outgoing,
    inner: Box<dyn RequestHook>,
    direction: Direction,
    membrane: Ref,
}

/// Wraps `inner`, a request for a call that goes in `direction`.
pub(in crate::membrane) fn request(
    inner: Box<dyn RequestHook>,
    direction: Direction,
    membrane: Ref,
) -> Box<dyn RequestHook> {
    Box::new(Request {
        outgoing: Outgoing::default(),
        inner,
        direction,
        membrane,
    })
}

impl Request {
    /// Lets the capabilities in the parameters cross. Afterwards it is ready to be sent.
    fn cross(&mut self) -> capnp::Result<()> {
        if let Some(reason) = self.membrane.revoked() {
            return Err(reason.clone());
        }
        if self.outgoing.is_flushed() {
            return Ok(());
        }
        let (membrane, back) = (&self.membrane, self.direction.reverse());
        self.outgoing
            .finish(self.inner.get(), |hook| membrane.cross(hook, back))
    }
}

impl RequestHook for Request {
    fn get(&mut self) -> any_pointer::Builder<'_> {
        self.outgoing.builder(self.inner.get())
    }

    /// Zero, as for a local request, where the call stays in this process; else the membrane's.
    fn get_brand(&self) -> usize {
        match self.inner.get_brand() {
            0 => 0,
            _ => self.membrane.brand(),
        }
    }

    fn send(mut self: Box<Self>) -> RemotePromise<any_pointer::Owned> {
        if let Err(error) = self.cross() {
            return answer::failed(error);
        }
        let is_local = self.inner.get_brand() == 0;
        let Self {
            inner,
            direction,
            membrane,
            ..
        } = *self;
        answer::answer(inner.send(), is_local, direction, membrane)
    }

    fn send_streaming(mut self: Box<Self>) -> Promise<(), capnp::Error> {
        if let Err(error) = self.cross() {
            return Promise::err(error);
        }
        let Self {
            inner, membrane, ..
        } = *self;
        delivery::in_flight(&membrane, |_| inner.send_streaming())
    }

    /// Never: `capnp-rpc` leaves parts of tail calls unimplemented. Whoever asks sends it as usual.
    fn tail_send(
        self: Box<Self>,
    ) -> Option<(u32, Promise<(), capnp::Error>, Box<dyn PipelineHook>)> {
        None
    }
}
