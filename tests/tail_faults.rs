//! Tails whose receiver is slow, fails or goes away; whose producer does; and what hostile ones meet.

#[allow(dead_code, reason = "others use the rest of it")]
mod tailing;

use std::future::pending;
use std::rc::Rc;

use capspan::Result;
use capspan::export::{Tail, TailLimits};
use capspan::pipeline::{EventContext, TailSender};
use capspan::tail_capnp::{tail_event, tail_stream};
use capspan::trace::{
    Outcome, SpanId, SpanKind, SpanRecord, TailDetail, TailEvent, Timestamp, Tracer, Value,
};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Pair, Place, at, everywhere};
use tailing::{Does, Log, Setting, receiving};

/// Opens and closes many large spans, with a turn in between after each `burst`.
fn busy(spans: usize, burst: usize) -> impl AsyncFn(EventContext) -> capnp::Result<()> {
    async move |event: EventContext| {
        for index in 0..spans {
            let span = event.parent().start("work", SpanKind::Internal);
            span.set_attribute("large", "x".repeat(4000));
            if index % burst == burst - 1 {
                until_idle().await;
            }
        }
        Ok(())
    }
}

fn setting(place: Place, does: Does, limits: TailLimits, spans: usize, burst: usize) -> Setting {
    let busy = Rc::new(busy(spans, burst));
    Setting::new(place, does, limits, move |event| {
        let busy = busy.clone();
        async move { busy(event).await }
    })
}

#[test]
fn a_slow_receiver_loses_what_it_does_not_take_and_learns_how_much() {
    everywhere(async |place| {
        let limits = TailLimits::default().max_events(16);
        let mut setting = setting(place, Does::Waits, limits, 200, 3);
        setting.run().await.unwrap();
        setting.settle().await;
        let counts = setting.tail.counts();
        assert!(counts.lost_events > 100, "{counts:?}");
        setting.log.with(0, |seen| assert_eq!(seen.events.len(), 0));
        setting.open_gate();
        setting.settle().await;
        setting.log.with(0, |seen| {
            let events = &seen.events;
            let is_onset = matches!(events[0].detail, TailDetail::Onset(_));
            assert!(is_onset && matches!(seen.last(), TailDetail::Outcome { .. }));
            assert!(events.is_sorted_by_key(|event| event.sequence));
            assert_eq!(seen.end, Some(Ok(())));
            assert_eq!(
                (seen.received, seen.lost),
                (events.len() as u64, counts.lost_events)
            );
            let last = events.last().unwrap();
            assert_eq!(seen.received + seen.lost, last.sequence + 1);
        });
        let span = setting.receiver.spans.named("tail").unwrap();
        let lost = span.attributes().get("capspan.tail.lost");
        assert_eq!(lost, Some(&Value::from(counts.lost_events)));
        setting.finish().await;
    });
}

#[test]
fn what_waits_is_bounded_in_bytes_for_one_and_for_all() {
    at([Place::InProcess], async |place| {
        let one = TailLimits::default().max_bytes(20_000);
        let all = TailLimits::default().max_total_bytes(20_000);
        for limits in [one, all] {
            // All within one turn, in which nothing is sent.
            let setting = setting(place, Does::Reads, limits, 100, 101);
            setting.run().await.unwrap();
            setting.settle().await;
            setting.log.with(0, |seen| {
                assert_eq!(seen.story().matches("large=").count(), 4);
                assert_eq!(seen.end, Some(Ok(())));
                assert!(matches!(seen.last(), TailDetail::Outcome { .. }));
            });
            setting.finish().await;
        }
    });
}

