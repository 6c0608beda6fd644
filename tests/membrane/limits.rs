//! Limits: what is beyond is refused with an error that names the limit, and counted.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{FromClientHook, Promise, Results};
use capspan::Error;
use capspan::membrane::{Limits, Membrane, Refused};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::raw;
use capspan_testkit::membrane::scene::{Scene, Worlds, everywhere_with, label, typed};
use capspan_testkit::membrane::{World, connect, idle, run};
use capspan_testkit::probe_capnp::probe;

fn limited(limits: Limits, test: impl AsyncFn(Scene)) {
    everywhere_with(|_| Membrane::builder().limits(limits), test);
}

fn none() -> Limits {
    let max = usize::MAX;
    Limits::default()
        .capabilities(max)
        .capabilities_in_a_message(max)
        .calls(max)
}

async fn make(by: &probe::Client) -> Result<probe::Client, capnp::Error> {
    let response = soon(by.make_request().send().promise).await?;
    response.get()?.get_probe()
}

#[test]
fn one_capability_too_many_fails_and_those_before_go_on() {
    limited(none().capabilities(3), async |scene| {
        let made = [
            make(&scene.wrapper).await.unwrap(),
            make(&scene.wrapper).await.unwrap(),
        ];
        let refused = make(&scene.wrapper).await.unwrap();
        let error = label(&refused).await.unwrap_err();
        let wanted = "3 capabilities are alive in this membrane; the limit is 3";
        assert!(error.extra.contains(wanted), "{error}");
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded);
        let counted = Refused {
            capabilities: 1,
            ..Refused::default()
        };
        assert_eq!(scene.membrane.refused(), counted);
        for cap in &made {
            label(cap).await.unwrap();
        }
        drop((made, refused));
        idle().await;
        // There is room again.
        label(&make(&scene.wrapper).await.unwrap()).await.unwrap();
        assert_eq!(scene.membrane.refused(), counted);
    });
}

#[test]
fn one_call_too_many_fails_and_there_is_room_when_one_has_ended() {
    limited(none().calls(2), async |scene| {
        let waiting = [0, 1].map(|_| start(scene.wrapper.wait_request().send().promise));
        idle().await;
        let error = label(&scene.wrapper).await.unwrap_err();
        let wanted = "2 calls are in flight through this membrane; the limit is 2";
        assert!(error.extra.contains(wanted), "{error}");
        assert_eq!(scene.membrane.refused().calls, 1);
        scene.inside.gate().open();
        for call in waiting {
            soon(call).await.unwrap();
        }
        label(&scene.wrapper).await.unwrap();
    });
}

#[test]
fn a_message_with_too_many_capabilities_is_refused_in_both_directions() {
    limited(none().capabilities_in_a_message(8), async |scene| {
        let many = async |given: u32, made: u32| {
            let mut request = scene.wrapper.many_request();
            let mut caps = request.get().init_caps(given);
            for index in 0..given {
                let cap = scene.outside.probe("x");
                caps.set(
                    index,
                    capnp::capability::FromClientHook::into_client_hook(cap),
                );
            }
            request.get().set_count(made);
            let response = soon(request.send().promise).await?;
            Ok::<_, capnp::Error>(response.get()?.get_caps()?.len())
        };
        assert_eq!(many(4, 4).await.unwrap(), 8);
        let wanted = "capabilities or more; the limit of this membrane is 8";
        for (given, made) in [(9, 0), (0, 9)] {
            let error = many(given, made).await.unwrap_err();
            assert!(error.extra.contains(wanted), "{given}, {made}: {error}");
        }
        assert!(scene.membrane.refused().messages >= 2);
        idle().await;
        assert_eq!(scene.outside.live(), 0);
        assert_eq!(many(1, 1).await.unwrap(), 2);
    });
}

#[test]
fn a_part_counts_for_itself() {
    struct All;
    impl capspan::membrane::Policy for All {}

    run(async {
        let worlds = Worlds::default();
        let whole = Membrane::builder().limits(none().capabilities(1)).build();
        let part = whole.part(All);
        let one = whole.export(worlds.inside.probe("one"));
        let other = part.export(worlds.inside.probe("other"));
        label(&one).await.unwrap();
        label(&other).await.unwrap();
        let refused = part.export(worlds.inside.probe("third"));
        assert!(label(&refused).await.is_err());
        assert_eq!(
            (whole.refused().capabilities, part.refused().capabilities),
            (0, 1)
        );
    });
}

