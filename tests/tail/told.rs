//! Each invocation of a service is told to another while it goes on.

use std::cell::Cell;
use std::rc::Rc;

use capspan::export::{TailCounts, TailLimits};
use capspan::pipeline::{EventContext, Scheduled};
use capspan::trace::{
    Outcome, SpanBuilder, SpanContext, SpanEvent, SpanId, SpanKind, SpanStatus, SpanUpdate,
    TailDetail, Timestamp, TraceId,
};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::everywhere;
use futures::channel::oneshot;

use super::setting::{self, Does, Setting, answering};

fn link() -> SpanContext {
    SpanContext::new(
        TraceId::from_u128(1).unwrap(),
        SpanId::from_u64(77).unwrap(),
    )
}

/// All that can be said of spans.
async fn says_all(event: EventContext) -> capnp::Result<()> {
    until_idle().await;
    let query = event.parent().start("query", SpanKind::Internal);
    query.set_attribute("table", "users");
    until_idle().await;
    query.set_attribute("rows", 3).set_attribute("rows", 4);
    query.set_name("query users");
    let at = Timestamp::from_unix_nanos(5);
    query.add_event(SpanEvent::new("cache miss").at(at).attribute("k", 1));
    query.add_link(link());
    let service = answering();
    let ask = service.event("ask").parent(query.parent());
    drop(ask.scheduled(&Scheduled::new()).await?);
    until_idle().await;
    let below = query.parent().start("below", SpanKind::Client);
    below.set_status(SpanStatus::Ok).set_outcome(Outcome::Ok);
    drop((below, query));
    event.update(&SpanUpdate::new().attribute("done", true));
    Ok(())
}

const ALL: &str = "\
0 scheduled: onset of users capspan.event.kind=Text(\"scheduled\") faas.trigger=Text(\"timer\")
1 query: open INTERNAL below scheduled table=Text(\"users\")
2 query: set rows=Int(4)
3 query: rename query users
4 query: event cache miss k=Int(1)
5 query: link 77
6 ask: open CLIENT below query capspan.event.kind=Text(\"scheduled\") faas.trigger=Text(\"timer\")
7 ask by callee: rename asked
8 ask by callee: set answer=Int(42)
9 ask by callee: event answered
10 ask: close Some(Ok) []
11 below: open CLIENT below query
12 below: Ok
13 below: close Some(Ok) []
14 query: close None []
15 scheduled: set done=Bool(true)
16 scheduled: outcome Some(Ok) [], 0 open
";

#[test]
fn an_invocation_is_told_in_order() {
    everywhere(async |place| {
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), says_all);
        setting.run().await.unwrap();
        setting.settle().await;
        assert_eq!(setting.log.len(), 1);
        setting.log.with(0, |seen| {
            assert_eq!(seen.story(), ALL);
            assert_eq!((&*seen.service, &seen.end), ("users", &Some(Ok(()))));
            assert_eq!((seen.received, seen.lost), (17, 0));
            assert_eq!(seen.events[4].time, Timestamp::from_unix_nanos(5));
        });
        let counts = setting.tail.counts();
        assert_eq!((counts.invocations, counts.sent_events), (1, 17));
        assert_eq!((counts.lost_events, counts.failed_invocations), (0, 0));
        setting.finish().await;
    });
}

#[test]
fn it_is_told_while_it_goes_on() {
    everywhere(async |place| {
        let (go, wait) = oneshot::channel::<()>();
        let wait = Rc::new(Cell::new(Some(wait)));
        let handler = move |event: EventContext| {
            let wait = wait.take();
            async move {
                event.update(&SpanUpdate::new().event("waits"));
                let _go = wait.unwrap().await;
                Ok(())
            }
        };
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), handler);
        let run = setting.run();
        futures::join!(async { run.await.unwrap() }, async {
            setting.settle().await;
            setting.log.with(0, |seen| {
                assert!(seen.story().contains("event waits"), "{}", seen.story());
                assert_eq!(seen.end, None);
            });
            drop(go);
        });
        setting.settle().await;
        setting
            .log
            .with(0, |seen| assert!(seen.is_whole() && seen.end.is_some()));
        setting.finish().await;
    });
}

#[test]
fn two_invocations_at_once_do_not_mix() {
    everywhere(async |place| {
        let count = Cell::new(0);
        let handler = move |event: EventContext| {
            count.set(count.get() + 1);
            let name = ["first", "second"][count.get() - 1];
            async move {
                for _ in 0..3 {
                    let span = event.parent().start(name, SpanKind::Internal);
                    until_idle().await;
                    span.set_attribute("of", name);
                }
                Ok(())
            }
        };
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), handler);
        let (first, second) = futures::join!(setting.run(), setting.run());
        assert!(first.is_ok() && second.is_ok());
        setting.settle().await;
        for (index, (own, other)) in [("first", "second"), ("second", "first")]
            .iter()
            .enumerate()
        {
            setting.log.with(index, |seen| {
                let story = seen.story();
                assert!(seen.is_whole() && !story.contains(other), "{story}");
                assert_eq!(story.matches(&format!("{own}: open")).count(), 3, "{story}");
                assert!(matches!(seen.last(), TailDetail::Outcome { .. }));
            });
        }
        setting.finish().await;
    });
}

