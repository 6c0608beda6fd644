//! A caller and a callee over a connection that is cut somewhere, and what is to be true afterwards.

mod known;
mod service;

use std::rc::{Rc, Weak};

use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, Pipeline, Service};
use capspan::trace::{MemoryObserver, Outcome, SpanBuilder, SpanKind, SpanRecord, Tracer};
use futures::FutureExt;
use tokio::task::{JoinHandle, spawn_local};

use known::Known;
pub use service::{Desks, Kept};

use crate::cut::{Cut, Watch, cut_link};
use crate::run::until_idle;
use crate::story;
use crate::world::World;

/// The two sides. What is the caller's comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It starts events.
    Caller,
    /// It serves them.
    Callee,
}

impl Side {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    fn service(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

/// A caller and a callee.
pub struct Scene {
    /// The caller's way to the callee.
    pub pipeline: Pipeline,
    /// Told of the spans of both.
    pub spans: MemoryObserver,
    /// The caller's span in which all is done.
    pub request: SpanBuilder,
    /// The callee's objects.
    pub world: World,
    /// The caller's objects.
    pub outside: World,
    /// What is known of the connection.
    pub watch: Watch,
    /// What each side knew when it closed a span.
    known: [Known; 2],
    connections: [JoinHandle<()>; 2],
    drivers: [JoinHandle<()>; 2],
    service: Weak<()>,
    tasks: Tasks,
}

impl Scene {
    /// Both observed, and over a connection that is cut, if so.
    pub fn new<S: Service>(cut: Option<Cut>, service: impl FnOnce(&World, Rc<()>) -> S) -> Self {
        let spans = MemoryObserver::new();
        let link = cut_link(cut);
        let known = Side::BOTH.map(|_| Known::of(&spans));
        let tracer =
            |side: Side| Tracer::new(known[side as usize].clone()).with_service(side.service());
        let (world, alive) = (World::new(), Rc::new(()));
        let weak = Rc::downgrade(&alive);
        let (tasks, driver) = Tasks::new();
        let callee = Callee::new(service(&world, alive), &tasks).tracer(tracer(Side::Callee));
        let callees = spawn_local(driver);
        let (server, driver) = Connection::serve(link.server.0, link.server.1, |ending| {
            callee.bootstrap(ending)
        });
        let served = spawn_local(driver.map(drop));
        let (tasks, driver) = Tasks::new();
        let callers = spawn_local(driver);
        let (connection, driver) = Connection::connect(link.client.0, link.client.1);
        for (known, connection) in known.iter().zip([&connection, &server]) {
            known.set_ending(connection.ending());
        }
        Self {
            pipeline: Pipeline::over(&connection, &tasks),
            request: tracer(Side::Caller)
                .root()
                .start("request", SpanKind::Internal),
            spans,
            world,
            outside: World::new(),
            watch: link.watch,
            known,
            connections: [spawn_local(driver.map(drop)), served],
            drivers: [callers, callees],
            service: weak,
            tasks,
        }
    }

    /// Cuts the connection from one side, by dropping what drives it there.
    pub fn drop_driver(&self, side: Side) {
        self.connections[side as usize].abort();
    }

    /// Is what drives it on this side gone?
    pub fn has_ended(&self, side: Side) -> bool {
        self.connections[side as usize].is_finished()
    }

    /// Makes sure that all is over, and that nothing is left: each span was opened once and closed once, and
    /// no object, stream, task or service is alive. The connection must be over by now, or nothing must be
    /// under way.
    ///
    /// # Panics
    ///
    /// Where that is not so.
    pub async fn finish(self) {
        self.assert_over().await;
        let Self {
            pipeline,
            tasks,
            connections,
            drivers,
            service,
            watch,
            ..
        } = self;
        drop((pipeline, tasks));
        connections.iter().for_each(JoinHandle::abort);
        until_idle().await;
        assert_eq!(service.strong_count(), 0, "the service is alive");
        assert_eq!(watch.ends(), 0, "streams are alive");
        for (driver, side) in drivers.iter().zip(Side::BOTH) {
            assert!(driver.is_finished(), "tasks of the {side:?} are alive");
        }
    }

    /// Makes sure that each span was opened once and closed once, and that no object is alive.
    ///
    /// # Panics
    ///
    /// Where that is not so.
    pub async fn assert_over(&self) {
        self.request.end();
        until_idle().await;
        story::assert_closed_once(&self.spans);
        let alive = [&self.world, &self.outside].map(World::live);
        assert_eq!(alive, [0, 0], "objects of the callee, and the caller");
    }

    /// Does this side know that the connection is over?
    pub fn knows(&self, side: Side) -> bool {
        self.known[side as usize].is_over()
    }

    /// Makes sure that each span that closed when its side knew that the connection is over closed
    /// `disconnected`, and that of no other this is said; `is_possible` says whether it may have closed so.
    ///
    /// # Panics
    ///
    /// Where that is not so.
    pub fn assert_outcomes(&self, is_possible: impl Fn(&SpanRecord, Outcome) -> bool) {
        for side in Side::BOTH {
            for (span, was_over) in self.known[side as usize].closed() {
                // The request is the application's own.
                let Some(outcome) = span.outcome() else {
                    continue;
                };
                let is_lost = outcome == Outcome::Disconnected;
                assert_eq!(
                    is_lost,
                    was_over,
                    "{} of the {side:?}: {outcome:?}",
                    span.name()
                );
                let is_right = is_lost || is_possible(&span, outcome);
                assert!(is_right, "{} of the {side:?}: {outcome:?}", span.name());
            }
        }
    }
}
