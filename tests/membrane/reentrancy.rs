//! M5 *Revocation*, in the middle of anything: a call, a drop, another revocation, a waker, the end of
//! a connection. Nothing panics, the outside gets the reason, and the inside is gone and not called.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;

use capspan::Error;
use capspan::membrane::Membrane;
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scene::{Place, REASON, assert_revoked};
use capspan_testkit::membrane::{Connected, World, connect, idle, run};
use capspan_testkit::probe_capnp::probe;
use futures::FutureExt;

use super::reentrancy_setting::{Trigger, assert_reason, at, everywhere, waker};

/// The places at a connection.
const BEYOND: [Place; 2] = [Place::ServerEnd, Place::ClientEnd];

/// Runs what it is given when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_service_may_revoke_in_its_method() {
    everywhere(async |stage| {
        stage.aim();
        let mut swap = stage.service.swap_request();
        swap.get().set_cap(stage.scene.outside.probe("parameter"));
        assert_reason(soon(swap.send().promise).await);
        let after = stage.after.take();
        match stage.scene.place {
            // What the service has of the outside is beyond the connection.
            Place::ClientEnd => assert!(after.is_none()),
            _ => assert_reason(after.expect("it fails at once")),
        }
        stage.assert_over().await;
    });
}

#[test]
fn a_service_may_revoke_in_the_middle_of_its_work() {
    everywhere(async |stage| {
        stage.aim();
        assert_reason(soon(stage.service.echo_request().send().promise).await);
        stage.assert_over().await;
    });
}

#[test]
fn a_service_may_revoke_in_a_call_of_a_stream() {
    everywhere(async |stage| {
        stage.aim();
        let push = async || {
            let mut push = stage.service.push_request();
            push.get().set_data(&[1]);
            soon(push.send()).await
        };
        push().await.unwrap();
        let streamed = push().await;
        // A stock stream over a connection tells of an error with a later call.
        assert!(streamed.is_err() || stage.scene.place != Place::InProcess);
        idle().await;
        assert_reason(push().await);
        assert_eq!(stage.begun.get(), 2);
        stage.assert_over().await;
    });
}

#[test]
fn a_service_may_revoke_in_its_drop() {
    everywhere(async |mut stage| {
        stage.aim();
        let trigger = stage.trigger.clone();
        stage.scene.inside.on_drop(move |label| {
            if label == "service" {
                trigger.pull();
            }
        });
        stage.service = stage.scene.wrapper.clone();
        idle().await;
        stage.assert_over().await;
    });
}

#[test]
fn an_object_of_the_outside_may_revoke_in_its_drop() {
    everywhere(async |stage| {
        stage.aim();
        let trigger = stage.trigger.clone();
        stage.scene.outside.on_drop(move |_| trigger.pull());
        // It is kept in place of what was stored.
        soon(stage.scene.wrapper.store_request().send().promise)
            .await
            .ok();
        idle().await;
        stage.assert_over().await;
    });
}

#[test]
fn what_is_attached_may_revoke_in_its_drop() {
    struct All;
    impl capspan::membrane::Policy for All {}

    everywhere(async |stage| {
        stage.aim();
        let trigger = stage.trigger.clone();
        let part = stage.scene.membrane.part(All);
        part.attach(OnDrop(move || trigger.pull()));
        let of_the_part = part.export(stage.scene.inside.probe("of the part"));
        drop(part);
        idle().await;
        assert!(!stage.trigger.has_revoked());
        drop(of_the_part);
        idle().await;
        stage.assert_over().await;
    });
}

#[test]
fn what_is_attached_comes_too_late_to_revoke_its_own_membrane() {
    everywhere(async |stage| {
        let (weak, said) = (stage.scene.weak(), Rc::new(Cell::new(None)));
        let says = said.clone();
        stage.scene.membrane.attach(OnDrop(move || {
            says.set(Some(weak.revoke(Error::revoked("too late"))));
        }));
        let completion = stage.scene.completion();
        stage.scene.revoke();
        assert_eq!(said.get(), None);
        stage.assert_revoked().await;
        assert!(completion.is_complete());
        assert_eq!(said.get(), Some(false));
    });
}

