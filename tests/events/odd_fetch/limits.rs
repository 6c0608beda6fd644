//! Senders of a body that do not wait, and what comes of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use capspan::fetch::Body;
use capspan::trace::{MemoryObserver, Outcome, Tracer, Value};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Place};
use futures::{FutureExt, StreamExt, stream};
use tokio::task::spawn_local;

use super::setting::*;

#[test]
fn h2_what_waits_to_be_read_is_bounded() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        // More than may wait; nobody reads.
        let refused = Rc::new(Cell::new(0));
        for _ in 0..20 * 16 {
            let counts = refused.clone();
            spawn_local(write(&body, &[1; 64 * 1024]).map(move |written| {
                counts.set(counts.get() + u64::from(written.is_err()));
            }));
        }
        pair.settle().await;
        let end = soon("end", body.end_request().send().promise).await;
        let error = end.err().expect("refused");
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        assert!(error.extra.contains("16777216 bytes"), "{error}");
        go.set(true);
        pair.settle().await;
        let got = got.take().expect("the service has read it");
        assert!(got.unwrap_err().is_overloaded());
        let span = pair.spans.named("POST").unwrap();
        let count = span.attributes().get("capspan.body.refused_writes");
        // 16 MiB are 252 times 64 KiB, with 1 KiB for each write that waits.
        assert_eq!(count, Some(&Value::from(20 * 16 - 252)));
        drop((asked, body));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn h2_a_response_that_does_not_wait_breaks() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            let mut request = context_of(&params).start_response_request();
            request.get().init_response().set_status_code(200);
            let started = request.send();
            let body = started.pipeline.get_body();
            let all: Vec<_> = (0..20 * 16)
                .map(|_| write(&body, &[1; 64 * 1024]))
                .collect();
            futures::future::join_all(all).await;
            body.end_request().send().promise.await?;
            Ok(())
        });
        let spans = MemoryObserver::new();
        let event = pipeline.event("x");
        let event = event.parent(Tracer::new(spans.clone()).root());
        let response = soon("response", event.fetch(get()).unwrap()).await.unwrap();
        pass(LATENCY * 20).await;
        let body = soon("body", response.into_body().whole(1 << 30)).await;
        assert!(body.unwrap_err().is_overloaded());
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Overloaded));
        let span = spans.named("x").unwrap();
        assert!(
            span.attributes()
                .get("capspan.body.refused_writes")
                .is_some()
        );
    });
}

#[test]
fn h2_a_flood_of_small_writes_is_bounded() {
    at([Place::Connection], async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        write(&body, &[1; 64 * 1024]).now_or_never();
        for n in 0..17_000 {
            spawn_local(write(&body, b"x").map(drop));
            if n % 1_000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        pair.settle().await;
        go.set(true);
        pair.settle().await;
        let got = got.take().expect("the service has read it");
        // They are 17,000 bytes: it is their calls that are too many.
        assert!(got.unwrap_err().is_overloaded());
        drop((asked, body));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn m4_writes_that_wait_keep_their_order_with_the_end() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let returned = Rc::new(RefCell::new(Vec::new()));
        let mut wanted = Vec::new();
        for n in 0..100_u8 {
            wanted.extend([n; 10_000]);
            let returns = returned.clone();
            spawn_local(write(&body, &[n; 10_000]).map(move |written| {
                written.unwrap();
                returns.borrow_mut().push(n);
            }));
        }
        let end = spawn_local(body.end_request().send().promise.map(|end| end.map(drop)));
        pair.settle().await;
        assert!(returned.borrow().len() < 100, "nobody waits");
        go.set(true);
        pair.settle().await;
        end.await.unwrap().unwrap();
        assert!(got.take().unwrap().unwrap() == wanted);
        assert!(returned.borrow().is_sorted() && returned.borrow().len() == 100);
        drop((asked, body));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn empty_writes_are_nothing() {
    everywhere(async |place| {
        for length in [None, Some(3)] {
            let (pair, go, got) = reads_later(place);
            go.set(true);
            let asked = ask(&pair, length, true);
            let body = asked.body();
            for piece in [&b""[..], b"a", b"", b"", b"bc", b""] {
                write(&body, piece).await.unwrap();
            }
            body.end_request().send().promise.await.unwrap();
            pair.settle().await;
            assert_eq!(got.take().unwrap().unwrap(), "abc");
            drop((asked, body));
            pair.settle().await;
            pair.finish().await;
        }
    });
}

#[test]
fn a_body_without_end_that_has_nothing_lets_others_run() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| std::future::pending());
        let body = Body::stream(stream::repeat_with(|| Ok(Bytes::new())));
        let asks = spawn_local(event(&pair).fetch(post(body)).unwrap().map(drop));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        asks.abort();
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Canceled));
        pair.finish().await;
    });
}

/// Nowhere on the way is more than a little of it.
#[test]
fn h2_a_large_body_goes_through_a_small_space() {
    const PIECE: usize = 256 * 1024;
    const COUNT: usize = 64;
    everywhere(async |place| {
        let (made, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let pair = serving(place, |request, _| async move { ok(request.into_body()) });
        let makes = made.clone();
        let pieces = stream::repeat_with(move || {
            makes.set(makes.get() + PIECE);
            Ok(Bytes::from_static(&[5; PIECE]))
        });
        let body = Body::stream(pieces.take(COUNT));
        let response = event(&pair).fetch(post(body)).unwrap().await.unwrap();
        let (mut body, mut read) = (response.into_body(), 0);
        while let Some(piece) = body.next().await {
            read += piece.unwrap().len();
            most.set(most.get().max(made.get() - read));
        }
        assert_eq!(read, PIECE * COUNT);
        assert!(
            most.get() < 2 << 20,
            "{} bytes were on their way",
            most.get()
        );
        drop(body);
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Ok));
        pair.finish().await;
    });
}
