//! A call that was sent: its promise, its pipeline, its response.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise, Response};
use capnp::private::capability::{ClientHook, PipelineHook, PipelineOp, ResponseHook};

use super::in_flight::Hold;
use crate::membrane::Direction;
use crate::membrane::cap_table::Incoming;
use crate::membrane::state::{Ref, broken};

/// One call. Its promise and its pipelines have one of these each.
#[derive(Clone)]
struct Call {
    hold: Hold<Response<any_pointer::Owned>>,
    is_local: bool,
    direction: Direction,
}

type Message = Incoming<Box<dyn ResponseHook>>;

/// The answer to a call that went in `direction`.
pub(super) fn answer(
    inner: RemotePromise<any_pointer::Owned>,
    is_local: bool,
    direction: Direction,
    membrane: Ref,
) -> RemotePromise<any_pointer::Owned> {
    let call = Call {
        hold: Hold::new(membrane, Some(inner.promise), Some(inner.pipeline.hook)),
        is_local,
        direction,
    };
    RemotePromise {
        promise: Promise::from_future(Answer(call.clone())),
        pipeline: any_pointer::Pipeline::new(Box::new(CallPipeline(call))),
    }
}

/// The answer to a call that was never sent.
pub(super) fn failed(error: capnp::Error) -> RemotePromise<any_pointer::Owned> {
    RemotePromise {
        promise: Promise::err(error.clone()),
        pipeline: any_pointer::Pipeline::new(Box::new(BrokenPipeline(error))),
    }
}

impl Call {
    /// The response to a call to elsewhere: its pipelines look at it, too.
    fn shared_response(&self, cx: &mut Context<'_>) -> Poll<Result<Rc<Message>, capnp::Error>> {
        if let Some(response) = self.hold.with(|call| call.response.clone()) {
            return Poll::Ready(Ok(response));
        }
        let response = Rc::new(Incoming::new(ready!(self.hold.poll(cx))?.hook));
        // Capabilities that are asked for from now on come from the response.
        let pipeline = self.hold.with(|call| {
            call.response = Some(response.clone());
            call.pipeline.take()
        });
        drop(pipeline);
        Poll::Ready(Ok(response))
    }

    /// Finds out about an answer that nobody has asked for yet.
    ///
    /// The pipeline of `capnp-rpc` panics where a capability is asked for late and is not there, so
    /// that an answer is never to be asked of it. Only for calls to elsewhere: a local one would run
    /// the callee here and now, and a local pipeline knows what is not there.
    fn look(&self) {
        let waker = self.hold.with(|call| call.waker.clone());
        let waker = waker.unwrap_or_else(|| Waker::noop().clone());
        let _ = self.shared_response(&mut Context::from_waker(&waker));
    }

    /// Where capabilities that are asked for now come from.
    fn source(&self) -> Source {
        self.hold
            .with(|call| match (&call.error, &call.response, &call.pipeline) {
                (Some(error), _, _) => Source::Failed(error.clone()),
                (None, Some(response), _) => Source::Response(response.clone()),
                (None, None, Some(pipeline)) => Source::Pipeline(pipeline.add_ref()),
                (None, None, None) => {
                    Source::Failed(capnp::Error::failed("the call was not answered".into()))
                }
            })
    }
}

enum Source {
    Pipeline(Box<dyn PipelineHook>),
    Response(Rc<Message>),
    Failed(capnp::Error),
}

struct Answer(Call);

impl Future for Answer {
    type Output = Result<Response<any_pointer::Owned>, capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &self.0;
        let message = match call.is_local {
            true => Content::Own(Incoming::new(ready!(call.hold.poll(cx))?.hook)),
            false => Content::Shared(ready!(call.shared_response(cx))?),
        };
        let response: Box<dyn ResponseHook> = Box::new(CallResponse {
            message,
            direction: call.direction,
            membrane: call.hold.membrane().clone(),
        });
        Poll::Ready(Ok(Response::new(response)))
    }
}

struct CallResponse {
    // What belongs inside is before the reference to the membrane.
    message: Content,
    direction: Direction,
    membrane: Ref,
}

enum Content {
    Own(Message),
    Shared(Rc<Message>),
}

impl ResponseHook for CallResponse {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let message = match &self.message {
            Content::Own(message) => message,
            Content::Shared(message) => message,
        };
        message.get(|hook| self.membrane.cross(hook, self.direction))
    }
}

struct CallPipeline(Call);

impl PipelineHook for CallPipeline {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(Self(self.0.clone()))
    }

    fn get_pipelined_cap(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let call = &self.0;
        let cross = |hook| call.hold.membrane().cross(hook, call.direction);
        if !call.is_local {
            call.look();
        }
        match call.source() {
            Source::Pipeline(pipeline) => cross(pipeline.get_pipelined_cap(ops)),
            Source::Response(response) => response
                .get(cross)
                .and_then(|content| content.get_pipelined_cap(ops))
                .unwrap_or_else(broken),
            Source::Failed(error) => broken(error),
        }
    }
}

struct BrokenPipeline(capnp::Error);

impl PipelineHook for BrokenPipeline {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(Self(self.0.clone()))
    }

    fn get_pipelined_cap(&self, _ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        broken(self.0.clone())
    }
}
