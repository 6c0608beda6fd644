//! M3 *Promises*: a promise that has crossed and resolves behaves as its resolution.

use capnp::capability::{FromClientHook, get_resolved_cap};
use capnp::private::capability::ClientHook;
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scene::{
    Place, Scene, assert_revoked, at, everywhere, identity, label, same,
};
use capspan_testkit::membrane::{World, idle};
use capspan_testkit::probe_capnp::probe;

/// A promise of `of`'s that will resolve when the gate opens.
async fn promise(
    of: &probe::Client,
    to: probe::Target,
    given: Option<&probe::Client>,
) -> probe::Client {
    let mut request = of.promise_request();
    request.get().set_to(to);
    if let Some(given) = given {
        request.get().set_cap(given.clone());
    }
    let response = soon(request.send().promise).await.unwrap();
    let promise = response.get().unwrap().get_cap().unwrap();
    idle().await;
    promise
}

fn hook(cap: &probe::Client) -> &dyn ClientHook {
    cap.as_client_hook()
}

/// What every resolved promise must do, whenever it is asked.
async fn assert_settled(promise: &probe::Client, as_: &str) {
    for _ in 0..3 {
        let resolved = hook(promise).get_resolved().expect("it has resolved");
        assert!(
            hook(promise)
                .get_resolved()
                .is_some_and(|again| again.get_ptr() == resolved.get_ptr())
        );
        assert_eq!(label(promise).await.unwrap(), as_);
        let resolved = probe::Client {
            client: capnp::capability::Client::new(resolved),
        };
        assert_eq!(label(&resolved).await.unwrap(), as_);
        assert!(same(promise, &resolved));
    }
}

#[test]
fn m3_resolves_inside() {
    everywhere(async |scene| {
        let promise = promise(&scene.wrapper, probe::Target::Inside, None).await;
        assert!(hook(&promise).get_resolved().is_none());
        let queued = start(promise.label_request().send().promise);
        let resolved = start(get_resolved_cap(promise.clone()));
        let when = start(hook(&promise).when_resolved());
        idle().await;
        assert_eq!(scene.inside.live(), 1, "nothing was made yet");
        scene.inside.gate().open();
        assert_eq!(
            soon(queued)
                .await
                .unwrap()
                .get()
                .unwrap()
                .get_label()
                .unwrap(),
            "inner's promise"
        );
        soon(when).await.unwrap();
        assert!(same(&soon(resolved).await, &promise));
        assert_settled(&promise, "inner's promise").await;
        scene.revoke();
        idle().await;
        assert_revoked("the promise", &promise).await;
    });
}

#[test]
fn m3_resolves_outside_and_calls_no_longer_cross() {
    everywhere(async |scene| {
        let outer = scene.outside.probe("outer");
        let promise = promise(&scene.wrapper, probe::Target::Given, Some(&outer)).await;
        let queued = start(promise.label_request().send().promise);
        let when = start(hook(&promise).when_resolved());
        idle().await;
        scene.inside.gate().open();
        assert_eq!(
            soon(queued)
                .await
                .unwrap()
                .get()
                .unwrap()
                .get_label()
                .unwrap(),
            "outer"
        );
        soon(when).await.unwrap();
        idle().await;
        assert_settled(&promise, "outer").await;
        assert!(same(&promise, &outer));
        scene.revoke();
        idle().await;
        assert_eq!(label(&promise).await.unwrap(), "outer");
    });
}

#[test]
fn m3_resolves_to_an_error() {
    everywhere(async |scene| {
        let promise = promise(&scene.wrapper, probe::Target::Error, None).await;
        let queued = start(promise.label_request().send().promise);
        let when = start(hook(&promise).when_resolved());
        idle().await;
        scene.inside.gate().open();
        let error = soon(queued).await.err().unwrap();
        assert!(error.extra.contains("the promise is broken"), "{error}");
        let _either_way = soon(when).await;
        for _ in 0..3 {
            let error = label(&promise).await.unwrap_err();
            assert!(error.extra.contains("the promise is broken"), "{error}");
        }
    });
}

#[test]
fn m3_resolves_to_a_promise_that_resolves() {
    everywhere(async |scene| {
        let promise = promise(&scene.wrapper, probe::Target::Promise, None).await;
        let queued = start(promise.label_request().send().promise);
        let when = start(hook(&promise).when_resolved());
        for _ in 0..2 {
            idle().await;
            assert!(!when.is_finished());
            scene.inside.gate().open();
        }
        assert_eq!(
            soon(queued)
                .await
                .unwrap()
                .get()
                .unwrap()
                .get_label()
                .unwrap(),
            "inner's promise"
        );
        soon(when).await.unwrap();
        assert_settled(&promise, "inner's promise").await;
    });
}

