//! What is done by a membrane's handle: copies and pipelines cross by hand, values are attached, a future
//! revokes, a weak handle leads back.

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::{FromClientHook, RemotePromise};
use capnp::traits::HasTypeId;
use capspan::membrane::Membrane;
use capspan::{Driver, Error, Tasks};
use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::scene::{Worlds, label, same};
use capspan_testkit::membrane::{World, bundle as shape, idle, run};
use capspan_testkit::probe_capnp::{bundle, probe};
use futures::FutureExt;
use futures::channel::oneshot;

const MAKE: u16 = 3;

#[test]
fn a_weak_handle_gives_the_membrane_until_it_is_complete() {
    run(async {
        let inside = World::new();
        let membrane = Membrane::new();
        let (weak, completion) = (membrane.downgrade(), membrane.completion());
        let wrapper = membrane.export(inside.probe("x"));
        drop(membrane);
        let other = weak.upgrade().unwrap().export(inside.probe("y"));
        assert_eq!(
            wrapper.as_client_hook().get_brand(),
            other.as_client_hook().get_brand()
        );
        drop((wrapper, other));
        assert!(completion.is_complete());
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn capabilities_cross_in_a_copy_both_ways() {
    run(async {
        let worlds = Worlds::default();
        let membrane = Membrane::new();
        let outer = worlds.outside.probe("outer");
        let fill = |cap: &probe::Client| {
            let mut message = capnp::message::Builder::new_default();
            let mut table = capnp::private::layout::CapTable::new();
            let mut root: capnp::any_pointer::Builder<'_> = message.init_root();
            capnp::traits::ImbueMut::imbue_mut(&mut root, &mut table);
            shape::fill(root.init_as::<bundle::Builder<'_>>(), |_| cap.clone()).unwrap();
            (message, table)
        };
        let caps = |message: &capnp::message::Builder<_>, table: &_| {
            let mut root: capnp::any_pointer::Reader<'_> = message.get_root_as_reader().unwrap();
            capnp::traits::Imbue::imbue(&mut root, table);
            shape::caps(root.get_as().unwrap()).unwrap()
        };
        let (from, from_table) = fill(&outer);
        let mut source: capnp::any_pointer::Reader<'_> = from.get_root_as_reader().unwrap();
        capnp::traits::Imbue::imbue(&mut source, &from_table);

        let mut inside = capnp::message::Builder::new_default();
        let mut inside_table = capnp::private::layout::CapTable::new();
        let mut to: capnp::any_pointer::Builder<'_> = inside.init_root();
        capnp::traits::ImbueMut::imbue_mut(&mut to, &mut inside_table);
        let source: bundle::Reader<'_> = source.get_as().unwrap();
        membrane.copy_into::<bundle::Owned>(source, to).unwrap();
        let crossed = caps(&inside, &inside_table);
        assert_eq!(crossed.len(), shape::PLACES);
        let wrapper = membrane.import(outer.clone());
        assert!(crossed.iter().all(|(_, cap)| same(cap, &wrapper)));

        let mut copied: capnp::any_pointer::Reader<'_> = inside.get_root_as_reader().unwrap();
        capnp::traits::Imbue::imbue(&mut copied, &inside_table);
        let mut outside = capnp::message::Builder::new_default();
        let mut outside_table = capnp::private::layout::CapTable::new();
        let mut to: capnp::any_pointer::Builder<'_> = outside.init_root();
        capnp::traits::ImbueMut::imbue_mut(&mut to, &mut outside_table);
        let copied: bundle::Reader<'_> = copied.get_as().unwrap();
        membrane.copy_out_of::<bundle::Owned>(copied, to).unwrap();
        let back = caps(&outside, &outside_table);
        assert_eq!(back.len(), shape::PLACES);
        assert!(back.iter().all(|(_, cap)| same(cap, &outer)));
    });
}

#[test]
fn what_is_asked_of_a_pipeline_crosses_and_a_revocation_cuts_it_off() {
    run(async {
        let inside = World::new();
        let membrane = Membrane::new();
        let mut pipelines = Vec::new();
        let inner = inside.probe("inner").into_client_hook();
        let call = inner.new_call(probe::Client::TYPE_ID, MAKE, None);
        let RemotePromise { promise, pipeline } = call.send();
        let field = pipeline.get_pointer_field(0);
        for (pipeline, ops) in [(pipeline, 1), (field, 0)] {
            let pipeline = membrane.export_pipeline(pipeline);
            let crossed = match ops {
                0 => pipeline.as_cap(),
                _ => pipeline.get_pointer_field(0).as_cap(),
            };
            let brand = membrane
                .export(inside.probe("x"))
                .as_client_hook()
                .get_brand();
            assert_eq!(crossed.get_brand(), brand);
            pipelines.push((pipeline, crossed.cast_to::<probe::Client>()));
        }
        soon(promise).await.unwrap();
        for (_, crossed) in &pipelines {
            assert_eq!(label(crossed).await.unwrap(), "");
        }
        assert!(membrane.downgrade().revoke(Error::revoked("cut off")));
        for (pipeline, crossed) in &pipelines {
            let late: probe::Client = pipeline.get_pointer_field(0).as_cap().cast_to();
            for cap in [crossed, &late] {
                let error = label(cap).await.unwrap_err();
                assert!(error.extra.contains("cut off"), "{error}");
            }
        }
        drop(pipelines);
        assert_eq!(inside.live(), 1, "the one that made the others");
    });
}

#[test]
fn what_is_attached_goes_last_before_the_completion() {
    struct Attached(World, Rc<Cell<Option<usize>>>);

    impl Drop for Attached {
        fn drop(&mut self) {
            self.1.set(Some(self.0.live()));
        }
    }

    run(async {
        for driven in [false, true] {
            let (tasks, driver) = Tasks::new();
            tokio::task::spawn_local(driver);
            let mut membrane = Membrane::builder();
            if driven {
                membrane = membrane.tasks(&tasks);
            }
            let membrane = membrane.build();
            let (inside, seen) = (World::new(), Rc::new(Cell::new(None)));
            membrane.attach(Attached(inside.clone(), seen.clone()));
            let (wrapper, completion) = (membrane.export(inside.probe("x")), membrane.completion());
            drop(membrane);
            idle().await;
            assert_eq!(seen.get(), None);
            drop(wrapper);
            idle().await;
            assert_eq!(seen.get(), Some(0));
            assert!(completion.is_complete());
        }
    });
}

#[test]
fn a_future_revokes_unless_the_membrane_is_complete_before() {
    run(async {
        let inside = World::new();
        let membrane = Membrane::new();
        let wrapper = membrane.export(inside.probe("x"));
        let (say, reason) = oneshot::channel();
        let revoked = membrane
            .downgrade()
            .revoke_when(async move { Error::revoked(reason.await.unwrap_or("gone")) });
        let revoked = tokio::task::spawn_local(revoked);
        idle().await;
        assert_eq!(label(&wrapper).await.unwrap(), "x");
        say.send("time is up").unwrap();
        soon(revoked).await.unwrap();
        let error = label(&wrapper).await.unwrap_err();
        assert!(error.extra.contains("time is up"), "{error}");

        let membrane = Membrane::new();
        let never = futures::future::pending::<Error>();
        let mut ends = membrane.downgrade().revoke_when(never).boxed_local();
        assert!((&mut ends).now_or_never().is_none());
        drop(membrane);
        soon(ends).await;
    });
}

#[test]
fn a_pipeline_that_crosses_after_a_revocation_is_let_go() {
    run(async {
        let inside = World::new();
        let membrane = Membrane::new();
        membrane.revoke(Error::revoked("before"));
        let inner = inside.probe("inner").into_client_hook();
        let call = inner.new_call(probe::Client::TYPE_ID, MAKE, None);
        let RemotePromise { promise, pipeline } = call.send();
        soon(promise).await.unwrap();
        assert_eq!(inside.live(), 2);
        let pipeline = membrane.export_pipeline(pipeline);
        assert_eq!(inside.live(), 1, "the one that made the other");
        let crossed: probe::Client = pipeline.get_pointer_field(0).as_cap().cast_to();
        let error = label(&crossed).await.unwrap_err();
        assert!(error.extra.contains("before"), "{error}");
    });
}

/// A membrane whose driver is not polled by anybody else.
fn driven() -> (Membrane, Driver) {
    let (tasks, driver) = Tasks::new();
    (Membrane::builder().tasks(&tasks).build(), driver)
}

#[test]
fn with_a_driver_the_completion_comes_in_a_turn_of_its() {
    let (membrane, mut driver) = driven();
    let completion = membrane.completion();
    drop(membrane);
    assert!(!completion.is_complete());
    assert!((&mut driver).now_or_never().is_some());
    assert!(completion.is_complete());
}

#[test]
fn a_weak_handle_does_not_lead_back_to_what_only_waits_to_be_dropped() {
    let (membrane, mut driver) = driven();
    let inside = World::new();
    let wrappers = ["one", "other"].map(|label| membrane.export(inside.probe(label)));
    let (weak, completion) = (membrane.downgrade(), membrane.completion());
    drop(membrane);
    assert!(weak.upgrade().is_some());
    drop(wrappers);
    assert_eq!(inside.live(), 2, "they wait for the driver");
    assert!(weak.upgrade().is_none() && weak.is_unreferenced());
    assert!(!weak.revoke(Error::revoked("too late")));
    assert!(!completion.is_complete());
    assert!((&mut driver).now_or_never().is_some());
    assert!(completion.is_complete());
    assert_eq!(inside.live(), 0);
}

#[test]
fn what_a_service_lets_go_of_goes_at_the_end_of_its_turn() {
    run(async {
        let (membrane, driver) = driven();
        let worlds = Worlds::default();
        let wrapper = membrane.export(worlds.inside.probe("inner"));
        // Handed on by a promise, the call is one that was received.
        let promise: probe::Client = capnp_rpc::new_future_client(async { Ok(wrapper) });
        let mut swap = promise.swap_request();
        swap.get().set_cap(worlds.outside.probe("parameter"));
        let response = soon(swap.send().promise).await.unwrap();
        assert_eq!(
            worlds.outside.live(),
            0,
            "though nobody has polled the driver"
        );
        drop((response, driver));
    });
}
