//! Callees that have nothing of ours and answer as no callee should: what the caller's session becomes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::pipeline::Pipeline;
use capspan::pipeline_capnp::{event_dispatcher, pipeline, rpc_session};
use capspan::session::Session;
use capspan::trace::{MemoryObserver, Outcome, SpanStatus, Tracer};
use capspan::trace_capnp::span_update;
use capspan_testkit::link::{link, watched};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Place, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::channel::oneshot;

/// What `openSession` is answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Error,
    NoTopLevel,
    StructAsTopLevel,
    Session,
}

/// Has a dispatcher at once, and returns from `startEvent` when it is let.
struct Callee {
    dispatcher: event_dispatcher::Client,
    returns: RefCell<Option<oneshot::Receiver<()>>>,
}

impl pipeline::Server for Callee {
    async fn start_event(
        self: Rc<Self>,
        _params: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_dispatcher(self.dispatcher.clone());
        let returns = self.returns.take();
        if let Some(returns) = returns {
            results.set_pipeline()?;
            let _let_or_gone = returns.await;
        }
        Ok(())
    }
}

struct Dispatcher {
    answer: Answer,
    world: World,
    held: Rc<Cell<usize>>,
}

impl event_dispatcher::Server for Dispatcher {
    async fn open_session(
        self: Rc<Self>,
        _params: event_dispatcher::OpenSessionParams,
        mut results: event_dispatcher::OpenSessionResults,
    ) -> Result<(), capnp::Error> {
        let mut results = results.get();
        self.held.set(self.held.get() + 1);
        results.set_session(capnp_rpc::new_client(Held(self.held.clone())));
        let mut top_level = results.init_top_level();
        match self.answer {
            Answer::Error => return Err(capnp::Error::failed("no such account".into())),
            Answer::NoTopLevel => {}
            Answer::StructAsTopLevel => {
                top_level
                    .init_as::<span_update::Builder<'_>>()
                    .set_name("x");
            }
            Answer::Session => {
                top_level.set_as_capability(self.world.thing().into_client_hook());
            }
        }
        Ok(())
    }
}

/// A session. It counts how many of it are held.
struct Held(Rc<Cell<usize>>);

impl rpc_session::Server for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A caller of such a callee, with a session that it has opened.
struct Scene {
    session: Session<thing::Client>,
    spans: MemoryObserver,
    world: World,
    /// How many sessions are held.
    held: Rc<Cell<usize>>,
    _tasks: Tasks,
}

fn open(place: Place, answer: Answer, returns: Option<oneshot::Receiver<()>>) -> Scene {
    let (tasks, driver) = Tasks::new();
    tokio::task::spawn_local(driver);
    let (world, held) = (World::new(), Rc::default());
    let client: pipeline::Client = capnp_rpc::new_client(Callee {
        dispatcher: capnp_rpc::new_client(Dispatcher {
            answer,
            world: world.clone(),
            held: Rc::clone(&held),
        }),
        returns: RefCell::new(returns),
    });
    let pipeline = match place {
        Place::InProcess => Pipeline::new(client, &tasks),
        Place::Connection | Place::Distant => {
            let link = link(LATENCY);
            let bootstrap = Client::new(client.into_client_hook());
            let (connection, _) = watched((link.client, link.server), |_| bootstrap);
            Pipeline::over(&connection, &tasks)
        }
    };
    let spans = MemoryObserver::new();
    let root = Tracer::new(spans.clone()).root();
    Scene {
        session: pipeline.event("open").parent(root).open_session(),
        spans,
        world,
        held,
        _tasks: tasks,
    }
}

async fn settle() {
    pass(LATENCY * 20).await;
}

/// The caller's span is closed with the outcome `exception`, and says why.
fn assert_failed(scene: &Scene, why: &str) {
    let span = scene.spans.named("open").unwrap();
    assert!(!span.is_open(), "{why}: it is open");
    assert_eq!(span.outcome(), Some(Outcome::Exception), "{why}");
    let SpanStatus::Error(reason) = span.status() else {
        panic!("{why}: {:?}", span.status());
    };
    assert!(reason.contains(why), "{reason}");
}

#[test]
fn s2_an_answer_without_a_top_level_capability_is_an_exception() {
    everywhere(async |place| {
        for answer in [Answer::NoTopLevel, Answer::StructAsTopLevel] {
            let scene = open(place, answer, None);
            settle().await;
            assert_failed(&scene, "the callee gave no top-level capability");
            let Scene { session, held, .. } = scene;
            let (thing, handle) = session.into_parts();
            assert!(thing.number_request().send().promise.await.is_err());
            let end = handle.end().expect("it is over");
            assert_eq!(end.outcome(), Outcome::Exception);
            drop((thing, handle));
            settle().await;
            assert_eq!(held.get(), 0, "the session is held");
        }
    });
}

#[test]
fn s2_a_session_that_fails_before_its_start_returns_is_an_exception() {
    everywhere(async |place| {
        let (start, returns) = oneshot::channel();
        let scene = open(place, Answer::Error, Some(returns));
        settle().await;
        start.send(()).unwrap();
        settle().await;
        assert_failed(&scene, "no such account");
    });
}

#[test]
fn s7_dropping_the_handle_before_the_start_returns_cancels() {
    everywhere(async |place| {
        let (_start, returns) = oneshot::channel();
        let scene = open(place, Answer::Session, Some(returns));
        let (thing, handle) = scene.session.into_parts();
        thing.number_request().send().promise.await.unwrap();
        settle().await;
        assert_eq!((scene.held.get(), scene.world.live()), (1, 1));
        drop(handle);
        settle().await;
        let span = scene.spans.named("open").unwrap();
        assert_eq!(span.outcome(), Some(Outcome::Canceled));
        assert_eq!(scene.held.get(), 0, "the callee does not know");
        assert_eq!(scene.world.live(), 0);
        drop(thing);
    });
}
