//! HTTP requests as events: there and back with bodies in both directions, given up, refused, lost.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use bytes::Bytes;
use capspan::fetch::Body;
use capspan::pipeline::{Event, EventContext, Service};
use capspan::trace::{Outcome, SpanStatus, Value};
use capspan::{Error, Result};
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::world::World;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use tokio::task::spawn_local;

/// A service that answers by path.
struct Site {
    world: World,
    /// How many pieces of a body it has made or read.
    pieces: Rc<Cell<usize>>,
    /// What was asked for.
    seen: Rc<RefCell<Vec<String>>>,
    _alive: Rc<()>,
}

/// Counts as an object of the world while its stream is alive.
fn endless(world: &World, pieces: &Rc<Cell<usize>>) -> Body {
    let (object, pieces) = (world.thing(), pieces.clone());
    Body::stream(stream::repeat_with(move || {
        let _object = &object;
        pieces.set(pieces.get() + 1);
        Ok(Bytes::from_static(&[7; 10_000]))
    }))
}

impl Service for Site {
    async fn fetch(
        self: Rc<Self>,
        request: Request<Body>,
        event: EventContext,
    ) -> capnp::Result<Response<Body>> {
        let _object = self.world.thing();
        let line = format!("{} {}", request.method(), request.uri());
        self.seen.borrow_mut().push(line);
        event.enricher().set_attribute("app.seen", true);
        let respond = |status: u16, body: Body| {
            Response::builder()
                .status(status)
                .body(body)
                .map_err(|error| capnp::Error::failed(error.to_string()))
        };
        match request.uri().path() {
            "/echo" => {
                let custom = request.headers().get("x-own").cloned();
                let mut response = respond(200, request.into_body())?;
                let headers = response.headers_mut();
                headers.insert(
                    header::CONTENT_TYPE,
                    header::HeaderValue::from_static("a/b"),
                );
                headers
                    .extend(custom.map(|value| (header::HeaderName::from_static("x-own"), value)));
                Ok(response)
            }
            "/first" => {
                let first = request.into_body().next().await;
                self.pieces.set(1);
                respond(200, first.transpose()?.unwrap_or_default().into())
            }
            "/missing" => respond(404, "no such thing".into()),
            "/broken" => respond(503, Body::empty()),
            "/endless" => respond(200, endless(&self.world, &self.pieces)),
            "/short" => respond(200, Body::from("abc").with_length(5)),
            "/stops" => {
                let pieces = [
                    Ok(Bytes::from_static(b"abc")),
                    Err(Error::failed("the disk is gone")),
                ];
                respond(200, Body::stream(stream::iter(pieces)))
            }
            "/fails" => Err(capnp::Error::failed("as it was asked to".into())),
            "/panics" => panic!("on purpose"),
            _ => pending().await,
        }
    }
}

struct Setting {
    pair: Pair,
    pieces: Rc<Cell<usize>>,
    seen: Rc<RefCell<Vec<String>>>,
}

fn setting(place: Place) -> Setting {
    let (world, pieces, seen) = (World::new(), Rc::default(), Rc::default());
    let service = |alive| Site {
        world: world.clone(),
        pieces: Rc::clone(&pieces),
        seen: Rc::clone(&seen),
        _alive: alive,
    };
    Setting {
        pair: Pair::with_service(place, world.clone(), |callee| callee, service),
        pieces,
        seen,
    }
}

impl Setting {
    fn event(&self) -> Event<'_> {
        let event = self.pair.pipeline.event("fetch it");
        event.parent(self.pair.request.parent())
    }

    async fn get(&self, path: &str) -> Result<Response<Body>> {
        let request = Request::get(format!("http://site{path}"));
        let request = request.body(Body::empty()).unwrap();
        self.event().fetch(request).unwrap().await
    }

    async fn post(&self, path: &str, body: Body) -> Result<Response<Body>> {
        let request = Request::post(format!("http://site{path}"));
        let request = request.header("x-own", "mine").body(body).unwrap();
        self.event().fetch(request).unwrap().await
    }

    /// How both spans stand.
    fn assert_both(&self, name: &str, outcome: &str) {
        let tree = format!(
            "request INTERNAL caller open\n  fetch it CLIENT caller {outcome}\n    {name} SERVER callee {outcome}\n"
        );
        assert_eq!(self.pair.tree(), tree);
    }

    fn attribute(&self, span: &str, key: &str) -> Option<Value> {
        let span = self.pair.spans.named(span).unwrap();
        span.attributes().get(key).cloned()
    }
}

