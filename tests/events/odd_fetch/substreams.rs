//! Substreams: what peers in C++ ask a body's stream for, and what others may ask it for.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use capnp::ErrorKind;
use capnp::capability::Promise;
use capspan::byte_stream_capnp::byte_stream::{self, substream_callback};
use capspan::trace::Outcome;
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Place};
use futures::FutureExt;
use tokio::task::spawn_local;

use super::setting::*;

/// What a callback has been told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Ended(u64),
    ReachedLimit,
}

#[derive(Clone, Default)]
struct Callback {
    told: Rc<RefCell<Vec<Told>>>,
    /// Where to go after the limit.
    next: Rc<RefCell<Option<byte_stream::Client>>>,
}

impl substream_callback::Server for Callback {
    async fn ended(
        self: Rc<Self>,
        params: substream_callback::EndedParams,
        _: substream_callback::EndedResults,
    ) -> capnp::Result<()> {
        let count = params.get()?.get_byte_count();
        self.told.borrow_mut().push(Told::Ended(count));
        Ok(())
    }

    async fn reached_limit(
        self: Rc<Self>,
        _: substream_callback::ReachedLimitParams,
        mut results: substream_callback::ReachedLimitResults,
    ) -> capnp::Result<()> {
        self.told.borrow_mut().push(Told::ReachedLimit);
        if let Some(next) = &*self.next.borrow() {
            results.get().set_next(next.clone());
        }
        Ok(())
    }
}

/// Pipelined, as C++ has it.
fn substream_of(
    stream: &byte_stream::Client,
    callback: &Callback,
    limit: Option<u64>,
) -> byte_stream::Client {
    let mut request = stream.get_substream_request();
    let callback: substream_callback::Client = capnp_rpc::new_client(callback.clone());
    request.get().set_callback(callback);
    if let Some(limit) = limit {
        request.get().set_limit(limit);
    }
    let sent = request.send();
    spawn_local(sent.promise.map(drop));
    sent.pipeline.get_substream()
}

fn end(stream: &byte_stream::Client) -> Promise<(), capnp::Error> {
    let promise = stream.end_request().send().promise;
    Promise::from_future(async move { promise.await.map(drop) })
}

#[test]
fn a_substream_writes_to_the_same_body_and_its_end_is_told_and_not_passed_on() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        write(&body, b"a").await.unwrap();
        let callback = Callback::default();
        let substream = substream_of(&body, &callback, None);
        write(&substream, b"bc").await.unwrap();
        end(&substream).await.unwrap();
        assert_eq!(callback.told.take(), [Told::Ended(2)]);
        pair.settle().await;
        assert_eq!(got.take(), None);
        write(&body, b"d").await.unwrap();
        end(&body).await.unwrap();
        pair.settle().await;
        assert_eq!(got.take().unwrap().unwrap(), "abcd");
        drop((asked, body, substream));
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Ok));
        pair.finish().await;
    });
}

#[test]
fn what_comes_after_the_limit_goes_on_in_order() {
    everywhere(async |place| {
        for length in [None, Some(5)] {
            let (pair, go, got) = reads_later(place);
            go.set(true);
            let asked = ask(&pair, length, true);
            let body = asked.body();
            let callback = Callback::default();
            let elsewhere = Sink::default();
            let received = elsewhere.0.clone();
            let next = capnp_rpc::new_client(elsewhere);
            callback.next.replace(Some(next));
            let substream = substream_of(&body, &callback, Some(5));
            // All at once: who passes the limit does not overtake, nor is overtaken.
            let writes = ["abc", "de", "fg", "h", "ijk"].map(|piece| {
                let piece = write(&substream, piece.as_bytes());
                spawn_local(piece)
            });
            let ends = spawn_local(end(&substream));
            for write in writes {
                write.await.unwrap().unwrap();
            }
            ends.await.unwrap().unwrap();
            pair.settle().await;
            assert_eq!(*received.borrow(), (b"fghijk".to_vec(), true));
            assert_eq!(callback.told.take(), [Told::ReachedLimit]);
            // The stream itself is free again.
            end(&body).await.unwrap();
            pair.settle().await;
            assert_eq!(got.take().unwrap().unwrap(), "abcde");
            callback.next.take();
            drop((asked, body, substream));
            pair.settle().await;
            pair.finish().await;
        }
    });
}