#[test]
fn a_revocation_within_a_revocation_changes_nothing() {
    everywhere(async |stage| {
        let (weak, times) = (stage.scene.weak(), Rc::new(Cell::new(0)));
        let again = {
            let times = times.clone();
            move || {
                times.set(times.get() + 1);
                assert!(!weak.revoke(Error::revoked("a second reason")));
            }
        };
        let (inside, outside) = (again.clone(), again.clone());
        stage.scene.inside.on_drop(move |_| inside());
        stage.scene.outside.on_drop(move |_| outside());
        stage.scene.revoke();
        idle().await;
        assert!(times.get() > 4);
        stage.assert_revoked().await;
    });
}

#[test]
fn a_revocation_may_revoke_a_membrane_around_the_membrane() {
    everywhere(async |mut stage| {
        let around = Membrane::new();
        let twice = around.export(stage.scene.wrapper.clone());
        let hangs = start(twice.hang_request().send().promise);
        idle().await;
        let weak = around.downgrade();
        stage.scene.inside.on_drop(move |_| {
            weak.revoke(Error::revoked(REASON));
        });
        stage.scene.revoke();
        idle().await;
        assert!(!around.downgrade().revoke(Error::revoked("too late")));
        assert_reason(soon(hangs).await);
        stage.caps.push(twice);
        stage.assert_revoked().await;
        drop(around);
    });
}

#[test]
fn a_revocation_may_revoke_the_membrane_within_the_membrane() {
    everywhere(async |mut stage| {
        stage.aim();
        let around = Membrane::new();
        let weak = around.downgrade();
        // Only through the one around it.
        let twice = around.export(std::mem::replace(
            &mut stage.service,
            stage.scene.wrapper.clone(),
        ));
        let (hangs, root) = (
            start(twice.hang_request().send().promise),
            around.export(stage.scene.wrapper.clone()),
        );
        idle().await;
        let trigger = stage.trigger.clone();
        let back = weak.clone();
        stage.scene.inside.on_drop(move |_| {
            trigger.pull();
            assert!(!back.revoke(Error::revoked("a second reason")));
        });
        assert!(weak.revoke(Error::revoked(REASON)));
        idle().await;
        assert_reason(soon(hangs).await);
        assert_revoked("around", &twice).await;
        stage.caps.push(root);
        drop((twice, around));
        stage.assert_over().await;
    });
}

#[test]
fn a_completions_waker_may_revoke() {
    everywhere(async |stage| {
        stage.aim();
        // Another membrane of the same side, whose end is the end of this one.
        let other = Membrane::new();
        let own = other.downgrade();
        let mut completion = other.completion();
        let trigger = stage.trigger.clone();
        let waker = waker(move || {
            assert!(!own.revoke(Error::revoked("too late")));
            trigger.pull();
        });
        let polled = completion.poll_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let through_both = other.export(stage.scene.wrapper.clone());
        drop(other);
        assert!(!stage.trigger.has_revoked());
        drop(through_both);
        assert!(completion.is_complete());
        stage.assert_over().await;
    });
}

#[test]
fn a_completions_waker_comes_too_late_to_revoke_its_own_membrane() {
    everywhere(async |stage| {
        let (weak, said) = (stage.scene.weak(), Rc::new(Cell::new(None)));
        let (says, mut completion) = (said.clone(), stage.scene.completion());
        let other = completion.clone();
        let waker = waker(move || {
            assert!(other.is_complete());
            drop(other);
            says.set(Some(weak.revoke(Error::revoked("too late"))));
        });
        let polled = completion.poll_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        stage.scene.revoke();
        stage.assert_revoked().await;
        assert_eq!(said.get(), Some(false));
    });
}

#[test]
fn the_waker_of_a_call_that_returns_may_revoke() {
    // In one process it may not: there a promise must not be dropped by its own waker.
    at(&BEYOND, None, async |mut stage| {
        stage.aim();
        let mut waits = stage.scene.wrapper.wait_request().send().promise;
        let trigger = stage.trigger.clone();
        let waker = waker(move || trigger.pull());
        let polled = waits.poll_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        idle().await;
        // The one of these that waits at the gate may return or be revoked.
        let other = stage.calls.remove(1);
        stage.scene.inside.gate().open();
        idle().await;
        assert!(stage.trigger.has_revoked());
        drop(other);
        if let Ok(response) = soon(waits).await {
            let cap = response.get().unwrap().get_cap().unwrap();
            assert_revoked("what came with it", &cap).await;
        }
        // Let go by the gate as well: an early result had been there.
        stage.calls.remove(1);
        stage.assert_over().await;
    });
}

