//! A request that has not been sent.

use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise};
use capnp::private::capability::{PipelineHook, RequestHook};

use super::answer;
use super::delivery;
use crate::membrane::cap_table::Outgoing;
use crate::membrane::client::Node;

struct Request {
    outgoing: Outgoing,
    inner: Box<dyn RequestHook>,
    /// Whom `inner` is for. It refers to the membrane: after all that belongs inside.
    target: Rc<Node>,
    interface_id: u64,
    method_id: u16,
}

/// Wraps `inner`, a request to what `target` wraps.
pub(in crate::membrane) fn request(
    inner: Box<dyn RequestHook>,
    target: Rc<Node>,
    interface_id: u64,
    method_id: u16,
) -> Box<dyn RequestHook> {
    Box::new(Request {
        outgoing: Outgoing::default(),
        inner,
        target,
        interface_id,
        method_id,
    })
}

impl Request {
    fn is_local(&self) -> bool {
        self.inner.get_brand() == 0
    }

    /// The same request to what the promise has resolved to since this one was begun.
    ///
    /// Where that is off the connection, `capnp-rpc` would do it itself, forget the capabilities, and
    /// panic. It is the one case in which a request is copied.
    fn redirected(&mut self) -> capnp::Result<Option<Box<dyn RequestHook>>> {
        if self.is_local() || self.target.membrane().revoked().is_some() {
            return Ok(None);
        }
        let Some(resolution) = self.target.resolution() else {
            return Ok(None);
        };
        let mut request = resolution
            .new_call(self.interface_id, self.method_id, None)
            .hook;
        let content = self.outgoing.builder(self.inner.get());
        request.get().set_as(content.into_reader())?;
        Ok(Some(request))
    }

    /// Lets the capabilities in the parameters cross. Afterwards it is ready to be sent.
    fn cross(&mut self) -> capnp::Result<()> {
        let membrane = self.target.membrane();
        if let Some(reason) = membrane.revoked() {
            return Err(reason.clone());
        }
        if self.outgoing.is_flushed() {
            return Ok(());
        }
        let back = self.target.direction().reverse();
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
        match self.is_local() {
            true => 0,
            false => self.target.membrane().brand(),
        }
    }

    fn send(mut self: Box<Self>) -> RemotePromise<any_pointer::Owned> {
        match self.redirected() {
            Ok(None) => {}
            Ok(Some(request)) => return request.send(),
            Err(error) => return answer::failed(error),
        }
        if let Err(error) = self.cross() {
            return answer::failed(error);
        }
        let is_local = self.is_local();
        let Self { inner, target, .. } = *self;
        let membrane = target.membrane().clone();
        answer::answer(inner.send(), is_local, target.direction(), membrane)
    }

    fn send_streaming(mut self: Box<Self>) -> Promise<(), capnp::Error> {
        match self.redirected() {
            Ok(None) => {}
            Ok(Some(request)) => return request.send_streaming(),
            Err(error) => return Promise::err(error),
        }
        if let Err(error) = self.cross() {
            return Promise::err(error);
        }
        let Self { inner, target, .. } = *self;
        delivery::until_revoked(target.membrane(), inner.send_streaming())
    }

    /// Never: `capnp-rpc` leaves parts of tail calls unimplemented. Whoever asks sends it as usual.
    fn tail_send(
        self: Box<Self>,
    ) -> Option<(u32, Promise<(), capnp::Error>, Box<dyn PipelineHook>)> {
        None
    }
}
