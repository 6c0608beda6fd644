//! Responses that are none, or more than one, or not as they said.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::ErrorKind;
use capspan::fetch::Body;
use capspan::http_over_capnp_capnp::http_service::client_request_context;
use capspan::trace::{MemoryObserver, Outcome, Tracer};
use capspan_testkit::run::pass;
use capspan_testkit::service::LATENCY;
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use tokio::task::spawn_local;

use super::setting::*;

/// Begins a response; `length` of its body.
fn begin(
    context: &client_request_context::Client,
    status: u16,
    length: Option<u64>,
) -> capnp::capability::RemotePromise<client_request_context::start_response_results::Owned> {
    let mut request = context.start_response_request();
    let mut response = request.get().init_response();
    response.set_status_code(status);
    if let Some(length) = length {
        response.init_body_size().set_fixed(length);
    }
    request.send()
}

#[test]
fn there_is_one_response() {
    everywhere(async |place| {
        let refused = Rc::new(RefCell::new(Vec::new()));
        let kept: Rc<RefCell<Vec<client_request_context::Client>>> = Rc::default();
        let (notes, keeps) = (refused.clone(), kept.clone());
        let (pipeline, _tasks) = foreign(place, move |params, _| {
            let (notes, keeps) = (notes.clone(), keeps.clone());
            async move {
                let context = context_of(&params);
                begin(&context, 204, Some(0)).promise.await?;
                for status in [200, 204] {
                    let again = begin(&context, status, Some(0)).promise.await;
                    notes.borrow_mut().extend(again.err());
                }
                keeps.borrow_mut().push(context);
                Ok(())
            }
        });
        let spans = MemoryObserver::new();
        let root = Tracer::new(spans.clone()).root();
        let answer = pipeline.event("x").parent(root).fetch(get()).unwrap();
        let response = soon("response", answer).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        pass(LATENCY * 20).await;
        assert_eq!(refused.borrow().len(), 2);
        // After the request has returned as well.
        let context = kept.take().pop().unwrap();
        let late = soon("late", begin(&context, 200, None).promise).await;
        assert_eq!(late.err().unwrap().kind, ErrorKind::Disconnected);
        drop(context);
        pass(LATENCY * 20).await;
        assert_eq!(outcome(&spans, "x"), Some(Outcome::Ok));
    });
}

#[test]
fn a_response_that_comes_after_the_return_is_refused() {
    everywhere(async |place| {
        let late: Got = Rc::default();
        let notes = late.clone();
        let (pipeline, _tasks) = foreign(place, move |params, _| {
            let (context, notes) = (context_of(&params), notes.clone());
            spawn_local(async move {
                pass(LATENCY * 10).await;
                let answer = begin(&context, 200, Some(0)).promise.await;
                let answer = answer.map(|_| "taken".into());
                notes.replace(Some(answer.map_err(capspan::Error::from)));
            });
            async { Ok(()) }
        });
        let answer = soon("response", pipeline.event("x").fetch(get()).unwrap()).await;
        let error = answer.unwrap_err();
        assert!(error.reason().contains("gave no response"), "{error}");
        pass(LATENCY * 40).await;
        assert!(late.take().expect("answered").is_err());
    });
}

/// They announce a response: taken for one, they would hide it.
#[test]
fn interim_responses_are_refused_and_the_real_one_is_taken() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            let context = context_of(&params);
            for status in [100, 101, 103, 199] {
                let interim = begin(&context, status, Some(0)).promise.await;
                let error = interim.err().expect("refused");
                assert!(error.extra.contains("at least 200"), "{error}");
            }
            begin(&context, 204, Some(0)).promise.await.map(drop)
        });
        let answer = soon("response", pipeline.event("x").fetch(get()).unwrap());
        assert_eq!(answer.await.unwrap().status(), StatusCode::NO_CONTENT);

        let pair = serving(place, |_, _| async {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::EARLY_HINTS;
            Ok(response)
        });
        let error = event(&pair).fetch(get()).unwrap().await.unwrap_err();
        assert!(error.reason().contains("103"), "{error}");
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn a_status_without_a_body_has_none_whatever_its_peer_sends() {
    everywhere(async |place| {
        for (status, is_head) in [(204, false), (205, false), (304, false), (200, true)] {
            let (pipeline, _tasks) = foreign(place, move |params, _| async move {
                let started = begin(&context_of(&params), status, None);
                let body = started.pipeline.get_body();
                let written = write(&body, b"abc").await;
                drop((written, body.end_request().send().promise.await));
                started.promise.await.map(drop)
            });
            let mut request = get();
            if is_head {
                *request.method_mut() = http::Method::HEAD;
            }
            let answer = soon("response", pipeline.event("x").fetch(request).unwrap());
            let response = answer.await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.body().length(), Some(0));
            assert_eq!(response.into_body().whole(9).await.unwrap(), "");
        }
    });
}

