//! Bodies that are odd, or end oddly.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use capspan::Error;
use capspan::fetch::Body;
use capspan::trace::{MemoryObserver, Outcome, Tracer, Value};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Place};
use futures::{FutureExt, StreamExt, stream};
use http::Request;
use tokio::task::spawn_local;

use super::setting::*;

#[test]
fn a_body_that_has_more_than_it_said_is_an_error_where_it_is_read() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, Some(3), true);
        let body = asked.body();
        write(&body, b"abc").await.unwrap();
        let more = write(&body, b"d").await;
        let end = body.end_request().send().promise.await.map(drop);
        eprintln!("more {more:?}, end {end:?}");
        go.set(true);
        pair.settle().await;
        let got = got.take().expect("the service has read it");
        eprintln!("{got:?}");
        assert!(got.is_err(), "a clean end: {got:?}");
    });
}

#[test]
fn many_writes_at_once_arrive_in_order() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let mut all = Vec::new();
        let mut wanted = Vec::new();
        for n in 0..3000_u32 {
            wanted.extend(n.to_le_bytes());
            all.push(spawn_local(write(&body, &n.to_le_bytes())));
            if n == 1500 {
                pass(LATENCY / 2).await;
                go.set(true);
            }
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let end = spawn_local(body.end_request().send().promise.map(|end| end.map(drop)));
        pair.settle().await;
        let got = got.take().expect("read").unwrap();
        assert!(got == wanted, "order");
        end.await.unwrap().unwrap();
    });
}

#[test]
fn a_body_that_ended_may_be_polled_again() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("Hello") });
        let response = event(&pair).fetch(get()).unwrap().await.unwrap();
        let mut body = response.into_body();
        while let Some(piece) = body.next().await {
            piece.unwrap();
        }
        let again = std::panic::AssertUnwindSafe(body.next())
            .catch_unwind()
            .await;
        assert!(again.is_ok(), "polled after the end, it panics");
    });
}

// ======== hangs

#[test]
fn a_response_that_leaves_together_with_the_return_is_seen() {
    at(Place::CONNECTED, async |place| {
        for load in [0, 1, 10, 100, 1000] {
            let spans = MemoryObserver::new();
            let (pipeline, tasks) = foreign(place, move |params, _| async move {
                let context = context_of(&params);
                // As a peer that keeps others busy.
                for _ in 0..load {
                    let mut request = context.start_response_request();
                    request.get().init_response().set_status_code(1000);
                    spawn_local(request.send().promise.map(drop));
                }
                let mut request = context.start_response_request();
                let mut response = request.get().init_response();
                response.set_status_code(204);
                response.init_body_size().set_fixed(0);
                spawn_local(request.send().promise.map(drop));
                Ok(())
            });
            let event = pipeline
                .event("x")
                .parent(Tracer::new(spans.clone()).root());
            let response = soon("response", event.fetch(get()).unwrap()).await;
            assert!(response.is_ok(), "load {load}: {:?}", response.err());
            pass(LATENCY * 20).await;
            assert_eq!(outcome(&spans, "x"), Some(Outcome::Ok), "load {load}");
            drop(tasks);
        }
    });
}

#[test]
fn a_response_with_a_body_that_leaves_together_with_the_return_is_seen() {
    at(Place::CONNECTED, async |place| {
        let spans = MemoryObserver::new();
        let (pipeline, _tasks) = foreign(place, move |params, _| async move {
            let mut request = context_of(&params).start_response_request();
            request.get().init_response().set_status_code(200);
            let started = request.send();
            let body = started.pipeline.get_body();
            let written = write(&body, b"Hello");
            let ended = body.end_request().send().promise;
            spawn_local(async move {
                let _ = started.promise.await;
            });
            spawn_local(written.map(drop));
            spawn_local(ended.map(drop));
            Ok(())
        });
        let event = pipeline
            .event("x")
            .parent(Tracer::new(spans.clone()).root());
        let response = soon("response", event.fetch(get()).unwrap()).await.unwrap();
        let whole = soon("body", response.into_body().whole(100)).await;
        assert_eq!(whole.unwrap(), "Hello");
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Ok));
    });
}

