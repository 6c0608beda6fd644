//! A service that does all that a session or event can.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::pipeline::{CustomEvent, EventContext, RunResult, Scheduled, Service};
use tokio::task::spawn_local;

use crate::testkit_capnp::thing;
use crate::world::World;

/// Takes sessions, scheduled runs and custom events.
pub struct Desks {
    world: World,
    _alive: Rc<()>,
}

impl Desks {
    /// It makes objects of `world`, and holds `alive`.
    pub fn new(world: &World, alive: Rc<()>) -> Self {
        Self {
            world: world.clone(),
            _alive: alive,
        }
    }
}

impl Service for Desks {
    async fn open_session(self: Rc<Self>, event: EventContext) -> capnp::Result<Client> {
        event.enricher().set_attribute("app.opened", true);
        let desk: thing::Client = capnp_rpc::new_client(Desk {
            event,
            world: self.world.clone(),
            // Counts as one of the world's.
            _object: self.world.thing(),
            stored: RefCell::default(),
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

    /// Calls what it is given, and gives a new object.
    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        event: EventContext,
    ) -> capnp::Result<()> {
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
    stored: RefCell<Vec<thing::Client>>,
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