#[test]
fn a_response_is_as_long_as_it_said() {
    everywhere(async |place| {
        for (said, pieces, is_whole) in [
            (3, &["abc"][..], true),
            (3, &["a", "", "bc", ""], true),
            (3, &["ab"], false),
            (3, &["ab", "cd"], false),
            (3, &["abc", "d"], false),
            (u64::MAX, &["abc"], false),
        ] {
            let (pipeline, _tasks) = foreign(place, move |params, _| async move {
                let started = begin(&context_of(&params), 200, Some(said));
                let body = started.pipeline.get_body();
                let all = pieces.iter().map(|piece| write(&body, piece.as_bytes()));
                let all = futures::future::join_all(all);
                all.await.into_iter().collect::<capnp::Result<Vec<_>>>()?;
                body.end_request().send().promise.await?;
                started.promise.await.map(drop)
            });
            let spans = MemoryObserver::new();
            let root = Tracer::new(spans.clone()).root();
            let answer = pipeline.event("x").parent(root).fetch(get()).unwrap();
            let response = soon("response", answer).await.unwrap();
            pass(LATENCY * 20).await;
            let whole = soon("body", response.into_body().whole(99)).await;
            match is_whole {
                true => assert_eq!(whole.unwrap(), "abc"),
                false => assert!(
                    whole
                        .unwrap_err()
                        .reason()
                        .contains("that it was said to have"),
                    "{pieces:?}"
                ),
            }
            pass(LATENCY * 20).await;
            let ends = match is_whole {
                true => Outcome::Ok,
                false => Outcome::Exception,
            };
            assert_eq!(outcome(&spans, "x"), Some(ends), "{said} {pieces:?}");
        }
    });
}

#[test]
fn something_that_is_said_to_be_nothing_is_not_lost_without_a_word() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async {
            ok(Body::from("Hello").with_length(0))
        });
        let request = post(Body::from("Hello").with_length(0));
        let refused = event(&pair).fetch(request).err().expect("refused");
        assert!(refused.is_invalid(), "{refused}");
        let error = event(&pair).fetch(get()).unwrap().await.unwrap_err();
        assert!(error.reason().contains("0 bytes, and has 5"), "{error}");
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "GET"), Some(Outcome::Exception));
        pair.finish().await;
    });
}

/// A peer's header or URL that another protocol would take for more than that.
#[test]
fn nothing_is_injected_into_a_request() {
    everywhere(async |place| {
        for (url, name, value) in [
            ("http://site/ HTTP/1.1\r\nx: y", "ok", "ok"),
            ("http://site/\n", "ok", "ok"),
            ("", "ok", "ok"),
            ("http://site/", "a\r\nb", "ok"),
            ("http://site/", "a:", "ok"),
            ("http://site/", "", "ok"),
            ("http://site/", "ok", "a\r\nb: c"),
            ("http://site/", "ok", "a\nb"),
            ("http://site/", "ok", "a\0b"),
        ] {
            let pair = serving(place, |_, _| async { ok("") });
            let start = pair.client.start_event_request().send();
            let fetch = start.pipeline.get_dispatcher().fetch_request().send();
            spawn_local(start.promise.map(drop));
            let http = fetch.promise.await.unwrap().get().unwrap().get_http();
            let mut request = http.unwrap().request_request();
            let mut head = request.get().init_request();
            head.set_url(url);
            head.reborrow().init_body_size().set_fixed(0);
            let mut header = head.init_headers(1).get(0).init_uncommon();
            header.set_name(name);
            header.set_value(value);
            let error = soon("call", request.send().promise).await.err();
            assert!(error.is_some(), "{url:?} {name:?} {value:?}");
            drop((start.pipeline, fetch.pipeline));
            pair.settle().await;
            assert_eq!(outcome(&pair.spans, "fetch"), Some(Outcome::Exception));
            pair.finish().await;
        }
    });
}

/// Whatever is refused, the next request is served.
#[test]
fn a_refused_request_harms_no_other() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("Hello") });
        let mut long = get();
        let url = format!("http://site/{}", "x".repeat(40_000));
        *long.uri_mut() = url.parse().unwrap();
        let refused = event(&pair).fetch(long).err().expect("refused");
        assert!(refused.is_limit(), "{refused}");
        let request = Request::get("http://site/").body(Body::empty()).unwrap();
        let response = event(&pair).fetch(request).unwrap().await.unwrap();
        assert_eq!(response.into_body().whole(9).await.unwrap(), "Hello");
        pair.settle().await;
        pair.finish().await;
    });
}