#[test]
fn an_invocation_that_fails_says_why() {
    everywhere(async |place| {
        let fails = async |_| Err(capnp::Error::failed("no disk".into()));
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), move |event| {
            fails(event)
        });
        assert!(setting.run().await.is_err());
        setting.settle().await;
        setting.log.with(0, |seen| {
            let story = seen.story();
            assert!(
                story.contains("2 scheduled: Error(\"no disk\")\n"),
                "{story}"
            );
            assert!(
                story.ends_with("outcome Some(Exception) [], 0 open\n"),
                "{story}"
            );
        });
        setting.finish().await;
    });
}

#[test]
fn a_session_is_told_until_its_last_capability_is_dropped() {
    everywhere(async |place| {
        let handler = async |_| Ok(());
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), move |event| {
            handler(event)
        });
        let (thing, handle) = setting.producer.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        setting.settle().await;
        setting.log.with(0, |seen| assert_eq!(seen.end, None));
        drop(thing);
        handle.done().await.unwrap();
        drop(handle);
        setting.settle().await;
        setting.log.with(0, |seen| {
            let story = seen.story();
            let lines: Vec<_> = story.lines().collect();
            assert_eq!(lines[0], "0 session: onset of users");
            // The call's span, which is of the kind of a server as well.
            assert!(lines[1].contains("open SERVER below session"), "{story}");
            assert!(lines[2].contains("close Some(Ok) []"), "{story}");
            assert_eq!(lines[3..], ["3 session: outcome Some(Ok) [], 0 open"]);
        });
        setting.finish().await;
    });
}

/// Keeps a span that outlives the run.
fn keeps(slot: &Rc<Cell<Option<SpanBuilder>>>) -> impl Fn(EventContext) -> LocalOk + use<> {
    let slot = slot.clone();
    move |event| {
        slot.set(Some(event.parent().start("later", SpanKind::Internal)));
        std::future::ready(Ok(()))
    }
}

type LocalOk = std::future::Ready<capnp::Result<()>>;

#[test]
fn an_invocation_is_over_when_the_spans_below_it_are() {
    everywhere(async |place| {
        let slot = Rc::default();
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), keeps(&slot));
        setting.run().await.unwrap();
        setting.settle().await;
        let later = slot.take().unwrap();
        setting.log.with(0, |seen| assert_eq!(seen.end, None));
        let child = later.parent();
        drop(later);
        drop(child.start("too late", SpanKind::Internal));
        drop(child);
        setting.settle().await;
        setting.log.with(0, |seen| {
            let story = seen.story();
            let end = "2 later: close None []\n3 scheduled: outcome Some(Ok) [], 0 open\n";
            assert!(story.ends_with(end), "{story}");
        });
        setting.finish().await;
    });
}

#[test]
fn a_span_below_one_that_has_closed_is_told_as_well() {
    everywhere(async |place| {
        let handler = |event: EventContext| {
            let first = event.parent().start("first", SpanKind::Internal);
            let parent = first.parent();
            drop(first);
            drop(parent.start("second", SpanKind::Internal));
            std::future::ready(Ok(()))
        };
        let setting = Setting::new(place, Does::Reads, TailLimits::default(), handler);
        setting.run().await.unwrap();
        setting.settle().await;
        setting.log.with(0, |seen| {
            let story = seen.story();
            assert!(
                story.contains("second: open INTERNAL below first"),
                "{story}"
            );
        });
        setting.finish().await;
    });
}

#[test]
fn with_too_many_at_once_none_waits_for_the_spans_below_it_and_the_rest_is_lost() {
    everywhere(async |place| {
        let slot = Rc::default();
        let limits = TailLimits::default().max_invocations(1);
        let setting = Setting::new(place, Does::Reads, limits, keeps(&slot));
        setting.run().await.unwrap();
        setting.settle().await;
        setting.log.with(0, |seen| {
            let story = seen.story();
            assert!(
                story.ends_with("2 scheduled: outcome Some(Ok) [], 1 open\n"),
                "{story}"
            );
        });
        let session = setting.producer.open();
        setting.settle().await;
        setting.run().await.unwrap();
        setting.settle().await;
        let counts = setting.tail.counts();
        assert_eq!((counts.invocations, counts.lost_invocations), (2, 1));
        assert_eq!(setting.log.len(), 2);
        drop((session, slot.take()));
        setting.finish().await;
    });
}

#[test]
fn a_tail_of_a_receiver_of_tails_does_not_tell_of_tails() {
    everywhere(async |place| {
        let (receiver, log, _gate) = setting::receiving(place, Does::Reads);
        let tail = capspan::export::Tail::new(receiver.pipeline.clone(), &receiver.tasks);
        // The receiver has the same observer as the producer.
        let tracer = capspan::trace::Tracer::new(tail.clone());
        let (tasks, driver) = capspan::Tasks::new();
        tokio::task::spawn_local(driver);
        let own = capspan::pipeline::Callee::new(Loops, &tasks).tracer(tracer);
        let pipeline = capspan::pipeline::Pipeline::new(own.pipeline(), &tasks);
        let mut sender = pipeline.event("hand-made").tail("users").unwrap();
        sender.send(&[]).await.unwrap();
        sender.end().await.unwrap();
        receiver.settle().await;
        assert_eq!((log.len(), tail.counts()), (0, TailCounts::default()));
        drop((own, pipeline, tasks, tail));
        receiver.finish().await;
    });
}

struct Loops;

impl capspan::pipeline::Service for Loops {
    async fn tail(
        self: Rc<Self>,
        mut tail: capspan::pipeline::TailEvents,
        _: EventContext,
    ) -> capnp::Result<()> {
        while let Some(event) = futures::StreamExt::next(&mut tail).await {
            event?;
        }
        Ok(())
    }
}
