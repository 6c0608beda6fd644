//! Calls that stay in this process: whoever waits for one comes to know of it, whoever else waits, and
//! whatever the service does meanwhile.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use capnp::any_pointer;
use capnp::capability::{Client, Promise, Results};
use capnp::traits::HasTypeId;
use capspan::membrane::{Crossing, Membrane, Passage, Policy};
use capspan_testkit::membrane::events::{Started, soon, start};
use capspan_testkit::membrane::raw;
use capspan_testkit::membrane::scene::{Place, Scene, at, label, typed};
use capspan_testkit::membrane::{World, idle, run};
use capspan_testkit::probe_capnp::probe::{self, swap_results};
use futures::FutureExt;
use futures::channel::oneshot;

fn here(test: impl AsyncFn(Scene)) {
    at(&[Place::InProcess], test);
}

/// Who it is that answers, as a task.
fn asks(cap: probe::Client) -> Started<Result<String, capnp::Error>> {
    start(async move { label(&cap).await })
}

/// Waits for the world's gate, as a service does.
async fn opened(world: &World) -> capnp::Result<()> {
    world.probe("waits").wait_request().send().promise.await?;
    Ok(())
}

#[test]
fn a_service_may_ask_for_a_capability_of_its_own_results() {
    here(async |scene| {
        let pipeline: Rc<RefCell<Option<swap_results::Pipeline>>> = Rc::default();
        let asked: Rc<RefCell<Option<probe::Client>>> = Rc::default();
        let object = {
            let (pipeline, asked) = (pipeline.clone(), asked.clone());
            let world = scene.inside.clone();
            raw::object(move |_method, _params, results| {
                *asked.borrow_mut() = pipeline.borrow().as_ref().map(|it| it.get_cap());
                let world = world.clone();
                Promise::from_future(async move {
                    opened(&world).await?;
                    let mut results = Results::<swap_results::Owned>::new(results);
                    results.get().set_cap(world.probe("given"));
                    Ok(())
                })
            })
        };
        let wrapper: probe::Client = scene.membrane.export(typed(object));
        let sent = wrapper.swap_request().send();
        *pipeline.borrow_mut() = Some(sent.pipeline);
        let answer = start(sent.promise);
        idle().await;
        let asks = asks(asked.take().expect("it was asked for"));
        idle().await;
        scene.inside.gate().open();
        assert_eq!(soon(asks).await.unwrap(), "given");
        assert!(soon(answer).await.is_ok());
        pipeline.take();
    });
}

#[test]
fn who_calls_what_is_given_early_need_not_wait_for_more() {
    here(async |scene| {
        let sent = scene.wrapper.early_request().send();
        // It is the only one to let the service begin.
        let asks = asks(sent.pipeline.get_cap());
        assert_eq!(soon(asks).await.unwrap(), "inner's child");
        drop(sent.promise);
    });
}

/// Gives early what it will fulfil later, and never returns.
fn gives_a_promise_early(world: World) -> probe::Client {
    let object = raw::object(move |_method, _params, results| {
        let world = world.clone();
        Promise::from_future(async move {
            let (fulfil, given) = oneshot::channel();
            let promise: probe::Client = capnp_rpc::new_future_client(async move {
                given
                    .await
                    .map_err(|_| capnp::Error::failed("canceled".into()))
            });
            let mut results = Results::<swap_results::Owned>::new(results);
            results.get().set_cap(promise);
            results.set_pipeline()?;
            opened(&world).await?;
            let _canceled = fulfil.send(world.probe("given"));
            std::future::pending().await
        })
    });
    typed(object)
}

#[test]
fn who_calls_what_is_given_early_lets_the_service_go_on() {
    for is_held in [true, false] {
        here(async |scene| {
            let wrapper = scene
                .membrane
                .export(gives_a_promise_early(scene.inside.clone()));
            let sent = wrapper.swap_request().send();
            let asks = asks(sent.pipeline.get_cap());
            // Nobody polls them.
            let held = is_held.then_some((sent.promise, sent.pipeline));
            idle().await;
            assert!(!asks.is_finished());
            scene.inside.gate().open();
            assert_eq!(soon(asks).await.unwrap(), "given");
            drop(held);
        });
    }
}

#[test]
fn a_response_keeps_nothing_inside_for_who_calls_what_was_given_early() {
    here(async |scene| {
        let object = {
            let world = scene.inside.clone();
            raw::object(move |_method, _params, results| {
                let world = world.clone();
                Promise::from_future(async move {
                    let mut results = Results::<swap_results::Owned>::new(results);
                    results.get().set_cap(world.probe("early"));
                    results.set_pipeline()?;
                    opened(&world).await?;
                    results.get().set_cap(world.probe("late"));
                    Ok(())
                })
            })
        };
        let wrapper: probe::Client = scene.membrane.export(typed(object));
        let sent = wrapper.swap_request().send();
        let early = sent.pipeline.get_cap();
        let hangs = early.hang_request().send().promise;
        let answer = start(sent.promise);
        idle().await;
        let hangs = start(hangs);
        idle().await;
        scene.inside.gate().open();
        let response = soon(answer).await.unwrap();
        scene.revoke();
        assert!(soon(hangs).await.is_err());
        drop((early, sent.pipeline));
        idle().await;
        assert_eq!(scene.inside.live(), 0, "the response holds it");
        drop(response);
    });
}

