//! What the caller has of a call that stays in this process: its promise, its pipeline, its response.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use capnp::any_pointer;
use capnp::capability::{Client, Promise, RemotePromise, Response};
use capnp::private::capability::{ClientHook, PipelineHook, PipelineOp, ResponseHook};
use capnp::private::layout::CapTable;

use super::bell::Listener;
use super::message::{capability, read};
use super::work::{Promised, Work};
use crate::membrane::Direction;
use crate::membrane::call::in_flight::{Calls, Hold, InFlight, Kind};
use crate::membrane::call::unasked;
use crate::membrane::state::{Ref, State, broken};

/// What there is of a call that stays in this process.
#[derive(Default)]
pub(in crate::membrane) struct Local {
    /// Until it is revoked.
    pub(super) work: Option<Rc<Work>>,
    results: Crossing,
}

/// How far the capabilities in the results have come.
#[derive(Default)]
enum Crossing {
    #[default]
    NotBegun,
    UnderWay,
    Done(Rc<Crossed>),
}

impl Kind for Local {
    fn calls(membrane: &State) -> &Calls<Self> {
        &membrane.local
    }
}

impl Local {
    pub(super) fn of(work: Rc<Work>) -> Self {
        Self {
            work: Some(work),
            results: Crossing::NotBegun,
        }
    }
}

/// One call, and which way it goes.
#[derive(Clone)]
struct Call {
    hold: Hold<Local>,
    direction: Direction,
}

/// What comes of a call that was sent.
pub(super) fn sent(hold: Hold<Local>, direction: Direction) -> RemotePromise<any_pointer::Owned> {
    let call = Call { hold, direction };
    let pipeline = Box::new(Pipeline(call.clone()));
    RemotePromise {
        promise: Promise::from_future(Answer {
            call,
            listener: Listener::default(),
            has_ended: false,
        }),
        pipeline: any_pointer::Pipeline::new(pipeline),
    }
}

impl Call {
    fn poll(
        &self,
        cx: &mut Context<'_>,
        listener: &mut Listener,
    ) -> Poll<capnp::Result<Box<dyn ResponseHook>>> {
        let Some(work) = self.hold.with(|call| call.kind.work.clone()) else {
            return self.hold.failed();
        };
        match work.poll(cx, listener) {
            Poll::Ready(result) => {
                let response = result.and_then(|()| self.response(work));
                Poll::Ready(self.hold.end(response))
            }
            Poll::Pending => {
                drop(work);
                // For a revocation.
                let _old_waker = self.hold.with(|call| call.wake_later(cx.waker()));
                self.hold.failed()
            }
        }
    }

    fn response(&self, work: Rc<Work>) -> capnp::Result<Box<dyn ResponseHook>> {
        let have_not_begun =
            |call: &mut InFlight<Local>| matches!(call.kind.results, Crossing::NotBegun);
        if !work.has_capabilities() && self.hold.with(have_not_begun) {
            // It is no matter of the membrane's any more.
            return Ok(Box::new(Bare(work)));
        }
        let content = self.crossed(work)?;
        Ok(Box::new(CrossedResponse {
            content,
            _membrane: self.hold.membrane().clone(),
        }))
    }

    /// The results, whose capabilities cross once.
    fn crossed(&self, work: Rc<Work>) -> capnp::Result<Rc<Crossed>> {
        let begun = self
            .hold
            .with(|call| match (&call.error, &call.kind.results) {
                (Some(error), _) => Some(Err((**error).clone())),
                (None, Crossing::NotBegun) => {
                    call.kind.results = Crossing::UnderWay;
                    None
                }
                (None, Crossing::UnderWay) => Some(Err(under_way())),
                (None, Crossing::Done(crossed)) => Some(Ok(crossed.clone())),
            });
        if let Some(crossed) = begun {
            return crossed;
        }
        let membrane = self.hold.membrane();
        let mut table = work.take_table();
        let _introducing = self.hold.introducing();
        let crossed = membrane.cross_table(&mut table, self.direction).map(|()| {
            let crossed = Rc::new(Crossed { work, table });
            self.hold.with(|call| {
                if call.error.is_none() {
                    call.kind.results = Crossing::Done(crossed.clone());
                }
            });
            crossed
        });
        // Revoked while they crossed: that counts. Too many: so it stays.
        let error = self.hold.with(|call| match (&call.error, &crossed) {
            (Some(error), _) => Some((**error).clone()),
            (None, Err(error)) => {
                call.error = Some(Box::new(error.clone()));
                None
            }
            (None, Ok(_)) => None,
        });
        match error {
            Some(error) => Err(error),
            None => crossed,
        }
    }

