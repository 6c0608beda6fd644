//! Two membranes, one behind the other.

use capnp::capability::FromClientHook;
use capnp::traits::HasTypeId;
use capspan::Error;
use capspan::membrane::Membrane;
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::scene::{Place, assert_revoked, at, label};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::probe;

const LABEL: u16 = 2;

#[test]
fn a_request_tells_whether_it_stays_in_this_process() {
    let brand = |cap: &probe::Client| {
        let request = cap
            .as_client_hook()
            .new_call(probe::Client::TYPE_ID, LABEL, None);
        request.hook.get_brand()
    };
    for (place, stays) in [(Place::InProcess, true), (Place::ClientEnd, false)] {
        at(&[place], async |scene| {
            assert_eq!(brand(&scene.wrapper) == 0, stays);
            let outer = Membrane::new();
            let wrapper = outer.export(scene.wrapper.clone());
            assert_eq!(brand(&wrapper) == 0, stays);
            if !stays {
                // Whose it is: not the connection's, nor another membrane's.
                assert_eq!(brand(&wrapper), wrapper.as_client_hook().get_brand());
                let inner = scene.wrapper.as_client_hook().get_brand();
                assert_eq!(brand(&scene.wrapper), inner);
                assert_ne!(brand(&wrapper), inner);
            }
        });
    }
}

#[test]
fn a_response_without_pointers_to_more_keeps_neither_open() {
    run(async {
        let inside = World::new();
        let (inner, outer) = (Membrane::new(), Membrane::new());
        let wrapper = outer.export(inner.export(inside.probe("inner")));
        let completions = [inner.completion(), outer.completion()];
        let response = soon(wrapper.label_request().send().promise).await.unwrap();
        drop((inner, outer, wrapper));
        idle().await;
        assert!(
            completions
                .iter()
                .all(|completion| completion.is_complete())
        );
        assert_eq!(inside.live(), 0);
        assert_eq!(response.get().unwrap().get_label().unwrap(), "inner");
    });
}

#[test]
fn a_response_with_a_capability_keeps_both_open_until_either_is_revoked() {
    for outer_first in [false, true] {
        run(async {
            let inside = World::new();
            let (inner, outer) = (Membrane::new(), Membrane::new());
            let wrapper = outer.export(inner.export(inside.probe("inner")));
            let completions = [inner.completion(), outer.completion()];
            let response = soon(wrapper.swap_request().send().promise).await.unwrap();
            let [inner, outer] = [inner, outer].map(|membrane| membrane.downgrade());
            drop(wrapper);
            idle().await;
            assert!(
                !completions
                    .iter()
                    .any(|completion| completion.is_complete())
            );
            let given = response.get().unwrap().get_cap().unwrap();
            assert_eq!(label(&given).await.unwrap(), "inner's child");
            let revoked = if outer_first { &outer } else { &inner };
            let reason = capspan_testkit::membrane::scene::REASON;
            assert!(revoked.revoke(Error::revoked(reason)));
            assert_revoked("what was given", &given).await;
            drop((given, response));
            idle().await;
            assert!(
                completions
                    .iter()
                    .all(|completion| completion.is_complete())
            );
            assert_eq!(inside.live(), 0);
        });
    }
}
