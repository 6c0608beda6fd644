//! M1 *Closure*: no capability crosses unwrapped, wherever in whatever message it lies.
//!
//! How it is proved: every capability that either side has got through the membrane is kept; then the
//! membrane is revoked, and each of them must fail with the reason. A bare one would go on working.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Promise, Results};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::raw;
use capspan_testkit::membrane::scene::{
    Place, Scene, assert_revoked, at, everywhere, identity, label, typed,
};
use capspan_testkit::membrane::{World, bundle as shape, connect, idle};
use capspan_testkit::probe_capnp::{bundle, probe};

/// What one side has got from the other.
#[derive(Default)]
struct Got(Vec<(String, probe::Client)>);

impl Got {
    fn add(&mut self, what: &str, cap: probe::Client) {
        self.0.push((what.to_owned(), cap));
    }

    fn bundle(&mut self, what: &str, bundle: bundle::Reader<'_>) {
        let caps = shape::caps(bundle).unwrap();
        assert_eq!(caps.len(), shape::PLACES);
        self.0.extend(
            caps.into_iter()
                .map(|(place, cap)| (format!("{what}: {place}"), cap)),
        );
    }

    fn seen(&mut self, what: &str, world: &World, count: usize) {
        let seen = world.seen();
        assert_eq!(seen.len(), count, "{what}");
        self.0
            .extend(seen.into_iter().map(|cap| (what.to_owned(), cap)));
    }

