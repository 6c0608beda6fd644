//! What comes in an event's own streams waits until its service reads it. Alone in its process, as it counts what is
//! allocated.

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use capnp::capability::Request;
use capnp::traits::HasTypeId;
use capspan::byte_stream_capnp::byte_stream;
use capspan::fetch::Body;
use capspan::http_over_capnp_capnp::http_service::client_request_context;
use capspan::pipeline::{Callee, EventContext, EventLimits, Service, TailEvents};
use capspan_testkit::abuse::Served;
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::service::Place;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const LIMIT: usize = 8 << 20;

/// One after the other: what is allocated is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn limited(callee: Callee<Slow>) -> Callee<Slow> {
    callee.event_limits(EventLimits::default().max_kept_bytes(LIMIT))
}

/// What is kept of events, and how often there was no room.
struct Kept {
    bytes: usize,
    refused: u64,
}

/// Never reads what comes.
struct Slow;

impl Service for Slow {
    async fn fetch(
        self: Rc<Self>,
        request: http::Request<Body>,
        _event: EventContext,
    ) -> capnp::Result<http::Response<Body>> {
        let _kept = request;
        std::future::pending().await
    }

    async fn tail(self: Rc<Self>, tail: TailEvents, _event: EventContext) -> capnp::Result<()> {
        let _kept = tail;
        std::future::pending().await
    }
}

type Write = Request<byte_stream::write_params::Owned, capnp::any_pointer::Owned>;

struct NoResponse;

impl client_request_context::Server for NoResponse {}

/// Requests whose bodies and heads have so many bytes, each written in one piece. Gives what is kept of them.
async fn kept_of_fetches(count: usize, body: usize, head: usize, gives_up: bool) -> Kept {
    let served = Served::new(Place::Connection, |_| Slow, limited);
    until_idle().await;
    let (piece, before, mut held) = (vec![7; body], alive(), Vec::new());
    for _ in 0..count {
        let start = served.client.start_event_request().send();
        let fetch = start.pipeline.get_dispatcher().fetch_request().send();
        let mut request = fetch.pipeline.get_http().start_request_request();
        let mut asked = request.get().init_request();
        asked.set_url("http://example.com/");
        asked.reborrow().init_body_size().set_unknown(());
        if head > 0 {
            let mut header = asked.init_headers(1).get(0).init_uncommon();
            header.set_name("x");
            header.set_value("x".repeat(head));
        }
        request.get().set_context(capnp_rpc::new_client(NoResponse));
        let Ok(started) = request.send().promise.await else {
            continue;
        };
        let stream = started.get().unwrap().get_request_body().unwrap();
        let context = started.get().unwrap().get_context().unwrap();
        let pieces = if gives_up { 15 } else { 1 };
        for _ in 0..pieces {
            if body == 0 {
                break;
            }
            // Not as a call that streams, which goes on when it is dropped.
            let mut write: Write = stream
                .client
                .new_call(byte_stream::Client::TYPE_ID, 0, None);
            write.get().set_bytes(&piece);
            let written = write.send().promise;
            if gives_up {
                until_idle().await;
                drop(written);
                until_idle().await;
            } else if written.await.is_err() {
                break;
            }
        }
        held.push((stream, context));
    }
    until_idle().await;
    let bytes = alive() - before;
    drop(held);
    let refused = served.callee.refused().bytes;
    Kept { bytes, refused }
}

/// Events of which so much is kept find no room beyond the limit. What the events themselves take, with the least, is
/// not counted.
fn assert_limited(all: Kept, least: Kept) {
    let kept = all.bytes.saturating_sub(least.bytes);
    assert!(kept > LIMIT / 2, "{kept} bytes: the limit is not reached");
    assert!(kept < LIMIT + LIMIT / 10, "{kept} bytes");
    assert!(all.refused > 0 && least.refused == 0);
}

#[test]
fn bodies_that_wait_to_be_read_have_a_limit_together() {
    let _alone = alone();
    run(async {
        let least = kept_of_fetches(400, 1, 0, false).await;
        let all = kept_of_fetches(400, 60 * 1024, 0, false).await;
        assert_limited(all, least);
    });
}

#[test]
fn bodies_whose_writes_are_given_up_have_a_limit_together() {
    let _alone = alone();
    run(async {
        let least = kept_of_fetches(20, 1, 0, true).await;
        let all = kept_of_fetches(20, 60 * 1024, 0, true).await;
        assert_limited(all, least);
    });
}

#[test]
fn heads_of_requests_have_a_limit_together() {
    let _alone = alone();
    run(async {
        let least = kept_of_fetches(400, 0, 1, false).await;
        let all = kept_of_fetches(400, 0, 60 * 1024, false).await;
        assert_limited(all, least);
    });
}

async fn kept_of_tails(name: usize) -> Kept {
    let served = Served::new(Place::Connection, |_| Slow, limited);
    until_idle().await;
    let (name, before, mut held) = ("x".repeat(name), alive(), Vec::new());
    for _ in 0..400 {
        let start = served.client.start_event_request().send();
        let mut tail = start.pipeline.get_dispatcher().tail_request();
        tail.get().set_service("x");
        let Ok(opened) = tail.send().promise.await else {
            continue;
        };
        let stream = opened.get().unwrap().get_stream().unwrap();
        let mut events = stream.events_request();
        let mut list = events.get().init_events(120);
        for at in 0..120 {
            let mut event = list.reborrow().get(at);
            event.set_sequence(at.into());
            event.set_span_id(1);
            event.set_rename(&name[..]);
        }
        if events.send().await.is_ok() {
            held.push(stream);
        }
    }
    until_idle().await;
    let bytes = alive() - before;
    drop(held);
    let refused = served.callee.refused().bytes;
    Kept { bytes, refused }
}

/// About as much as all of it is said to take is what it takes.
#[test]
fn tail_events_that_wait_to_be_read_have_a_limit_together() {
    let _alone = alone();
    run(async {
        let all = kept_of_tails(256).await;
        assert!(all.refused > 0);
        // Each of 2,000 events has some KiB of its own.
        assert!(all.bytes < LIMIT + 400 * 8 * 1024, "{} bytes", all.bytes);
    });
}