    /// A capability that will be in the results, as a wrapper that waits for them.
    fn promised(&self, work: Rc<Work>, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let inside = Promised::new(work.clone(), ops);
        let inside: Client = capnp_rpc::new_future_client(inside);
        let membrane = self.hold.membrane();
        let wrapper = membrane.cross(inside.hook, self.direction);
        if let Some(node) = membrane.recognise(&*wrapper) {
            work.promise_to(&node);
        }
        self.hold.keep_by(&*wrapper);
        wrapper
    }
}

/// The promise of a call.
struct Answer {
    call: Call,
    listener: Listener,
    has_ended: bool,
}

impl Future for Answer {
    type Output = capnp::Result<Response<any_pointer::Owned>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answered = ready!(this.call.poll(cx, &mut this.listener));
        this.has_ended = true;
        Poll::Ready(answered.map(Response::new))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let direction = self.call.direction;
        let mut listener = Listener::default();
        unasked::wait(&self.call.hold, move |hold, cx| {
            let call = Call { hold, direction };
            call.poll(cx, &mut listener).map(drop)
        });
    }
}

/// The pipeline of a call.
struct Pipeline(Call);

impl PipelineHook for Pipeline {
    fn add_ref(&self) -> Box<dyn PipelineHook> {
        Box::new(Self(self.0.clone()))
    }

    fn get_pipelined_cap(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let Self(call) = self;
        let (error, work) = call
            .hold
            .with(|call| (call.error.as_deref().cloned(), call.kind.work.clone()));
        let work = match (error, work) {
            (None, Some(work)) => work,
            (Some(error), _) => return broken(error),
            (None, None) => return broken(capnp::Error::failed("the call is over".into())),
        };
        let _introducing = call.hold.introducing();
        if let Some(early) = work.early() {
            let inside = capability(&early.body, &early.table, ops);
            return call.hold.membrane().cross(inside, call.direction);
        }
        if !work.is_over() {
            return call.promised(work, ops);
        }
        // What was called before on what is in them goes first.
        work.tell();
        let found = work.body().map(drop).and_then(|()| call.crossed(work));
        found.map_or_else(broken, |crossed| crossed.capability(ops))
    }
}

/// A policy asks for a capability of results that it is being asked about.
fn under_way() -> capnp::Error {
    capnp::Error::failed("the results are on their way through the membrane".into())
}

/// A response without capabilities.
struct Bare(Rc<Work>);

/// Nothing can be found in it.
const NO_CAPABILITIES: &CapTable = &CapTable::new();

impl ResponseHook for Bare {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        read(self.0.body()?, NO_CAPABILITIES)
    }
}

/// Results whose capabilities have crossed.
struct Crossed {
    work: Rc<Work>,
    table: CapTable,
}

impl Crossed {
    fn capability(&self, ops: &[PipelineOp]) -> Box<dyn ClientHook> {
        let body = self.work.body();
        body.map_or_else(broken, |body| capability(body, &self.table, ops))
    }
}

struct CrossedResponse {
    // What belongs inside is before the reference to the membrane.
    content: Rc<Crossed>,
    _membrane: Ref,
}

impl ResponseHook for CrossedResponse {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let Crossed { work, table } = &*self.content;
        read(work.body()?, table)
    }
}
