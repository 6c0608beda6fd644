//! Tails made by hand: what both sides are told, and what those meet who keep to nothing.

use capspan::Result;
use capspan::pipeline::TailSender;
use capspan::tail_capnp::{tail_event, tail_stream};
use capspan::trace::{Outcome, SpanId, SpanRecord, TailDetail, TailEvent, Timestamp};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Pair, everywhere};

use super::setting::{self, Does, Log, receiving};

fn event(sequence: u64, text: &str) -> TailEvent {
    TailEvent {
        sequence,
        time: Timestamp::from_unix_nanos(1),
        span_id: SpanId::from_u64(9).unwrap(),
        by_callee: false,
        detail: TailDetail::Rename(text.into()),
    }
}

fn sender(pair: &Pair) -> TailSender {
    let event = pair.pipeline.event("deliver").parent(pair.request.parent());
    event.tail("users").unwrap()
}

fn both(pair: &Pair) -> [SpanRecord; 2] {
    ["deliver", "tail"].map(|name| pair.spans.named(name).unwrap())
}

#[test]
fn both_sides_spans_say_whose_tail_it_is_and_how_much_has_come() {
    everywhere(async |place| {
        let (pair, log, _gate) = receiving(place, Does::Reads);
        let mut sender = sender(&pair);
        sender.send(&[event(0, "a"), event(3, "b")]).await.unwrap();
        sender.end().await.unwrap();
        pair.settle().await;
        for span in both(&pair) {
            let said = |key| span.attributes().get(key).cloned();
            assert_eq!(said("capspan.event.kind"), Some("tail".into()));
            assert_eq!(said("capspan.tail.service"), Some("users".into()));
            assert_eq!(said("capspan.tail.events"), Some(2.into()));
            assert_eq!(span.outcome(), Some(Outcome::Ok));
        }
        let [caller, callee] = both(&pair);
        assert_eq!(caller.attributes().get("tail.seen"), Some(&true.into()));
        assert_eq!(
            callee.attributes().get("capspan.tail.lost"),
            Some(&2.into())
        );
        log.with(0, |seen| assert_eq!((seen.received, seen.lost), (2, 2)));
        pair.finish().await;
    });
}

#[test]
fn numbers_that_lie_are_no_harm() {
    everywhere(async |place| {
        let (pair, log, _gate) = receiving(place, Does::Reads);
        let mut sender = sender(&pair);
        let numbers = [u64::MAX, 0, 5, u64::MAX, u64::MAX - 1, 1];
        let events = numbers.map(|number| event(number, "x"));
        sender.send(&events).await.unwrap();
        sender.end().await.unwrap();
        log.with(0, |seen| {
            assert_eq!(seen.events, events);
            assert_eq!((seen.received, seen.lost), (6, u64::MAX));
        });
        pair.finish().await;
    });
}

#[test]
fn who_sends_waits_while_nobody_reads() {
    everywhere(async |place| {
        let (pair, log, gate) = receiving(place, Does::Waits);
        let mut sender = sender(&pair);
        let sends = tokio::task::spawn_local(async move {
            for sequence in 0..100 {
                sender.send(&[event(sequence, &"x".repeat(10_000))]).await?;
            }
            sender.end().await
        });
        pair.settle().await;
        assert!(!sends.is_finished());
        log.with(0, |seen| assert_eq!(seen.events.len(), 0));
        drop(gate);
        sends.await.unwrap().unwrap();
        log.with(0, |seen| assert_eq!((seen.received, seen.lost), (100, 0)));
        pair.finish().await;
    });
}

#[test]
fn a_receiver_that_has_seen_enough_is_no_failure() {
    everywhere(async |place| {
        let (pair, _, _gate) = receiving(place, Does::Returns(1));
        let mut sender = sender(&pair);
        sender.send(&[event(0, "a")]).await.unwrap();
        pair.settle().await;
        let large = "x".repeat(60_000);
        let error = send_until_refused(&mut sender, &large).await;
        assert!(error.is_disconnected(), "{error}");
        drop(sender);
        pair.settle().await;
        let outcomes = both(&pair).map(|span| span.outcome());
        assert_eq!(outcomes, [Some(Outcome::Ok); 2]);
        pair.finish().await;
    });
}

