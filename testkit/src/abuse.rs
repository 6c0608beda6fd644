//! Hostile callers and callees, which have nothing of ours, and what is told of what they do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use capnp::capability::{Client, FromClientHook};
use capspan::guard::Connection;
use capspan::pipeline::{Callee, Pipeline, Service};
use capspan::pipeline_capnp::{event_dispatcher, pipeline, span_enricher};
use capspan::trace::{Observer, SpanRecord, Tracer};
use capspan::{Driver, Tasks};
use futures::FutureExt;
use tokio::task::{JoinHandle, spawn_local};

use crate::link::{direct, watched};
use crate::service::Place;
use crate::world::World;

/// An observer that counts, and keeps nothing: for floods.
#[derive(Clone, Default)]
pub struct Tally {
    inner: Rc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: Cell<usize>,
    updated: Cell<usize>,
    closed: RefCell<BTreeMap<&'static str, usize>>,
}

impl Tally {
    /// How many spans are open.
    pub fn open(&self) -> usize {
        self.inner.opened.get() - self.closed()
    }

    /// How many spans have been closed.
    pub fn closed(&self) -> usize {
        self.inner.closed.borrow().values().sum()
    }

    /// How many spans have been closed with this outcome.
    pub fn outcome(&self, outcome: &str) -> usize {
        let closed = self.inner.closed.borrow();
        closed.get(outcome).copied().unwrap_or_default()
    }

    /// How often it was told of a change.
    pub fn updated(&self) -> usize {
        self.inner.updated.get()
    }
}

impl Observer for Tally {
    fn opened(&self, _span: &SpanRecord) {
        self.inner.opened.set(self.inner.opened.get() + 1);
    }

    fn updated(&self, _span: &SpanRecord) {
        self.inner.updated.set(self.inner.updated.get() + 1);
    }

    fn closed(&self, span: &SpanRecord) {
        let outcome = span.outcome().map_or("none", |outcome| outcome.as_str());
        let mut closed = self.inner.closed.borrow_mut();
        *closed.entry(outcome).or_default() += 1;
    }
}

/// A callee of ours, to which a hostile caller has a bare capability.
pub struct Served<S> {
    /// What the caller has.
    pub client: pipeline::Client,
    /// The callee.
    pub callee: Callee<S>,
    /// Told of its spans.
    pub tally: Tally,
    /// Its objects.
    pub world: World,
    /// The caller's connection; none in process.
    pub connection: Option<JoinHandle<()>>,
}

impl<S: Service> Served<S> {
    /// The callee's objects are those of a world of its own.
    pub fn new(
        place: Place,
        service: impl FnOnce(&World) -> S,
        configure: impl FnOnce(Callee<S>) -> Callee<S>,
    ) -> Self {
        let (tally, world) = (Tally::default(), World::new());
        let tasks = tasks();
        let callee = Callee::new(service(&world), &tasks);
        let callee = configure(callee.tracer(Tracer::new(tally.clone())));
        let (client, connection) = match place {
            Place::InProcess => (callee.pipeline(), None),
            _ => {
                let (client, server) = direct();
                let (_, driver) =
                    Connection::serve(server.0, server.1, |ending| callee.bootstrap(ending));
                spawn_local(driver.map(drop));
                let (connection, driver) = Connection::connect(client.0, client.1);
                (connection.bootstrap(), Some(spawn_local(driver.map(drop))))
            }
        };
        Self {
            client,
            callee,
            tally,
            world,
            connection,
        }
    }

    /// The caller goes, if it is not in this process.
    pub fn disconnect(&self) {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

/// A callee that keeps what it is given; its runs never end.
#[derive(Default)]
pub struct Keeper {
    /// The enrichers that came with events.
    pub enrichers: Rc<RefCell<Vec<span_enricher::Client>>>,
    /// The callee's objects.
    pub world: World,
}

impl Keeper {
    /// The enricher of the last event.
    ///
    /// # Panics
    ///
    /// Where there was none.
    pub fn enricher(&self) -> span_enricher::Client {
        let enrichers = self.enrichers.borrow();
        enrichers.last().expect("an event was delivered").clone()
    }

    /// A pipeline of our caller's that leads to it.
    pub fn pipeline(&self, place: Place) -> Pipeline {
        let tasks = tasks();
        let client: pipeline::Client = capnp_rpc::new_client(Keeps {
            enrichers: Rc::downgrade(&self.enrichers),
            world: self.world.clone(),
        });
        match place {
            Place::InProcess => Pipeline::new(client, &tasks),
            _ => {
                let (client_end, server_end) = direct();
                let bootstrap = Client::new(client.into_client_hook());
                let (connection, _) = watched((client_end, server_end), |_| bootstrap);
                Pipeline::over(&connection, &tasks)
            }
        }
    }
}

/// What serves it. As a bootstrap object that held what is the peer's it would be leaked with the connection.
struct Keeps {
    enrichers: Weak<RefCell<Vec<span_enricher::Client>>>,
    world: World,
}

impl pipeline::Server for Keeps {
    async fn start_event(
        self: Rc<Self>,
        params: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> capnp::Result<()> {
        let enricher = params.get()?.get_enricher()?;
        if let Some(enrichers) = self.enrichers.upgrade() {
            enrichers.borrow_mut().push(enricher);
        }
        results
            .get()
            .set_dispatcher(capnp_rpc::new_client_from_rc(self));
        Ok(())
    }
}

impl event_dispatcher::Server for Keeps {
    async fn open_session(
        self: Rc<Self>,
        _params: event_dispatcher::OpenSessionParams,
        mut results: event_dispatcher::OpenSessionResults,
    ) -> capnp::Result<()> {
        let mut results = results.get();
        results.set_session(capnp_rpc::new_client(Session));
        let thing = self.world.thing().into_client_hook();
        results.init_top_level().set_as_capability(thing);
        Ok(())
    }

    async fn scheduled(
        self: Rc<Self>,
        _params: event_dispatcher::ScheduledParams,
        _results: event_dispatcher::ScheduledResults,
    ) -> capnp::Result<()> {
        std::future::pending().await
    }
}

struct Session;

impl capspan::pipeline_capnp::rpc_session::Server for Session {}

fn tasks() -> Tasks {
    let (tasks, driver): (Tasks, Driver) = Tasks::new();
    spawn_local(driver);
    tasks
}
