//! Ends that nobody says, and responses that are let go.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use bytes::Bytes;
use capspan::byte_stream_capnp::byte_stream;
use capspan::fetch::Body;
use capspan::http_over_capnp_capnp::http_service::client_request_context;
use capspan::pipeline::{Event, Pipeline};
use capspan::trace::{MemoryObserver, Outcome, Tracer};
use capspan_testkit::run::pass;
use capspan_testkit::service::LATENCY;
use capspan_testkit::world::World;
use futures::{FutureExt, StreamExt, stream};
use tokio::task::spawn_local;

use super::setting::*;

fn observed<'a>(pipeline: &'a Pipeline, spans: &MemoryObserver) -> Event<'a> {
    let root = Tracer::new(spans.clone()).root();
    pipeline.event("x").parent(root)
}

/// Begins a response without waiting for anything.
async fn respond(
    context: &client_request_context::Client,
    status: u16,
    has_body: bool,
) -> capnp::Result<Option<byte_stream::Client>> {
    let mut request = context.start_response_request();
    let mut response = request.get().init_response();
    response.set_status_code(status);
    if !has_body {
        response.init_body_size().set_fixed(0);
    }
    let started = request.send().promise.await?;
    match has_body {
        true => Ok(Some(started.get()?.get_body()?)),
        false => Ok(None),
    }
}

#[test]
fn s8_a_body_whose_sender_goes_away_fails_though_the_call_goes_on() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            let body = respond(&context_of(&params), 200, true).await?;
            write(&body.unwrap(), b"abc").await?;
            pending().await
        });
        let spans = MemoryObserver::new();
        let response = observed(&pipeline, &spans).fetch(get()).unwrap();
        let response = soon("response", response).await.unwrap();
        let mut body = response.into_body();
        assert_eq!(soon("piece", body.next()).await.unwrap().unwrap(), "abc");
        let error = soon("end", body.next()).await.unwrap().unwrap_err();
        assert!(error.reason().contains("left without its end"), "{error}");
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Exception));
    });
}

#[test]
fn s8_a_response_whose_context_is_gone_is_not_waited_for() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            drop(params); // And with it the context.
            pending().await
        });
        let spans = MemoryObserver::new();
        let answer = observed(&pipeline, &spans).fetch(get()).unwrap();
        let error = soon("response", answer).await.unwrap_err();
        assert!(error.reason().contains("gave no response"), "{error}");
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Exception));
    });
}

/// What a peer lets go of leaves before the return that says why.
#[test]
fn why_a_service_failed_is_said_though_it_lets_go_first() {
    everywhere(async |place| {
        for begins in [true, false] {
            let (pipeline, _tasks) = foreign(place, move |params, _| async move {
                let context = context_of(&params);
                drop(params);
                if begins {
                    let body = respond(&context, 200, true).await?;
                    write(&body.unwrap(), b"abc").await?;
                }
                drop(context);
                Err(capnp::Error::failed("the disk is gone".into()))
            });
            let answer = pipeline.event("x").fetch(get()).unwrap();
            let error = match soon("response", answer).await {
                Ok(response) => soon("body", response.into_body().whole(9)).await,
                Err(error) => Err(error),
            };
            let error = error.unwrap_err();
            assert!(error.reason().contains("the disk is gone"), "{error}");
        }
    });
}

/// The protocol allows what C++ says of it: writes may still be on their way when a request returns.
#[test]
fn a_body_may_go_on_after_its_request_has_returned() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            let body = respond(&context_of(&params), 200, true).await?.unwrap();
            spawn_local(async move {
                for _ in 0..5 {
                    pass(LATENCY * 5).await;
                    write(&body, b"abc").await.unwrap();
                }
                body.end_request().send().promise.await.unwrap();
            });
            Ok(())
        });
        let spans = MemoryObserver::new();
        let response = observed(&pipeline, &spans).fetch(get()).unwrap();
        let response = soon("response", response).await.unwrap();
        let whole = soon("body", response.into_body().whole(99)).await;
        assert_eq!(whole.unwrap(), "abc".repeat(5));
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Ok));
    });
}

