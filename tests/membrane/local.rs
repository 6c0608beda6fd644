//! Calls that stay in this process: what `capnp-rpc` promises of its own, a membrane's calls keep.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::traits::HasTypeId;
use capspan::membrane::{Crossing, Membrane, Passage, Policy};
use capspan::{Error, Tasks};
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::raw;
use capspan_testkit::membrane::scene::{Place, Scene, assert_revoked, at, label, typed};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::{cursor, probe};
use futures::FutureExt;

fn here(test: impl AsyncFn(Scene)) {
    at(&[Place::InProcess], test);
}

/// Results that were let go of by nobody yet.
type Kept = Rc<RefCell<Option<Box<dyn ResultsHook>>>>;

/// An object whose calls return at once and keep their results; what they hold is in `Kept`.
fn keeps_results() -> (probe::Client, Kept) {
    let kept = Kept::default();
    let keeps = kept.clone();
    let object = raw::object(move |_method, _params, results| {
        *keeps.borrow_mut() = Some(results);
        Promise::ok(())
    });
    (typed(object), kept)
}

#[test]
fn a_call_ends_when_its_service_lets_go_of_the_results() {
    here(async |scene| {
        let (object, kept) = keeps_results();
        let wrapper = scene.membrane.export(object);
        let sent = wrapper.swap_request().send();
        let pipelined = sent.pipeline.get_cap();
        let asked = start(async move { label(&pipelined).await });
        let answer = start(sent.promise);
        idle().await;
        assert!(!answer.is_finished() && !asked.is_finished());
        let mut results = capnp::capability::Results::<probe::swap_results::Owned>::new(
            kept.take().expect("it was called"),
        );
        results.get().set_cap(scene.inside.probe("given late"));
        drop(results);
        assert_eq!(soon(asked).await.unwrap(), "given late");
        let response = soon(answer).await.unwrap();
        let given = response.get().unwrap().get_cap().unwrap();
        assert_eq!(label(&given).await.unwrap(), "given late");
        scene.revoke();
        assert_revoked("what was given late", &given).await;
    });
}

#[test]
fn who_waits_last_is_woken_whoever_has_waited_before() {
    here(async |scene| {
        let (object, kept) = keeps_results();
        let wrapper = scene.membrane.export(object);
        let mut answer = wrapper.swap_request().send().promise;
        // Here nobody is to be woken; in a task of its own it is.
        assert!((&mut answer).now_or_never().is_none());
        let answer = start(answer);
        idle().await;
        drop(kept.take());
        assert!(soon(answer).await.is_ok());
    });
}

#[test]
fn results_that_are_kept_for_longer_than_their_call_do_nothing() {
    here(async |scene| {
        let (object, kept) = keeps_results();
        let wrapper = scene.membrane.export(object);
        let mut sent = wrapper.swap_request().send();
        assert!((&mut sent.promise).now_or_never().is_none());
        drop((sent.promise, sent.pipeline, wrapper));
        let completion = scene.completion();
        let left = scene.leave();
        idle().await;
        assert!(completion.is_complete(), "nobody outside refers to it");
        let mut results = kept.take().expect("it was called");
        let mut root = results.get().unwrap();
        root.set_as(capnp::text::Reader::from("nobody sees it"))
            .unwrap();
        results.set_pipeline().unwrap();
        drop((results, left));
    });
}

#[test]
fn a_pipeline_is_set_once() {
    here(async |scene| {
        let object = raw::object(|_method, _params, mut results| {
            results.set_pipeline().unwrap();
            Promise::from(results.set_pipeline())
        });
        let wrapper: probe::Client = scene.membrane.export(typed(object));
        let error = soon(wrapper.swap_request().send().promise).await.err();
        assert_eq!(error.unwrap().extra, "set_pipeline() called twice");
    });
}

