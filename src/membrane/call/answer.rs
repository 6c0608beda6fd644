//! A call that was sent by another's request: its promise, what pipelines ask it for, its response.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise, Response};
use capnp::private::capability::{ClientHook, PipelineHook, PipelineOp, ResponseHook};

use super::cancel::cancel;
use super::in_flight::{Calls, Hold, Kind, Promised};
use super::noted::Noted;
use super::unasked;
use crate::membrane::Direction;
use crate::membrane::cap_table::Incoming;
use crate::membrane::client::Node;
use crate::membrane::state::{Ref, State, broken};

/// What there is of a call that was sent.
#[derive(Default)]
pub(in crate::membrane) struct Sent {
    promise: Option<Promise<Response<any_pointer::Owned>, capnp::Error>>,
    /// Where capabilities that are asked for before it has ended come from.
    pipeline: Option<Box<dyn PipelineHook>>,
    /// Its response, where pipelines look at that, too.
    response: Option<Rc<Message>>,
}

impl Kind for Sent {
    fn calls(membrane: &State) -> &Calls<Self> {
        &membrane.sent
    }
}

impl Promised for Sent {
    type Output = Response<any_pointer::Owned>;

    fn promise(&mut self) -> &mut Option<Promise<Self::Output, capnp::Error>> {
        &mut self.promise
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        cancel(self.promise.take());
    }
}

/// One call. Its promise and its pipelines have one of these each.
#[derive(Clone)]
pub(super) struct Call {
    hold: Hold<Sent>,
    is_local: bool,
    direction: Direction,
}

type Message = Incoming<Box<dyn ResponseHook>>;

impl Call {
    /// A call on `target`, and what came of sending it: for its promise and its pipeline.
    pub(super) fn pair(
        sent: RemotePromise<any_pointer::Owned>,
        noted: Noted,
        is_local: bool,
        target: &Node,
    ) -> [Self; 2] {
        let direction = target.direction();
        let membrane = target.membrane().clone();
        let kind = Sent::with(Some(sent.promise), sent.pipeline.hook);
        let holds = Hold::pair(membrane, noted, kind);
        holds.map(|hold| Self {
            hold,
            is_local,
            direction,
        })
    }

    /// A call of somebody else's, of which nothing is known but its pipeline.
    pub(super) fn foreign(
        pipeline: Box<dyn PipelineHook>,
        direction: Direction,
        membrane: Ref,
    ) -> Self {
        Self {
            hold: Hold::foreign(membrane, Sent::with(None, pipeline)),
            // It is not to be looked at: there is no promise to look at.
            is_local: true,
            direction,
        }
    }

    /// A capability that will be in the response, or is in it already.
    pub(super) fn get_pipelined_cap(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let membrane = self.hold.membrane();
        let _introducing = self.hold.introducing();
        if !self.is_local {
            self.look();
        }
        match self.source() {
            Source::Pipeline(pipeline) => {
                let wrapper = membrane.cross(pipeline.get_pipelined_cap(ops), self.direction);
                self.hold.keep_by(&*wrapper);
                wrapper
            }
            Source::Response(response) => response
                .get(membrane, self.direction)
                .and_then(|content| content.get_pipelined_cap(ops))
                .unwrap_or_else(broken),
            Source::Failed(error) => broken(error),
        }
    }

    /// The response; where there is none, the pipeline is no use any more.
    fn response(&self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn ResponseHook>, capnp::Error>> {
        let polled = ready!(self.hold.poll(cx));
        if polled.is_err() {
            let _pipeline = self.hold.with(|call| call.kind.pipeline.take());
        }
        Poll::Ready(polled.map(|response| response.hook))
    }

    /// The response to a call to elsewhere: its pipelines look at it, too.
    fn shared_response(&self, cx: &mut Context<'_>) -> Poll<Result<Rc<Message>, capnp::Error>> {
        if let Some(response) = self.hold.with(|call| call.kind.response.clone()) {
            return Poll::Ready(Ok(response));
        }
        let response = ready!(self.response(cx))?;
        let response = Rc::new(Incoming::new(response, self.hold.origin()));
        // Capabilities that are asked for from now on come from the response.
        let pipeline = self.hold.with(|call| {
            call.kind.response = Some(response.clone());
            call.kind.pipeline.take()
        });
        drop(pipeline);
        Poll::Ready(Ok(response))
    }

    /// Waits for the answer, as its caller is to see it.
    fn answer(&self, cx: &mut Context<'_>) -> Poll<capnp::Result<Response<any_pointer::Owned>>> {
        let message = match self.is_local {
            true => {
                let response = ready!(self.response(cx))?;
                let origin = self.hold.origin();
                match Incoming::look(response, origin, self.hold.membrane(), self.direction) {
                    Ok(message) => Content::Own(message),
                    Err(response) => return Poll::Ready(Ok(Response::new(response))),
                }
            }
            false => Content::Shared(ready!(self.shared_response(cx))?),
        };
        let response: Box<dyn ResponseHook> = Box::new(CallResponse {
            message,
            direction: self.direction,
            membrane: self.hold.membrane().clone(),
        });
        Poll::Ready(Ok(Response::new(response)))
    }

    /// Waits for the answer; capabilities that are asked for later come from it.
    fn settle(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.is_local {
            true => self.response(cx).map(drop),
            false => self.shared_response(cx).map(drop),
        }
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
        self.hold.with(|call| {
            let Sent {
                pipeline, response, ..
            } = &call.kind;
            match (&call.error, response, pipeline) {
                (Some(error), _, _) => Source::Failed(capnp::Error::clone(error)),
                (None, Some(response), _) => Source::Response(response.clone()),
                (None, None, Some(pipeline)) => Source::Pipeline(pipeline.add_ref()),
                (None, None, None) => {
                    Source::Failed(capnp::Error::failed("the call was not answered".into()))
                }
            }
        })
    }
}

impl Sent {
    fn with(
        promise: Option<Promise<Response<any_pointer::Owned>, capnp::Error>>,
        pipeline: Box<dyn PipelineHook>,
    ) -> Self {
        Self {
            promise,
            pipeline: Some(pipeline),
            response: None,
        }
    }
}

enum Source {
    Pipeline(Box<dyn PipelineHook>),
    Response(Rc<Message>),
    Failed(capnp::Error),
}

/// The promise of a call.
pub(super) struct Answer {
    call: Call,
    has_ended: bool,
}

impl Answer {
    pub(super) fn new(call: Call) -> Self {
        let has_ended = false;
        Self { call, has_ended }
    }
}

impl Future for Answer {
    type Output = Result<Response<any_pointer::Owned>, capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answered = ready!(this.call.answer(cx));
        this.has_ended = true;
        Poll::Ready(answered)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let Call {
            is_local,
            direction,
            ..
        } = self.call;
        unasked::wait(&self.call.hold, move |hold, cx| {
            let call = Call {
                hold,
                is_local,
                direction,
            };
            call.settle(cx)
        });
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
        message.get(&self.membrane, self.direction)
    }
}

impl Drop for CallResponse {
    fn drop(&mut self) {
        if let Content::Own(message) = &mut self.message {
            message.close(&self.membrane);
        }
    }
}