#[test]
fn e4_a_request_is_answered_and_the_callers_span_enriched() {
    everywhere(async |place| {
        let site = setting(place);
        let response = site.post("/echo?x=1", "Hello".into()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-own"], "mine");
        assert_eq!(response.headers()["content-type"], "a/b");
        // What was written before the response.
        let mut all = site.pair.spans.open();
        all.extend(site.pair.spans.closed());
        let caller = all.iter().find(|span| span.name() == "fetch it").unwrap();
        assert_eq!(caller.attributes().get("app.seen"), Some(&true.into()));
        assert_eq!(*caller.set_by_callee(), ["app.seen".into()]);
        assert_eq!(response.into_body().whole(5).await.unwrap(), "Hello");
        site.pair.settle().await;
        assert_eq!(*site.seen.borrow(), ["POST http://site/echo?x=1"]);
        site.assert_both("POST", "ok");
        for span in ["fetch it", "POST"] {
            for (key, value) in [
                ("capspan.event.kind", Value::from("fetch")),
                ("faas.trigger", "http".into()),
                ("http.request.method", "POST".into()),
                ("url.full", "http://site/echo?x=1".into()),
                ("http.response.status_code", 200.into()),
            ] {
                assert_eq!(site.attribute(span, key), Some(value), "{span}: {key}");
            }
        }
        site.pair.finish().await;
    });
}

#[test]
fn bodies_of_any_length_arrive_piece_by_piece() {
    everywhere(async |place| {
        for pieces in [0, 1, 3, 100] {
            let site = setting(place);
            let body = stream::iter(0..pieces).map(|n| Ok(vec![n as u8; 3_000].into()));
            let response = site.post("/echo", Body::stream(body)).await.unwrap();
            let whole = response.into_body().whole(1 << 20).await.unwrap();
            let wanted: Vec<u8> = (0..pieces).flat_map(|n| [n as u8; 3_000]).collect();
            assert!(whole == wanted, "{pieces} pieces");
            site.pair.settle().await;
            site.assert_both("POST", "ok");
            site.pair.finish().await;
        }
    });
}

#[test]
fn an_error_status_is_an_error_on_the_side_whose_it_is() {
    everywhere(async |place| {
        for (path, status, is_callees) in [("/missing", 404, false), ("/broken", 503, true)] {
            let site = setting(place);
            let response = site.get(path).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            response.into_body().whole(100).await.unwrap();
            site.pair.settle().await;
            site.assert_both("GET", "ok");
            for (span, is_error) in [("fetch it", true), ("GET", is_callees)] {
                let record = site.pair.spans.named(span).unwrap();
                assert_eq!(
                    *record.status() == SpanStatus::error(""),
                    is_error,
                    "{span}"
                );
                let said = site.attribute(span, "error.type");
                assert_eq!(said, is_error.then(|| status.to_string().into()));
            }
            site.pair.finish().await;
        }
    });
}

#[test]
fn a_service_need_not_read_the_body() {
    everywhere(async |place| {
        let site = setting(place);
        let outside = World::new();
        let body = endless(&outside, &Rc::default());
        let response = site.post("/first", body).await.unwrap();
        assert_eq!(
            response.into_body().whole(10_000).await.unwrap().len(),
            10_000
        );
        site.pair.settle().await;
        site.assert_both("POST", "ok");
        assert_eq!(outside.live(), 0);
        site.pair.finish().await;
    });
}

#[test]
fn who_writes_waits_for_who_reads() {
    everywhere(async |place| {
        let site = setting(place);
        let response = site.get("/endless").await.unwrap();
        site.pair.settle().await;
        let made = site.pieces.get();
        assert!(made < 100, "{made} pieces");
        site.pair.settle().await;
        assert_eq!(site.pieces.get(), made);
        let mut body = response.into_body();
        for _ in 0..200 {
            body.next().await.unwrap().unwrap();
        }
        assert!(site.pieces.get() > made);
        site.assert_both("GET", "open");
        drop(body);
        site.pair.settle().await;
        site.assert_both("GET", "canceled");
        site.pair.finish().await;
    });
}

#[test]
fn s2_a_request_that_is_given_up_is_canceled() {
    everywhere(async |place| {
        let site = Rc::new(setting(place));
        let asks = spawn_local({
            let site = site.clone();
            async move { site.get("/hangs").await.map(drop) }
        });
        site.pair.settle().await;
        assert_eq!((site.seen.borrow().len(), site.pair.world.live()), (1, 1));
        site.assert_both("GET", "open");
        asks.abort();
        site.pair.settle().await;
        site.assert_both("GET", "canceled");
        assert_eq!(site.pair.world.live(), 0);
        Rc::into_inner(site).unwrap().pair.finish().await;
    });
}

#[test]
fn s2_a_response_that_is_dropped_unread_gives_up_the_request() {
    everywhere(async |place| {
        let site = setting(place);
        drop(site.get("/endless").await.unwrap());
        site.pair.settle().await;
        site.assert_both("GET", "canceled");
        assert_eq!(site.pair.world.live(), 0);
        site.pair.finish().await;
    });
}

#[test]
fn s2_a_service_that_fails_is_an_exception() {
    everywhere(async |place| {
        for (path, reason) in [
            ("/fails", "as it was asked to"),
            ("/panics", "the service panicked"),
        ] {
            let site = setting(place);
            let error = site.get(path).await.unwrap_err();
            assert!(error.reason().contains(reason), "{error}");
            site.pair.settle().await;
            site.assert_both("GET", "exception");
            site.pair.finish().await;
        }
    });
}

#[test]
fn a_body_that_does_not_come_to_its_end_is_an_error_where_it_is_read() {
    everywhere(async |place| {
        for (path, reason) in [
            ("/stops", "the disk is gone"),
            ("/short", "a body was said to have 5 bytes, and has 3"),
        ] {
            let site = setting(place);
            let response = site.get(path).await.unwrap();
            let error = response.into_body().whole(100).await.unwrap_err();
            assert!(error.reason().contains(reason), "{error}");
            site.pair.settle().await;
            let caller = site.pair.spans.named("fetch it").unwrap();
            assert_eq!(caller.outcome(), Some(Outcome::Exception));
            // Whose fault it was, or whose it was to give up then.
            let callee = site.pair.spans.named("GET").unwrap().outcome().unwrap();
            assert!([Outcome::Exception, Outcome::Canceled].contains(&callee));
            site.pair.finish().await;
        }
    });
}

#[test]
fn a_request_whose_body_fails_is_given_up() {
    everywhere(async |place| {
        let site = setting(place);
        let pieces = [
            Ok(Bytes::from_static(b"abc")),
            Err(Error::failed("no more")),
        ];
        let body = Body::stream(stream::iter(pieces));
        let response = site.post("/echo", body).await;
        let error = match response {
            Ok(response) => response.into_body().whole(100).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.reason().contains("no more"), "{error}");
        site.pair.settle().await;
        let caller = site.pair.spans.named("fetch it").unwrap();
        assert_eq!(caller.outcome(), Some(Outcome::Exception));
        site.pair.finish().await;
    });
}

#[test]
fn s8_a_request_whose_connection_is_lost_is_disconnected() {
    at(Place::CONNECTED, async |place| {
        let site = setting(place);
        let response = site.get("/endless").await.unwrap();
        site.pair.cut();
        let lost = response.into_body().whole(usize::MAX).await.unwrap_err();
        assert!(lost.is_disconnected(), "{lost}");
        site.pair.settle().await;
        site.assert_both("GET", "disconnected");
        site.pair.finish().await;
    });
}

#[test]
fn s8_lost_while_it_is_being_delivered() {
    at([Place::Distant], async |place| {
        for quarter in 0..9 {
            let site = Rc::new(setting(place));
            let asks = spawn_local({
                let site = site.clone();
                async move { site.get("/hangs").await.map(drop) }
            });
            capspan_testkit::run::pass(LATENCY / 4 * quarter).await;
            site.pair.cut();
            let error = asks.await.unwrap().unwrap_err();
            assert!(error.is_disconnected(), "{quarter}: {error}");
            site.pair.settle().await;
            let caller = site.pair.spans.named("fetch it").unwrap();
            assert_eq!(caller.outcome(), Some(Outcome::Disconnected));
            Rc::into_inner(site).unwrap().pair.finish().await;
        }
    });
}

#[test]
fn a_service_without_http_refuses_by_name() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let request = Request::get("http://site/").body(Body::empty()).unwrap();
        let event = pair
            .pipeline
            .event("fetch it")
            .parent(pair.request.parent());
        let error = event.fetch(request).unwrap().await.unwrap_err();
        assert!(error.is_unimplemented(), "{error}");
        let reason = "this service serves no fetch events";
        assert!(error.reason().contains(reason), "{error}");
        pair.finish().await;
    });
}