#[test]
fn a_tail_call_gives_what_the_other_gives() {
    for direct in [false, true] {
        here(async |scene| {
            let next = scene.inside.probe("next");
            let object = raw::object(move |_method, _params, results| {
                let request = next.swap_request().hook;
                results.allow_cancellation();
                match direct {
                    true => results.direct_tail_call(request).0,
                    false => results.tail_call(request),
                }
            });
            let wrapper: probe::Client = scene.membrane.export(typed(object));
            let response = soon(wrapper.swap_request().send().promise).await.unwrap();
            let given = response.get().unwrap().get_cap().unwrap();
            assert_eq!(label(&given).await.unwrap(), "next's child");
            scene.revoke();
            assert_revoked("what the other gave", &given).await;
        });
    }
}

#[test]
fn who_waits_for_the_same_call_is_woken_whoever_else_gives_up() {
    here(async |scene| {
        let sent = scene.wrapper.wait_request().send();
        let first = sent.pipeline.get_cap();
        let second = sent.pipeline.get_cap();
        let answer = start(sent.promise);
        let [asks, gives_up] = [first, second].map(|cap| start(async move { label(&cap).await }));
        idle().await;
        // The last to have polled goes.
        drop(gives_up);
        scene.inside.gate().open();
        assert_eq!(soon(asks).await.unwrap(), "inner's child");
        assert!(soon(answer).await.is_ok());

        // The same where the promise goes, and where who waits has not polled since it was woken.
        let sent = scene.wrapper.wait_request().send();
        let pipelined = sent.pipeline.get_cap();
        let mut promise = Box::pin(sent.promise);
        futures::future::poll_fn(|cx| {
            assert!(promise.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let asks = start(async move { label(&pipelined).await });
        idle().await;
        scene.inside.gate().open();
        assert_eq!(soon(asks).await.unwrap(), "inner's child");
        assert!(soon(promise).await.is_ok());
    });
}

#[test]
fn a_call_goes_on_for_what_was_promised_of_it() {
    here(async |scene| {
        let sent = scene.wrapper.wait_request().send();
        let pipelined = sent.pipeline.get_cap();
        drop((sent.promise, sent.pipeline));
        let asks = start(async move { label(&pipelined).await });
        idle().await;
        assert_eq!(scene.inside.calls(), 1);
        scene.inside.gate().open();
        assert_eq!(soon(asks).await.unwrap(), "inner's child");
        // With the last who could want something of it, it is canceled.
        let sent = scene.wrapper.wait_request().send();
        let (pipelined, other) = (sent.pipeline.get_cap(), sent.pipeline.get_cap());
        let asks = start(async move { label(&pipelined).await });
        drop((sent.promise, sent.pipeline));
        idle().await;
        assert_eq!(scene.inside.calls(), 1);
        drop(other);
        idle().await;
        assert_eq!(scene.inside.calls(), 1);
        drop(asks);
        idle().await;
        assert_eq!(scene.inside.calls(), 0);
    });
}

#[test]
fn a_call_that_fails_fails_what_was_promised_of_it() {
    here(async |scene| {
        let mut request = scene.wrapper.fail_request();
        request.get().set_reason("it is broken");
        let sent = request.send();
        let before = sent.pipeline.get_cap();
        let asked = start(async move { label(&before).await });
        let failed = soon(sent.promise).await.err().unwrap();
        let after = sent.pipeline.get_cap();
        for error in [
            failed,
            soon(asked).await.unwrap_err(),
            label(&after).await.unwrap_err(),
        ] {
            assert_eq!(error.extra, "it is broken");
        }
        idle().await;
        assert_eq!(scene.inside.live(), 1, "what it was about to give is gone");
    });
}

/// The ordinal of `label`.
const LABEL: u16 = 2;

#[test]
fn what_is_not_in_the_results_is_an_error_before_and_after() {
    here(async |scene| {
        let hook = scene.wrapper.as_client_hook();
        let sent = hook.new_call(probe::Client::TYPE_ID, LABEL, None).send();
        let cap = |field| typed(Client::new(sent.pipeline.get_pointer_field(field).as_cap()));
        let before = [cap(0), cap(7)];
        soon(sent.promise).await.unwrap();
        for missing in before.into_iter().chain([cap(0), cap(7)]) {
            assert!(label(&missing).await.is_err());
        }
    });
}

#[test]
fn large_messages_cross_whole() {
    here(async |scene| {
        for length in [0, 1, 1000, 1016, 1024, 5000, 9000, 70_000] {
            let data: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
            let mut request = scene.wrapper.echo_request();
            request.get().set_data(&data);
            let response = soon(request.send().promise).await.unwrap();
            assert_eq!(response.get().unwrap().get_data().unwrap(), data);
        }
        let mut request = scene.wrapper.many_request();
        let mut caps = request.get().init_caps(2000);
        for at in 0..2000 {
            caps.set(at, scene.outside.probe("one").into_client_hook());
        }
        request.get().set_count(2000);
        let response = soon(request.send().promise).await.unwrap();
        let caps = response.get().unwrap().get_caps().unwrap();
        assert_eq!(caps.len(), 4000);
        let made = scene.inside.live();
        assert_eq!(made, 2001);
        let first = caps.get(0).unwrap();
        assert_eq!(label(&first).await.unwrap(), "one");
        scene.revoke();
        assert_revoked("made inside", &caps.get(3999).unwrap()).await;
        assert_eq!(label(&first).await.unwrap(), "one", "it is the original");
    });
}

#[test]
fn a_response_keeps_nothing_of_what_was_given_early() {
    here(async |scene| {
        let object = {
            let world = scene.inside.clone();
            raw::object(move |_method, _params, results| {
                let mut results =
                    capnp::capability::Results::<probe::early_results::Owned>::new(results);
                results.get().set_cap(world.probe("early"));
                Promise::from(results.set_pipeline())
            })
        };
        let wrapper: probe::Client = scene.membrane.export(typed(object));
        let response = soon(wrapper.early_request().send().promise).await.unwrap();
        assert_eq!(scene.inside.live(), 2);
        scene.revoke();
        idle().await;
        assert_eq!(scene.inside.live(), 0, "the response holds it");
        let given = response.get().unwrap().get_cap().unwrap();
        assert_revoked("what was given early", &given).await;
    });
}

#[test]
fn what_a_policy_hands_over_bare_resolves_after_the_results_were_taken() {
    run(async {
        let inside = World::new();
        let bare = Membrane::builder().policy(BareNext::default()).build();
        let wrapper = bare.export(inside.probe("inner"));
        let sent = wrapper.swap_request().send();
        let [held, let_go] = [(); 2].map(|()| sent.pipeline.get_cap());
        let response = soon(sent.promise).await.unwrap();
        let given = response.get().unwrap().get_cap().unwrap();
        assert_eq!(label(&given).await.unwrap(), "inner's child");
        drop(let_go);
        // It was a promise, handed over as it was, and nobody has asked it yet.
        assert_eq!(label(&held).await.unwrap(), "inner's child");
        bare.revoke(Error::revoked("enough"));
        assert_eq!(label(&held).await.unwrap(), "inner's child", "out of reach");
    });
}

/// Hands over the second and the third thing that go out as they are.
#[derive(Default)]
struct BareNext(std::cell::Cell<usize>);

impl Policy for BareNext {
    fn export_internal(&self, crossing: &Crossing<'_>) -> Passage {
        self.0.set(self.0.get() + 1);
        match self.0.get() {
            2 | 3 => Passage::Instead(crossing.capability()),
            _ => Passage::Usual,
        }
    }
}

/// A capability that notes the calls on it as they come, as one that is elsewhere would send them.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<u16>>>);

impl ClientHook for Notes {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(self.clone())
    }

    fn new_call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        panic!("a call in this process is delivered")
    }

    fn call(
        &self,
        _interface_id: u64,
        method_id: u16,
        _params: Box<dyn ParamsHook>,
        _results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        self.0.borrow_mut().push(method_id);
        Promise::ok(())
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        None
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        None
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        Promise::ok(())
    }
}

#[test]
fn what_was_called_on_a_promise_goes_before_what_is_called_on_what_it_was() {
    here(async |scene| {
        let notes = Notes::default();
        let noted = notes.clone();
        let object = raw::object(move |_method, _params, mut results| {
            let root = results.get().map(|root| {
                let mut results: probe::swap_results::Builder<'_> = root.init_as();
                results.set_cap(FromClientHook::new(noted.add_ref()));
            });
            Promise::from(root)
        });
        let wrapper: probe::Client = scene.membrane.export(typed(object));
        let sent = wrapper.swap_request().send();
        let promised = sent.pipeline.get_cap();
        // Nobody polls these.
        let label = promised.label_request().send();
        let stored = promised.stored_request().send();
        let mut answer: Pin<Box<_>> = Box::pin(sent.promise);
        let response = soon(answer.as_mut()).await.unwrap();
        assert_eq!(*notes.0.borrow(), [2, 5], "they wait for somebody to poll");
        let given = response.get().unwrap().get_cap().unwrap();
        drop((
            given.pushed_request().send(),
            promised.hang_request().send(),
        ));
        assert_eq!(*notes.0.borrow(), [2, 5, 13, 8]);
        drop((label, stored));
    });
}

#[test]
fn what_a_promise_resolved_to_is_let_go_by_the_driver() {
    run(async {
        let (inside, outside) = (World::new(), World::new());
        let (tasks, driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        let membrane = Membrane::builder().tasks(&tasks).build();
        let inner = inside.probe("inner");
        let mut request = inner.promise_request();
        request.get().set_to(probe::Target::Given);
        request
            .get()
            .set_cap(membrane.import(outside.probe("outer")));
        let response = soon(request.send().promise).await.unwrap();
        let promise = response.get().unwrap().get_cap().unwrap();
        drop(response);
        // Inside it resolves to the wrapper of something outside, and so outside to that itself.
        let wrapper = membrane.export(promise);
        let asked = start({
            let wrapper = wrapper.clone();
            async move { label(&wrapper).await }
        });
        idle().await;
        inside.gate().open();
        assert_eq!(soon(asked).await.unwrap(), "outer");
        assert_eq!(label(&wrapper).await.unwrap(), "outer");
        inside.empty();
        // From now on nothing else holds it: what it is on this side it stays.
        assert!(membrane.revoke(Error::revoked("enough")));
        idle().await;
        assert_eq!(outside.live(), 1);
        // Its drop may be in the middle of anything.
        drop(wrapper);
        assert_eq!(outside.live(), 1);
        idle().await;
        assert_eq!(outside.live(), 0);
    });
}

#[test]
fn what_was_called_on_a_promise_goes_first_where_the_results_come_late() {
    here(async |scene| {
        let (object, kept) = keeps_results();
        let wrapper = scene.membrane.export(object);
        let mut sent = wrapper.swap_request().send();
        let promised = sent.pipeline.get_cap();
        assert!((&mut sent.promise).now_or_never().is_none());
        let label = promised.label_request().send();
        let notes = Notes::default();
        let mut results = capnp::capability::Results::<probe::swap_results::Owned>::new(
            kept.take().expect("it was called"),
        );
        results.get().set_cap(FromClientHook::new(notes.add_ref()));
        drop(results);
        let stored = sent.pipeline.get_cap().stored_request().send();
        assert_eq!(*notes.0.borrow(), [2, 5]);
        drop((label, stored));
    });
}

#[test]
fn a_server_is_wrapped_on_either_side() {
    here(async |scene| {
        let server = || Words("one two".into());
        let outside: cursor::Client = scene.membrane.export_server(server());
        let inside: cursor::Client = scene.membrane.import_server(server());
        for wrapper in [&outside, &inside] {
            let response = soon(wrapper.next_request().send().promise).await.unwrap();
            let word = response.get().unwrap().get_word().unwrap();
            assert_eq!(word.to_str(), Ok("one two"));
        }
        let hook = |cap: &cursor::Client| cap.as_client_hook().add_ref();
        // In goes the one, out the other: both are originals then.
        let brands = [
            scene.membrane.import(hook(&outside)).get_brand(),
            scene.membrane.export(hook(&inside)).get_brand(),
        ];
        assert_eq!(brands, [0, 0]);
        scene.revoke();
        for wrapper in [outside, inside] {
            assert_revoked("a server", &wrapper.cast_to()).await;
        }
    });
}

struct Words(String);

impl cursor::Server for Words {
    async fn next(
        self: Rc<Self>,
        _params: cursor::NextParams,
        mut results: cursor::NextResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_word(self.0.as_str());
        Ok(())
    }
}
