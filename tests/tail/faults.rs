//! Tails whose receiver is slow, fails or goes away; whose invocation does.

use std::future::pending;
use std::rc::Rc;

use capspan::export::{Tail, TailLimits};
use capspan::pipeline::EventContext;
use capspan::trace::{Outcome, SpanKind, TailDetail, Tracer, Value};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Place, at, everywhere};

use super::setting::{self, Does, Setting, receiving};

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
            let end = "3 work: close None []\n4 scheduled: outcome Some(Canceled) [], 0 open\n";
            assert!(story.ends_with(end), "{story}");
            assert!(
                story.contains("2 scheduled: set capspan.reason="),
                "{story}"
            );
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
        let producer = setting::producing(Tracer::new(tail.clone()), async |_| Ok(()));
        let event = producer.pipeline.event("run");
        event.scheduled(&Default::default()).await.unwrap();
        producer.finish().await;
        let counts = tail.counts();
        assert_eq!((log.len(), counts.failed_invocations), (0, 1));
        drop(tail);
        receiver.finish().await;
    });
}
