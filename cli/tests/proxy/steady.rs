//! A proxy that is told to end while its clients never pause.

use std::cell::Cell;
use std::rc::Rc;

use capnp::ErrorKind;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use tokio::task::spawn_local;

use super::events::Stage;
use super::setting::{Caller, Proxy, Service, assert_closed, over_both, run};

/// How many clients there are, and how many calls each has in flight.
const CALLERS: usize = 3;
const LANES: usize = 8;

/// What became of calls.
#[derive(Default)]
struct Counts {
    answered: Cell<usize>,
    refused: Cell<usize>,
    unanswered: Cell<usize>,
}

impl Counts {
    /// Calls without a pause, until there is no more.
    async fn call(self: Rc<Self>, thing: thing::Client) {
        let more = |count: &Cell<usize>| count.set(count.get() + 1);
        loop {
            match thing.nothing_request().send().promise.await {
                Ok(_) => more(&self.answered),
                Err(error) => {
                    let is_told = error.extra.contains("shutting down");
                    assert!(is_told || error.kind == ErrorKind::Disconnected, "{error}");
                    more(if is_told {
                        &self.refused
                    } else {
                        &self.unanswered
                    });
                    if !is_told {
                        return;
                    }
                }
            }
        }
    }
}

#[test]
fn clients_that_never_pause_lose_no_call_when_it_is_told_to_end() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let words = ["--drain-timeout", "300ms"];
        let mut proxy = Proxy::start(over, &folder, &service.address, &words).await;
        let counts = Rc::<Counts>::default();
        let (mut callers, mut lanes) = (Vec::new(), Vec::new());
        for _ in 0..CALLERS {
            let caller: Caller = Caller::connect(&proxy.address).await;
            let lane = |_| spawn_local(counts.clone().call(caller.client.clone()));
            lanes.extend((0..LANES).map(lane));
            callers.push(caller);
        }
        while world.calls() < 1_000 {
            tokio::task::yield_now().await;
        }
        proxy.signal("TERM").await;
        let at_the_signal = world.calls();
        for lane in lanes {
            lane.await.unwrap();
        }
        let records = proxy.ended().await;
        assert_closed(&records);
        // They went on meanwhile; and what got to the service was answered.
        assert!(world.calls() > at_the_signal);
        assert_eq!(counts.answered.get(), world.calls());
        assert!(counts.refused.get() >= CALLERS);
    });
}

#[test]
fn neither_do_those_whose_calls_are_made_in_sessions() {
    run(async {
        let mut stage = Stage::with(&["--drain-timeout", "300ms"]).await;
        let counts = Rc::<Counts>::default();
        let event = stage.pipeline.event("session");
        let (thing, session) = event.open_session::<thing::Client>().into_parts();
        let lane = |_| spawn_local(counts.clone().call(thing.clone()));
        let lanes: Vec<_> = (0..LANES).map(lane).collect();
        while stage.world.calls() < 1_000 {
            tokio::task::yield_now().await;
        }
        stage.proxy.signal("TERM").await;
        let at_the_signal = stage.world.calls();
        for lane in lanes {
            lane.await.unwrap();
        }
        drop((thing, session));
        assert_closed(&stage.proxy.ended().await);
        assert!(stage.world.calls() > at_the_signal);
        assert_eq!(counts.answered.get(), stage.world.calls());
    });
}