#[test]
fn a_write_over_the_limit_is_split() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let callback = Callback::default();
        // As C++ has it: the rest goes back to who asked, and from there here.
        callback.next.replace(Some(body.clone()));
        for limit in [3, 0] {
            let substream = substream_of(&body, &callback, Some(limit));
            write(&substream, b"abcdef").await.unwrap();
            write(&substream, b"gh").await.unwrap();
            pair.settle().await;
        }
        end(&body).await.unwrap();
        pair.settle().await;
        assert_eq!(got.take().unwrap().unwrap(), "abcdefghabcdefgh");
        callback.next.take();
        drop((asked, body));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn substreams_of_substreams_count_for_both() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let (outer, inner) = (Callback::default(), Callback::default());
        for callback in [&outer, &inner] {
            callback.next.replace(Some(body.clone()));
        }
        let first = substream_of(&body, &outer, Some(6));
        let second = substream_of(&first, &inner, None);
        write(&second, b"ab").await.unwrap();
        end(&second).await.unwrap();
        assert_eq!(inner.told.take(), [Told::Ended(2)]);
        write(&first, b"c").await.unwrap();
        // Both come to their limits with the same byte.
        let third = substream_of(&first, &inner, Some(3));
        write(&third, b"def").await.unwrap();
        pair.settle().await;
        assert_eq!(inner.told.take(), [Told::ReachedLimit]);
        assert_eq!(outer.told.take(), [Told::ReachedLimit]);
        write(&third, b"g").await.unwrap();
        write(&first, b"h").await.unwrap();
        end(&body).await.unwrap();
        pair.settle().await;
        assert_eq!(got.take().unwrap().unwrap(), "abcdefgh");
        outer.next.take();
        inner.next.take();
        drop((asked, body, first, second, third));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn nothing_else_is_done_with_a_stream_that_has_a_substream() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let callback = Callback::default();
        let substream = substream_of(&body, &callback, None);
        write(&substream, b"a").await.unwrap();
        pair.settle().await;
        let error = end(&body).await.unwrap_err();
        assert!(error.extra.contains("with a substream"), "{error}");
        let second = substream_of(&body, &callback, None);
        assert!(end(&second).await.is_err());
        end(&substream).await.unwrap();
        assert!(end(&substream).await.is_err(), "ended twice");
        end(&body).await.unwrap();
        go.set(true);
        pair.settle().await;
        assert_eq!(got.take().unwrap().unwrap(), "a");
        drop((asked, body, substream, second));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn a_substream_that_is_let_go_without_its_end_breaks_the_body() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let callback = Callback::default();
        let substream = substream_of(&asked.body(), &callback, None);
        write(&substream, b"a").await.unwrap();
        pair.settle().await;
        drop(substream);
        pair.settle().await;
        let error = got.take().expect("the service knows").unwrap_err();
        assert!(error.reason().contains("given up"), "{error}");
        drop(asked);
        pair.settle().await;
        assert!(!pair.spans.named("POST").unwrap().is_open());
        pair.finish().await;
    });
}