#[test]
fn s2_a_body_that_is_kept_after_its_request_has_returned_can_be_given_up() {
    everywhere(async |place| {
        let kept: Rc<RefCell<Vec<byte_stream::Client>>> = Rc::default();
        let keeps = kept.clone();
        let (pipeline, _tasks) = foreign(place, move |params, _| {
            let keeps = keeps.clone();
            async move {
                let body = respond(&context_of(&params), 200, true).await?;
                keeps.borrow_mut().extend(body);
                Ok(())
            }
        });
        let spans = MemoryObserver::new();
        let response = observed(&pipeline, &spans).fetch(get()).unwrap();
        let response = soon("response", response).await.unwrap();
        pass(LATENCY * 20).await;
        assert!(spans.named("x").unwrap().is_open());
        drop(response);
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Canceled));
        let body = kept.take().pop().unwrap();
        // Over a connection a write returns before it has arrived.
        let _ = write(&body, b"abc").await;
        let end = soon("end", body.end_request().send().promise).await;
        assert!(end.is_err());
    });
}

/// Then it is let go, or left without its end.
#[test]
fn a_body_that_is_let_go_after_its_request_has_returned_fails() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            let body = respond(&context_of(&params), 200, true).await?;
            spawn_local(pass(LATENCY * 20).map(|()| drop(body)));
            Ok(())
        });
        let response = soon("response", pipeline.event("x").fetch(get()).unwrap());
        let whole = response.await.unwrap().into_body().whole(9);
        let error = soon("body", whole).await.unwrap_err();
        assert!(error.reason().contains("left without its end"), "{error}");
    });
}

// ======== uploads that go on after the response

/// A body that never ends by itself, and is an object of the world while it is alive.
fn endless(world: &World, made: &Rc<Cell<usize>>) -> Body {
    let (object, made) = (world.thing(), made.clone());
    Body::stream(stream::repeat_with(|| ()).then(move |()| {
        made.set(made.get() + 1);
        let object = object.clone();
        async move {
            pass(LATENCY).await;
            drop(object);
            Ok(Bytes::from_static(b"abc"))
        }
    }))
}

/// The service answers early, reads on, and never returns.
#[test]
fn s2_an_upload_is_given_up_with_a_complete_response() {
    everywhere(async |place| {
        for has_body in [false, true] {
            let (pipeline, _tasks) = foreign(place, move |params, mut results| async move {
                results
                    .get()
                    .set_request_body(capnp_rpc::new_client(Sink::default()));
                results.set_pipeline()?;
                let body = respond(&context_of(&params), 202, has_body).await?;
                if let Some(body) = body {
                    body.end_request().send().promise.await?;
                }
                pending().await
            });
            let (spans, world, made) = (MemoryObserver::new(), World::new(), Rc::default());
            let request = post(endless(&world, &made));
            let answer = observed(&pipeline, &spans).fetch(request).unwrap();
            let mut response = soon("response", answer).await.unwrap();
            // All of it is here, and it is held: the upload goes on.
            assert!(response.body_mut().next().await.is_none());
            let before = made.get();
            pass(LATENCY * 20).await;
            assert!(made.get() > before + 10);
            assert!(spans.named("x").unwrap().is_open());
            drop(response);
            pass(LATENCY * 20).await;
            assert_eq!(world.live(), 0);
            assert_eq!(outcome(&spans, "x"), Some(Outcome::Canceled));
        }
    });
}

/// As ours do: they return as soon as the response has been sent.
#[test]
fn s2_a_service_that_returns_then_has_not_been_canceled() {
    everywhere(async |place| {
        for has_body in [false, true] {
            let pair = serving(place, move |request, _| async move {
                drop(request.into_body().next().await);
                ok(if has_body { "done" } else { "" })
            });
            let (world, made) = (World::new(), Rc::default());
            let request = post(endless(&world, &made));
            let response = event(&pair).fetch(request).unwrap().await.unwrap();
            response.into_body().whole(9).await.unwrap();
            pair.settle().await;
            assert_eq!(world.live(), 0);
            assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Ok));
            assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Ok));
            pair.finish().await;
        }
    });
}