#[test]
fn who_waits_for_what_a_policy_hands_over_bare_wakes_the_caller_as_well() {
    /// Hands over all but the first as it is.
    #[derive(Default)]
    struct Bare(Cell<bool>);
    impl Policy for Bare {
        fn export_internal(&self, crossing: &Crossing<'_>) -> Passage {
            match self.0.replace(true) {
                true => Passage::Instead(crossing.capability()),
                false => Passage::Usual,
            }
        }
    }

    run(async {
        let inside = World::new();
        let membrane = Membrane::builder().policy(Bare::default()).build();
        let wrapper = membrane.export(inside.probe("inner"));
        let sent = wrapper.wait_request().send();
        let pipelined = sent.pipeline.get_cap();
        let answer = start(sent.promise);
        idle().await;
        let asks = asks(pipelined);
        idle().await;
        inside.gate().open();
        assert_eq!(soon(asks).await.unwrap(), "inner's child");
        assert!(soon(answer).await.is_ok());
    });
}

#[test]
fn a_service_that_panics_fails_what_was_promised_of_it() {
    here(async |scene| {
        let object = raw::object(|_method, _params, results| {
            Promise::from_future(async move {
                idle().await;
                let _results = results;
                panic!("on purpose")
            })
        });
        let wrapper: probe::Client = scene.membrane.export(typed(object));
        let sent = wrapper.swap_request().send();
        let before = sent.pipeline.get_cap();
        let panics = tokio::task::spawn_local(sent.promise);
        let asks = asks(before);
        assert!(soon(panics).await.is_err());
        let after = sent.pipeline.get_cap();
        for error in [
            soon(asks).await.unwrap_err(),
            label(&after).await.unwrap_err(),
        ] {
            assert_eq!(error.extra, "the service panicked");
        }
    });
}

#[test]
fn a_response_keeps_nothing_of_who_waited_for_it() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    here(async |scene| {
        let mut promise = Box::pin(scene.wrapper.wait_request().send().promise);
        let nobody = Arc::new(Nobody);
        let waker = nobody.clone().into();
        let mut cx = Context::from_waker(&waker);
        assert!(promise.as_mut().poll(&mut cx).is_pending());
        scene.inside.gate().open();
        let Poll::Ready(response) = promise.as_mut().poll(&mut cx) else {
            panic!("the gate is open");
        };
        drop((promise, waker));
        assert_eq!(Arc::strong_count(&nobody), 1);
        drop(response);
    });
}

type Asked = Pin<Box<dyn Future<Output = Result<String, capnp::Error>>>>;

/// Looks for the results of a call while it is asked about what is in them.
#[derive(Clone, Default)]
struct Curious {
    pipeline: Rc<RefCell<Option<any_pointer::Pipeline>>>,
    answer: Rc<RefCell<Option<Asked>>>,
    found: Rc<RefCell<Vec<String>>>,
}

/// What is in the first field of results.
fn first(pipeline: &any_pointer::Pipeline) -> probe::Client {
    typed(Client::new(pipeline.get_pointer_field(0).as_cap()))
}

impl Policy for Curious {
    fn export_internal(&self, _crossing: &Crossing<'_>) -> Passage {
        let asked = self.pipeline.take().map(|pipeline| first(&pipeline));
        let answer = self.answer.take();
        let found = [
            asked.and_then(|cap| label(&cap).now_or_never()),
            answer.and_then(|answer| answer.now_or_never()),
        ];
        let found = found.into_iter().flatten().filter_map(Result::err);
        self.found
            .borrow_mut()
            .extend(found.map(|error| error.extra));
        Passage::Usual
    }
}

#[test]
fn a_policy_that_looks_for_results_on_their_way_is_told_so() {
    run(async {
        let on_their_way = "the results are on their way through the membrane";
        let curious = Curious::default();
        let kept = Rc::new(RefCell::new(None));
        let object = {
            let kept = kept.clone();
            raw::object(move |_method, _params, results| {
                *kept.borrow_mut() = Some(Results::<swap_results::Owned>::new(results));
                Promise::ok(())
            })
        };
        let membrane = Membrane::builder().policy(curious.clone()).build();
        let wrapper = membrane.export(object);
        let sent = wrapper
            .hook
            .new_call(probe::Client::TYPE_ID, 1, None)
            .send();
        let mut answer: Asked = Box::pin(async {
            let response = sent.promise.await?;
            let results: swap_results::Reader<'_> = response.get()?.get_as()?;
            label(&results.get_cap()?).await
        });
        assert!((&mut answer).now_or_never().is_none());
        let mut results = kept.take().expect("it was called");
        results.get().set_cap(World::new().probe("given"));
        drop(results);
        *curious.answer.borrow_mut() = Some(answer);
        *curious.pipeline.borrow_mut() = Some(sent.pipeline.noop());
        let given = first(&sent.pipeline);
        assert_eq!(*curious.found.borrow(), [on_their_way, on_their_way]);
        // As its promise has said.
        assert_eq!(label(&given).await.unwrap_err().extra, on_their_way);
    });
}