    /// All of them work; then the membrane is revoked, and none does.
    async fn are_all_wrapped(self, scene: &Scene) {
        for (what, cap) in &self.0 {
            label(cap)
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        scene.revoke();
        idle().await;
        for (what, cap) in &self.0 {
            assert_revoked(what, cap).await;
        }
    }
}

fn filled(outside: &World) -> impl FnMut(&str) -> probe::Client {
    |place| outside.probe(place)
}

#[test]
fn m1_every_place_in_params_and_results() {
    everywhere(async |scene| {
        scene.inside.watch();
        let mut request = scene.wrapper.bundle_request();
        shape::fill(request.get().init_bundle(), filled(&scene.outside)).unwrap();
        request.get().set_swap(true);
        let response = soon(request.send().promise).await.unwrap();
        let mut got = Got::default();
        got.seen("params", &scene.inside, shape::PLACES);
        got.bundle("results", response.get().unwrap().get_bundle().unwrap());
        got.are_all_wrapped(&scene).await;
    });
}

/// Do pointers in the bundle itself lead to other segments?
fn has_far_pointers(bundle: bundle::Reader<'_>) -> bool {
    let words = capnp::raw::get_list_bytes(capnp::raw::get_struct_pointer_section(bundle));
    words.chunks_exact(8).any(|word| word[0] & 3 == 2)
}

#[test]
fn m1_behind_far_pointers() {
    everywhere(async |scene| {
        scene.inside.watch();
        let mut request = scene.wrapper.bundle_request();
        let mut content = request.get().init_bundle();
        // More than a first segment has.
        content.set_data(&[7; 100_000]);
        shape::fill(content.reborrow(), filled(&scene.outside)).unwrap();
        assert!(has_far_pointers(content.into_reader()));
        request.get().set_swap(true);
        let response = soon(request.send().promise).await.unwrap();
        let mut got = Got::default();
        got.seen("params", &scene.inside, shape::PLACES);
        got.bundle("results", response.get().unwrap().get_bundle().unwrap());
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_a_thousand_in_one_message() {
    everywhere(async |scene| {
        scene.inside.watch();
        let mut request = scene.wrapper.many_request();
        let mut caps = request.get().init_caps(1000);
        for at in 0..1000 {
            caps.set(at, scene.outside.probe("one of many").into_client_hook());
        }
        soon(request.send().promise).await.unwrap();
        let mut got = Got::default();
        got.seen("params", &scene.inside, 1000);
        let mut request = scene.wrapper.many_request();
        request.get().set_count(1000);
        let response = soon(request.send().promise).await.unwrap();
        for cap in response.get().unwrap().get_caps().unwrap().iter() {
            got.add("results", cap.unwrap());
        }
        assert_eq!(got.0.len(), 2000);
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_pipelined_results() {
    everywhere(async |scene| {
        let sent = scene.wrapper.wait_request().send();
        let before = sent.pipeline.get_cap();
        let returned = start(sent.promise);
        let queued = start(before.label_request().send().promise);
        idle().await;
        scene.inside.gate().open();
        let response = soon(returned).await.unwrap();
        let mut got = Got::default();
        let called = soon(queued).await.unwrap();
        assert_eq!(called.get().unwrap().get_label().unwrap(), "inner's child");
        got.add("pipelined before the return", before);
        got.add("pipelined after the return", sent.pipeline.get_cap());
        got.add("returned", response.get().unwrap().get_cap().unwrap());
        // On what was pipelined, again.
        let child = soon(sent.pipeline.get_cap().swap_request().send().promise)
            .await
            .unwrap();
        got.add("a child's", child.get().unwrap().get_cap().unwrap());
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_early_results() {
    everywhere(async |scene| {
        let sent = scene.wrapper.early_request().send();
        let early = sent.pipeline.get_cap();
        assert_eq!(label(&early).await.unwrap(), "inner's child");
        assert_eq!(scene.inside.gate().waiting(), 1, "it has not returned");
        let child = soon(early.swap_request().send().promise).await.unwrap();
        let mut got = Got::default();
        got.add("early", early);
        got.add("by an early one", child.get().unwrap().get_cap().unwrap());
        scene.inside.gate().open();
        let response = soon(sent.promise).await.unwrap();
        let results = response.get().unwrap();
        got.add("early, returned", results.get_cap().unwrap());
        got.add("late", results.get_late().unwrap());
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_promises_and_what_they_resolve_to() {
    everywhere(async |scene| {
        let mut request = scene.wrapper.promise_request();
        request.get().set_to(probe::Target::Promise);
        let response = soon(request.send().promise).await.unwrap();
        let promise = response.get().unwrap().get_cap().unwrap();
        let queued = start(promise.swap_request().send().promise);
        // From now on: a stock promise that has resolved already never says so again.
        let resolved = start(capnp::capability::get_resolved_cap(promise.clone()));
        for _ in 0..2 {
            idle().await;
            scene.inside.gate().open();
        }
        let child = soon(queued).await.unwrap();
        let mut got = Got::default();
        got.add("resolved", soon(resolved).await);
        got.add("the promise", promise);
        got.add("of a queued call", child.get().unwrap().get_cap().unwrap());
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_what_an_outside_promise_resolves_to() {
    everywhere(async |scene| {
        let mut request = scene.outside.probe("outer").promise_request();
        request.get().set_to(probe::Target::Inside);
        let response = soon(request.send().promise).await.unwrap();
        scene.inside.watch();
        let mut store = scene.wrapper.store_request();
        store
            .get()
            .set_cap(response.get().unwrap().get_cap().unwrap());
        soon(store.send().promise).await.unwrap();
        let seen = scene.inside.seen().remove(0);
        idle().await;
        scene.outside.gate().open();
        let mut got = Got::default();
        let resolved = capnp::capability::get_resolved_cap(seen.clone());
        got.add("resolved", soon(resolved).await);
        got.add("the promise", seen);
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_calls_from_inside_and_their_results() {
    everywhere(async |scene| {
        scene.inside.watch();
        scene.outside.watch();
        let mut request = scene.wrapper.relay_request();
        request.get().set_to(scene.outside.probe("outer"));
        request.get().set_cap(scene.outside.probe("to and fro"));
        soon(request.send().promise).await.unwrap();
        let mut got = Got::default();
        // `to`, `cap`, and what `to` gave for `cap`.
        got.seen("inside", &scene.inside, 3);
        assert_eq!(scene.outside.seen().len(), 1, "its own came back");

        let mut request = scene.wrapper.make_request();
        request.get().set_label("made");
        let made = soon(request.send().promise).await.unwrap();
        let mut request = scene.wrapper.relay_request();
        request
            .get()
            .set_to(made.get().unwrap().get_probe().unwrap());
        request.get().set_cap(scene.outside.probe("through two"));
        let response = soon(request.send().promise).await.unwrap();
        got.add("relayed", response.get().unwrap().get_cap().unwrap());
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_streamed_params() {
    everywhere(async |scene| {
        scene.inside.watch();
        for count in 1..=10 {
            let mut push = scene.wrapper.push_request();
            push.get().set_data(&vec![1; count]);
            push.get().set_cap(scene.outside.probe("streamed"));
            soon(push.send()).await.unwrap();
        }
        let pushed = soon(scene.wrapper.pushed_request().send().promise)
            .await
            .unwrap();
        let pushed = pushed.get().unwrap();
        assert_eq!((pushed.get_calls(), pushed.get_bytes()), (10, 55));
        let mut got = Got::default();
        got.seen("streamed", &scene.inside, 10);
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_an_error_brings_nothing() {
    everywhere(async |scene| {
        let mut request = scene.wrapper.fail_request();
        request.get().set_reason("on purpose");
        let sent = request.send();
        let pipelined = sent.pipeline.get_cap();
        let error = soon(sent.promise).await.err().unwrap();
        assert!(error.extra.contains("on purpose"), "{error}");
        for cap in [pipelined, sent.pipeline.get_cap()] {
            label(&cap).await.unwrap_err();
        }
    });
}

#[test]
fn m1_a_message_that_is_nothing_but_a_capability() {
    // In, it is looked at as a whole; out, it is set as a whole.
    let inside = World::new();
    for place in [Place::InProcess, Place::ServerEnd, Place::ClientEnd] {
        capspan_testkit::membrane::run(async {
            let kept = inside.clone();
            let inner = raw::object(move |_method, params, mut results| {
                let given = params
                    .get()
                    .and_then(|it| it.get_as_capability::<probe::Client>());
                let child = kept.probe("bare").into_client_hook();
                let set = results.get().map(|mut root| root.set_as_capability(child));
                let kept = kept.clone();
                Promise::from_future(async move {
                    let mut keep = kept.probe("keeper").swap_request();
                    keep.get().set_cap(given?);
                    keep.send().promise.await?;
                    set
                })
            });
            inside.watch();
            let scene = Scene::new(place, true, inside.clone(), typed(inner)).await;
            let client = Client::new(scene.wrapper.as_client_hook().add_ref());
            let mut request =
                client.new_call::<capnp::any_pointer::Owned, capnp::any_pointer::Owned>(0, 0, None);
            let given = scene.outside.probe("outer").into_client_hook();
            request.hook.get().set_as_capability(given);
            let response = soon(request.hook.send().promise).await.unwrap();
            let mut got = Got::default();
            got.seen("params", &scene.inside, 1);
            got.add(
                "results",
                response.get().unwrap().get_as_capability().unwrap(),
            );
            got.are_all_wrapped(&scene).await;
        });
    }
}

#[test]
fn m1_one_that_was_overwritten() {
    everywhere(async |scene| {
        scene.inside.watch();
        let mut request = scene.wrapper.swap_request();
        for label in ["first", "second", "last"] {
            request.get().set_cap(scene.outside.probe(label));
        }
        soon(request.send().promise).await.unwrap();
        let mut got = Got::default();
        got.seen("the last", &scene.inside, 1);
        assert_eq!(label(&got.0[0].1).await.unwrap(), "last");
        got.are_all_wrapped(&scene).await;
    });
}

#[test]
fn m1_results_that_change_after_they_were_given_early() {
    at(&[Place::InProcess], async |scene| {
        early_results_change(scene, false).await;
    });
    at(&[Place::InProcess], async |scene| {
        early_results_change(scene, true).await;
    });
}

/// Whether the membrane makes the messages, or hands on what it has received.
async fn early_results_change(scene: Scene, is_received: bool) {
    let world = scene.inside.clone();
    let inner = raw::object(move |_method, _params, results| {
        let mut results = capnp::capability::Results::<probe::early_results::Owned>::new(results);
        for label in ["overwritten", "early"] {
            results.get().set_cap(world.probe(label));
        }
        let early = results.set_pipeline();
        let opened = world.probe("waits").wait_request().send();
        let world = world.clone();
        Promise::from_future(async move {
            early?;
            opened.promise.await?;
            results.get().set_late(world.probe("overwritten"));
            results.get().set_cap(world.probe("changed"));
            results.get().set_late(world.probe("late"));
            Ok(())
        })
    });
    let mut wrapper: probe::Client = scene.membrane.export(typed(inner));
    if is_received {
        wrapper = capnp_rpc::new_future_client(async { Ok(wrapper) });
    }
    let sent = wrapper.early_request().send();
    let early = sent.pipeline.get_cap();
    assert_eq!(label(&early).await.unwrap(), "early");
    scene.inside.gate().open();
    let response = soon(sent.promise).await.unwrap();
    let (changed, late) = (
        response.get().unwrap().get_cap().unwrap(),
        response.get().unwrap().get_late().unwrap(),
    );
    assert_eq!(label(&changed).await.unwrap(), "changed");
    assert_eq!(label(&late).await.unwrap(), "late");
    let mut got = Got::default();
    got.add("early", early);
    got.add("changed", changed);
    got.add("late", late);
    got.are_all_wrapped(&scene).await;
}

#[test]
fn m1_a_wrapper_is_not_what_it_wraps() {
    at(&[Place::InProcess], async |scene| {
        let bare = scene.inside.probe("bare");
        let wrapper = scene.membrane.export(bare.clone());
        let (brand, address) = identity(&wrapper);
        // A service must not see through it, as `CapabilityServerSet` would by the address.
        assert_ne!(address, identity(&bare).1);
        assert_ne!(brand, identity(&bare).0);
        assert_eq!(brand, identity(&scene.wrapper).0, "one membrane, one brand");
    });
}

#[test]
fn m1_results_that_are_let_go_of_after_their_call_has_returned() {
    everywhere(async |scene| {
        let kept = Rc::new(RefCell::new(None));
        let object = {
            let kept = kept.clone();
            raw::object(move |_method, _params, results| {
                *kept.borrow_mut() = Some(Results::<probe::swap_results::Owned>::new(results));
                Promise::ok(())
            })
        };
        // Called over a connection: so the membrane hands on what it has received.
        let connection = connect::<probe::Client>(scene.membrane.export(typed(object)));
        let sent = connection.bootstrap.swap_request().send();
        let answer = start(sent.promise);
        idle().await;
        let mut results = kept.take().expect("it was called");
        results.get().set_cap(scene.inside.probe("given late"));
        drop(results);
        let response = soon(answer).await.unwrap();
        let given = response.get().unwrap().get_cap().unwrap();
        assert_eq!(label(&given).await.unwrap(), "given late");
        scene.revoke();
        assert_revoked("what was given late", &given).await;
    });
}
