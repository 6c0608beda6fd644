//! M5 *Revocation*: when it returns, every wrapper fails with the reason, every call in flight does, and
//! what they held on the other side is gone.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{FromClientHook, Promise};
use capspan::Error;
use capspan::membrane::WeakMembrane;
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::raw;
use capspan_testkit::membrane::scene::{
    Place, REASON, Scene, assert_revoked, at, everywhere, label, typed,
};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::probe;

fn is_the_reason(error: &capnp::Error) -> bool {
    error.extra.contains("revoked") && error.extra.contains(REASON)
}

/// Nothing inside is left once `revoke` has returned; where the inside is beyond a connection, as soon
/// as it has heard of it.
async fn assert_gone(scene: &Scene) {
    if scene.place == Place::ClientEnd {
        idle().await;
    }
    assert_eq!((scene.inside.live(), scene.inside.calls()), (0, 0));
}

#[test]
fn m5_wrappers_fail_and_what_they_wrapped_is_gone() {
    everywhere(async |scene| {
        let response = soon(scene.wrapper.swap_request().send().promise)
            .await
            .unwrap();
        let child = response.get().unwrap().get_cap().unwrap();
        drop(response);
        idle().await;
        assert_eq!(scene.inside.live(), 2);
        scene.revoke();
        assert_gone(&scene).await;
        idle().await;
        assert_revoked("the root", &scene.wrapper).await;
        assert_revoked("a child", &child).await;
        assert!(!scene.weak().revoke(Error::revoked("a second reason")));
        assert_revoked("the root", &scene.wrapper).await;
    });
}

#[test]
fn m5_calls_in_flight_fail_and_what_they_held_is_gone() {
    everywhere(async |scene| {
        let mut hang = scene.wrapper.hang_request();
        hang.get().set_cap(scene.outside.probe("parameter"));
        let hangs = start(hang.send().promise);
        let waits = start(scene.wrapper.wait_request().send().promise);
        let sent = scene.wrapper.early_request().send();
        let (pipelined, early) = (sent.pipeline.get_cap(), start(sent.promise));
        idle().await;
        assert_eq!(scene.inside.calls(), 3);
        scene.revoke();
        assert_gone(&scene).await;
        for call in [
            soon(hangs).await.err(),
            soon(waits).await.err(),
            soon(early).await.err(),
        ] {
            let error = call.expect("it was revoked");
            assert!(is_the_reason(&error), "{error}");
        }
        assert_revoked("pipelined", &pipelined).await;
        idle().await;
        assert_eq!(
            scene.outside.live(),
            0,
            "what the inside held of the outside is gone, too"
        );
    });
}

#[test]
fn m5_what_the_inside_has_fails_too() {
    everywhere(async |scene| {
        scene.inside.watch();
        let mut swap = scene.wrapper.swap_request();
        swap.get().set_cap(scene.outside.probe("outer"));
        soon(swap.send().promise).await.unwrap();
        let seen = scene.inside.seen().remove(0);
        let hangs = start(seen.hang_request().send().promise);
        idle().await;
        assert_eq!(scene.outside.calls(), 1);
        scene.revoke();
        let error = soon(hangs).await.err().unwrap();
        assert!(is_the_reason(&error), "{error}");
        assert_revoked("the outside's", &seen).await;
        idle().await;
        assert_eq!((scene.outside.live(), scene.outside.calls()), (0, 0));
    });
}

#[test]
fn m5_what_is_sent_or_looked_at_afterwards_fails() {
    everywhere(async |scene| {
        let mut unsent = scene.wrapper.swap_request();
        unsent.get().set_cap(scene.outside.probe("outer"));
        let mut streamed = scene.wrapper.push_request();
        streamed.get().set_data(&[1]);
        let held = soon(scene.wrapper.swap_request().send().promise)
            .await
            .unwrap();
        idle().await;
        scene.revoke();
        idle().await;
        let error = soon(unsent.send().promise).await.err().unwrap();
        assert!(is_the_reason(&error), "{error}");
        let error = soon(streamed.send()).await.err();
        // A stock stream over a connection tells of an error with a later call.
        assert!(
            error.is_some_and(|error| is_the_reason(&error)) || scene.place == Place::ServerEnd
        );
        let late = held.get().unwrap().get_cap().unwrap();
        assert_revoked("in a response that nobody had looked at", &late).await;
    });
}

