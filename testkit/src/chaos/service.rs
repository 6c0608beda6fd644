//! A service that does all that a session or event can.

use std::cell::RefCell;
use std::future::pending;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use capnp::capability::{Client, FromClientHook};
use capspan::fetch::Body;
use capspan::pipeline::{CustomEvent, EventContext, RunResult, Scheduled, Service};
use futures::stream;
use http::{Request, Response};
use tokio::task::spawn_local;

use crate::testkit_capnp::thing;
use crate::world::World;

/// Takes sessions, scheduled runs, HTTP requests and custom events.
pub struct Desks {
    world: World,
    kept: Kept,
    _alive: Rc<()>,
}

impl Desks {
    /// It makes objects of `world`, and holds `alive`.
    pub fn new(world: &World, alive: Rc<()>) -> Self {
        Self {
            world: world.clone(),
            kept: Kept::default(),
            _alive: alive,
        }
    }

    /// What its sessions keep.
    pub fn kept(&self) -> Kept {
        self.kept.clone()
    }
}

type Stored = RefCell<Vec<thing::Client>>;

/// What sessions have been given to keep.
#[derive(Clone, Default)]
pub struct Kept(Rc<RefCell<Vec<Weak<Stored>>>>);

impl Kept {
    /// Lets go of all of it: who keeps a capability of its own is a circle that nobody else can end.
    pub fn forget(&self) {
        for stored in self.0.take().iter().filter_map(Weak::upgrade) {
            drop(stored.take());
        }
    }
}

impl Service for Desks {
    async fn open_session(self: Rc<Self>, event: EventContext) -> capnp::Result<Client> {
        event.enricher().set_attribute("app.opened", true);
        let stored = Rc::default();
        self.kept.0.borrow_mut().push(Rc::downgrade(&stored));
        let desk: thing::Client = capnp_rpc::new_client(Desk {
            event,
            world: self.world.clone(),
            // Counts as one of the world's.
            _object: self.world.thing(),
            stored,
        });
        Ok(Client::new(desk.into_client_hook()))
    }

    async fn scheduled(
        self: Rc<Self>,
        _run: Scheduled,
        event: EventContext,
    ) -> capnp::Result<RunResult> {
        let _object = self.world.thing();
        event.enricher().set_attribute("app.ran", true);
        Ok(RunResult::Done)
    }

    /// Echoes a body; of `/endless`, sends one that never ends and holds an object.
    async fn fetch(
        self: Rc<Self>,
        request: Request<Body>,
        event: EventContext,
    ) -> capnp::Result<Response<Body>> {
        event.enricher().set_attribute("app.asked", true);
        if request.uri().path() != "/endless" {
            return Ok(Response::new(request.into_body()));
        }
        let object = self.world.thing();
        Ok(Response::new(Body::stream(stream::repeat_with(
            move || {
                let _held = &object;
                Ok(Bytes::from_static(&[7; 10_000]))
            },
        ))))
    }

    /// Calls what it is given, and gives a new object; panics if it is called "panic".
    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        event: EventContext,
    ) -> capnp::Result<()> {
        if custom.name() == "panic" {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        let given: thing::Client = custom.payload()?.get_as_capability()?;
        given.number_request().send().promise.await?;
        event.enricher().set_name("custom, renamed");
        let made = self.world.thing().into_client_hook();
        custom.result().set_as_capability(made);
        Ok(())
    }
}

/// The top-level capability of a session.
struct Desk {
    event: EventContext,
    world: World,
    _object: thing::Client,
    stored: Rc<Stored>,
}

impl thing::Server for Desk {
    /// Enriches before it returns.
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> capnp::Result<()> {
        self.event.enricher().set_attribute("app.called", 1);
        results.get().set_number(1);
        Ok(())
    }

    async fn make(
        self: Rc<Self>,
        _params: thing::MakeParams,
        mut results: thing::MakeResults,
    ) -> capnp::Result<()> {
        results.get().set_thing(self.world.thing());
        Ok(())
    }

    /// Calls what it is given, and enriches later.
    async fn call(
        self: Rc<Self>,
        params: thing::CallParams,
        mut results: thing::CallResults,
    ) -> capnp::Result<()> {
        let given = params.get()?.get_thing()?;
        let response = given.number_request().send().promise.await?;
        results.get().set_number(response.get()?.get_number());
        let enricher = self.event.enricher().clone();
        spawn_local(async move {
            tokio::task::yield_now().await;
            enricher.add_event("app.later");
        });
        Ok(())
    }

    async fn store(
        self: Rc<Self>,
        params: thing::StoreParams,
        _results: thing::StoreResults,
    ) -> capnp::Result<()> {
        let given = params.get()?.get_thing()?;
        self.stored.borrow_mut().push(given);
        Ok(())
    }

    /// A promise to the given one, which resolves a turn later.
    async fn promise(
        self: Rc<Self>,
        params: thing::PromiseParams,
        mut results: thing::PromiseResults,
    ) -> capnp::Result<()> {
        let given = params.get()?.get_thing()?;
        let promised = capnp_rpc::new_future_client(async move {
            tokio::task::yield_now().await;
            Ok(given)
        });
        results.get().set_thing(promised);
        Ok(())
    }

    async fn never(
        self: Rc<Self>,
        params: thing::NeverParams,
        results: thing::NeverResults,
    ) -> capnp::Result<()> {
        let _object = self.world.thing();
        pending::<()>().await;
        drop((params, results));
        Ok(())
    }

    async fn fail(
        self: Rc<Self>,
        _params: thing::FailParams,
        _results: thing::FailResults,
    ) -> capnp::Result<()> {
        Err(capnp::Error::failed("as it was asked to".into()))
    }

    async fn panics(
        self: Rc<Self>,
        _params: thing::PanicsParams,
        _results: thing::PanicsResults,
    ) -> capnp::Result<()> {
        // As a panic, without what a panic prints.
        std::panic::resume_unwind(Box::new("on purpose"))
    }
}