/// In C++ a request's body that is not read is told by an exception of the kind `disconnected`; any other
/// fails the whole request (KjToCapnpHttpServiceAdapter::request, pumpRequestFailedReason).
#[test]
fn a_body_that_is_not_read_refuses_as_disconnected() {
    everywhere(async |place| {
        let pair = serving(place, |request, _| async move {
            drop(request);
            ok("done")
        });
        let asked = ask(&pair, None, true);
        let body = asked.body();
        pair.settle().await;
        // Over a connection the first returns before it has arrived.
        let _ = write(&body, b"abc").await;
        pair.settle().await;
        let error = write(&body, b"abc").await.unwrap_err();
        eprintln!("{error:?}");
        assert_eq!(asked.status.get(), 200);
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
    });
}

/// A service that keeps the request's body, unread, after its response.
#[test]
fn a_kept_request_body_keeps_nothing() {
    everywhere(async |place| {
        let kept: Rc<RefCell<Vec<Request<Body>>>> = Rc::default();
        let keeps = kept.clone();
        let pair = serving(place, move |request, _| {
            keeps.borrow_mut().push(request);
            async { ok("done") }
        });
        let body = Body::stream(stream::repeat_with(|| Ok(Bytes::from_static(&[1; 10_000]))));
        let response = event(&pair).fetch(post(body)).unwrap().await.unwrap();
        assert_eq!(response.into_body().whole(9).await.unwrap(), "done");
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Ok));
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Ok));
        let request = kept.borrow_mut().pop().unwrap();
        let error = soon("kept", request.into_body().whole(1 << 30))
            .await
            .unwrap_err();
        eprintln!("{error}");
        pair.finish().await;
    });
}

/// Two thousand pieces of one byte.
#[test]
fn many_tiny_pieces() {
    everywhere(async |place| {
        let pair = serving(place, |request, _| async move { ok(request.into_body()) });
        let count = 2_000;
        let body = stream::iter(0..count).map(|n| Ok(Bytes::copy_from_slice(&[n as u8])));
        let response = event(&pair)
            .fetch(post(Body::stream(body)))
            .unwrap()
            .await
            .unwrap();
        let whole = response.into_body().whole(1 << 20).await.unwrap();
        assert!(whole.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        assert_eq!(whole.len(), count);
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn the_body_of_a_request_leaves_with_it() {
    at([Place::Distant], async |place| {
        let start = tokio::time::Instant::now();
        let came = Rc::new(Cell::new(None));
        let seen = came.clone();
        let pair = serving(place, move |request, _| {
            let seen = seen.clone();
            async move {
                let whole = request.into_body().whole(100).await?;
                seen.set(Some(start.elapsed()));
                ok(whole)
            }
        });
        pair.settle().await;
        let start = start.elapsed();
        let response = event(&pair).fetch(post("Hello")).unwrap().await.unwrap();
        drop(response);
        let came = came.get().unwrap() - start;
        // With the end of it, which waits for the write.
        eprintln!("read after {came:?}");
        assert!(
            came < LATENCY * 3 + LATENCY / 2,
            "the body is whole after {came:?}"
        );
    });
}

#[test]
fn the_first_piece_leaves_with_the_request() {
    at([Place::Distant], async |place| {
        let start = tokio::time::Instant::now();
        let came = Rc::new(Cell::new(None));
        let seen = came.clone();
        let pair = serving(place, move |request, _| {
            let seen = seen.clone();
            async move {
                let first = request.into_body().next().await.unwrap()?;
                seen.set(Some(start.elapsed()));
                ok(first)
            }
        });
        pair.settle().await;
        let start = start.elapsed();
        let response = event(&pair).fetch(post("Hello")).unwrap().await.unwrap();
        drop(response);
        let came = came.get().unwrap() - start;
        assert!(
            came < LATENCY * 3 / 2,
            "the first piece comes after {came:?}; one way takes {LATENCY:?}"
        );
    });
}

// ======== panics

#[test]
fn a_body_that_was_received_as_long_as_it_said_is_not_given_up() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("Hello") });
        let response = event(&pair).fetch(get()).unwrap().await.unwrap();
        let mut body = response.into_body();
        assert_eq!(body.length(), Some(5));
        assert_eq!(body.next().await.unwrap().unwrap(), "Hello");
        drop(body); // There is nothing left.
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Ok));
        assert_eq!(outcome(&pair.spans, "GET"), Some(Outcome::Ok));
        pair.finish().await;
    });
}

