//! What is under way and alive, while it is and afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use capspan::trace::{SpanKind, SpanRole};
use capspan_testkit::calls::number;
use capspan_testkit::run::{PausedTime, pass};
use capspan_testkit::service::{Place, at, everywhere};
use tokio::task::spawn_local;

use super::setting::{Meters, Scene};

fn by_side(client: f64, server: f64) -> Vec<(String, f64)> {
    let all = [("client", client), ("server", server)];
    let all = all.map(|(side, count)| (format!("capspan.side={side}"), count));
    all.into()
}

fn sums(meters: &Meters, name: &str) -> Vec<(String, f64)> {
    meters.sums(name).into_iter().collect()
}

#[test]
fn events_and_calls_count_as_alive_as_long_as_their_spans_are_open() {
    everywhere(async |place| {
        let scene = Scene::new(place);
        let sessions = [scene.open(), scene.open()].map(|session| session.into_parts());
        for (thing, _) in &sessions {
            number(thing).await;
        }
        let calls: Vec<_> = (0..3)
            .map(|_| sessions[0].0.never_request().send())
            .collect();
        scene.pair.settle().await;
        let meters = &scene.meters;
        assert_eq!(sums(meters, "capspan.event.active"), by_side(2.0, 2.0));
        assert_eq!(sums(meters, "capspan.call.active"), by_side(3.0, 3.0));
        drop(calls);
        let [first, second] = sessions;
        drop(first.0);
        scene.pair.settle().await;
        assert_eq!(sums(meters, "capspan.event.active"), by_side(1.0, 1.0));
        assert_eq!(sums(meters, "capspan.call.active"), []);
        drop((first.1, second));
        scene.pair.settle().await;
        // Zeros are shown, too: what is not there can't be told from what is not counted.
        let shown = meters.points("capspan.event.active");
        let zero = |side| shown.get(&format!("capspan.side={side}")).map(|it| it.sum);
        assert_eq!(["client", "server"].map(zero), [Some(0.0); 2]);
        scene.finish().await;
    });
}

#[test]
fn a_span_that_becomes_an_event_counts_from_then_on() {
    at([Place::Connection], async |place| {
        let scene = Scene::new(place);
        let outer = scene.caller.root().start("outer", SpanKind::Internal);
        let active = |meters| sums(meters, "capspan.event.active");
        assert_eq!(active(&scene.meters), []);
        let event = scene.pair.pipeline.event("never told").span(outer);
        let session = event.open_session::<capspan_testkit::testkit_capnp::thing::Client>();
        let (thing, handle) = session.into_parts();
        number(&thing).await;
        assert_eq!(active(&scene.meters), by_side(1.0, 1.0));
        drop(thing);
        scene.pair.settle().await;
        drop(handle);
        assert_eq!(active(&scene.meters), []);
        let outer = scene.spans.named("outer").unwrap();
        assert_eq!(outer.role(), SpanRole::Event);
        let events = scene.meters.counts("capspan.event.duration");
        assert_eq!(events["capspan.outcome=ok capspan.side=client"], 1);
        scene.finish().await;
    });
}

#[test]
fn capabilities_are_looked_at_once_an_interval_until_that_is_over() {
    everywhere(async |place| {
        let scene = Scene::new(place);
        let watch = scene.meters.metrics.watch(PausedTime).live(&scene.live);
        let interval = Duration::from_secs(600);
        let watching = spawn_local(watch.every(interval).run());
        // It looks for the first time, and from now on before the test does.
        pass(Duration::from_secs(1)).await;
        let (thing, handle) = scene.open().into_parts();
        let made = thing.make_request().send().promise.await.unwrap();
        let outside = capspan_testkit::world::World::new();
        let mut store = thing.store_request();
        store.get().set_thing(outside.thing());
        store.send().promise.await.unwrap();
        let name = "capspan.capability.active";
        let seen = |meters: &Meters| {
            let sums = meters.sums(name).into_iter();
            let short = |key: String| {
                let words = key
                    .split_whitespace()
                    .map(|word| word.split_once('=').unwrap().1);
                words.collect::<Vec<_>>().join(" ")
            };
            sums.map(|(key, count)| (short(key), count))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(&scene.meters), [], "it has not looked since");
        pass(interval).await;
        let all = seen(&scene.meters);
        // What was promised and what it has become may both be alive on the caller's side.
        let mut wanted = BTreeMap::<_, f64>::new();
        for event in scene.live.events() {
            let side = event.side().unwrap().as_str().to_lowercase();
            for capability in event.capabilities() {
                let owner = ["other_side", "this_side"][usize::from(capability.is_ours())];
                *wanted.entry(format!("{owner} {side}")).or_default() += 1.0;
            }
        }
        assert_eq!(all, wanted.into_iter().collect::<Vec<_>>());
        for server in [("other_side server", 1.0), ("this_side server", 2.0)] {
            assert!(all.contains(&(server.0.to_owned(), server.1)), "{all:?}");
        }
        drop((made, thing));
        scene.pair.settle().await;
        drop(handle);
        scene.pair.settle().await;
        assert_eq!(seen(&scene.meters), all, "nor yet");
        pass(interval).await;
        assert_eq!(seen(&scene.meters), []);

        // And what was seen last does not stay when nobody looks any more.
        let (thing, handle) = scene.open().into_parts();
        number(&thing).await;
        pass(interval).await;
        assert_eq!(seen(&scene.meters).len(), 2);
        watching.abort();
        assert!(watching.await.unwrap_err().is_cancelled());
        assert_eq!(seen(&scene.meters), []);
        drop((thing, handle));
        scene.pair.settle().await;
        drop(outside);
        scene.finish().await;
    });
}
