//! Values that are odd, and what panics.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use capspan::fetch::Body;
use capspan::trace::{MemoryObserver, Outcome, Tracer, Value};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Place};
use futures::{StreamExt, stream};
use http::Request;
use tokio::task::spawn_local;

use super::setting::*;

#[test]
fn a_response_body_that_panics_is_a_failure_as_any_other() {
    everywhere(async |place| {
        let pair = serving(place, |request, _| async move {
            match request.uri().path() {
                "/panics" => ok(Body::stream(stream::once(async { panic!("on purpose") }))),
                _ => ok("Hello"),
            }
        });
        let request = Request::get("http://site/panics")
            .body(Body::empty())
            .unwrap();
        let failed = soon("response", event(&pair).fetch(request).unwrap()).await;
        if let Ok(response) = failed {
            assert!(soon("body", response.into_body().whole(100)).await.is_err());
        }
        // Another one is not harmed.
        let other = soon("other", pair.pipeline.event("other").fetch(get()).unwrap())
            .await
            .unwrap();
        assert_eq!(
            soon("body", other.into_body().whole(100)).await.unwrap(),
            "Hello"
        );
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "fetch it"), Some(Outcome::Exception));
    });
}

#[test]
fn a_request_body_that_panics_harms_no_other() {
    everywhere(async |place| {
        let pair = serving(place, |request, _| async move {
            let body = request.into_body().whole(100).await?;
            pass(LATENCY).await;
            ok(body)
        });
        let body = Body::stream(stream::once(async { panic!("on purpose") }));
        let failed = soon("response", event(&pair).fetch(post(body)).unwrap()).await;
        assert!(failed.is_err());
        let other = soon(
            "other",
            pair.pipeline.event("other").fetch(post("Hello")).unwrap(),
        )
        .await;
        let other = soon("body", other.unwrap().into_body().whole(100)).await;
        assert_eq!(other.unwrap(), "Hello");
    });
}

#[test]
fn odd_heads_from_a_foreign_service() {
    everywhere(async |place| {
        for case in 0..12 {
            let spans = MemoryObserver::new();
            let (pipeline, _tasks) = foreign(place, move |params, _| async move {
                let mut request = context_of(&params).start_response_request();
                let mut response = request.get().init_response();
                response.set_status_code(200);
                let long = "x".repeat(70_000);
                match case {
                    0 => response.set_status_code(0),
                    1 => response.set_status_code(1000),
                    2 => response.set_status_code(u16::MAX),
                    3 => drop(response.reborrow().init_headers(513)),
                    4 => drop(response.reborrow().init_headers(100_000)),
                    5..=10 => {
                        let headers = response.reborrow().init_headers(1);
                        let mut header = headers.get(0).init_uncommon();
                        let (name, value) = match case {
                            5 => ("", "x"),
                            6 => ("a b", "x"),
                            7 => ("x\0y", "x"),
                            8 => ("ok", "a\r\nb: c"),
                            9 => (&long[..65_536], "x"),
                            _ => ("ok", &long[..]),
                        };
                        header.set_name(name);
                        header.set_value(value);
                    }
                    _ => {
                        let headers = response.reborrow().init_headers(1);
                        headers.get(0).init_common().set_value("x");
                    }
                }
                request.send().promise.await.map(drop)
            });
            let event = pipeline
                .event("x")
                .parent(Tracer::new(spans.clone()).root());
            let response = soon("response", event.fetch(get()).unwrap()).await;
            assert!(response.is_err(), "case {case}");
            pass(LATENCY * 20).await;
            assert_eq!(
                outcome(&spans, "x"),
                Some(Outcome::Exception),
                "case {case}"
            );
        }
    });
}

#[test]
fn odd_urls_go_through() {
    everywhere(async |place| {
        for url in [
            "*",
            "site:80",
            "/",
            "/a?b=c",
            "http://u@site:1/%20?%00",
            "//x",
            "?",
            "http://[::1]/",
        ] {
            let Ok(uri) = url.parse::<http::Uri>() else {
                eprintln!("no uri: {url}");
                continue;
            };
            let seen: Rc<RefCell<Option<http::Uri>>> = Rc::default();
            let sees = seen.clone();
            let pair = serving(place, move |request, _| {
                sees.replace(Some(request.uri().clone()));
                async { ok("") }
            });
            let mut request = get();
            *request.uri_mut() = uri.clone();
            let answer = event(&pair).fetch(request).unwrap().await;
            assert!(answer.is_ok(), "{url}: {:?}", answer.err());
            assert_eq!(seen.take(), Some(uri));
            pair.settle().await;
            pair.finish().await;
        }
    });
}

