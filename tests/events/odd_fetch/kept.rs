//! Peers that keep what they were given, and ends that come at any time.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::fetch::Body;
use capspan::http_over_capnp_capnp::http_service::client_request_context;
use capspan::pipeline::Pipeline;
use capspan::pipeline_capnp::{event_dispatcher, pipeline};
use capspan::trace::{MemoryObserver, Outcome, Tracer};
use capspan_testkit::link::{link, watched};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Pair, Place};
use futures::{FutureExt, stream};
use tokio::task::spawn_local;

use super::setting::*;

#[test]
fn a_peer_that_keeps_the_context_and_gives_no_response_unobserved() {
    everywhere(async |place| {
        for fails in [true, false] {
            let kept: Rc<RefCell<Vec<client_request_context::Client>>> = Rc::default();
            let keeps = kept.clone();
            let (pipeline, _tasks) = foreign(place, move |params, _| {
                keeps.borrow_mut().push(context_of(&params));
                async move {
                    match fails {
                        true => Err(capnp::Error::failed("as it was asked to".into())),
                        false => Ok(()),
                    }
                }
            });
            let answer = pipeline.event("x").fetch(get()).unwrap();
            let error = soon(&format!("fails: {fails}"), answer).await.unwrap_err();
            eprintln!("{error}");
            kept.take();
            pass(LATENCY * 20).await;
        }
    });
}

#[test]
fn a_peer_that_keeps_the_context_and_gives_no_response_observed() {
    everywhere(async |place| {
        for fails in [true, false] {
            let kept: Rc<RefCell<Vec<client_request_context::Client>>> = Rc::default();
            let keeps = kept.clone();
            let (pipeline, _tasks) = foreign(place, move |params, _| {
                keeps.borrow_mut().push(context_of(&params));
                async move {
                    match fails {
                        true => Err(capnp::Error::failed("as it was asked to".into())),
                        false => Ok(()),
                    }
                }
            });
            let spans = MemoryObserver::new();
            let answer = pipeline
                .event("x")
                .parent(Tracer::new(spans.clone()).root())
                .fetch(get())
                .unwrap();
            let error = soon(&format!("fails: {fails}"), answer).await.unwrap_err();
            eprintln!("{error}");
            kept.take();
            pass(LATENCY * 20).await;
            assert_eq!(outcome(&spans, "x"), Some(Outcome::Exception));
        }
    });
}

#[test]
fn a_body_whose_request_failed_fails_unobserved() {
    body_kept(true, false);
}

#[test]
fn a_body_whose_request_failed_fails_observed() {
    body_kept(true, true);
}

#[test]
fn own_rpc_driver_dropped_unobserved() {
    at(Place::CONNECTED, async |place| {
        for settled in [true, false] {
            let pair = serving(place, |_, _| pending());
            if settled {
                pair.settle().await;
            }
            let answer = pair.pipeline.event("x").fetch(get()).unwrap();
            if settled {
                pair.settle().await;
            }
            pair.drop_driver(false);
            let error = soon("response", answer).await.unwrap_err();
            assert!(error.is_disconnected(), "{error}");
            pair.settle().await;
            pair.finish().await;
        }
    });
}

#[test]
fn own_rpc_driver_dropped_observed() {
    at(Place::CONNECTED, async |place| {
        for settled in [true, false] {
            let pair = serving(place, |_, _| pending());
            if settled {
                pair.settle().await;
            }
            let answer = event(&pair).fetch(get()).unwrap();
            pair.drop_driver(false);
            let error = soon("response", answer).await.unwrap_err();
            assert!(error.is_disconnected(), "{error}");
            pair.settle().await;
            assert_eq!(
                outcome(&pair.spans, "fetch it"),
                Some(Outcome::Disconnected)
            );
            pair.finish().await;
        }
    });
}

#[test]
fn tasks_driver_dropped() {
    everywhere(async |place| {
        let kept: Rc<RefCell<Vec<client_request_context::Client>>> = Rc::default();
        let keeps = kept.clone();
        let serve: Rc<Serve> = Rc::new(move |params, _| {
            keeps.borrow_mut().push(context_of(&params));
            pending().boxed_local()
        });
        let client: pipeline::Client = capnp_rpc::new_client(Foreign(serve));
        let (tasks, driver) = Tasks::new();
        let driver = spawn_local(driver);
        let pipeline = match place {
            Place::InProcess => Pipeline::new(client, &tasks),
            _ => {
                let link = link(LATENCY);
                let bootstrap = Client::new(client.into_client_hook());
                let (connection, _) = watched((link.client, link.server), |_| bootstrap);
                Pipeline::over(&connection, &tasks)
            }
        };
        let answer = pipeline.event("x").fetch(get()).unwrap();
        pass(LATENCY * 10).await;
        driver.abort();
        pass(LATENCY * 10).await;
        let error = soon("response", answer).await.unwrap_err();
        eprintln!("{error}");
        kept.take();
        pass(LATENCY * 20).await;
    });
}

// ======== a response that comes with the return (as C++ does it)

#[test]
fn own_rpc_driver_dropped_unobserved_alarm() {
    at(Place::CONNECTED, async |place| {
        let pair = Pair::new(place);
        pair.settle().await;
        let answer = pair
            .pipeline
            .event("x")
            .alarm(&capspan::pipeline::Alarm::new());
        pair.drop_driver(false);
        let error = soon("response", answer).await.unwrap_err();
        assert!(error.is_disconnected(), "{error}");
    });
}

