//! M2 *Identity*: the same capability crossing twice is the same wrapper, and what crosses out and back
//! in is the original.

use capnp::capability::FromClientHook;
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::scene::{Place, Scene, at, everywhere, identity, label, same};
use capspan_testkit::membrane::{World, bundle as shape, idle};
use capspan_testkit::probe_capnp::probe;

async fn store(to: &probe::Client, cap: &probe::Client) {
    let mut request = to.store_request();
    request.get().set_cap(cap.clone());
    soon(request.send().promise).await.unwrap();
}

async fn stored(from: &probe::Client) -> probe::Client {
    let response = soon(from.stored_request().send().promise).await.unwrap();
    response.get().unwrap().get_cap().unwrap()
}

async fn make(by: &probe::Client, label: &str) -> probe::Client {
    let mut request = by.make_request();
    request.get().set_label(label);
    let response = soon(request.send().promise).await.unwrap();
    response.get().unwrap().get_probe().unwrap()
}

/// Stores `cap` with `scene.wrapper` and gives what was seen inside.
async fn seen_inside(scene: &Scene, cap: &probe::Client) -> probe::Client {
    scene.inside.watch();
    store(&scene.wrapper, cap).await;
    scene.inside.seen().remove(0)
}

#[test]
fn m2_the_same_capability_crosses_in_twice_as_one_wrapper() {
    everywhere(async |scene| {
        let outer = scene.outside.probe("outer");
        let first = seen_inside(&scene, &outer).await;
        let second = seen_inside(&scene, &outer).await;
        let other = seen_inside(&scene, &scene.outside.probe("other")).await;
        assert!(same(&first, &second));
        assert!(!same(&first, &other));
    });
}

#[test]
fn m2_the_same_capability_crosses_out_twice_as_one_wrapper() {
    everywhere(async |scene| {
        // Two objects inside give the same third one.
        let other = make(&scene.wrapper, "other").await;
        let third = make(&scene.wrapper, "third").await;
        store(&scene.wrapper, &third).await;
        store(&other, &third).await;
        let (first, second) = (stored(&scene.wrapper).await, stored(&other).await);
        assert!(same(&first, &second) && same(&first, &third));
        assert!(!same(&first, &other));
    });
}

#[test]
fn m2_the_same_capability_many_times_in_one_message_is_one_wrapper() {
    everywhere(async |scene| {
        scene.inside.watch();
        let outer = scene.outside.probe("outer");
        let mut request = scene.wrapper.bundle_request();
        shape::fill(request.get().init_bundle(), |_place| outer.clone()).unwrap();
        let response = soon(request.send().promise).await.unwrap();
        let seen = scene.inside.seen();
        assert!(seen.iter().all(|cap| same(cap, &seen[0])));
        // And back out it is the original, everywhere.
        let caps = shape::caps(response.get().unwrap().get_bundle().unwrap()).unwrap();
        assert_eq!(caps.len(), shape::PLACES);
        for (place, cap) in caps {
            assert!(same(&cap, &outer), "{place}");
        }
    });
}

#[test]
fn m2_in_and_out_again_is_the_original() {
    everywhere(async |scene| {
        let outer = scene.outside.probe("outer");
        store(&scene.wrapper, &outer).await;
        let back = stored(&scene.wrapper).await;
        assert!(same(&back, &outer));
        assert_eq!(identity(&back).0, 0, "not even a connection lies between");
        // It was let go: what the outside calls has nothing to do with the membrane any more.
        scene.revoke();
        assert_eq!(label(&back).await.unwrap(), "outer");
    });
}

#[test]
fn m2_out_and_in_again_is_the_original() {
    everywhere(async |scene| {
        let made = make(&scene.wrapper, "made").await;
        let seen = seen_inside(&scene, &made).await;
        assert_eq!(identity(&seen).1, scene.inside.address("made"));
        assert_eq!(identity(&seen).0, 0, "not even a connection lies between");
        // The root itself, too.
        let seen = seen_inside(&scene, &scene.wrapper).await;
        assert_eq!(identity(&seen).1, scene.inside.address("inner"));
    });
}

#[test]
fn m2_what_was_let_go_crosses_anew() {
    everywhere(async |scene| {
        for _ in 0..3 {
            let outer = scene.outside.probe("outer");
            let seen = seen_inside(&scene, &outer).await;
            assert_eq!(label(&seen).await.unwrap(), "outer");
            drop((seen, outer));
            soon(scene.wrapper.store_request().send().promise)
                .await
                .unwrap();
            idle().await;
            assert_eq!(scene.outside.live(), 0);
        }
    });
}

#[test]
fn m2_a_wrapper_on_its_way_out_is_not_found_again() {
    // With a driver, what a dropped wrapper wrapped is let go later; in between it may cross again.
    at(&[Place::InProcess], async |scene| {
        let bare = scene.inside.probe("bare");
        let first = scene.membrane.export(bare.clone());
        drop(first);
        let second = scene.membrane.export(bare.clone());
        idle().await;
        let third = scene.membrane.export(bare);
        assert!(same(&second, &third));
        assert_eq!(label(&second).await.unwrap(), "bare");
    });
}

#[test]
fn m2_two_membranes_are_two() {
    at(&[Place::InProcess], async |scene| {
        let other = capspan::membrane::Membrane::new();
        let bare = World::new().probe("bare");
        let (one, two) = (scene.membrane.export(bare.clone()), other.export(bare));
        assert!(!same(&one, &two));
        // One around the other, and back through both.
        let around = other.export(one.clone());
        let back = other.import(around.clone());
        assert!(same(&back, &one));
        assert!(!same(&around, &one));
        let hook = around.as_client_hook().add_ref();
        assert_eq!(
            label(&probe::Client {
                client: capnp::capability::Client::new(hook)
            })
            .await
            .unwrap(),
            "bare"
        );
    });
}
