//! Hostile callers of a service as any other: what they can do with several of its parts together.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Service};
use capspan::pipeline_capnp::{event_dispatcher, pipeline, rpc_session, span_enricher};
use capspan::trace::Tracer;
use capspan_testkit::abuse::Tally;
use capspan_testkit::link::direct;
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;
use futures::FutureExt;
use futures::channel::oneshot;
use tokio::task::spawn_local;

/// What is on the board.
type OnIt = Rc<RefCell<Option<thing::Client>>>;

/// All its sessions share one board.
struct Board(OnIt);

/// What a session may do with it.
struct Writer {
    event: EventContext,
    on_it: OnIt,
}

impl Service for Board {
    async fn open_session(self: Rc<Self>, event: EventContext) -> capnp::Result<Client> {
        let on_it = self.0.clone();
        let writer: thing::Client = capnp_rpc::new_client(Writer { event, on_it });
        Ok(Client::new(writer.into_client_hook()))
    }
}

impl thing::Server for Writer {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> capnp::Result<()> {
        self.event.enricher().set_attribute("asked", true);
        Ok(())
    }

    async fn store(
        self: Rc<Self>,
        params: thing::StoreParams,
        _results: thing::StoreResults,
    ) -> capnp::Result<()> {
        let before = self.on_it.replace(Some(params.get()?.get_thing()?));
        drop(before);
        Ok(())
    }

    async fn take(
        self: Rc<Self>,
        _params: thing::TakeParams,
        mut results: thing::TakeResults,
    ) -> capnp::Result<()> {
        let on_it = self.on_it.borrow().clone();
        let on_it = on_it.ok_or_else(|| capnp::Error::failed("nothing is on it".into()))?;
        results.get().set_thing(on_it);
        Ok(())
    }
}

/// The service behind a guard, and what a caller has that nothing holds back.
struct Scene {
    client: pipeline::Client,
    disconnector: capnp_rpc::Disconnector<Side>,
    tally: Tally,
    /// As long as the service or one of its sessions is alive, somebody else has it as well.
    on_it: OnIt,
}

impl Scene {
    fn new() -> Self {
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let (tally, on_it) = (Tally::default(), OnIt::default());
        let callee = Callee::new(Board(on_it.clone()), &tasks).tracer(Tracer::new(tally.clone()));
        let (client, server) = direct();
        let (_, driver) = Connection::serve(server.0, server.1, |ending| callee.bootstrap(ending));
        spawn_local(driver.map(drop));
        let options = capnp::message::ReaderOptions::default();
        let network = twoparty::VatNetwork::new(client.0, client.1, Side::Client, options);
        let mut system = RpcSystem::new(Box::new(network), None);
        let (client, disconnector) = (system.bootstrap(Side::Server), system.get_disconnector());
        spawn_local(system);
        Self {
            client,
            disconnector,
            tally,
            on_it,
        }
    }

    async fn open(&self, enricher: Option<&span_enricher::Client>) -> Opened {
        let mut start = self.client.start_event_request();
        if let Some(enricher) = enricher {
            start.get().set_enricher(enricher.clone());
        }
        let start = start.send();
        let open = start.pipeline.get_dispatcher().open_session_request();
        let opened = open.send().promise.await.unwrap();
        let results = opened.get().unwrap();
        Opened {
            writer: results.get_top_level().get_as_capability().unwrap(),
            _session: results.get_session().unwrap(),
        }
    }

    /// The caller is gone: nothing of it may be left.
    async fn end(self) {
        self.disconnector.await.unwrap();
        drop(self.client);
        until_idle().await;
        assert_eq!(self.tally.open(), 0);
        drop(self.on_it.take());
        until_idle().await;
        assert_eq!(Rc::strong_count(&self.on_it), 1, "the service is alive");
    }
}

/// A session, its capability first.
struct Opened {
    writer: thing::Client,
    _session: rpc_session::Client,
}

/// Each round puts two wrappers around what there is. What goes down them calls itself, on the stack.
#[test]
fn what_goes_through_two_sessions_in_turn_does_not_grow_without_end() {
    run(async {
        let scene = Scene::new();
        let sessions = [scene.open(None).await, scene.open(None).await];
        let mut it = sessions[0].writer.clone();
        for round in 0..2_000 {
            let mut store = sessions[1].writer.store_request();
            store.get().set_thing(it);
            store.send().promise.await.unwrap();
            let taken = sessions[0].writer.take_request().send().promise.await;
            it = taken.unwrap().get().unwrap().get_thing().unwrap();
            let called = it.number_request().send().promise.await;
            match round {
                0..10 => assert!(called.is_ok(), "{round}"),
                100.. => assert!(called.is_err(), "{round}"),
                _ => {}
            }
        }
        drop((it, sessions));
        until_idle().await;
        scene.end().await;
    });
}