#[test]
fn one_write_that_is_larger_than_may_wait() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let first = write(&body, &vec![1; 17 << 20]).await;
        let second = write(&body, b"abc").await;
        let end = body.end_request().send().promise.await.map(drop);
        eprintln!("{:?} {:?} {:?}", first.is_ok(), second.is_ok(), end.is_ok());
        go.set(true);
        pair.settle().await;
        let got = got.take().map(|got| got.map(|whole| whole.len()));
        assert!(matches!(got, Some(Err(_))), "{got:?}");
        eprintln!("{got:?}");
    });
}

#[test]
fn tasks_driver_dropped_observed() {
    at([Place::InProcess], async |_| {
        let kept: Rc<RefCell<Vec<client_request_context::Client>>> = Rc::default();
        let keeps = kept.clone();
        let serve: Rc<Serve> = Rc::new(move |params, _| {
            keeps.borrow_mut().push(context_of(&params));
            pending().boxed_local()
        });
        let client: pipeline::Client = capnp_rpc::new_client(Foreign(serve));
        let (tasks, driver) = Tasks::new();
        let driver = spawn_local(driver);
        let spans = MemoryObserver::new();
        let pipeline = Pipeline::new(client, &tasks);
        let answer = pipeline
            .event("x")
            .parent(Tracer::new(spans.clone()).root())
            .fetch(get())
            .unwrap();
        pass(LATENCY * 10).await;
        driver.abort();
        pass(LATENCY * 10).await;
        soon("response", answer).await.unwrap_err();
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Canceled));
    });
}

#[test]
fn cut_unobserved() {
    at(Place::CONNECTED, async |place| {
        for has_body in [true, false] {
            let pair = serving(place, move |_, _| async move {
                match has_body {
                    true => ok(Body::stream(stream::pending())),
                    false => pending().await,
                }
            });
            let answer = pair.pipeline.event("x").fetch(get()).unwrap();
            if has_body {
                let response = answer.await.unwrap();
                pair.cut();
                let error = soon("body", response.into_body().whole(9))
                    .await
                    .unwrap_err();
                assert!(error.is_disconnected(), "{error}");
            } else {
                pair.settle().await;
                pair.cut();
                let error = soon("response", answer).await.unwrap_err();
                assert!(error.is_disconnected(), "{error}");
            }
            pair.settle().await;
            pair.finish().await;
        }
    });
}

/// Unobserved, and given up: nothing stays.
#[test]
fn given_up_unobserved() {
    everywhere(async |place| {
        for when in 0..40 {
            let pair = Rc::new(serving(place, |_, _| async {
                ok(Body::stream(stream::pending()))
            }));
            let asks = spawn_local({
                let pair = pair.clone();
                async move {
                    let response = pair
                        .pipeline
                        .event("x")
                        .fetch(post(Body::stream(stream::pending())))
                        .unwrap()
                        .await
                        .unwrap();
                    response.into_body().whole(9).await.unwrap();
                }
            });
            pass(LATENCY / 8 * when).await;
            asks.abort();
            let _ = asks.await;
            pair.settle().await;
            Rc::into_inner(pair).unwrap().finish().await;
        }
    });
}

/// The answer to `fetch` never comes, though all that is pipelined on it works.
#[test]
fn the_end_of_a_request_does_not_need_the_answer_to_fetch() {
    struct Never(Rc<Serve>);
    impl pipeline::Server for Never {
        async fn start_event(
            self: Rc<Self>,
            _: pipeline::StartEventParams,
            mut results: pipeline::StartEventResults,
        ) -> capnp::Result<()> {
            let next = Never(self.0.clone());
            results.get().set_dispatcher(capnp_rpc::new_client(next));
            Ok(())
        }
    }
    impl event_dispatcher::Server for Never {
        async fn fetch(
            self: Rc<Self>,
            _: event_dispatcher::FetchParams,
            mut results: event_dispatcher::FetchResults,
        ) -> capnp::Result<()> {
            let foreign = Foreign(self.0.clone());
            results.get().set_http(capnp_rpc::new_client(foreign));
            results.set_pipeline()?;
            pending().await
        }
    }
    at(Place::CONNECTED, async |_| {
        let serve: Rc<Serve> =
            Rc::new(|_, _| async { Err(capnp::Error::failed("refused".into())) }.boxed_local());
        let client: pipeline::Client = capnp_rpc::new_client(Never(serve));
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let link = link(LATENCY);
        let bootstrap = Client::new(client.into_client_hook());
        let (connection, _) = watched((link.client, link.server), |_| bootstrap);
        let pipeline = Pipeline::over(&connection, &tasks);
        let answer = soon("response", pipeline.event("x").fetch(get()).unwrap()).await;
        assert!(answer.unwrap_err().reason().contains("refused"));
    });
}

/// What it lets go of is a place in a call that has not returned; C++ does not notice it either.
#[test]
fn s2_a_caller_that_lets_go_of_the_body_alone_is_waited_for_until_it_gives_up() {
    at(Place::CONNECTED, async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        write(&asked.body(), b"abc").await.unwrap();
        drop(asked.pipeline);
        pair.settle().await;
        assert!(got.borrow().is_none());
        assert!(pair.spans.named("POST").unwrap().is_open());
        asked.done.abort();
        drop(asked.http);
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Canceled));
        pair.finish().await;
    });
}
