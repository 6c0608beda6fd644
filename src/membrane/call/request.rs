//! A request of somebody else's, and the pipeline that it becomes when it is sent.

use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise, Response};
use capnp::private::capability::{ClientHook, PipelineHook, PipelineOp, RequestHook};

use super::answer::{Answer, Call};
use super::delivery;
use super::noted::{self, Noted};
use crate::membrane::Direction;
use crate::membrane::cap_table::Outgoing;
use crate::membrane::client::Node;
use crate::membrane::state::{Ref, broken};

/// Both share one allocation: what was the request goes on as the pipeline.
enum Request {
    Unsent(Unsent),
    Sending,
    Sent(Call),
    /// It could not be sent, and this is what its pipeline says.
    Failed(capnp::Error),
}

struct Unsent {
    outgoing: Outgoing,
    inner: Box<dyn RequestHook>,
    /// Stays the call in this process?
    is_local: bool,
    /// Whom `inner` is for. It refers to the membrane: after all that belongs inside.
    target: Rc<Node>,
    interface_id: u64,
    method_id: u16,
}

/// What is to be sent.
enum Begun {
    This(Noted),
    /// In its place.
    Other(Box<dyn RequestHook>),
}

/// Wraps `inner`, a request to what `target` wraps.
pub(in crate::membrane) fn request(
    inner: Box<dyn RequestHook>,
    target: Rc<Node>,
    interface_id: u64,
    method_id: u16,
) -> Box<dyn RequestHook> {
    Box::new(Request::Unsent(Unsent {
        outgoing: Outgoing::new(target.membrane()),
        is_local: inner.get_brand() == 0,
        inner,
        target,
        interface_id,
        method_id,
    }))
}

/// Wraps `inner`, a pipeline of which the call is not ours.
pub(in crate::membrane) fn pipeline(
    inner: Box<dyn PipelineHook>,
    direction: Direction,
    membrane: Ref,
) -> Box<dyn PipelineHook> {
    Box::new(Request::Sent(Call::foreign(inner, direction, membrane)))
}

/// What comes of a request that can't be sent.
pub(super) fn failed(error: capnp::Error) -> RemotePromise<any_pointer::Owned> {
    RemotePromise {
        promise: Promise::err(error.clone()),
        pipeline: any_pointer::Pipeline::new(Box::new(Request::Failed(error))),
    }
}

impl Unsent {
    /// Is there nothing to be done before it is sent?
    #[inline]
    fn is_ready(&self) -> bool {
        let membrane = self.target.membrane();
        self.is_local
            && self.outgoing.is_unused()
            && membrane.revoked().is_none()
            && membrane.limited().is_none()
    }

    /// The same request to what the promise has resolved to since this one was begun.
    ///
    /// Where that is off the connection, `capnp-rpc` would do it itself, forget the capabilities, and
    /// panic. It is the one case in which a request is copied.
    fn redirected(&mut self) -> capnp::Result<Option<Box<dyn RequestHook>>> {
        if self.is_local || self.target.membrane().revoked().is_some() {
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

    /// Makes it ready to be sent: tells of it, and lets the capabilities in the parameters cross.
    fn begin(&mut self) -> capnp::Result<Begun> {
        let method = (self.interface_id, self.method_id);
        if self.is_ready() {
            return noted::begin(&self.target, method, |_| Ok(())).map(Begun::This);
        }
        if let Some(other) = self.redirected()? {
            return Ok(Begun::Other(other));
        }
        let Self {
            outgoing,
            inner,
            target,
            ..
        } = self;
        let (membrane, back) = (target.membrane(), target.direction().reverse());
        let begun = noted::begin(target, method, |noted| match outgoing.is_flushed() {
            true => {
                outgoing.close(membrane);
                Ok(())
            }
            false => {
                let _introducing = noted::introducing_params(noted, membrane);
                outgoing.finish(inner.get(), membrane, back)
            }
        });
        begun.map(Begun::This)
    }
}

impl Request {
    /// Sends what has begun; what was the request is the call's pipeline then.
    fn sent(&mut self, noted: Noted) -> Promise<Response<any_pointer::Owned>, capnp::Error> {
        // Taken out of its allocation, which waits for what comes of it.
        let Self::Unsent(Unsent {
            inner,
            target,
            is_local,
            ..
        }) = std::mem::replace(self, Self::Sending)
        else {
            return Promise::err(sent_already());
        };
        let [promise, pipeline] = Call::pair(inner.send(), noted, is_local, &target);
        *self = Self::Sent(pipeline);
        Promise::from_future(Answer::new(promise))
    }

    fn unsent(&mut self) -> &mut Unsent {
        match self {
            Self::Unsent(unsent) => unsent,
            // Can't happen: only `send` makes one of these, and it takes the request by value. What it
            // leaves in the allocation is handed out as a pipeline, which has no way back to a request.
            Self::Sending | Self::Sent(_) | Self::Failed(_) => {
                unreachable!("a request is sent once")
            }
        }
    }
}

impl RequestHook for Request {
    fn get(&mut self) -> any_pointer::Builder<'_> {
        let Unsent {
            outgoing, inner, ..
        } = self.unsent();
        outgoing.builder(inner.get())
    }

    /// Zero, as for a local request, where the call stays in this process; else the membrane's.
    fn get_brand(&self) -> usize {
        match self {
            Self::Unsent(unsent) if !unsent.is_local => unsent.target.membrane().brand(),
            _ => 0,
        }
    }

    fn send(mut self: Box<Self>) -> RemotePromise<any_pointer::Owned> {
        let promise = match self.unsent().begin() {
            Ok(Begun::This(noted)) => self.sent(noted),
            Ok(Begun::Other(other)) => return other.send(),
            Err(error) => {
                *self = Self::Failed(error.clone());
                Promise::err(error)
            }
        };
        RemotePromise {
            promise,
            pipeline: any_pointer::Pipeline::new(self),
        }
    }

    fn send_streaming(mut self: Box<Self>) -> Promise<(), capnp::Error> {
        let noted = match self.unsent().begin() {
            Ok(Begun::This(noted)) => noted,
            Ok(Begun::Other(other)) => return other.send_streaming(),
            Err(error) => return Promise::err(error),
        };
        match *self {
            Self::Unsent(Unsent { inner, target, .. }) => {
                delivery::until_revoked(target.membrane(), noted, inner.send_streaming())
            }
            Self::Sending | Self::Sent(_) | Self::Failed(_) => Promise::err(sent_already()),
        }
    }

    /// Never: `capnp-rpc` leaves parts of tail calls unimplemented. Whoever asks sends it as usual.
    fn tail_send(
        self: Box<Self>,
    ) -> Option<(u32, Promise<(), capnp::Error>, Box<dyn PipelineHook>)> {
        None
    }
}

impl PipelineHook for Request {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(match self {
            Self::Sent(call) => Self::Sent(call.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Unsent(_) | Self::Sending => Self::Failed(not_sent()),
        })
    }

    fn get_pipelined_cap(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        match self {
            Self::Sent(call) => call.get_pipelined_cap(ops),
            Self::Failed(error) => broken(error.clone()),
            Self::Unsent(_) | Self::Sending => broken(not_sent()),
        }
    }
}

fn not_sent() -> capnp::Error {
    capnp::Error::failed("the call was not sent".into())
}

pub(super) fn sent_already() -> capnp::Error {
    capnp::Error::failed("a request is sent once".into())
}
