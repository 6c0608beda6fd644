//! Errors cross as they are: each of the four kinds, with its text, on every way that an error can take.

use capnp::capability::Promise;
use capnp::{Error, ErrorKind};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scene::{Place, Scene, label, typed};
use capspan_testkit::membrane::{World, idle, raw, run};
use capspan_testkit::probe_capnp::probe;

const KINDS: [ErrorKind; 4] = [
    ErrorKind::Failed,
    ErrorKind::Overloaded,
    ErrorKind::Disconnected,
    ErrorKind::Unimplemented,
];

fn text(kind: ErrorKind) -> String {
    format!("what {kind:?} means here")
}

/// It is the error of this kind; over a connection the text has a prefix.
fn is_error<T>(what: &str, kind: ErrorKind, found: Result<T, Error>) {
    let found = found.err().expect("an error");
    assert_eq!(found.kind, kind, "{what}: {found}");
    assert!(found.extra.ends_with(&text(kind)), "{what}: {found}");
}

/// Runs `test` for each kind, wherever the membrane stands, around an object that fails so.
fn each(test: impl AsyncFn(Scene, ErrorKind)) {
    for kind in KINDS {
        for place in [Place::InProcess, Place::ServerEnd, Place::ClientEnd] {
            for driven in [false, true] {
                eprintln!("{kind:?}, {place:?}, driven: {driven}");
                run(async {
                    let fails = raw::object(move |_method, _params, _results| {
                        Promise::err(Error {
                            kind,
                            extra: text(kind),
                        })
                    });
                    let scene = Scene::new(place, driven, World::new(), typed(fails)).await;
                    test(scene, kind).await;
                });
            }
        }
    }
}

#[test]
fn a_call_fails_as_its_service_did() {
    each(async |scene, kind| {
        is_error("a call", kind, label(&scene.wrapper).await);
        let mut with = scene.wrapper.swap_request();
        with.get().set_cap(scene.outside.probe("parameter"));
        is_error("with a capability", kind, soon(with.send().promise).await);
        idle().await;
        assert_eq!(scene.outside.live(), 0);
    });
}

#[test]
fn what_was_pipelined_fails_as_the_call_did() {
    each(async |scene, kind| {
        let sent = scene.wrapper.swap_request().send();
        let before = sent.pipeline.get_cap();
        let asked = start(async move { label(&before).await });
        is_error("the call", kind, soon(sent.promise).await);
        is_error("asked before", kind, soon(asked).await);
        let after = sent.pipeline.get_cap();
        is_error("asked after", kind, label(&after).await);
    });
}

#[test]
fn a_stream_fails_as_its_service_did() {
    each(async |scene, kind| {
        let mut failed = Ok(());
        // Over a connection a later call tells of it.
        for _ in 0..3 {
            failed = failed.and(soon(scene.wrapper.push_request().send()).await);
            idle().await;
        }
        is_error("the stream", kind, failed);
    });
}

#[test]
fn a_promise_breaks_with_its_error() {
    for kind in KINDS {
        run(async {
            let scene = Scene::new(Place::InProcess, true, World::new(), broken(kind)).await;
            is_error("a broken promise", kind, label(&scene.wrapper).await);
        });
    }
}

fn broken(kind: ErrorKind) -> probe::Client {
    capnp_rpc::new_future_client(async move {
        Err(Error {
            kind,
            extra: text(kind),
        })
    })
}

#[test]
fn a_revocation_fails_everything_with_its_reason() {
    let reasons: [fn(String) -> capspan::Error; 4] = [
        capspan::Error::failed,
        capspan::Error::overloaded,
        capspan::Error::disconnected,
        capspan::Error::unimplemented,
    ];
    for (kind, reason) in KINDS.into_iter().zip(reasons) {
        for place in [Place::InProcess, Place::ServerEnd, Place::ClientEnd] {
            run(async {
                let inside = World::new();
                let inner = inside.probe("inner");
                let scene = Scene::new(place, true, inside, inner).await;
                let sent = scene.wrapper.hang_request().send();
                let pipelined = sent.pipeline.get_cap();
                let call = start(sent.promise);
                idle().await;
                assert!(scene.membrane.revoke(reason(text(kind))));
                is_error("in flight", kind, soon(call).await);
                is_error("pipelined", kind, label(&pipelined).await);
                is_error("afterwards", kind, label(&scene.wrapper).await);
            });
        }
    }
}
