//! A policy that revokes its membrane while it is asked, or told of a call: no panic, no borrow error, and
//! nothing of the inside is used afterwards.

use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::idle;
use capspan_testkit::membrane::scene::{Place, assert_revoked};

use super::reentrancy_setting::{At, PLACES, assert_reason, at};

#[test]
fn a_policy_may_revoke_while_it_judges_a_call_inbound() {
    at(&PLACES, Some(At::InboundCall), async |stage| {
        stage.aim();
        let begun = stage.begun.get();
        assert_reason(soon(stage.service.hang_request().send().promise).await);
        assert_eq!(stage.begun.get(), begun);
        stage.assert_over().await;
    });
}

#[test]
fn a_policy_may_revoke_while_it_judges_a_call_outbound() {
    at(&PLACES, Some(At::OutboundCall), async |stage| {
        stage.aim();
        let mut call = stage.scene.wrapper.call_request();
        call.get().set_to(stage.scene.outside.probe("to"));
        assert_reason(soon(call.send().promise).await);
        stage.assert_over().await;
    });
}

#[test]
fn a_policy_may_revoke_while_a_capability_goes_out() {
    at(&PLACES, Some(At::ExportInternal), async |stage| {
        stage.aim();
        let swapped = soon(stage.scene.wrapper.swap_request().send().promise).await;
        // The call had come to its end; what it gives is revoked.
        if let Ok(swapped) = swapped {
            let cap = swapped.get().unwrap().get_cap().unwrap();
            assert_revoked("what went out", &cap).await;
        }
        stage.assert_over().await;
    });
    at(&PLACES, Some(At::ExportInternal), async |stage| {
        stage.aim();
        let late = stage.scene.inside.probe("late");
        let late = stage.scene.membrane.export(late);
        assert_revoked("what went out", &late).await;
        drop(late);
        stage.assert_over().await;
    });
}

#[test]
fn a_policy_may_revoke_while_a_capability_comes_in() {
    at(
        &[Place::ServerEnd],
        Some(At::ImportExternal),
        async |stage| {
            stage.aim();
            let mut store = stage.scene.wrapper.store_request();
            store.get().set_cap(stage.scene.outside.probe("late"));
            let stored = soon(store.send().promise).await;
            assert!(stored.is_err());
            stage.assert_over().await;
        },
    );
}

#[test]
fn a_policy_may_revoke_while_a_capability_goes_back() {
    // What is stored inside is of the outside.
    at(&PLACES, Some(At::ExportExternal), async |stage| {
        stage.aim();
        let stored = soon(stage.scene.wrapper.stored_request().send().promise).await;
        if let Ok(stored) = stored {
            let _own = stored.get().unwrap().get_cap();
        }
        stage.assert_over().await;
    });
    at(
        &[Place::ServerEnd],
        Some(At::ImportInternal),
        async |stage| {
            stage.aim();
            let mut store = stage.scene.wrapper.store_request();
            store.get().set_cap(stage.caps[0].clone());
            assert!(soon(store.send().promise).await.is_err());
            stage.assert_over().await;
        },
    );
}

#[test]
fn an_observer_may_revoke_when_a_call_begins() {
    at(&PLACES, Some(At::CallBegins), async |stage| {
        stage.aim();
        let begun = stage.begun.get();
        assert_reason(soon(stage.service.hang_request().send().promise).await);
        assert_eq!(stage.begun.get(), begun);
        stage.assert_over().await;
    });
    // By a call of the inside's, in the middle of one from outside.
    at(&PLACES, Some(At::CallBegins), async |stage| {
        let mut call = stage.scene.wrapper.call_request();
        call.get().set_to(stage.scene.outside.probe("to"));
        let call = call.send().promise;
        stage.aim();
        assert_reason(soon(call).await);
        stage.assert_over().await;
    });
}

#[test]
fn an_observer_may_revoke_when_a_call_ends() {
    at(&PLACES, Some(At::CallEnds), async |stage| {
        stage.aim();
        let swapped = soon(stage.scene.wrapper.swap_request().send().promise).await;
        if let Ok(swapped) = swapped {
            let cap = swapped.get().unwrap().get_cap().unwrap();
            assert_revoked("what went out", &cap).await;
        }
        stage.assert_over().await;
    });
    at(&PLACES, Some(At::CallEnds), async |stage| {
        stage.aim();
        let mut fail = stage.scene.wrapper.fail_request();
        fail.get().set_reason("enough of it");
        assert!(soon(fail.send().promise).await.is_err());
        stage.assert_over().await;
    });
    // One that is canceled says nothing; the next one does.
    at(&PLACES, Some(At::CallEnds), async |stage| {
        stage.aim();
        drop(start(stage.service.hang_request().send().promise));
        idle().await;
        assert!(!stage.trigger.has_revoked());
        let data = vec![1];
        let mut push = stage.scene.wrapper.push_request();
        push.get().set_data(&data);
        let _pushed = soon(push.send()).await;
        idle().await;
        stage.assert_over().await;
    });
}

#[test]
fn an_observer_may_revoke_while_it_marks_what_crosses() {
    at(&PLACES, Some(At::Mark), async |stage| {
        stage.aim();
        let swapped = soon(stage.scene.wrapper.swap_request().send().promise).await;
        if let Ok(swapped) = swapped
            && let Ok(cap) = swapped.get().unwrap().get_cap()
        {
            assert_revoked("what went out", &cap).await;
        }
        stage.assert_over().await;
    });
    at(&[Place::ServerEnd], Some(At::Mark), async |stage| {
        stage.aim();
        let mut store = stage.scene.wrapper.store_request();
        store.get().set_cap(stage.scene.outside.probe("late"));
        assert!(soon(store.send().promise).await.is_err());
        stage.assert_over().await;
    });
}

#[test]
fn what_is_marked_in_a_membrane_that_is_revoked_meanwhile_is_let_go_at_once() {
    at(&PLACES, Some(At::Mark), async |stage| {
        stage.aim();
        let swap = stage.scene.wrapper.swap_request().send();
        let cap = swap.pipeline.get_cap();
        let _held = soon(swap.promise).await;
        assert!(stage.trigger.has_revoked());
        idle().await;
        assert_eq!(stage.scene.inside.live(), 0);
        assert_revoked("what went out", &cap).await;
    });
}

#[test]
fn an_observer_may_revoke_while_it_is_asked_what_work_runs_in() {
    at(&PLACES, Some(At::Scope), async |stage| {
        let service = stage.service.clone();
        stage.aim();
        let mut store = stage.scene.wrapper.store_request();
        store.get().set_cap(stage.scene.outside.probe("late"));
        let stored = soon(store.send().promise).await;
        if stage.trigger.has_revoked() {
            assert!(stored.is_err());
            drop(service);
            stage.assert_over().await;
        }
    });
}