async fn send_until_refused(sender: &mut TailSender, text: &str) -> capspan::Error {
    for sequence in 1..1000 {
        let sent: Result<()> = sender.send(&[event(sequence, text)]).await;
        if let Err(error) = sent {
            return error;
        }
    }
    panic!("it is never refused");
}

#[test]
fn a_receiver_that_returns_before_it_reads_is_told_all() {
    everywhere(async |place| {
        let (pair, log, _gate) = receiving(place, Does::ReadsApart);
        let mut sender = sender(&pair);
        for sequence in 0..200 {
            let event = event(sequence, &"x".repeat(1000));
            sender.send(&[event]).await.unwrap();
            if sequence == 100 {
                pair.settle().await;
                assert!(both(&pair).iter().all(SpanRecord::is_open));
            }
        }
        sender.end().await.unwrap();
        pair.settle().await;
        let outcomes = both(&pair).map(|span| span.outcome());
        assert_eq!(outcomes, [Some(Outcome::Ok); 2]);
        assert_seen(&log, |seen| {
            assert_eq!((seen.events.len(), &seen.end), (200, &Some(Ok(()))));
        });
        pair.finish().await;
    });
}

#[test]
fn a_producer_that_leaves_before_the_end_has_canceled() {
    everywhere(async |place| {
        for does in [Does::Reads, Does::ReadsApart, Does::Stops(1)] {
            let (pair, log, _gate) = receiving(place, does);
            let mut sender = sender(&pair);
            sender.send(&[event(0, "a")]).await.unwrap();
            pair.settle().await;
            drop(sender);
            pair.settle().await;
            let outcomes = both(&pair).map(|span| span.outcome());
            assert_eq!(outcomes, [Some(Outcome::Canceled); 2]);
            assert_seen(&log, |seen| {
                // The others are stopped.
                assert_eq!(seen.received, u64::from(does == Does::ReadsApart));
                let end = seen.end.clone().map(|end| end.unwrap_err().is_canceled());
                assert_eq!(end, (does == Does::ReadsApart).then_some(true));
            });
            pair.finish().await;
        }
    });
}

#[test]
fn a_stream_that_is_dropped_before_its_end_has_returned_is_a_canceled_event() {
    everywhere(async |place| {
        for has_ended in [false, true] {
            let (pair, _, _gate) = receiving(place, Does::Waits);
            let stream = bare(&pair).await;
            let ends = has_ended.then(|| stream.end_request().send().promise);
            let ends = ends.map(tokio::task::spawn_local);
            pair.settle().await;
            assert!(pair.spans.named("tail").unwrap().is_open());
            ends.inspect(|ends| ends.abort());
            drop(stream);
            pair.settle().await;
            let span = pair.spans.named("tail").unwrap();
            assert_eq!(span.outcome(), Some(Outcome::Canceled), "{has_ended}");
            pair.finish().await;
        }
    });
}

#[test]
fn a_receiver_that_fails_says_why_to_the_producer() {
    everywhere(async |place| {
        for (does, reason) in [(Does::Fails(1), "seen enough"), (Does::Refuses, "no tails")] {
            let (pair, _, _gate) = receiving(place, does);
            let mut sender = sender(&pair);
            let error = match sender.send(&[event(0, "a")]).await {
                Ok(()) => sender.end().await.unwrap_err(),
                Err(error) => {
                    drop(sender);
                    error
                }
            };
            assert!(error.reason().contains(reason), "{error}");
            assert_eq!(error.is_unimplemented(), does == Does::Refuses);
            pair.settle().await;
            let outcomes = both(&pair).map(|span| span.outcome());
            assert_eq!(outcomes, [Some(Outcome::Exception); 2]);
            pair.finish().await;
        }
    });
}

