//! Whole sessions, and the same exchange between servers that know nothing of sessions.
//!
//! Both take three calls that leave together, hand over the same capabilities, and are over when the
//! object that was called is gone.

use std::rc::Rc;

use capnp::Error;
use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::pipeline_capnp::{event_dispatcher, pipeline, rpc_session, span_enricher};
use capspan::session::{CallSpans, Session};
use capspan::trace::Tracer;

use super::{Place, as_client, number};
use crate::link;
use crate::testkit_capnp::thing;
use crate::world::World;

/// Plain servers of the same interfaces.
pub(super) struct Plain {
    world: World,
    pipeline: pipeline::Client,
    has_enricher: bool,
}

impl Plain {
    pub(super) fn new(place: Place, has_enricher: bool) -> Self {
        let world = World::new();
        let pipeline: pipeline::Client = capnp_rpc::new_client(PlainPipeline {
            world: world.clone(),
        });
        Self {
            world,
            pipeline: match place {
                Place::InProcess => pipeline,
                Place::Connection => link::plain(link::direct(), as_client(pipeline)),
            },
            has_enricher,
        }
    }

    pub(super) async fn exchange(&self) -> Result<(), Error> {
        drop(self.open().await?);
        gone(&self.world).await;
        Ok(())
    }

    /// A session that has been used once.
    pub(super) async fn open(&self) -> Result<(thing::Client, rpc_session::Client), Error> {
        let mut request = self.pipeline.start_event_request();
        if self.has_enricher {
            request
                .get()
                .set_enricher(capnp_rpc::new_client(PlainEnricher));
        }
        let started = request.send();
        let dispatcher = started.pipeline.get_dispatcher();
        let opened = dispatcher.open_session_request().send();
        let top_level = thing::Client::new(opened.pipeline.get_top_level().as_cap());
        let session = opened.pipeline.get_session();
        number(&top_level).await?;
        let settled = futures::future::try_join(started.promise, opened.promise).await?;
        drop((settled, started.pipeline, opened.pipeline, dispatcher));
        Ok((top_level, session))
    }
}

struct PlainPipeline {
    world: World,
}

impl pipeline::Server for PlainPipeline {
    async fn start_event(
        self: Rc<Self>,
        params: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let enricher = match params.has_enricher() {
            true => Some(params.get_enricher()?),
            false => None,
        };
        results
            .get()
            .set_dispatcher(capnp_rpc::new_client(PlainDispatcher {
                world: self.world.clone(),
                enricher,
            }));
        Ok(())
    }
}

struct PlainDispatcher {
    world: World,
    enricher: Option<span_enricher::Client>,
}

impl event_dispatcher::Server for PlainDispatcher {
    async fn open_session(
        self: Rc<Self>,
        _params: event_dispatcher::OpenSessionParams,
        mut results: event_dispatcher::OpenSessionResults,
    ) -> Result<(), Error> {
        let mut results = results.get();
        let top_level = as_client(self.world.thing());
        results
            .reborrow()
            .init_top_level()
            .set_as_capability(top_level.hook);
        results.set_session(capnp_rpc::new_client(PlainSession {
            _enricher: self.enricher.clone(),
        }));
        Ok(())
    }
}

struct PlainSession {
    _enricher: Option<span_enricher::Client>,
}

impl rpc_session::Server for PlainSession {}

struct PlainEnricher;

impl span_enricher::Server for PlainEnricher {}

/// Sessions.
pub(super) struct Spanned {
    world: World,
    pipeline: Pipeline,
    tracer: Tracer,
}

impl Spanned {
    /// Both sides tell of spans by one tracer.
    pub(super) fn new(place: Place, tracer: Tracer, has_call_spans: bool) -> Self {
        let world = World::new();
        let (tasks, driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        let service = SpannedService {
            world: world.clone(),
        };
        let calls = CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
        let mut callee = Callee::new(service, &tasks).tracer(tracer.clone());
        if has_call_spans {
            callee = callee.call_spans(calls.clone());
        }
        let mut pipeline = match place {
            Place::InProcess => Pipeline::new(callee.pipeline(), &tasks),
            Place::Connection => {
                let (client, _server) =
                    link::watched(link::direct(), |ending| callee.bootstrap(ending));
                Pipeline::over(&client, &tasks)
            }
        };
        if has_call_spans {
            pipeline = pipeline.call_spans(calls);
        }
        Self {
            world,
            pipeline,
            tracer,
        }
    }

    pub(super) fn open(&self) -> Session<thing::Client> {
        let event = self.pipeline.event("session").parent(self.tracer.root());
        event.open_session()
    }

    pub(super) async fn exchange(&self) -> Result<(), Error> {
        let session = self.open();
        number(session.top_level()).await?;
        drop(session);
        gone(&self.world).await;
        Ok(())
    }
}

struct SpannedService {
    world: World,
}

impl Service for SpannedService {
    async fn open_session(self: Rc<Self>, _event: EventContext) -> Result<Client, Error> {
        Ok(as_client(self.world.thing()))
    }
}

/// Waits until no object is left, looking again each turn of the event loop.
async fn gone(world: &World) {
    while world.live() > 0 {
        tokio::task::yield_now().await;
    }
}