#[test]
fn a_response_without_a_body_has_none_whatever_the_service_says() {
    everywhere(async |place| {
        let site = setting(place);
        let request = Request::head("http://site/missing").body(Body::empty());
        let response = site.event().fetch(request.unwrap()).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.into_body().length(), Some(0));
        site.pair.settle().await;
        site.assert_both("HEAD", "ok");
        site.pair.finish().await;
    });
}

#[test]
fn what_can_not_be_sent_is_refused_before_anything_begins() {
    everywhere(async |place| {
        let site = setting(place);
        let refused = |change: &dyn Fn(&mut Request<Body>)| {
            let mut request = Request::new(Body::empty());
            change(&mut request);
            site.event().fetch(request).err().unwrap()
        };
        let method = refused(&|request| {
            *request.method_mut() = Method::from_bytes(b"BREW").unwrap();
        });
        assert!(method.is_invalid(), "{method}");
        let value = refused(&|request| {
            let value = header::HeaderValue::from_bytes(b"\xff").unwrap();
            request.headers_mut().insert("x-own", value);
        });
        assert!(value.is_invalid(), "{value}");
        let many = refused(&|request| {
            let value = header::HeaderValue::from_static("x");
            for _ in 0..513 {
                request.headers_mut().append("x-own", value.clone());
            }
        });
        assert!(many.is_limit(), "{many}");
        let long = refused(&|request| {
            let value = "x".repeat(65 * 1024).parse().unwrap();
            request.headers_mut().insert("x-own", value);
        });
        assert!(long.is_limit(), "{long}");
        site.pair.settle().await;
        assert_eq!(site.pair.tree(), "request INTERNAL caller open\n");
        site.pair.finish().await;
    });
}
