//! A service that takes events, from who does in its place.
//!
//! Each event is taken here, with a span below its caller's, and started anew on the service, below that
//! one. What the service writes to its caller's span gets to the first caller's.

use std::pin::pin;
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::Client;
use capnp::traits::HasTypeId as _;
use capspan::Tasks;
use capspan::fetch::Body;
use capspan::guard::Ending;
use capspan::membrane::Membrane;
use capspan::pipeline::{
    Alarm, Callee, CustomEvent, Event, EventContext, Pipeline, QueueBatch, QueueResult, RunResult,
    Scheduled, Service, TailEvents,
};
use capspan::pipeline_capnp::{event_dispatcher, pipeline};
use capspan::session::{LiveEvents, SessionHandle};
use capspan::trace::Outcome;

use futures::StreamExt as _;
use futures::future::{Either, select};

use super::event_loop::Here;
use super::relay::Gate;

/// What takes the events of one connection.
pub(super) struct Events {
    /// Whose place it takes: brand and address.
    pub(super) of: (usize, usize),
    pub(super) client: pipeline::Client,
    /// Those that are under way.
    pub(super) live: LiveEvents,
}

/// Takes events in the place of `service`. The ends are those of the client's connection, and of the service's.
pub(super) fn relay(
    service: pipeline::Client,
    of: (usize, usize),
    [ending, service_ending]: [&Ending; 2],
    here: &Here,
    gate: &Rc<Gate>,
) -> Events {
    let config = gate.config();
    let tasks = here.tasks();
    let live = here.live().part();
    let calls = || config.names.call_spans();
    let upstream = Pipeline::new(service, tasks)
        .ending(service_ending)
        .call_spans(calls());
    let forward = Forward {
        upstream,
        gate: Rc::downgrade(gate),
        tasks: tasks.clone(),
    };
    let callee = Callee::new(forward, tasks)
        .tracer(here.tracer().clone())
        .propagation(config.joins_trace)
        .call_spans(calls())
        .live(&live);
    let callee = match here.time_limits(config) {
        Some(limits) => callee.time_limits(limits),
        None => callee,
    };
    let client = pipeline::Client {
        client: callee.bootstrap(ending),
    };
    Events { of, client, live }
}

/// How many tail events are sent on together, at most.
const MAX_TOGETHER: usize = 256;

/// A session of the service's. Its fields are dropped in their order.
struct Held {
    handle: SessionHandle,
    top_level: Client,
}

// As in schema/pipeline.capnp.
const OPEN_SESSION: u16 = 0;
const SCHEDULED: u16 = 1;
const ALARM: u16 = 2;
const QUEUE: u16 = 3;
const CUSTOM: u16 = 4;
const FETCH: u16 = 5;
const TAIL: u16 = 6;

struct Forward {
    upstream: Pipeline,
    /// It holds this.
    gate: Weak<Gate>,
    tasks: Tasks,
}

impl Forward {
    /// May such an event be delivered?
    fn check(&self, method: u16) -> Result<Rc<Gate>, Error> {
        let gate = self.gate.upgrade();
        let gate = gate.ok_or_else(|| Error::disconnected("the connection is over".into()))?;
        gate.check(event_dispatcher::Client::TYPE_ID, method)?;
        Ok(gate)
    }

    /// What the capabilities of an event pass, which are beyond the membrane of the connection: its gate, as there.
    fn membrane(&self, gate: Rc<Gate>) -> Membrane {
        let limits = gate.config().limits.membrane;
        let membrane = Membrane::builder().tasks(&self.tasks);
        membrane.policy(gate).limits(limits).build()
    }

    fn event<'a>(&'a self, name: &'a str, event: &EventContext) -> Event<'a> {
        self.upstream.event(name).on_behalf_of(event)
    }
}

impl Service for Forward {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, Error> {
        let gate = self.check(OPEN_SESSION)?;
        let session = self.event("session", &event).open_session::<Client>();
        let (top_level, handle) = session.into_parts();
        // The caller may let go of all that comes of the session, which is seen by this; or of the session itself, which
        // drops the work below: then what is held longer there keeps it from looking complete to the service.
        let membrane = self.membrane(gate);
        let (outside, completion) = (membrane.export(top_level.clone()), membrane.completion());
        drop(membrane);
        let held = Held { handle, top_level };
        event.wait_until(async move {
            let done = held.handle.done();
            let done = match select(completion, pin!(done)).await {
                Either::Left((_complete, done)) => {
                    let Held { handle, top_level } = held;
                    drop(top_level);
                    let end = done.await;
                    drop(handle);
                    end
                }
                Either::Right((done, _)) => done,
            };
            let end = done?;
            match end.outcome() {
                Outcome::Ok => Ok(()),
                Outcome::Overloaded => Err(Error::overloaded(reason(&end))),
                _ => Err(Error::failed(reason(&end))),
            }
        })?;
        Ok(outside)
    }

    async fn scheduled(
        self: Rc<Self>,
        run: Scheduled,
        event: EventContext,
    ) -> Result<RunResult, Error> {
        self.check(SCHEDULED)?;
        Ok(self.event("scheduled", &event).scheduled(&run).await?)
    }

    async fn alarm(self: Rc<Self>, alarm: Alarm, event: EventContext) -> Result<RunResult, Error> {
        self.check(ALARM)?;
        Ok(self.event("alarm", &event).alarm(&alarm).await?)
    }

    async fn queue(
        self: Rc<Self>,
        batch: QueueBatch,
        event: EventContext,
    ) -> Result<QueueResult, Error> {
        self.check(QUEUE)?;
        let messages = batch.messages()?.collect::<Result<Vec<_>, _>>()?;
        let sent = self
            .event("queue", &event)
            .queue(batch.queue(), &messages)?;
        Ok(sent.await?)
    }

    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        event: EventContext,
    ) -> Result<(), Error> {
        let membrane = self.membrane(self.check(CUSTOM)?);
        let mut request = self.event("custom", &event).custom(custom.name())?;
        membrane.copy_into::<any_pointer::Owned>(custom.payload()?, request.payload())?;
        let (response, _pipeline) = request.send();
        let response = response.await?;
        membrane.copy_out_of::<any_pointer::Owned>(response.get()?, custom.result())?;
        Ok(())
    }

    async fn fetch(
        self: Rc<Self>,
        request: http::Request<Body>,
        event: EventContext,
    ) -> Result<http::Response<Body>, Error> {
        self.check(FETCH)?;
        Ok(self.event("fetch", &event).fetch(request)?.await?)
    }

    async fn tail(self: Rc<Self>, mut tail: TailEvents, event: EventContext) -> Result<(), Error> {
        self.check(TAIL)?;
        let mut sender = self.event("tail", &event).tail(tail.service())?;
        let mut events = (&mut tail).ready_chunks(MAX_TOGETHER);
        while let Some(events) = events.next().await {
            let events = events.into_iter().collect::<Result<Vec<_>, _>>()?;
            sender.send(&events).await?;
        }
        Ok(sender.end().await?)
    }
}

fn reason(end: &capspan::session::SessionEnd) -> String {
    end.reason().unwrap_or(end.outcome().as_str()).to_owned()
}