#[test]
fn the_waker_of_a_call_that_is_revoked_may_revoke_again() {
    everywhere(async |stage| {
        let mut hangs = stage.scene.wrapper.hang_request().send().promise;
        let (weak, said) = (stage.scene.weak(), Rc::new(Cell::new(None)));
        let says = said.clone();
        let waker = waker(move || {
            says.set(Some(weak.revoke(Error::revoked("a second reason"))));
        });
        let polled = hangs.poll_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        stage.scene.revoke();
        idle().await;
        assert_eq!(said.get(), Some(false));
        assert_reason(soon(hangs).await);
        stage.assert_revoked().await;
    });
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Cut,
    /// The system at the membrane's end is dropped.
    Dropped,
    Disconnected,
}

async fn end(connection: Connected<probe::Client>, place: Place, how: Ending) {
    match how {
        Ending::Cut => connection.link.cut(),
        Ending::Dropped if place == Place::ClientEnd => connection.client.abort(),
        Ending::Dropped => connection.server.abort(),
        Ending::Disconnected => soon(connection.disconnector).await.unwrap(),
    }
    idle().await;
}

/// A membrane at one end of a connection that ends, with calls in flight in both directions. Each drop on
/// either side revokes.
async fn a_connection_ends(place: Place, driven: bool, how: Ending) {
    let (inside, outside, trigger) = (World::new(), World::new(), Trigger::default());
    let mut builder = Membrane::builder();
    if driven {
        let (tasks, driver) = capspan::Tasks::new();
        tokio::task::spawn_local(driver);
        builder = builder.tasks(&tasks);
    }
    let membrane = builder.build();
    let (connection, wrapper) = match place {
        Place::ClientEnd => {
            let connection = connect(inside.probe("inner"));
            let wrapper = membrane.export(connection.bootstrap.clone());
            (connection, wrapper)
        }
        _ => {
            let connection = connect(membrane.export(inside.probe("inner")));
            let wrapper = connection.bootstrap.clone();
            (connection, wrapper)
        }
    };
    // A child that only its call holds, and so on inwards and outwards.
    let response = soon(wrapper.swap_request().send().promise).await.unwrap();
    let mut hang = response.get().unwrap().get_cap().unwrap().hang_request();
    hang.get().set_cap(outside.probe("parameter"));
    let hangs = start(hang.send().promise);
    drop(response);
    inside.watch();
    let mut swap = wrapper.swap_request();
    swap.get().set_cap(outside.probe("called"));
    soon(swap.send().promise).await.unwrap();
    let called = inside.seen().remove(0);
    let out = start(called.hang_request().send().promise);
    drop(called);
    idle().await;
    assert_eq!((inside.calls(), outside.calls()), (1, 1));
    trigger.aim(membrane.downgrade());
    for world in [&inside, &outside] {
        let trigger = trigger.clone();
        world.on_drop(move |_| trigger.pull());
    }
    end(connection, place, how).await;
    assert!(trigger.has_revoked());
    let completion = membrane.completion();
    drop((hangs, out, wrapper, membrane));
    idle().await;
    assert_eq!((inside.live(), inside.calls()), (0, 0));
    assert_eq!((outside.live(), outside.calls()), (0, 0));
    // `capnp-rpc` leaks the tables of a system that is dropped in the middle of calls, wrappers included.
    assert!(completion.is_complete() || how == Ending::Dropped);
}

#[test]
fn what_goes_with_a_connection_may_revoke() {
    connections_end(Ending::Cut);
    connections_end(Ending::Disconnected);
}

/// On its own, as the leak check has to leave it out: see `a_connection_ends`.
#[test]
fn what_goes_with_the_system_of_a_connection_may_revoke() {
    connections_end(Ending::Dropped);
}

fn connections_end(how: Ending) {
    for place in BEYOND {
        for driven in [false, true] {
            eprintln!("{place:?}, {how:?}, with a driver: {driven}");
            run(a_connection_ends(place, driven, how));
        }
    }
}