#[test]
fn m5_promises_fail_and_who_waits_for_them_learns_of_it() {
    everywhere(async |scene| {
        let mut request = scene.wrapper.promise_request();
        request.get().set_to(probe::Target::Inside);
        let response = soon(request.send().promise).await.unwrap();
        let promise = response.get().unwrap().get_cap().unwrap();
        drop(response);
        idle().await;
        let queued = start(promise.label_request().send().promise);
        let when = start(promise.as_client_hook().when_resolved());
        idle().await;
        scene.revoke();
        assert_gone(&scene).await;
        let error = soon(queued).await.err().unwrap();
        assert!(is_the_reason(&error), "{error}");
        let _either_way = soon(when).await;
        assert_revoked("the promise", &promise).await;
    });
}

#[test]
fn m5_a_promise_that_never_resolves_fails_all_the_same() {
    at(&[Place::InProcess], async |scene| {
        // Somebody inside holds it, so that nothing but the revocation can end it.
        let kept: probe::Client = capnp_rpc::new_future_client(std::future::pending());
        let promise = scene.membrane.export(kept.clone());
        let when = start(promise.as_client_hook().when_resolved());
        let more = start(promise.as_client_hook().when_more_resolved().unwrap());
        idle().await;
        scene.revoke();
        assert!(is_the_reason(&soon(when).await.err().unwrap()));
        assert!(is_the_reason(&soon(more).await.err().unwrap()));
        assert_revoked("the promise", &promise).await;
    });
}

/// An object that calls `then` in the middle of a call of its own.
fn revoker(world: &World, then: impl Fn() + 'static) -> probe::Client {
    let kept = world.probe("kept");
    typed(raw::object(move |method, _params, mut results| {
        let _held = kept.clone();
        if method == 0 {
            then();
            // Too late: nobody will see it.
            let set = results
                .get()
                .map(|mut root| root.set_as_capability(kept.clone().into_client_hook()));
            return set.into();
        }
        Promise::from_future(std::future::pending())
    }))
}

#[test]
fn m5_from_within_a_call() {
    for place in [Place::InProcess, Place::ServerEnd] {
        run(async {
            let inside = World::new();
            let weak: Rc<RefCell<Option<WeakMembrane>>> = Rc::default();
            let handle = weak.clone();
            let object = revoker(&inside, move || {
                let weak = handle.borrow_mut().take().expect("once");
                assert!(weak.revoke(Error::revoked(REASON)));
            });
            let scene = Scene::new(place, true, inside, object).await;
            *weak.borrow_mut() = Some(scene.weak());
            // Another call in flight beside the one that revokes.
            let other = start(scene.wrapper.swap_request().send().promise);
            idle().await;
            let error = soon(scene.wrapper.echo_request().send().promise)
                .await
                .err()
                .unwrap();
            assert!(is_the_reason(&error), "{error}");
            let error = soon(other).await.err().unwrap();
            assert!(is_the_reason(&error), "{error}");
            idle().await;
            assert_eq!(scene.inside.live(), 0);
            assert_revoked("the root", &scene.wrapper).await;
        });
    }
}

#[test]
fn m5_from_within_a_drop() {
    // Letting one thing go inside may itself revoke: the first reason counts, nothing panics.
    everywhere(async |scene| {
        let weak = scene.weak();
        scene.inside.on_drop(move |_label| {
            weak.revoke(Error::revoked("from within"));
        });
        let children: Vec<_> = [0; 3]
            .map(|_| start(scene.wrapper.swap_request().send().promise))
            .into();
        let mut caps = Vec::new();
        for child in children {
            caps.push(soon(child).await.unwrap().get().unwrap().get_cap().unwrap());
        }
        scene.revoke();
        assert_gone(&scene).await;
        for cap in &caps {
            assert_revoked("a child", cap).await;
        }
    });
}

#[test]
fn m5_new_calls_and_objects_of_the_outside_itself_go_on() {
    everywhere(async |scene| {
        let outer = scene.outside.probe("outer");
        let mut store = scene.wrapper.store_request();
        store.get().set_cap(outer.clone());
        soon(store.send().promise).await.unwrap();
        scene.revoke();
        idle().await;
        assert_eq!(label(&outer).await.unwrap(), "outer");
    });
}

#[test]
fn m5_a_revoked_membrane_is_complete_when_its_wrappers_are_dropped() {
    everywhere(async |scene| {
        let completion = scene.completion();
        scene.revoke();
        idle().await;
        assert!(!completion.is_complete());
        let left = scene.leave();
        idle().await;
        assert!(completion.is_complete());
        drop(left);
    });
}

#[test]
fn m5_after_a_revocation_nothing_can_be_exported() {
    at(&[Place::InProcess], async |scene| {
        scene.revoke();
        let late = scene.membrane.export(scene.inside.probe("late"));
        assert_revoked("exported late", &late).await;
        let late = scene.membrane.import(scene.outside.probe("late"));
        assert_revoked("imported late", &late).await;
        assert_eq!(scene.inside.live() + scene.outside.live(), 0);
    });
}
