//! A caller and a callee that are told of in one trace: in one process, or over a connection.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::pipeline_capnp::pipeline;
use capspan::session::Session;
use capspan::trace::{
    IdGenerator, ManualClock, MemoryObserver, SpanBuilder, SpanId, SpanKind, Timestamp, TraceId,
    Tracer,
};
use capspan::{Driver, Tasks};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::task::{JoinHandle, spawn_local};

use crate::link::{Cutter, link};
use crate::run::run;
use crate::story;
use crate::testkit_capnp::thing;
use crate::world::World;

/// Where caller and callee meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Both are in one process.
    InProcess,
    /// Between them is a connection on which all arrives at once.
    Connection,
    /// Between them is a connection with [`LATENCY`].
    Distant,
}

/// How long a message takes to a distant callee.
pub const LATENCY: Duration = Duration::from_millis(50);

impl Place {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::InProcess, Self::Connection, Self::Distant];

    /// Those with a connection.
    pub const CONNECTED: [Self; 2] = [Self::Connection, Self::Distant];

    fn latency(self) -> Option<Duration> {
        match self {
            Self::InProcess => None,
            Self::Connection => Some(Duration::ZERO),
            Self::Distant => Some(LATENCY),
        }
    }
}

/// Runs `test` for each of `places`, on an event loop of its own. The last place that is named in the
/// output is the one where it failed.
pub fn at(places: impl IntoIterator<Item = Place>, test: impl AsyncFn(Place)) {
    for place in places {
        eprintln!("place: {place:?}");
        run(test(place));
    }
}

/// Runs `test` for every place.
pub fn everywhere(test: impl AsyncFn(Place)) {
    at(Place::ALL, test);
}

/// Ids that count from one, over all clones; each counts how many it drew itself.
#[derive(Clone, Default)]
pub struct Ids {
    last: Rc<Cell<u64>>,
    drawn: Rc<Cell<u64>>,
}

impl Ids {
    /// The same ids, counted apart.
    fn apart(&self) -> Self {
        Self {
            last: self.last.clone(),
            drawn: Rc::default(),
        }
    }

    /// How many were drawn.
    pub fn drawn(&self) -> u64 {
        self.drawn.get()
    }

    fn next(&self) -> u64 {
        self.drawn.set(self.drawn.get() + 1);
        self.last.set(self.last.get() + 1);
        self.last.get()
    }
}

impl IdGenerator for Ids {
    fn trace_id(&self) -> TraceId {
        TraceId::from_u128(self.next().into()).expect("ids count from one")
    }

    fn span_id(&self) -> SpanId {
        SpanId::from_u64(self.next()).expect("ids count from one")
    }
}

type Handler =
    Box<dyn Fn(EventContext) -> LocalBoxFuture<'static, Result<Client, capnp::Error>> + 'static>;

/// A service that does what a test says, and keeps every event that it was told of.
pub struct Script {
    handler: Handler,
    events: Rc<RefCell<Vec<EventContext>>>,
    _alive: Rc<()>,
}

impl Service for Script {
    fn open_session(
        self: Rc<Self>,
        event: EventContext,
    ) -> impl Future<Output = Result<Client, capnp::Error>> + 'static {
        self.events.borrow_mut().push(event.clone());
        // Within the future, so that the event's span is the current one.
        async move { (self.handler)(event).await }
    }
}

/// A caller and a callee. All spans of both, `request` of the caller's first, are told to one observer.
pub struct Pair {
    /// Where they meet.
    pub place: Place,
    /// The caller's way to the callee.
    pub pipeline: Pipeline,
    /// The same, bare.
    pub client: pipeline::Client,
    /// Told of the caller's spans and the callee's.
    pub spans: MemoryObserver,
    /// The clock of both.
    pub clock: ManualClock,
    /// The callee's objects.
    pub world: World,
    /// The caller's tracer.
    pub caller: Tracer,
    /// The ids that the caller drew.
    pub caller_ids: Ids,
    /// The ids that the callee drew.
    pub callee_ids: Ids,
    /// The caller's span in which sessions are opened.
    pub request: SpanBuilder,
    /// What the callee was told of.
    pub events: Rc<RefCell<Vec<EventContext>>>,
    /// The caller's.
    pub tasks: Tasks,
    script: Weak<()>,
    cutter: Cutter,
    is_cut: Cell<bool>,
    connections: Vec<JoinHandle<()>>,
    drivers: Vec<JoinHandle<()>>,
}

impl Pair {
    /// Both observed; the callee gives each session a new object of its world.
    pub fn new(place: Place) -> Self {
        Self::configured(place, |callee| callee)
    }

    /// The same with another callee.
    pub fn configured(
        place: Place,
        configure: impl FnOnce(Callee<Script>) -> Callee<Script>,
    ) -> Self {
        let world = World::new();
        let inside = world.clone();
        Self::build(place, world, configure, move |_| {
            let thing = inside.thing().into_client_hook();
            async move { Ok(Client::new(thing)) }
        })
    }