#[test]
fn null_streams_panic_nobody() {
    at(Place::CONNECTED, async |place| {
        // A caller that gives no body for the response.
        let pair = serving(place, |_, _| async { ok("Hello") });
        let asked = ask(&pair, Some(0), false);
        let result = soon("call", asked.done).await.unwrap();
        eprintln!("{:?}", result.err());
        drop(asked.http);
        pair.settle().await;
        eprintln!("{}", pair.tree());
        let other = event(&pair).fetch(get()).unwrap().await.unwrap();
        drop(other.into_body().whole(9).await.unwrap());
        pair.settle().await;
        pair.finish().await;
        // A service that gives none for the request's.
        for returns in [true, false] {
            let (pipeline, _tasks) = foreign(place, move |params, mut results| async move {
                let mut request = context_of(&params).start_response_request();
                let mut response = request.get().init_response();
                response.set_status_code(204);
                response.init_body_size().set_fixed(0);
                request.send().promise.await?;
                if !returns {
                    results.get();
                    results.set_pipeline()?;
                    pass(LATENCY * 8).await;
                }
                Ok(())
            });
            let answer = pipeline.event("x").fetch(post("Hello")).unwrap();
            soon("response", answer).await.unwrap();
            pass(LATENCY * 20).await;
        }
    });
}

#[test]
fn null_streams_panic_nobody_in_process() {
    let pair_ok = std::panic::catch_unwind(|| {
        at([Place::InProcess], async |place| {
            let pair = serving(place, |_, _| async { ok("Hello") });
            let asked = ask(&pair, Some(0), false);
            let result = soon("call", asked.done).await.unwrap();
            eprintln!("{:?}", result.err());
        });
    });
    assert!(pair_ok.is_ok());
}

// ======== outcomes

#[test]
fn given_up_at_any_time() {
    everywhere(async |place| {
        for eighth in 0..80 {
            let pair = Rc::new(serving(place, |request, _| async move {
                let first = request.into_body().next().await;
                drop(first);
                ok(Body::stream(stream::iter(
                    (0..5).map(|_| Ok(Bytes::from_static(&[1; 40_000]))),
                )))
            }));
            let asks = spawn_local({
                let pair = pair.clone();
                async move {
                    let body =
                        Body::stream(stream::iter((0..3).map(|_| Ok(Bytes::from_static(b"abc")))));
                    let response = event(&pair).fetch(post(body)).unwrap().await.unwrap();
                    response.into_body().whole(1 << 20).await.unwrap();
                }
            });
            pass(LATENCY / 8 * eighth).await;
            asks.abort();
            let _ = asks.await;
            pair.settle().await;
            let caller = pair.spans.named("fetch it");
            let all: Vec<_> = pair.spans.closed();
            let line: Vec<_> = all
                .iter()
                .map(|s| format!("{}={:?}", s.name(), s.outcome().unwrap()))
                .collect();
            eprintln!("{eighth}: {}", line.join(" "));
            if let Some(caller) = caller {
                assert!(!caller.is_open(), "{eighth}");
            }
            Rc::into_inner(pair).unwrap().finish().await;
        }
    });
}

