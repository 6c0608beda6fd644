//! A call that was sent: its promise, its pipeline, its response.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use capnp::any_pointer;
use capnp::capability::{Promise, RemotePromise, Response};
use capnp::private::capability::{ClientHook, PipelineHook, PipelineOp, ResponseHook};

use crate::membrane::Direction;
use crate::membrane::cap_table::Incoming;
use crate::membrane::state::{Ref, Revoke, broken};

/// One call. Its promise, its pipelines and its response share it.
struct Call {
    // All that belongs inside is before the reference to the membrane.
    in_flight: RefCell<InFlight>,
    response: OnceCell<Incoming<Box<dyn ResponseHook>>>,
    is_local: bool,
    direction: Direction,
    key: usize,
    membrane: Ref,
}

#[derive(Default)]
struct InFlight {
    /// Until it is answered; taken out while it is polled.
    promise: Option<Promise<Response<any_pointer::Owned>, capnp::Error>>,
    /// Until it is answered.
    pipeline: Option<Box<dyn PipelineHook>>,
    waker: Option<Waker>,
    error: Option<capnp::Error>,
}

/// The answer to a call that went in `direction`.
pub(super) fn answer(
    inner: RemotePromise<any_pointer::Owned>,
    is_local: bool,
    direction: Direction,
    membrane: Ref,
) -> RemotePromise<any_pointer::Owned> {
    let call = Rc::new_cyclic(|call: &Weak<Call>| Call {
        in_flight: RefCell::new(InFlight {
            promise: Some(inner.promise),
            pipeline: Some(inner.pipeline.hook),
            ..InFlight::default()
        }),
        response: OnceCell::new(),
        is_local,
        direction,
        key: membrane.enter_call(call.clone()),
        membrane,
    });
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
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), capnp::Error>> {
        if self.response.get().is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut promise = {
            let mut in_flight = self.in_flight.borrow_mut();
            if let Some(error) = &in_flight.error {
                return Poll::Ready(Err(error.clone()));
            }
            if !in_flight
                .waker
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                in_flight.waker = Some(cx.waker().clone());
            }
            match in_flight.promise.take() {
                Some(promise) => promise,
                // Asked from within its own poll, which goes on.
                None => return Poll::Pending,
            }
        };
        let polled = Pin::new(&mut promise).poll(cx);
        if let Some(reason) = self.membrane.revoked() {
            // Revoked while it was out.
            drop(promise);
            self.finish(Err(reason.clone()));
            return Poll::Ready(Err(reason.clone()));
        }
        match polled {
            Poll::Pending => {
                self.in_flight.borrow_mut().promise = Some(promise);
                Poll::Pending
            }
            Poll::Ready(Ok(response)) => {
                self.membrane.before_return();
                self.finish(Ok(response));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.membrane.before_return();
                self.finish(Err(error.clone()));
                Poll::Ready(Err(error))
            }
        }
    }

    fn finish(&self, result: Result<Response<any_pointer::Owned>, capnp::Error>) {
        let pipeline = {
            let mut in_flight = self.in_flight.borrow_mut();
            match result {
                Ok(response) => {
                    self.response.get_or_init(|| Incoming::new(response.hook));
                }
                Err(error) => in_flight.error = Some(error),
            }
            in_flight.pipeline.take()
        };
        // Capabilities that are asked for from now on come from the response.
        drop(pipeline);
    }

    fn content(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        match self.response.get() {
            Some(response) => response.get(|hook| self.membrane.cross(hook, self.direction)),
            None => Err(capnp::Error::failed("the call was not answered".into())),
        }
    }

    /// Finds out about an answer that nobody has asked for yet.
    ///
    /// The pipeline of `capnp-rpc` panics where a capability is asked for late and is not there, so
    /// that an answer is never to be asked of it. Only for calls to elsewhere: a local one would run
    /// the callee here and now.
    fn look(&self) {
        if self.is_local {
            return;
        }
        let waker = self.in_flight.borrow().waker.clone();
        let waker = waker.unwrap_or_else(|| Waker::noop().clone());
        let _ = self.poll(&mut Context::from_waker(&waker));
    }
}

impl Revoke for Call {
    fn revoke(&self, reason: &capnp::Error) {
        let (promise, pipeline, waker) = {
            let mut in_flight = self.in_flight.borrow_mut();
            if in_flight.error.is_none() && self.response.get().is_none() {
                in_flight.error = Some(reason.clone());
            }
            let waker = in_flight.waker.take();
            (in_flight.promise.take(), in_flight.pipeline.take(), waker)
        };
        drop(promise);
        drop(pipeline);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.membrane.leave_call(self.key);
    }
}

struct Answer(Rc<Call>);

impl Future for Answer {
    type Output = Result<Response<any_pointer::Owned>, capnp::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_ok(|()| {
            let response: Box<dyn ResponseHook> = Box::new(CallResponse(self.0.clone()));
            Response::new(response)
        })
    }
}

struct CallResponse(Rc<Call>);

impl ResponseHook for CallResponse {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.0.content()
    }
}

struct CallPipeline(Rc<Call>);

impl PipelineHook for CallPipeline {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(Self(self.0.clone()))
    }

    fn get_pipelined_cap(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let call = &self.0;
        call.look();
        if call.response.get().is_some() {
            return call
                .content()
                .and_then(|content| content.get_pipelined_cap(ops))
                .unwrap_or_else(broken);
        }
        let in_flight = call.in_flight.borrow();
        if let Some(error) = &in_flight.error {
            return broken(error.clone());
        }
        let Some(pipeline) = &in_flight.pipeline else {
            return broken(capnp::Error::failed("the call was not answered".into()));
        };
        let hook = pipeline.get_pipelined_cap(ops);
        drop(in_flight);
        call.membrane.cross(hook, call.direction)
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