/// The caller names the dispatcher that it gets as what that is to write to.
#[test]
fn an_enricher_that_is_its_own_events_dispatcher_keeps_nothing_after_the_disconnect() {
    for keeps_it in [true, false] {
        run(async {
            let scene = Scene::new();
            let (tell, told) = oneshot::channel::<event_dispatcher::Client>();
            let enricher = capnp_rpc::new_future_client(async {
                let told = told.await;
                let told = told.map_err(|_| capnp::Error::failed("there is none".into()))?;
                Ok(told.cast_to::<span_enricher::Client>())
            });
            let mut start = scene.client.start_event_request();
            start.get().set_enricher(enricher);
            let started = start.send().promise.await.unwrap();
            let dispatcher = started.get().unwrap().get_dispatcher().unwrap();
            assert!(tell.send(dispatcher.clone()).is_ok());
            until_idle().await;
            let kept = keeps_it.then_some((started, dispatcher));
            until_idle().await;
            let tally = scene.tally.clone();
            scene.end().await;
            assert_eq!(tally.outcome("disconnected"), 1);
            drop(kept);
        });
    }
}

/// Answers no update, and counts them.
struct Silent(Rc<Cell<usize>>);

impl span_enricher::Server for Silent {
    async fn enrich(
        self: Rc<Self>,
        _params: span_enricher::EnrichParams,
        _results: span_enricher::EnrichResults,
    ) -> capnp::Result<()> {
        self.0.set(self.0.get() + 1);
        std::future::pending().await
    }
}

/// Each of them keeps a call open that nobody answers, also when its session is over.
#[test]
fn updates_that_are_left_unanswered_by_session_after_session_come_to_an_end() {
    run(async {
        let scene = Scene::new();
        let count = Rc::new(Cell::new(0));
        let silent: span_enricher::Client = capnp_rpc::new_client(Silent(count.clone()));
        for _ in 0..200 {
            let sessions = (0..100).map(|_| async {
                let opened = scene.open(Some(&silent)).await;
                let asked = opened.writer.number_request().send().promise;
                asked.await.unwrap();
            });
            futures::future::join_all(sessions).await;
        }
        until_idle().await;
        assert_eq!(scene.tally.open(), 0);
        assert_eq!(count.get(), 16_384);
        drop(silent);
        scene.end().await;
    });
}

/// What a promise of the caller's becomes that has gone round.
enum Becomes {
    /// What a session has.
    Ours,
    /// What the caller has.
    Theirs,
    /// What came of the last round.
    Itself,
    /// It never does: the connection ends.
    Nothing,
}

/// What stands for a promise says nothing of what lies in it.
#[test]
fn a_promise_that_goes_through_two_sessions_in_turn_does_not_grow_without_end() {
    use Becomes::{Itself, Nothing, Ours, Theirs};
    for becomes in [Nothing, Ours, Theirs, Itself] {
        run(async {
            let scene = Scene::new();
            let sessions = [scene.open(None).await, scene.open(None).await];
            let (tell, told) = oneshot::channel::<thing::Client>();
            let mut it: thing::Client = capnp_rpc::new_future_client(async {
                told.await
                    .map_err(|_| capnp::Error::failed("it is nothing".into()))
            });
            for round in 0..2_000 {
                let mut store = sessions[1].writer.store_request();
                store.get().set_thing(it);
                store.send().promise.await.unwrap();
                let taken = sessions[0].writer.take_request().send().promise.await;
                let taken = taken.unwrap_or_else(|error| panic!("{round}: {error}"));
                it = taken.get().unwrap().get_thing().unwrap();
                if round % 16 == 0 {
                    until_idle().await;
                }
            }
            let called = it.number_request().send().promise;
            until_idle().await;
            let becomes = match becomes {
                Ours => Some(sessions[0].writer.clone()),
                Theirs => Some(capnp_rpc::new_client(OfTheCaller)),
                Itself => Some(it.clone()),
                Nothing => None,
            };
            let never_told = match becomes {
                Some(becomes) => {
                    // What is broken lets go of it.
                    let _nobody_waits = tell.send(becomes);
                    let error = called.await.err().unwrap();
                    assert!(error.extra.contains("limit of membranes"), "{error}");
                    None
                }
                None => Some((tell, called)),
            };
            until_idle().await;
            drop((it, sessions));
            until_idle().await;
            scene.end().await;
            drop(never_told);
        });
    }
}

/// An object of the caller's.
struct OfTheCaller;

impl thing::Server for OfTheCaller {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}