/// With nothing left to be sent, there is nothing to be given up: the event is the service's.
#[test]
fn a_complete_response_that_is_let_go_does_not_cut_the_service_off() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            respond(&context_of(&params), 204, false).await?;
            pass(LATENCY * 50).await;
            Ok(())
        });
        let spans = MemoryObserver::new();
        let answer = observed(&pipeline, &spans).fetch(get()).unwrap();
        drop(soon("response", answer).await.unwrap());
        pass(LATENCY * 20).await;
        assert!(spans.named("x").unwrap().is_open());
        pass(LATENCY * 50).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Ok));
    });
}

#[test]
fn a_service_that_fails_again_and_again_says_why_each_time() {
    everywhere(async |place| {
        let pair = serving(place, |request, _| async move {
            drop(request);
            Err(capnp::Error::failed("as it was asked to".into()))
        });
        for _ in 0..50 {
            let error = event(&pair).fetch(get()).unwrap().await.unwrap_err();
            assert!(error.reason().contains("as it was asked to"), "{error}");
        }
        pair.settle().await;
        pair.finish().await;
    });
}

/// An upload that is read, left, or not looked at, and a response that is let go at any time: each span is
/// closed once, and nothing is left.
#[test]
fn s1_let_go_at_any_time() {
    everywhere(async |place| {
        for how in 0..3 {
            for eighth in (0..48).step_by(3) {
                let pair = serving(place, move |request, _| async move {
                    let mut body = request.into_body();
                    match how {
                        0 => return ok(body),
                        1 => drop(body.next().await),
                        _ => {}
                    }
                    ok(if eighth % 2 == 0 { "done" } else { "" })
                });
                let (world, made) = (World::new(), Rc::default());
                let pieces = endless(&world, &made).take(eighth % 12);
                let answer = event(&pair).fetch(post(Body::stream(pieces))).unwrap();
                let lets_go = spawn_local(async move {
                    let mut response = answer.await.unwrap();
                    // Where it is not an echo, all of it.
                    while how > 0 && response.body_mut().next().await.is_some() {}
                    pass(LATENCY / 8 * eighth as u32).await;
                    drop(response);
                });
                soon("response", lets_go).await.unwrap();
                pair.settle().await;
                let line = format!("{how} {eighth}: {}", pair.tree());
                assert_eq!(world.live(), 0, "{line}");
                for name in ["fetch it", "POST"] {
                    let ends = outcome(&pair.spans, name).unwrap();
                    let may_end = [Outcome::Ok, Outcome::Canceled];
                    assert!(may_end.contains(&ends), "{line}");
                    assert!(how == 0 || ends == Outcome::Ok, "{line}");
                }
                pair.finish().await;
            }
        }
    });
}

/// The same, and the connection is cut.
#[test]
fn s8_cut_at_any_time_while_an_upload_goes_on() {
    use capspan_testkit::service::Place;
    at(Place::CONNECTED, async |place| {
        for has_body in [true, false] {
            for eighth in (0..40).step_by(2) {
                let pair = serving(place, move |request, _| async move {
                    drop(request.into_body().next().await);
                    pass(LATENCY).await;
                    ok(if has_body { "done" } else { "" })
                });
                let (world, made) = (World::new(), Rc::default());
                let answer = event(&pair).fetch(post(endless(&world, &made))).unwrap();
                let asks = spawn_local(answer);
                pass(LATENCY / 8 * eighth).await;
                pair.cut();
                let answer = soon("response", asks).await.unwrap();
                if let Ok(response) = answer {
                    let _whole_or_lost = soon("body", response.into_body().whole(9)).await;
                }
                pair.settle().await;
                assert_eq!(world.live(), 0, "{eighth}");
                for span in pair.spans.closed() {
                    let ends = span.outcome().unwrap();
                    let may_end = [Outcome::Ok, Outcome::Disconnected];
                    assert!(may_end.contains(&ends), "{eighth}: {}", pair.tree());
                }
                pair.finish().await;
            }
        }
    });
}
