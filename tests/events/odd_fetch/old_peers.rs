//! Methods that older peers call, and methods that nobody here serves.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

use capspan::http_over_capnp_capnp::HttpMethod;
use capspan::http_over_capnp_capnp::http_service::{self, server_request_context};
use capspan::trace::Outcome;
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Pair, Place};
use futures::FutureExt;
use tokio::task::spawn_local;

use super::setting::*;

/// A request that was made as Cap'n Proto 1.x makes it: its context is a promise.
struct Old {
    http: http_service::Client,
    pipeline: http_service::start_request_results::Pipeline,
    context: server_request_context::Client,
    received: Rc<RefCell<(Vec<u8>, bool)>>,
}

async fn start(pair: &Pair) -> capnp::Result<Old> {
    let start = pair.client.start_event_request().send();
    let fetch = start.pipeline.get_dispatcher().fetch_request().send();
    let http = fetch.pipeline.get_http();
    spawn_local(start.promise.map(drop));
    spawn_local(fetch.promise.map(drop));
    let received = Rc::default();
    let sink = Sink(Rc::clone(&received));
    let mut request = http.start_request_request();
    let mut head = request.get().init_request();
    head.set_method(HttpMethod::Post);
    head.set_url("http://site/");
    head.init_body_size().set_unknown(());
    let context = Context {
        status: Rc::default(),
        body: RefCell::new(Some(capnp_rpc::new_client(sink))),
    };
    request.get().set_context(capnp_rpc::new_client(context));
    let call = request.send();
    let context = call.promise.await?.get()?.get_context()?;
    Ok(Old {
        http,
        pipeline: call.pipeline,
        context,
        received,
    })
}

/// Waits for the context's resolution, as such a peer does.
async fn resolved(context: &server_request_context::Client) -> capnp::Result<()> {
    let hook = &context.client.hook;
    if hook.get_resolved().is_some() {
        // A promise of `capnp-rpc` that has resolved never says so again.
        return Ok(());
    }
    let more = hook.when_more_resolved();
    more.expect("it is a promise").await.map(drop)
}

#[test]
fn s2_a_request_by_start_request_is_done_when_its_context_resolves() {
    everywhere(async |place| {
        let pair = serving(place, |request, _| async move {
            ok(request.into_body().whole(100).await?)
        });
        let old = soon("start", start(&pair)).await.unwrap();
        let body = old.pipeline.get_request_body();
        let context = old.context.clone();
        let done = spawn_local(async move { resolved(&context).await });
        write(&body, b"Hello").await.unwrap();
        body.end_request().send().promise.await.unwrap();
        soon("done", done).await.unwrap().unwrap();
        assert_eq!(*old.received.borrow(), (b"Hello".to_vec(), true));
        drop((body, old));
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Ok));
        pair.finish().await;
    });
}

#[test]
fn s2_a_request_by_start_request_that_fails_breaks_its_context() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async {
            Err(capnp::Error::failed("as it was asked to".into()))
        });
        let old = soon("start", start(&pair)).await.unwrap();
        let error = match soon("done", resolved(&old.context)).await {
            Err(error) => error,
            // It resolves to something broken.
            Ok(()) => {
                let hook = &old.context.client.hook;
                let call = hook.new_call(1, 1, None).send();
                call.promise.await.err().expect("broken")
            }
        };
        assert!(error.extra.contains("as it was asked to"), "{error}");
        drop(old);
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Exception));
        pair.finish().await;
    });
}

#[test]
fn s2_letting_go_of_the_context_gives_up_the_request() {
    everywhere(async |place| {
        let pair = serving(place, |_, event| async move {
            let _held = event;
            pending().await
        });
        let old = soon("start", start(&pair)).await.unwrap();
        let context = old.context.clone();
        let waits = spawn_local(async move { resolved(&context).await });
        pair.settle().await;
        assert!(pair.spans.named("POST").unwrap().is_open());
        waits.abort();
        let _aborted = waits.await;
        let Old {
            http,
            pipeline,
            context,
            ..
        } = old;
        drop((pipeline, context));
        pass(LATENCY * 20).await;
        drop(http);
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Canceled));
        pair.finish().await;
    });
}

#[test]
fn s8_a_request_by_start_request_whose_connection_is_lost() {
    at(Place::CONNECTED, async |place| {
        let pair = serving(place, |request, _| async move {
            ok(request.into_body().whole(100).await?)
        });
        let old = soon("start", start(&pair)).await.unwrap();
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "POST"), Some(Outcome::Disconnected));
        drop(old);
        pair.finish().await;
    });
}

#[test]
fn tunnels_and_web_sockets_are_refused_by_name() {
    everywhere(async |place| {
        let pair = serving(place, |_, _| async { ok("Hello") });
        let asked = ask(&pair, Some(0), true);
        let connect = asked.http.connect_request().send().promise;
        let error = soon("connect", connect).await.err().expect("refused");
        assert!(error.extra.contains("tunnels are not served"), "{error}");
        assert_eq!(error.kind, capnp::ErrorKind::Unimplemented);
        drop(asked);
        pair.settle().await;
        pair.finish().await;

        let refused = Rc::new(RefCell::new(None));
        let notes = refused.clone();
        let (pipeline, _tasks) = foreign(place, move |params, _| {
            let notes = notes.clone();
            async move {
                let socket = context_of(&params).start_web_socket_request().send();
                notes.replace(socket.promise.await.err());
                Err(capnp::Error::failed("no socket, no answer".into()))
            }
        });
        let answer = soon("response", pipeline.event("x").fetch(get()).unwrap());
        let error = answer.await.unwrap_err();
        assert!(error.reason().contains("no socket"), "{error}");
        let error = refused.take().expect("refused");
        assert!(error.extra.contains("WebSockets are not taken"), "{error}");
        assert_eq!(error.kind, capnp::ErrorKind::Unimplemented);
    });
}
