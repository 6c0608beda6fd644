//! How many methods are told apart, whatever a peer calls.

use capnp::capability::FromClientHook as _;
use capnp::traits::HasTypeId;
use capspan::session::{CallSpans, SessionBuilder};
use capspan::trace::{SpanKind, Tracer};
use capspan_testkit::run::run;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use tokio::task::spawn_local;

use super::setting::Meters;

const SERVER: &str = "rpc.server.call.duration";

/// An object in a session, whose calls are told of by `calls`.
fn session(meters: &Meters, calls: CallSpans) -> thing::Client {
    let (tasks, driver) = capspan::Tasks::new();
    spawn_local(driver);
    let tracer = Tracer::new(meters.metrics.observer());
    let session = SessionBuilder::new(&tasks).parent(tracer.root());
    session
        .call_spans(calls)
        .begin("session", World::new().thing())
        .0
}

/// Calls any method of any interface, and waits for the answer. Did it return?
async fn call(thing: &thing::Client, interface_id: u64, method_id: u16) -> bool {
    let client = capnp::capability::Client::new(thing.clone().into_client_hook());
    let call = client.new_call::<capnp::any_pointer::Owned, capnp::any_pointer::Owned>(
        interface_id,
        method_id,
        None,
    );
    call.send().promise.await.is_ok()
}

/// The methods that are told apart, and how many calls each has had.
fn methods(meters: &Meters) -> Vec<(String, u64)> {
    let counts = meters.counts(SERVER).into_iter();
    let method = |key: &str| {
        let (_, method) = key.split_once("rpc.method=").unwrap();
        method.split(' ').next().unwrap().to_owned()
    };
    counts.map(|(key, count)| (method(&key), count)).collect()
}

#[test]
fn what_does_not_exist_is_counted_together() {
    run(async {
        let meters = Meters::new();
        let thing = session(&meters, CallSpans::new());
        for n in 0..1_000 {
            assert!(!call(&thing, 0xab00 + n, 0).await);
        }
        assert_eq!(methods(&meters), [("_OTHER".to_owned(), 1_000)]);
        // What exists is known from its first answer on.
        assert!(call(&thing, thing::Client::TYPE_ID, 0).await);
        let known = (format!("{:#x}/0", thing::Client::TYPE_ID), 1);
        assert!(methods(&meters).contains(&known));
    });
}

#[test]
fn of_many_methods_256_are_told_apart() {
    run(async {
        let meters = Meters::new();
        let names: Vec<_> = (0..300).map(|n| format!("m{n}")).collect();
        let calls = CallSpans::new().interface_by_id(0xab, "Many", names);
        let thing = session(&meters, calls);
        for method_id in 0..300 {
            for _ in 0..2 {
                assert!(!call(&thing, 0xab, method_id).await);
            }
        }
        let methods = methods(&meters);
        let (other, apart): (Vec<_>, Vec<_>) =
            methods.into_iter().partition(|(name, _)| name == "_OTHER");
        assert_eq!(apart.len(), 256);
        assert!(apart.iter().all(|(_, count)| *count == 2));
        assert_eq!(other, [("_OTHER".to_owned(), 2 * 44)]);
    });
}

#[test]
fn a_span_that_only_looks_like_one_of_a_call_is_none() {
    let meters = Meters::new();
    let tracer = Tracer::new(meters.metrics.observer());
    tracer.root().start("Thing/number", SpanKind::Server).end();
    assert!(meters.counts(SERVER).is_empty());
}