/// A stream in the hands of somebody who keeps to nothing.
async fn bare(pair: &Pair) -> tail_stream::Client {
    let started = pair.client.start_event_request().send();
    let mut request = started.pipeline.get_dispatcher().tail_request();
    request.get().set_service("users");
    let sent = request.send();
    let stream = sent.pipeline.get_stream();
    // As long as the stream, and in process it runs.
    tokio::task::spawn_local(async move {
        let _however = (started.promise.await, sent.promise.await);
    });
    stream
}

async fn send_bare(
    stream: &tail_stream::Client,
    count: u32,
    fill: impl Fn(tail_event::Builder<'_>),
) -> capnp::Result<()> {
    let mut request = stream.events_request();
    let mut list = request.get().init_events(count);
    for index in 0..count {
        fill(list.reborrow().get(index));
    }
    request.send().await
}

fn assert_seen(log: &Log, check: impl Fn(&setting::Seen)) {
    log.with(0, check);
}

#[test]
fn what_can_not_be_read_is_left_out_and_counts_as_lost() {
    everywhere(async |place| {
        let (pair, log, _gate) = receiving(place, Does::Reads);
        let stream = bare(&pair).await;
        send_bare(&stream, 3, |_| {}).await.unwrap();
        let large = "x".repeat(2 * 1024 * 1024);
        send_bare(&stream, 1, |mut event| {
            event.set_sequence(3);
            event.set_span_id(1);
            event.set_rename(&large[..]);
        })
        .await
        .unwrap();
        send_bare(&stream, 1, |mut event| {
            event.set_sequence(4);
            event.set_span_id(1);
            event.init_span_close();
        })
        .await
        .unwrap();
        stream.end_request().send().promise.await.unwrap();
        drop(stream);
        pair.settle().await;
        assert_seen(&log, |seen| {
            assert_eq!((seen.events.len(), seen.received, seen.lost), (1, 1, 4));
            assert_eq!(seen.end, Some(Ok(())));
        });
        pair.finish().await;
    });
}

#[test]
fn too_many_at_once_and_any_after_the_end_are_refused() {
    everywhere(async |place| {
        let (pair, log, _gate) = receiving(place, Does::Reads);
        let stream = bare(&pair).await;
        // What comes over a connection is refused at the next call at the latest.
        let _ = send_bare(&stream, 1025, |_| {}).await;
        let refused = stream.end_request().send().promise.await;
        let text = "TailStream.events.events has 1025 elements; the limit is 1024";
        drop((refused, stream));
        pair.settle().await;
        assert_seen(&log, |seen| {
            let error = seen.end.clone().unwrap().unwrap_err();
            assert!(error.is_limit() && error.reason().contains(text), "{error}");
        });
        pair.finish().await;

        let (pair, log, _gate) = receiving(place, Does::Waits);
        let stream = bare(&pair).await;
        let large = "x".repeat(900_000);
        let _ = send_bare(&stream, 20, |mut event| {
            event.set_span_id(1);
            event.set_rename(&large[..]);
        })
        .await;
        drop((stream, _gate));
        pair.settle().await;
        assert_seen(&log, |seen| {
            let error = seen.end.clone().unwrap().unwrap_err();
            assert!(error.is_overloaded() && seen.events.len() < 20, "{error}");
        });
        pair.finish().await;

        let (pair, log, _gate) = receiving(place, Does::Waits);
        let stream = bare(&pair).await;
        let ended = stream.end_request().send().promise;
        let ended = tokio::task::spawn_local(ended);
        until_idle().await;
        let _ = send_bare(&stream, 1, |mut event| event.set_span_id(1)).await;
        drop((stream, _gate));
        ended.await.unwrap().unwrap();
        pair.settle().await;
        assert_seen(&log, |seen| {
            assert_eq!((seen.received, &seen.end), (0, &Some(Ok(()))))
        });
        pair.finish().await;
    });
}
