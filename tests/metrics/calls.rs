//! Calls and events that have ended: how many, how, and how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use capspan::trace::{SpanKind, SpanRecord, SpanRole};
use capspan_testkit::calls::number;
use capspan_testkit::service::{Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;

use super::setting::{Point, Scene};

async fn fail(thing: &thing::Client, kind: u8) {
    let mut request = thing.fail_request();
    request.get().set_kind(kind);
    request.get().set_text("as it was asked to");
    assert!(request.send().promise.await.is_err());
}

/// What the numbers are to be, from all spans that have closed.
fn expected(
    spans: &[SpanRecord],
    role: SpanRole,
    attributes: impl Fn(&SpanRecord) -> Option<String>,
) -> BTreeMap<String, Point> {
    let mut all = BTreeMap::<_, Point>::new();
    for span in spans.iter().filter(|span| span.role() == role) {
        let Some(attributes) = attributes(span) else {
            continue;
        };
        let point = all.entry(attributes).or_default();
        let lasted = span.end().unwrap().duration_since(span.start());
        point.sum += lasted.as_secs_f64();
        point.count += 1;
    }
    all
}

/// How it ended, as it stands on the span.
fn ended(span: &SpanRecord) -> String {
    let kind = span.attributes().get("error.type");
    let kind = kind.map(|kind| format!("error.type={} ", kind.as_text().unwrap()));
    let outcome = span.outcome().unwrap();
    kind.unwrap_or_default() + &format!("capspan.outcome={outcome}")
}

fn in_order(attributes: &str) -> String {
    let mut all: Vec<_> = attributes.split_whitespace().collect();
    all.sort();
    all.join(" ")
}

/// That the numbers are those of the spans.
fn assert_counted(scene: &Scene) {
    let spans = scene.spans.closed();
    for (name, kind) in [("client", SpanKind::Client), ("server", SpanKind::Server)] {
        let calls = expected(&spans, SpanRole::Call, |span| {
            let method = span.name();
            let text = format!(
                "{} rpc.method={method} rpc.system.name=capnproto",
                ended(span)
            );
            (span.kind() == kind).then(|| in_order(&text))
        });
        assert!(!calls.is_empty());
        let counted = scene.meters.points(&format!("rpc.{name}.call.duration"));
        assert_equal(&counted, &calls);
    }
    let events = expected(&spans, SpanRole::Event, |span| {
        let side = span.kind().as_str().to_lowercase();
        Some(in_order(&format!("{} capspan.side={side}", ended(span))))
    });
    assert_equal(&scene.meters.points("capspan.event.duration"), &events);
}

fn assert_equal(counted: &BTreeMap<String, Point>, expected: &BTreeMap<String, Point>) {
    let keys = |all: &BTreeMap<String, Point>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(counted), keys(expected));
    for (key, expected) in expected {
        let counted = counted[key];
        assert_eq!(counted.count, expected.count, "{key}");
        // Sums of floating-point numbers, which may be added in another order.
        assert!((counted.sum - expected.sum).abs() < 1e-9, "{key}");
    }
}

#[test]
fn calls_and_sessions_are_counted_by_how_they_ended_and_take_as_long_as_their_spans() {
    everywhere(async |place| {
        let scene = Scene::new(place);
        for round in 0..3 {
            let (thing, handle) = scene.open().into_parts();
            number(&thing).await;
            let call = thing.never_request().send();
            scene.pair.settle().await;
            scene.clock.advance(Duration::from_millis(7 + round));
            // It is given up.
            drop(call);
            for kind in 0..4 {
                fail(&thing, kind).await;
            }
            scene.clock.advance(Duration::from_secs(2));
            drop(thing);
            scene.pair.settle().await;
            drop(handle);
            scene.pair.settle().await;
        }
        assert_counted(&scene);
        let method = |name| format!("rpc.method=Thing/{name} rpc.system.name=capnproto");
        for side in ["client", "server"] {
            let calls = scene.meters.counts(&format!("rpc.{side}.call.duration"));
            for (attributes, name) in [
                ("capspan.outcome=ok", "number"),
                ("capspan.outcome=canceled", "never"),
                ("capspan.outcome=exception error.type=failed", "fail"),
                ("capspan.outcome=overloaded error.type=overloaded", "fail"),
                ("capspan.outcome=exception error.type=unimplemented", "fail"),
                ("capspan.outcome=exception error.type=disconnected", "fail"),
            ] {
                let key = format!("{attributes} {}", method(name));
                assert_eq!(calls.get(&key), Some(&3), "{side} {key}: {calls:?}");
            }
        }
        scene.finish().await;
    });
}

#[test]
fn what_a_lost_connection_ends_is_disconnected() {
    at(Place::CONNECTED, async |place| {
        let scene = Scene::new(place);
        let (thing, handle) = scene.open().into_parts();
        number(&thing).await;
        let call = tokio::task::spawn_local(thing.never_request().send().promise);
        scene.pair.settle().await;
        scene.pair.cut();
        assert!(call.await.unwrap().is_err());
        drop((thing, handle));
        scene.pair.settle().await;
        assert_counted(&scene);
        for side in ["client", "server"] {
            let calls = scene.meters.counts(&format!("rpc.{side}.call.duration"));
            let lost = calls.iter().find(|(key, _)| key.contains("Thing/never"));
            let (key, count) = lost.unwrap();
            assert!(key.starts_with("capspan.outcome=disconnected"), "{key}");
            assert_eq!(*count, 1);
            let event =
                format!("capspan.outcome=disconnected capspan.side={side} error.type=disconnected");
            let events = scene.meters.counts("capspan.event.duration");
            assert_eq!(events.get(&event), Some(&1), "{events:?}");
        }
        scene.finish().await;
    });
}

#[test]
fn a_session_that_is_canceled_has_no_error() {
    everywhere(async |place| {
        let scene = Scene::new(place);
        let (thing, handle) = scene.open().into_parts();
        number(&thing).await;
        drop(handle);
        scene.pair.settle().await;
        drop(thing);
        scene.pair.settle().await;
        assert_counted(&scene);
        let events = scene.meters.counts("capspan.event.duration");
        let wanted = ["client", "server"]
            .map(|side| (format!("capspan.outcome=canceled capspan.side={side}"), 1));
        assert_eq!(events, wanted.into());
        scene.finish().await;
    });
}

#[test]
fn a_callee_that_writes_a_kind_of_error_makes_no_time_series() {
    at(Place::CONNECTED, async |place| {
        let scene = Scene::new(place);
        let (thing, handle) = scene.open().into_parts();
        number(&thing).await;
        let event = scene.pair.event();
        for kind in ["made up", "failed"] {
            event.enricher().set_attribute("error.type", kind);
        }
        event.enricher().flush().await.unwrap();
        drop(event);
        scene.pair.cut();
        scene.pair.settle().await;
        drop((thing, handle));
        scene.pair.settle().await;
        let events = scene.meters.counts("capspan.event.duration");
        let clients: Vec<_> = events.keys().filter(|key| key.contains("client")).collect();
        let wanted = "capspan.outcome=disconnected capspan.side=client error.type=disconnected";
        assert_eq!(clients, [wanted]);
        scene.finish().await;
    });
}
