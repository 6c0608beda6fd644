//! How much is kept of what peers can make many of.

use capspan::trace::SpanUpdate;
use capspan_testkit::run::{run, until_idle};
use serde_json::json;

use super::stage::Stage;

#[test]
fn of_closed_sessions_the_last_200_are_kept() {
    run(async {
        let stage = Stage::new();
        for number in 0..250 {
            drop(stage.begin(&format!("s{number}")));
        }
        until_idle().await;
        let all = stage.json("/tracez").await;
        let recent = all["recent"].as_array().unwrap();
        assert_eq!((recent.len(), &all["ended"]), (200, &json!(250)));
        let names: Vec<_> = recent
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"s249") && names.contains(&"s50") && !names.contains(&"s49"));
        let kept = &stage.json("/tracez/limits").await["eventLoops"][0]["kept"];
        assert_eq!(
            kept,
            &json!({ "open": 0, "recent": 200, "spans": 0, "methods": 0 })
        );
    });
}

#[test]
fn of_open_sessions_200_are_shown_and_all_are_counted() {
    run(async {
        let stage = Stage::new();
        let open: Vec<_> = (0..10_050).map(|_| stage.begin("s").0).collect();
        let all = stage.json("/tracez").await;
        assert_eq!(all["open"].as_array().unwrap().len(), 200);
        assert_eq!(
            (&all["openCount"], &all["openMatching"]),
            (&json!(10_050), &json!(10_050))
        );
        assert_eq!(all["leftOut"]["sessions"], 50);
        drop(open);
        until_idle().await;
        let all = stage.json("/tracez").await;
        assert_eq!(
            (&all["openCount"], &all["ended"]),
            (&json!(0), &json!(10_050))
        );
    });
}

#[test]
fn of_a_sessions_spans_500_are_kept_among_them_those_that_are_open() {
    run(async {
        let stage = Stage::new();
        let (client, _session) = stage.begin("s");
        let never = tokio::task::spawn_local(client.never_request().send().promise);
        until_idle().await;
        for _ in 0..700 {
            client.number_request().send().promise.await.unwrap();
        }
        client.make_request().send().promise.await.unwrap();
        let session = stage.session("s").await;
        let spans = session["spans"].as_array().unwrap();
        assert_eq!(
            (spans.len(), &session["leftOut"]["spans"]),
            (500, &json!(202))
        );
        let named = |name| spans.iter().filter(|span| span["name"] == name).count();
        assert_eq!((named("Thing/make"), named("Thing/number")), (1, 498));
        let open: Vec<_> = spans.iter().filter(|span| span["open"] == true).collect();
        assert!(
            open.len() == 1 && open[0]["name"].as_str().unwrap().ends_with("/9"),
            "{open:?}"
        );
        never.abort();
    });
}

#[test]
fn with_too_many_spans_closed_sessions_go_before_their_time() {
    run(async {
        let stage = Stage::new();
        for number in 0..110 {
            let (client, _session) = stage.begin(&format!("s{number}"));
            for _ in 0..500 {
                client.number_request().send().promise.await.unwrap();
            }
            drop(client);
            until_idle().await;
        }
        let kept = &stage.json("/tracez/limits").await["eventLoops"][0]["kept"];
        assert!(kept["spans"].as_u64().unwrap() <= 50_000, "{kept}");
        assert_eq!(kept["recent"], 100);
        assert_eq!(
            stage.session("s109").await["spans"]
                .as_array()
                .unwrap()
                .len(),
            500
        );
    });
}

#[test]
fn of_methods_256_are_told_apart() {
    run(async {
        let stage = Stage::new();
        let (client, _session) = stage.begin("s");
        client.number_request().send().promise.await.unwrap();
        for ordinal in 0..400 {
            let call = capnp::capability::FromClientHook::into_client_hook(client.clone());
            let call = call.new_call(0xf00d, ordinal, None);
            call.hook.send().promise.await.err().unwrap();
        }
        client.number_request().send().promise.await.unwrap();
        client.make_request().send().promise.await.unwrap();
        let all = stage.json("/tracez").await;
        let methods = all["methods"].as_array().unwrap();
        assert_eq!(
            (methods.len(), &all["leftOut"]["calls"]),
            (257, &json!(146))
        );
        let row = |name: &str| methods.iter().find(|row| row["name"] == name).unwrap();
        // Those that have never gone well made room for one that comes late.
        assert_eq!(row("other methods")["failed"], 146);
        assert_eq!(
            (&row("Thing/number")["ok"], &row("Thing/make")["ok"]),
            (&json!(2), &json!(1))
        );
        let failed: u64 = methods
            .iter()
            .map(|row| row["failed"].as_u64().unwrap())
            .sum();
        assert_eq!(failed, 400);
    });
}

#[test]
fn of_what_is_written_on_all_sessions_16_mib_are_kept() {
    run(async {
        let stage = Stage::new();
        let mut open = Vec::new();
        for number in 0..1_000 {
            let (client, session) = stage.begin(&format!("s{number}"));
            let mut update = SpanUpdate::new().attribute("peer.number", number);
            for place in 0..60 {
                update = update.attribute(format!("a{place:0250}"), "x".repeat(256));
            }
            session.update(&update);
            open.push(client);
        }
        let kept = async |name: &str| {
            let session = stage.session(name).await;
            session["attributes"].as_array().unwrap().len()
        };
        assert_eq!((kept("s0").await, kept("s999").await), (61, 0));
        assert_eq!(stage.session("s999").await["leftOut"]["attributes"], 61);
        // Those that are over leave in the end, and what they had is free again.
        open.clear();
        for _ in 0..210 {
            drop(stage.begin("short"));
            until_idle().await;
        }
        let (_client, session) = stage.begin("later");
        session.update(&SpanUpdate::new().attribute("a", 1));
        assert_eq!(kept("later").await, 1);
    });
}

#[test]
fn of_what_is_written_on_a_session_64_attributes_and_32_events_are_kept() {
    run(async {
        let stage = Stage::new();
        let (_client, session) = stage.begin("s");
        for number in 0..100 {
            let event = capspan::trace::SpanEvent::new(format!("e{number}"));
            let update = SpanUpdate::new().attribute(format!("a{number}"), number);
            session.update(&update.event(event));
        }
        let seen = stage.session("s").await;
        assert_eq!(seen["attributes"].as_array().unwrap().len(), 64);
        assert_eq!(seen["events"].as_array().unwrap().len(), 32);
        assert_eq!(
            seen["leftOut"],
            json!({ "attributes": 36, "events": 68, "spans": 0 })
        );
    });
}