/// Lets `cap` in and gives what the inside has of it.
async fn let_in(scene: &Scene, cap: &probe::Client) -> probe::Client {
    scene.inside.watch();
    let mut store = scene.wrapper.store_request();
    store.get().set_cap(cap.clone());
    soon(store.send().promise).await.unwrap();
    idle().await;
    scene.inside.seen().remove(0)
}

#[test]
fn m3_an_outside_promise_resolves_outside() {
    everywhere(async |scene| {
        let outer = scene.outside.probe("outer");
        let promise = promise(&outer, probe::Target::Inside, None).await;
        let seen = let_in(&scene, &promise).await;
        let queued = start(seen.label_request().send().promise);
        let when = start(hook(&seen).when_resolved());
        idle().await;
        scene.outside.gate().open();
        assert_eq!(
            soon(queued)
                .await
                .unwrap()
                .get()
                .unwrap()
                .get_label()
                .unwrap(),
            "outer's promise"
        );
        soon(when).await.unwrap();
        assert_settled(&seen, "outer's promise").await;
        scene.revoke();
        idle().await;
        assert_revoked("the promise", &seen).await;
    });
}

#[test]
fn m3_an_outside_promise_resolves_inside_and_calls_no_longer_cross() {
    everywhere(async |scene| {
        let outer = scene.outside.probe("outer");
        let promise = promise(&outer, probe::Target::Given, Some(&scene.wrapper)).await;
        let seen = let_in(&scene, &promise).await;
        let queued = start(seen.label_request().send().promise);
        let when = start(hook(&seen).when_resolved());
        idle().await;
        scene.outside.gate().open();
        assert_eq!(
            soon(queued)
                .await
                .unwrap()
                .get()
                .unwrap()
                .get_label()
                .unwrap(),
            "inner"
        );
        soon(when).await.unwrap();
        idle().await;
        assert_settled(&seen, "inner").await;
        assert_eq!(identity(&seen).1, scene.inside.address("inner"));
        scene.revoke();
        idle().await;
        assert_eq!(label(&seen).await.unwrap(), "inner");
    });
}

#[test]
fn m3_a_promise_that_had_resolved_crosses_as_its_resolution() {
    at(&[Place::InProcess], async |scene| {
        let bare = scene.inside.probe("bare");
        let resolved = bare.clone();
        let promise: probe::Client = capnp_rpc::new_future_client(async { Ok(resolved) });
        soon(hook(&promise).when_resolved()).await.unwrap();
        assert_eq!(label(&promise).await.unwrap(), "bare");
        let (one, other) = (scene.membrane.export(promise), scene.membrane.export(bare));
        assert!(same(&one, &other));
        assert!(hook(&one).get_resolved().is_none() && hook(&one).when_more_resolved().is_none());
    });
}

#[test]
fn m3_waiting_for_what_has_resolved_ends() {
    // A stock promise of a connection never answers who asks late; ours does.
    at(&[Place::InProcess, Place::ClientEnd], async |scene| {
        let promise = promise(&scene.wrapper, probe::Target::Inside, None).await;
        let queued = start(promise.label_request().send().promise);
        idle().await;
        scene.inside.gate().open();
        soon(queued).await.unwrap();
        idle().await;
        for _ in 0..3 {
            soon(hook(&promise).when_resolved()).await.unwrap();
            let more = hook(&promise)
                .when_more_resolved()
                .expect("it was a promise");
            let more = soon(more).await.unwrap();
            assert!(same(
                &promise,
                &probe::Client {
                    client: capnp::capability::Client::new(more)
                }
            ));
        }
    });
}

#[test]
fn m3_a_request_built_before_and_sent_after_the_resolution() {
    for target in [probe::Target::Inside, probe::Target::Given] {
        // Where the outside is beyond a connection, the request is stock, and panics.
        at(&[Place::InProcess, Place::ClientEnd], async |scene| {
            let outer = scene.outside.probe("outer");
            let promise = promise(&scene.wrapper, target, Some(&outer)).await;
            // Otherwise nothing would drive a local promise.
            let when = start(hook(&promise).when_resolved());
            let mut request = promise.swap_request();
            request.get().set_cap(World::new().probe("parameter"));
            idle().await;
            scene.inside.gate().open();
            soon(when).await.unwrap();
            idle().await;
            let response = soon(request.send().promise).await.unwrap();
            let swapped = response.get().unwrap().get_cap().unwrap();
            assert!(label(&swapped).await.unwrap().ends_with("child"));
        });
    }
}