    /// Both observed; the callee opens sessions with `handler`.
    pub fn serving<F>(place: Place, handler: impl Fn(EventContext, World) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Client, capnp::Error>> + 'static,
    {
        let world = World::new();
        let inside = world.clone();
        let handler = move |event| handler(event, inside.clone());
        Self::build(place, world, |callee| callee, handler)
    }

    fn build<F>(
        place: Place,
        world: World,
        configure: impl FnOnce(Callee<Script>) -> Callee<Script>,
        handler: impl Fn(EventContext) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Client, capnp::Error>> + 'static,
    {
        let events = Rc::default();
        let service = |alive| Script {
            handler: Box::new(move |event| handler(event).boxed_local()),
            events: Rc::clone(&events),
            _alive: alive,
        };
        let mut pair = Self::with_service(place, world, configure, service);
        pair.events = events;
        pair
    }

    /// Both observed; the callee is any service, which keeps what it is given for as long as it lives.
    pub fn with_service<S: Service>(
        place: Place,
        world: World,
        configure: impl FnOnce(Callee<S>) -> Callee<S>,
        service: impl FnOnce(Rc<()>) -> S,
    ) -> Self {
        let clock = ManualClock::new(Timestamp::from_unix_nanos(1_000));
        let spans = MemoryObserver::new();
        let caller_ids = Ids::default();
        let callee_ids = caller_ids.apart();
        let tracer = |service, ids: &Ids| {
            Tracer::new(spans.clone())
                .with_clock(clock.clone())
                .with_ids(ids.clone())
                .with_service(service)
        };
        let caller = tracer("caller", &caller_ids);
        let alive = Rc::new(());
        let (tasks, driver) = Tasks::new();
        let mut drivers = vec![spawn_driver(driver)];
        let callee_tasks = match place {
            Place::InProcess => tasks.clone(),
            Place::Connection | Place::Distant => {
                let (tasks, driver) = Tasks::new();
                drivers.push(spawn_driver(driver));
                tasks
            }
        };
        let script = Rc::downgrade(&alive);
        let callee =
            Callee::new(service(alive), &callee_tasks).tracer(tracer("callee", &callee_ids));
        let callee = configure(callee);
        let mut cutter = Cutter::default();
        let mut connections = Vec::new();
        let (client, pipeline) = match place.latency() {
            None => {
                let client = callee.pipeline();
                (client.clone(), Pipeline::new(client, &tasks))
            }
            Some(latency) => {
                let link = link(latency);
                cutter = link.cutter;
                let (reader, writer) = link.server;
                let (_, driver) =
                    Connection::serve(reader, writer, |ending| callee.bootstrap(ending));
                connections.push(spawn_local(driver.map(drop)));
                let (reader, writer) = link.client;
                let (connection, driver) = Connection::connect(reader, writer);
                connections.push(spawn_local(driver.map(drop)));
                (connection.bootstrap(), Pipeline::over(&connection, &tasks))
            }
        };
        Self {
            place,
            pipeline,
            client,
            request: caller.root().start("request", SpanKind::Internal),
            spans,
            clock,
            world,
            caller,
            caller_ids,
            callee_ids,
            events: Rc::default(),
            tasks,
            script,
            cutter,
            is_cut: Cell::new(false),
            connections,
            drivers,
        }
    }

    /// Opens a session "open" in the caller's request.
    pub fn open(&self) -> Session<thing::Client> {
        let event = self.pipeline.event("open");
        event.parent(self.request.parent()).open_session()
    }

    /// The event that was delivered last.
    ///
    /// # Panics
    ///
    /// Where there was none.
    pub fn event(&self) -> EventContext {
        let events = self.events.borrow();
        events.last().expect("an event was delivered").clone()
    }

    /// Lets everything come to rest.
    pub async fn settle(&self) {
        tokio::time::sleep(LATENCY * 20).await;
    }

    /// Parts the two.
    pub fn cut(&self) {
        self.is_cut.set(true);
        self.cutter.cut();
    }

    /// Drops what drives one side's connection: the callee's, or the caller's.
    pub fn drop_driver(&self, is_callees: bool) {
        self.is_cut.set(true);
        self.connections[usize::from(!is_callees)].abort();
    }

    /// All spans, as a tree; see [`story::tree`].
    pub fn tree(&self) -> String {
        story::tree(&self.spans)
    }

    /// Ends the request, and makes sure that nothing is left: no span is open or was closed twice, no
    /// object is alive; and when both go, nothing of them stays.
    ///
    /// # Panics
    ///
    /// Where something is left.
    pub async fn finish(self) {
        self.request.end();
        self.settle().await;
        assert_eq!(self.world.live(), 0, "objects of the callee are alive");
        story::assert_closed_once(&self.spans);
        let Self {
            pipeline,
            client,
            events,
            tasks,
            is_cut,
            connections,
            drivers,
            script,
            ..
        } = self;
        drop((pipeline, client, events, tasks));
        for connection in connections {
            assert_eq!(connection.is_finished(), is_cut.get(), "a connection's end");
            connection.abort();
        }
        tokio::time::sleep(LATENCY).await;
        assert_eq!(script.strong_count(), 0, "the service is alive");
        for driver in drivers {
            assert!(driver.is_finished(), "a driver has not ended");
        }
    }
}

fn spawn_driver(driver: Driver) -> JoinHandle<()> {
    spawn_local(driver)
}