#[test]
fn a_copy_with_too_many_capabilities_is_refused() {
    run(async {
        let worlds = Worlds::default();
        let membrane = Membrane::builder()
            .limits(none().capabilities_in_a_message(2))
            .build();
        let copy = |count: u32| {
            let mut request = worlds.outside.probe("to").many_request();
            let mut caps = request.get().init_caps(count);
            for index in 0..count {
                let cap = worlds.outside.probe("x");
                caps.set(index, FromClientHook::into_client_hook(cap));
            }
            let from = request.get().into_reader();
            let mut to = worlds.inside.probe("from").many_request();
            let hook = &mut to.hook;
            membrane.copy_into::<probe::many_params::Owned>(from, hook.get())
        };
        copy(2).unwrap();
        let error = copy(3).unwrap_err();
        let wanted = "capabilities or more; the limit of this membrane is 2";
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(membrane.refused().messages, 1);
    });
}

#[test]
fn promises_that_are_waited_for_are_no_calls() {
    limited(none().calls(2), async |scene| {
        let mut promises = Vec::new();
        for _ in 0..4 {
            let mut request = scene.wrapper.promise_request();
            request.get().set_to(probe::Target::Inside);
            let response = soon(request.send().promise).await.unwrap();
            let promise = response.get().unwrap().get_cap().unwrap();
            drop(response);
            let hook = promise.clone().into_client_hook();
            promises.push((start(async move { hook.when_resolved().await }), promise));
            idle().await;
        }
        label(&scene.wrapper).await.unwrap();
        assert_eq!(scene.membrane.refused().calls, 0);
        scene.inside.gate().open();
        for (resolved, promise) in promises {
            soon(resolved).await.unwrap();
            label(&promise).await.unwrap();
        }
    });
}

#[test]
fn a_call_that_was_received_counts_until_its_service_lets_go_of_the_results() {
    run(async {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let object = {
            let kept = kept.clone();
            raw::object(move |_method, _params, results| {
                kept.borrow_mut().push(results);
                Promise::ok(())
            })
        };
        let membrane = Membrane::builder().limits(none().calls(1)).build();
        let connection = connect::<probe::Client>(membrane.export(typed(object)));
        let call = || start(connection.bootstrap.swap_request().send().promise);
        let first = call();
        idle().await;
        assert!(soon(call()).await.is_err());
        assert_eq!(membrane.refused().calls, 1);
        kept.take();
        assert!(soon(first).await.is_ok());
        let second = call();
        idle().await;
        // The same where it was revoked before.
        membrane.revoke(Error::revoked("enough"));
        kept.take();
        let _ = soon(second).await;
        assert_eq!(membrane.refused().calls, 1);
    });
}

#[test]
fn results_of_a_canceled_call_leave_the_one_in_its_place_alone() {
    run(async {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let object = {
            let kept = kept.clone();
            raw::object(move |_method, _params, results| {
                kept.borrow_mut().push(results);
                match kept.borrow().len() {
                    1 => Promise::from_future(std::future::pending()),
                    _ => Promise::ok(()),
                }
            })
        };
        let inside = World::new();
        let membrane = Membrane::builder().limits(none().calls(1)).build();
        let connection = connect::<probe::Client>(membrane.export(typed(object)));
        let call = || start(connection.bootstrap.swap_request().send().promise);
        let canceled = call();
        idle().await;
        drop(canceled);
        idle().await;
        let next = call();
        idle().await;
        let mut results = kept.take().into_iter();
        drop(results.next().expect("of the canceled call"));
        assert!(soon(call()).await.is_err(), "the next one still counts");
        let results = results.next().expect("of the next call");
        let mut results = Results::<probe::swap_results::Owned>::new(results);
        results.get().set_cap(inside.probe("given late"));
        drop(results);
        let response = soon(next).await.unwrap();
        let given = response.get().unwrap().get_cap().unwrap();
        assert_eq!(label(&given).await.unwrap(), "given late");
    });
}
