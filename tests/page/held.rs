//! The leak hunt: what keeps a session open, and how it went when it is over.

use std::time::Duration;

use capspan::guard::GuardOptions;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::trace::{Outcome, SpanUpdate};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use serde_json::json;
use std::rc::Rc;

use super::stage::Stage;

#[test]
fn a_capability_that_is_held_tells_the_call_that_it_came_with() {
    run(async {
        let stage = Stage::new();
        let (client, session) = stage.begin("orders");
        session.update(&SpanUpdate::new().attribute("network.peer.address", "10.0.0.7:4000"));
        let made = client.make_request().send().promise.await.unwrap();
        let held = made.get().unwrap().get_thing().unwrap();
        drop((made, client));
        stage.clock.advance(Duration::from_secs(90));
        until_idle().await;

        let all = stage.json("/tracez").await;
        assert_eq!(all["openCount"], 1);
        assert_eq!(all["capabilitiesAlive"], 1);
        let row = &all["open"][0];
        assert_eq!(row["name"], "orders");
        assert_eq!(row["peer"], "10.0.0.7:4000");
        assert_eq!(row["kind"], "SERVER");
        assert_eq!(row["ageNanos"], 90_000_000_000_u64);
        assert_eq!(
            (&row["callsInFlight"], &row["capabilitiesAlive"]),
            (&json!(0), &json!(1))
        );

        let session = stage.session("orders").await;
        assert_eq!(session["open"], true);
        let capabilities = session["live"]["capabilities"].as_array().unwrap();
        let [capability] = &capabilities[..] else {
            panic!("{capabilities:?}")
        };
        let call = &session["spans"][0];
        assert_eq!(
            capability,
            &json!({
                "number": capability["number"],
                "heldBy": "peer",
                "introducedBy": { "method": "Thing/make", "in": "results", "spanId": call["spanId"] },
                "heldNanos": 90_000_000_000_u64,
                "calls": 0,
                "lastCall": null,
            })
        );
        assert_eq!(
            (&call["name"], &call["outcome"]),
            (&json!("Thing/make"), &json!("ok"))
        );

        let id = session["spanId"].as_str().unwrap();
        let page = stage.html(&format!("/tracez/session/{id}")).await;
        let origin = call["spanId"].as_str().unwrap();
        for part in [
            &*format!("<a href=\"#s-{origin}\"><bdi>Thing/<wbr>make</bdi></a>"),
            "in its results",
            "1 min 30 s",
            "<span class=\"badge never\">never</span>",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }

        held.number_request().send().promise.await.unwrap();
        let session = stage.session("orders").await;
        let capability = &session["live"]["capabilities"][0];
        assert_eq!(
            (&capability["calls"], &capability["lastCall"]),
            (&json!(1), &json!("Thing/number"))
        );
    });
}

#[test]
fn what_the_peer_gave_is_told_apart_from_what_it_holds() {
    run(async {
        let stage = Stage::new();
        let (client, cutter) = stage.serve("orders", GuardOptions::default());
        let mut store = client.store_request();
        store.get().set_thing(World::new().thing());
        store.send().promise.await.unwrap();
        until_idle().await;
        let session = stage.session("orders").await;
        let capabilities = session["live"]["capabilities"].as_array().unwrap();
        let of = |held_by: &str| {
            let mut all = capabilities.iter();
            all.find(|one| one["heldBy"] == held_by)
                .expect("there is one")
        };
        assert_eq!(of("peer")["introducedBy"], json!(null));
        let given = &of("thisSide")["introducedBy"];
        assert_eq!(
            (&given["method"], &given["in"]),
            (&json!("Thing/store"), &json!("parameters"))
        );
        cutter.cut();
        until_idle().await;
        assert_eq!(stage.json("/tracez").await["openCount"], 0);
    });
}

#[test]
fn those_that_are_old_and_seldom_called_come_first() {
    run(async {
        let stage = Stage::new();
        let (client, _session) = stage.begin("orders");
        let mut held = Vec::new();
        for _ in 0..3 {
            let made = client.make_request().send().promise.await.unwrap();
            held.push(made.get().unwrap().get_thing().unwrap());
            stage.clock.advance(Duration::from_secs(10));
        }
        for _ in 0..5 {
            held[0].number_request().send().promise.await.unwrap();
        }
        let session = stage.session("orders").await;
        let capabilities = session["live"]["capabilities"].as_array().unwrap();
        let calls: Vec<_> = capabilities
            .iter()
            .map(|one| one["calls"].as_u64().unwrap())
            .collect();
        // The second is older than the third; then the session's own, on which three were made, and the busy one.
        assert_eq!(calls, [0, 0, 3, 5]);
        let held: Vec<_> = capabilities
            .iter()
            .map(|one| one["heldNanos"].as_u64())
            .collect();
        assert!(held[0] > held[1]);
    });
}