#[test]
fn a_receiver_that_refuses_fails_or_stops_does_not_harm_the_service() {
    everywhere(async |place| {
        for does in [
            Does::Refuses,
            Does::Fails(1),
            Does::Returns(1),
            Does::Stops(1),
        ] {
            let mut setting = setting(place, does, TailLimits::default(), 400, 10);
            setting.run().await.unwrap();
            setting.run().await.unwrap();
            setting.settle().await;
            let counts = setting.tail.counts();
            let failed = if does == Does::Stops(1) { 0 } else { 2 };
            assert_eq!(
                (counts.invocations, counts.failed_invocations),
                (2, failed),
                "{does:?}"
            );
            assert!(failed == 0 || counts.lost_events > 0, "{counts:?}");
            let name = match does {
                Does::Refuses | Does::Fails(_) => "exception",
                Does::Returns(_) => "ok",
                _ => "open",
            };
            for span in setting.receiver.spans.closed() {
                assert_eq!(span.outcome().unwrap().as_str(), name, "{does:?}");
            }
            if does == Does::Stops(1) {
                let open = setting.receiver.spans.open();
                assert_eq!(open.len(), 3, "two, and the pair's own");
                setting.open_gate();
                setting.settle().await;
            }
            setting.finish().await;
        }
    });
}

#[test]
fn a_connection_that_is_lost_midway_does_not_harm_the_service() {
    at(Place::CONNECTED, async |place| {
        let setting = setting(place, Does::Stops(1), TailLimits::default(), 40, 1);
        let run = setting.run();
        futures::join!(async { run.await.unwrap() }, async {
            until_idle().await;
            setting.receiver.settle().await;
            setting.receiver.cut();
        });
        setting.settle().await;
        assert_eq!(setting.tail.counts().failed_invocations, 1);
        let span = setting.receiver.spans.named("tail").unwrap();
        assert_eq!(span.outcome(), Some(Outcome::Disconnected));
        // What comes afterwards is not told.
        setting.run().await.unwrap();
        setting.settle().await;
        assert_eq!(setting.tail.counts().failed_invocations, 2);
        setting.finish().await;
    });
}

#[test]
fn an_invocation_that_is_given_up_is_told_with_the_spans_that_were_open() {
    everywhere(async |place| {
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), async |event| {
            let _span = event.parent().start("work", SpanKind::Internal);
            pending().await
        });
        let event = setting.producer.pipeline.event("run");
        let run = tokio::task::spawn_local(event.scheduled(&Default::default()));
        setting.settle().await;
        run.abort();
        setting.settle().await;
        setting.log.with(0, |seen| {
            let story = seen.story();
            let end = "2 work: close None []\n3 scheduled: outcome Some(Canceled) [], 0 open\n";
            assert!(story.ends_with(end), "{story}");
        });
        setting.finish().await;
    });
}

#[test]
fn without_a_driver_nothing_is_told_and_nothing_breaks() {
    at([Place::InProcess], async |place| {
        let (receiver, log, _gate) = receiving(place, Does::Reads);
        let (tasks, driver) = capspan::Tasks::new();
        drop(driver);
        let tail = Tail::new(receiver.pipeline.clone(), &tasks);
        let producer = tailing::producing(Tracer::new(tail.clone()), async |_| Ok(()));
        let event = producer.pipeline.event("run");
        event.scheduled(&Default::default()).await.unwrap();
        producer.finish().await;
        let counts = tail.counts();
        assert_eq!((log.len(), counts.failed_invocations), (0, 1));
        drop(tail);
        receiver.finish().await;
    });
}

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
        for does in [Does::Reads, Does::ReadsApart] {
            let (pair, log, _gate) = receiving(place, does);
            let mut sender = sender(&pair);
            sender.send(&[event(0, "a")]).await.unwrap();
            pair.settle().await;
            drop(sender);
            pair.settle().await;
            let outcomes = both(&pair).map(|span| span.outcome());
            assert_eq!(outcomes, [Some(Outcome::Canceled); 2]);
            assert_seen(&log, |seen| {
                assert_eq!(seen.received, if does == Does::Reads { 0 } else { 1 });
                let end = seen.end.clone().map(|end| end.unwrap_err().is_canceled());
                assert_eq!(end, (does == Does::ReadsApart).then_some(true));
            });
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

fn assert_seen(log: &Log, check: impl Fn(&tailing::Seen)) {
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
        stream.end_request().send().promise.await.unwrap();
        let _ = send_bare(&stream, 1, |mut event| event.set_span_id(1)).await;
        drop(stream);
        drop(_gate);
        pair.settle().await;
        assert_seen(&log, |seen| {
            assert_eq!((seen.received, &seen.end), (0, &Some(Ok(()))))
        });
        pair.finish().await;
    });
}