#[test]
fn cut_at_any_time() {
    at(Place::CONNECTED, async |place| {
        for how in 0..3 {
            for eighth in 0..80 {
                let pair = Rc::new(serving(place, |request, _| async move {
                    let first = request.into_body().next().await;
                    drop(first);
                    ok(Body::stream(stream::iter(
                        (0..5).map(|_| Ok(Bytes::from_static(&[1; 40_000]))),
                    )))
                }));
                let asks = spawn_local({
                    let pair = pair.clone();
                    async move {
                        let body = Body::stream(stream::iter(
                            (0..3).map(|_| Ok(Bytes::from_static(b"abc"))),
                        ));
                        let response = event(&pair).fetch(post(body)).unwrap().await?;
                        response.into_body().whole(1 << 20).await
                    }
                });
                pass(LATENCY / 8 * eighth).await;
                match how {
                    0 => pair.cut(),
                    1 => pair.drop_driver(true),
                    _ => pair.drop_driver(false),
                }
                let result = soon(&format!("{how}, {eighth}"), asks).await.unwrap();
                pair.settle().await;
                let all: Vec<_> = pair.spans.closed();
                let line: Vec<_> = all
                    .iter()
                    .map(|s| format!("{}={:?}", s.name(), s.outcome().unwrap()))
                    .collect();
                let ended = result.as_ref().map(|_| ());
                eprintln!("{how} {eighth}: {ended:?} {}", line.join(" "));
                for span in &all {
                    let outcome = span.outcome().unwrap();
                    assert!(
                        [Outcome::Ok, Outcome::Disconnected].contains(&outcome),
                        "{how} {eighth}: {line:?}"
                    );
                }
                Rc::into_inner(pair).unwrap().finish().await;
            }
        }
    });
}

#[test]
fn a_request_is_made_once_and_other_methods_are_refused() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("Hello") });
        let asked = ask(&pair, Some(0), true);
        pair.settle().await;
        let again = asked.http.request_request().send().promise;
        let start = asked.http.start_request_request().send();
        let body = start.pipeline.get_request_body();
        let connect = asked.http.connect_request().send();
        assert!(soon("again", again).await.is_err());
        assert!(soon("start", start.promise).await.is_err());
        assert!(soon("connect", connect.promise).await.is_err());
        assert!(write(&body, b"x").await.is_err());
        soon("call", asked.done).await.unwrap().unwrap();
        assert_eq!(*asked.received.borrow(), (b"Hello".to_vec(), true));
        drop((
            asked.http,
            body,
            asked.pipeline,
            start.pipeline,
            connect.pipeline,
        ));
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Ok));
        pair.finish().await;
    });
}

#[test]
fn a_url_with_a_password_is_not_on_the_span() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("") });
        let mut request = get();
        *request.uri_mut() = "http://ada:secret@site/".parse().unwrap();
        event(&pair).fetch(request).unwrap().await.unwrap();
        pair.settle().await;
        for name in ["fetch it", "GET"] {
            let span = pair.spans.named(name).unwrap();
            let Some(Value::Text(url)) = span.attributes().get("url.full") else {
                panic!("{:?}", span.attributes().get("url.full"))
            };
            assert!(!url.contains("secret"), "{name}: {url}");
        }
        pair.finish().await;
    });
}

#[test]
fn a_header_that_came_can_be_passed_on() {
    everywhere(async |place| {
        let (pipeline, _tasks) = foreign(place, |params, _| async move {
            let mut request = context_of(&params).start_response_request();
            let mut response = request.get().init_response();
            response.set_status_code(200);
            response.reborrow().init_body_size().set_fixed(0);
            let headers = response.init_headers(1);
            let mut header = headers.get(0).init_uncommon();
            header.set_name("x-name");
            header.set_value("Zoë");
            request.send().promise.await.map(drop)
        });
        let response = soon("response", pipeline.event("x").fetch(get()).unwrap())
            .await
            .unwrap();
        let value = response.headers()["x-name"].clone();
        let mut request = get();
        request.headers_mut().insert("x-name", value);
        let refused = pipeline.event("x").fetch(request).err();
        assert!(refused.is_none(), "{refused:?}");
    });
}

// ======== memory, wakers

#[test]
fn a_fetch_without_a_request_is_canceled() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("Hello") });
        let dispatcher = pair
            .client
            .start_event_request()
            .send()
            .pipeline
            .get_dispatcher();
        let fetched = dispatcher.fetch_request().send().promise.await.unwrap();
        drop((fetched, dispatcher));
        pair.settle().await;
        eprintln!("{}", pair.tree());
        assert_eq!(outcome(&pair.spans, "fetch"), Some(Outcome::Canceled));
        pair.finish().await;
    });
}