#[test]
fn a_session_that_is_over_tells_how_it_went() {
    run(async {
        let stage = Stage::new();
        let (client, _session) = stage.begin("good");
        let mut fail = client.fail_request();
        fail.get().set_text("out of stock");
        fail.send().promise.await.err().unwrap();
        stage.clock.advance(Duration::from_millis(30));
        drop(client);
        let (_client, session) = stage.begin("bad");
        session.abort(Outcome::Timeout, "it has lasted too long");
        until_idle().await;

        let all = stage.json("/tracez").await;
        assert_eq!((&all["openCount"], &all["ended"]), (&json!(0), &json!(2)));
        assert_eq!(all["outcomes"]["timeout"], 1);
        let recent = all["recent"].as_array().unwrap();
        let row = |name| recent.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(
            (&row("good")["outcome"], &row("good")["durationNanos"]),
            (&json!("ok"), &json!(30_000_000))
        );
        assert_eq!(row("bad")["reason"], "it has lasted too long");

        let good = stage.session("good").await;
        assert_eq!(
            (&good["open"], &good["live"]),
            (&json!(false), &json!(null))
        );
        let call = &good["spans"][0];
        assert_eq!(
            (&call["outcome"], &call["reason"]),
            (&json!("exception"), &json!("out of stock"))
        );
        let methods = all["methods"].as_array().unwrap();
        let [method] = &methods[..] else {
            panic!("{methods:?}")
        };
        assert_eq!(
            (&method["begun"], &method["failed"], &method["ok"]),
            (&json!(1), &json!(1), &json!(0))
        );

        let timeouts = stage.json("/tracez?outcome=timeout").await;
        assert_eq!(timeouts["recent"].as_array().unwrap().len(), 1);
        let page = stage.html("/tracez?outcome=timeout").await;
        assert!(
            page.contains("it has lasted too long") && !page.contains("good"),
            "{page}"
        );
    });
}

struct Things(World);

impl Service for Things {
    async fn open_session(
        self: Rc<Self>,
        event: EventContext,
    ) -> Result<capnp::capability::Client, capnp::Error> {
        use capnp::capability::FromClientHook;
        event.enricher().set_attribute("seen", "by the callee");
        Ok(FromClientHook::new(self.0.thing().into_client_hook()))
    }
}

#[test]
fn both_sides_of_an_event_in_one_process_are_sessions_one_part_of_the_other() {
    run(async {
        let stage = Stage::new();
        let callee = Callee::new(Things(stage.world.clone()), &stage.tasks)
            .tracer(stage.tracer.clone())
            .call_spans(Stage::names())
            .live(&stage.board.live());
        let pipeline = Pipeline::new(callee.pipeline(), &stage.tasks).live(&stage.board.live());
        let event = pipeline.event("order").parent(stage.tracer.root());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let all = stage.json("/tracez?open=name").await;
        let rows = all["open"].as_array().unwrap();
        let kinds: Vec<_> = rows
            .iter()
            .map(|row| row["kind"].as_str().unwrap())
            .collect();
        assert_eq!(all["openCount"], 2);
        assert!(kinds.contains(&"CLIENT") && kinds.contains(&"SERVER"));
        let id = |kind| {
            rows[kinds.iter().position(|k| *k == kind).unwrap()]["spanId"]
                .as_str()
                .unwrap()
        };
        let inner = stage
            .json(&format!("/tracez/session/{}", id("SERVER")))
            .await;
        assert_eq!(inner["partOf"], id("CLIENT"));
        assert_eq!(inner["spans"][0]["name"], "Thing/number");
        let outer = stage
            .json(&format!("/tracez/session/{}", id("CLIENT")))
            .await;
        assert_eq!(
            outer["attributes"],
            json!([{ "key": "seen", "value": "by the callee", "byCallee": true }])
        );
        assert_eq!(outer["partOf"], json!(null));
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        until_idle().await;
        assert_eq!(stage.json("/tracez").await["openCount"], 0);
    });
}

#[test]
fn what_is_searched_for_and_how_it_is_sorted() {
    run(async {
        let stage = Stage::new();
        let kept: Vec<_> = ["beta", "Alpha", "gamma"]
            .map(|name| {
                let begun = stage.begin(name);
                stage.clock.advance(Duration::from_secs(1));
                begun
            })
            .into();
        let names = async |query: &str| {
            let all = stage.json(&format!("/tracez?{query}")).await;
            let rows = all["open"].as_array().unwrap().clone();
            let names: Vec<_> = rows
                .iter()
                .map(|row| row["name"].as_str().unwrap().to_owned())
                .collect();
            names.join(" ")
        };
        assert_eq!(names("").await, "beta Alpha gamma");
        assert_eq!(names("open=-age").await, "gamma Alpha beta");
        assert_eq!(names("open=name").await, "Alpha beta gamma");
        assert_eq!(names("q=ALP").await, "Alpha");
        assert_eq!(names("q=nobody").await, "");
        let id = stage.session("gamma").await["spanId"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(names(&format!("q={id}")).await, "gamma");
        let page = stage.html("/tracez?q=alp&open=name").await;
        for part in [
            "value=\"alp\"",
            "<input type=\"hidden\" name=\"open\" value=\"name\">",
            "aria-sort=\"ascending\"",
            "1 of 3 sessions",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        drop(kept);
    });
}