/// A hostile peer's: nothing goes round for ever, and nothing is left of it.
#[test]
fn h1_substreams_that_lead_to_each_other_do_not_spin() {
    everywhere(async |place| {
        let (pair, go, _got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let (first, second) = (Callback::default(), Callback::default());
        let a = substream_of(&body, &first, Some(1));
        write(&a, b"x").now_or_never();
        first.next.replace(None);
        pair.settle().await;
        let b = substream_of(&body, &second, Some(1));
        first.next.replace(Some(b.clone()));
        second.next.replace(Some(a.clone()));
        let c = substream_of(&body, &first, Some(0));
        for stream in [&a, &b, &c] {
            spawn_local(write(stream, b"xy").map(drop));
            spawn_local(end(stream).map(drop));
        }
        pair.settle().await;
        pass(LATENCY * 100).await;
        assert_eq!(second.told.take(), [Told::ReachedLimit]);
        first.next.take();
        second.next.take();
        asked.done.abort();
        drop((asked.http, asked.pipeline, body, a, b, c));
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn h1_one_that_leads_to_itself_does_not_spin() {
    everywhere(async |place| {
        let (pair, go, _got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let callback = Callback::default();
        let substream = substream_of(&body, &callback, Some(1));
        callback.next.replace(Some(substream.clone()));
        for _ in 0..3 {
            spawn_local(write(&substream, b"xyz").map(drop));
        }
        pair.settle().await;
        pass(LATENCY * 100).await;
        assert_eq!(callback.told.take(), [Told::ReachedLimit]);
        callback.next.take();
        asked.done.abort();
        drop((asked.http, asked.pipeline, body, substream));
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn h2_substreams_of_substreams_are_limited() {
    everywhere(async |place| {
        let (pair, _go, _got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let mut all = vec![asked.body()];
        for _ in 0..100 {
            let callback = Callback::default();
            all.push(substream_of(all.last().unwrap(), &callback, None));
        }
        pair.settle().await;
        assert!(end(&all[65]).await.is_err());
        let mut one_more = all[64].get_substream_request();
        let callback = capnp_rpc::new_client(Callback::default());
        one_more.get().set_callback(callback);
        let error = one_more.send().promise.await.err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        assert!(error.extra.contains("64 streams"), "{error}");
        end(&all[64]).await.unwrap();
        asked.done.abort();
        drop((all, asked.http, asked.pipeline));
        pair.settle().await;
        pair.finish().await;
    });
}

/// Takes nothing, and returns never.
struct Stuck;

impl byte_stream::Server for Stuck {
    async fn write(self: Rc<Self>, _: byte_stream::WriteParams) -> capnp::Result<()> {
        pending().await
    }
}

#[test]
fn h2_what_is_to_be_passed_on_is_limited() {
    everywhere(async |place| {
        let (pair, go, _got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        let callback = Callback::default();
        callback.next.replace(Some(capnp_rpc::new_client(Stuck)));
        let refused = Rc::new(RefCell::new(Vec::new()));
        let mut all = Vec::new();
        // Of several substreams together.
        for _ in 0..2 {
            let substream = substream_of(&body, &callback, Some(0));
            for _ in 0..9 * 16 {
                let notes = refused.clone();
                let written = write(&substream, &[1; 64 * 1024]);
                spawn_local(written.map(move |written| notes.borrow_mut().extend(written.err())));
            }
            pair.settle().await;
            all.push(substream);
        }
        // The one that was refused something takes no more.
        let error = end(&all[1]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        if place == Place::InProcess {
            // Over a connection they return before they have arrived.
            assert_eq!(refused.borrow().len(), 2 * 9 * 16 - 252);
        }
        asked.done.abort();
        callback.next.take();
        drop((asked.http, asked.pipeline, body, all));
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn a_substream_keeps_to_the_limit_of_the_one_it_belongs_to() {
    everywhere(async |place| {
        let (pair, go, got) = reads_later(place);
        go.set(true);
        let asked = ask(&pair, None, true);
        let callback = Callback::default();
        let outer = substream_of(&asked.body(), &callback, Some(3));
        let inner = substream_of(&outer, &callback, None);
        write(&inner, b"abcd").await.unwrap();
        let error = end(&inner).await.unwrap_err();
        assert!(error.extra.contains("more than the limit"), "{error}");
        drop((inner, outer));
        pair.settle().await;
        assert!(got.take().expect("the service knows").is_err());
        drop(asked);
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn tls_is_refused_by_name() {
    // Over a connection such a call returns before it has arrived.
    at([Place::InProcess], async |place| {
        let (pair, _go, _got) = reads_later(place);
        let asked = ask(&pair, None, true);
        let body = asked.body();
        pair.settle().await;
        let error = body.start_tls_request().send().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unimplemented, "{error}");
        assert!(error.extra.contains("no connection"), "{error}");
        // It breaks nothing.
        write(&body, b"abc").await.unwrap();
        asked.done.abort();
        drop((body, asked.http, asked.pipeline));
        pair.settle().await;
        pair.finish().await;
    });
}