#[test]
fn a_body_that_fails_as_canceled_is_an_exception_of_the_service() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async {
            let error = Error::canceled("my own query was canceled");
            ok(Body::stream(stream::iter([Err(error)])))
        });
        let response = event(&pair).fetch(get()).unwrap().await;
        if let Ok(response) = response {
            response.into_body().whole(100).await.unwrap_err();
        }
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Exception));
        assert_eq!(outcome(&pair.spans, "GET"), Some(Outcome::Exception));
        pair.finish().await;
    });
}

#[test]
fn nothing_is_nothing() {
    assert_eq!(Body::default().length(), Body::empty().length());
}

#[test]
fn a_write_that_waits_is_remembered_once() {
    at([Place::InProcess], async |place| {
        struct Nobody;
        impl std::task::Wake for Nobody {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let (pair, _go, _got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        pair.settle().await;
        let mut writing = write(&body, &[1; 100_000]);
        let nobody = std::sync::Arc::new(Nobody);
        let waker: std::task::Waker = nobody.clone().into();
        for _ in 0..1000 {
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(writing.poll_unpin(&mut cx).is_pending());
        }
        let known = std::sync::Arc::strong_count(&nobody);
        assert!(known < 20, "it is remembered {known} times");
    });
}

#[test]
fn e2_what_is_enriched_before_the_response_or_in_the_body() {
    everywhere(async |place| {
        let pair = serving(place, |_, event| async move {
            for n in 0..200 {
                event.enricher().set_attribute("before", n);
            }
            let body = stream::iter(0..3).map(move |n| {
                for m in 0..200 {
                    event.enricher().set_attribute(format!("piece{n}"), m);
                }
                Ok(Bytes::from_static(b"abc"))
            });
            ok(Body::stream(body))
        });
        let attribute = |key: &str| {
            let mut all = pair.spans.open();
            all.extend(pair.spans.closed());
            let span = all.iter().find(|span| span.name() == "fetch it").unwrap();
            span.attributes().get(key).cloned()
        };
        let response = event(&pair).fetch(get()).unwrap().await.unwrap();
        assert_eq!(attribute("before"), Some(Value::from(199)));
        let mut body = response.into_body();
        let mut n = 0;
        let mut late = Vec::new();
        while let Some(piece) = body.next().await {
            piece.unwrap();
            if attribute(&format!("piece{n}")) != Some(Value::from(199)) {
                late.push(n)
            }
            n += 1;
        }
        let at_end = attribute("piece2");
        pair.settle().await;
        assert_eq!(attribute("piece2"), Some(Value::from(199)));
        eprintln!("late {late:?}, end {at_end:?}");
        assert_eq!(
            at_end,
            Some(Value::from(199)),
            "late at the end; pieces late: {late:?}"
        );
        pair.finish().await;
    });
}

#[test]
fn the_bodys_stream_runs_in_the_events_span() {
    everywhere(async |place| {
        let pair = serving(place, |_, event| async move {
            let _ = event;
            ok(Body::stream(stream::once(async {
                let child = capspan::trace::SpanParent::current()
                    .start("child", capspan::trace::SpanKind::Internal);
                child.end();
                Ok(Bytes::from_static(b"abc"))
            })))
        });
        let response = event(&pair).fetch(get()).unwrap().await.unwrap();
        response.into_body().whole(9).await.unwrap();
        pair.settle().await;
        assert!(pair.spans.named("child").is_some(), "{}", pair.tree());
        pair.finish().await;
    });
}

// ======== leaks

#[test]
fn what_a_foreign_service_keeps_holds_the_span_but_nothing_after_the_connection() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        write(&body, b"x").await.unwrap();
        body.end_request().send().promise.await.unwrap();
        asked.done.await.unwrap().unwrap();
        pair.settle().await;
        assert!(pair.spans.named("POST").unwrap().is_open());
        drop((body, asked.http, asked.pipeline));
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Ok));
        drop(got);
        pair.finish().await;
    });
}
