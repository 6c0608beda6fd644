//! What becomes of what the callee wrote: `flush` says so, and never waits for ever.

use capspan::trace::{EnrichStatus, SpanKind};
use capspan_testkit::run::{pass, until_idle};
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::taker::{Opened, Taker};
use futures::FutureExt;
use tokio::task::spawn_local;

#[test]
fn what_is_flushed_is_on_the_span() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        for rows in 0..3 {
            event.enricher().set_attribute("rows", rows);
            let flushed = event.enricher().flush().await;
            assert_eq!(flushed, Ok(EnrichStatus::Applied));
            let span = pair.spans.named("open").unwrap();
            assert_eq!(span.attributes().get("rows"), Some(&rows.into()));
        }
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn in_process_it_is_known_at_once() {
    at([Place::InProcess], async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        event.enricher().set_name("renamed");
        let flushed = event.enricher().flush().now_or_never();
        assert_eq!(flushed, Some(Ok(EnrichStatus::Applied)));
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn nothing_to_flush_is_known_at_once() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        let flushed = event.enricher().flush().now_or_never();
        assert_eq!(flushed, Some(Ok(EnrichStatus::Applied)));
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn where_nobody_observes_there_is_no_span() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let session = pair.pipeline.event("open");
        let session = session.open_session::<capspan_testkit::testkit_capnp::thing::Client>();
        let (thing, handle) = session.into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        let flushed = event.enricher().flush().now_or_never();
        assert_eq!(flushed, Some(Ok(EnrichStatus::SpanEnded)));
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e3_an_update_that_came_after_the_end_is_told() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let taker = Taker::default();
        let span = pair.caller.root().start("mine", SpanKind::Client);
        let enricher = match place {
            // One of ours, so that it is written at once.
            Place::InProcess => capspan::enrich::export(span.downgrade()),
            _ => taker.client(),
        };
        let opened = Opened::with(&pair, enricher).await;
        span.end();
        taker.answer(EnrichStatus::SpanEnded);
        let event = pair.event();
        event.enricher().set_name("late");
        for _ in 0..2 {
            let flushed = event.enricher().flush().await;
            assert_eq!(flushed, Ok(EnrichStatus::SpanEnded), "for ever");
        }
        assert!(!event.enricher().is_observed());
        drop((opened, event, span));
        pair.finish().await;
    });
}

#[test]
fn what_was_refused_is_told_once() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let taker = Taker::default();
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        taker.answer(EnrichStatus::Overloaded);
        event.enricher().set_name("x");
        pair.settle().await;
        taker.answer(EnrichStatus::Applied);
        event.enricher().set_name("y");
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::Overloaded));
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::Applied));
        drop((opened, event));
        pair.finish().await;
    });
}

#[test]
fn a_flush_waits_for_room_as_well() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let taker = Taker::default();
        taker.keep_silent(true);
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        for name in 0..70 {
            event.enricher().set_name(format!("name {name}"));
            pair.settle().await;
        }
        assert_eq!(taker.count(), 64);
        let flush = spawn_local(event.enricher().flush());
        pair.settle().await;
        assert!(!flush.is_finished());
        taker.keep_silent(false);
        assert_eq!(flush.await.unwrap(), Ok(EnrichStatus::Applied));
        let last = taker.taken().pop().unwrap();
        assert_eq!(last.update.name.as_deref(), Some("name 69"));
        drop((opened, event));
        pair.finish().await;
    });
}

#[test]
fn a_flush_that_nobody_waits_for_leaves_the_update_alone() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let taker = Taker::default();
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        for name in 0..10 {
            event.enricher().set_name(format!("name {name}"));
            drop(event.enricher().flush());
        }
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::Applied));
        assert_eq!(taker.count(), 10);
        drop((opened, event));
        pair.finish().await;
    });
}

#[test]
fn e2_a_flush_that_has_begun_is_over_when_the_session_is() {
    at(Place::CONNECTED, async |place| {
        let pair = Pair::new(place);
        let taker = Taker::default();
        taker.keep_silent(true);
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        event.enricher().set_name("x");
        let flush = spawn_local(event.enricher().flush());
        pair.settle().await;
        assert!(!flush.is_finished());
        drop(opened);
        pair.settle().await;
        let error = flush.await.unwrap().unwrap_err();
        assert!(error.is_ended(), "{error}");
        let error = event.enricher().flush().await.unwrap_err();
        assert!(error.is_ended(), "{error}");
        taker.keep_silent(false);
        drop(event);
        pair.finish().await;
    });
}

#[test]
fn e2_a_flush_is_over_when_the_connection_is_lost() {
    at(Place::CONNECTED, async |place| {
        for drops_driver in [false, true] {
            let pair = Pair::new(place);
            let taker = Taker::default();
            taker.keep_silent(true);
            let opened = Opened::with(&pair, taker.client()).await;
            let event = pair.event();
            event.enricher().set_name("x");
            let flush = spawn_local(event.enricher().flush());
            pair.settle().await;
            assert!(!flush.is_finished());
            match drops_driver {
                true => pair.drop_driver(true),
                false => pair.cut(),
            }
            pair.settle().await;
            let error = flush.await.unwrap().unwrap_err();
            assert!(error.is_ended() || error.is_disconnected(), "{error}");
            event.enricher().set_name("y");
            assert!(event.enricher().flush().await.is_err());
            taker.keep_silent(false);
            drop((opened, event));
            pair.finish().await;
        }
    });
}

#[test]
fn a_flush_is_over_when_nobody_drives_the_event_loop() {
    at([Place::InProcess], async |_| {
        let (tasks, driver) = capspan::Tasks::new();
        let taker = Taker::default();
        taker.keep_silent(true);
        let enricher = capspan::enrich::Enricher::from_capability(taker.client(), &tasks);
        let driver = spawn_local(driver);
        enricher.set_name("x");
        let flush = spawn_local(enricher.flush());
        until_idle().await;
        driver.abort();
        let error = flush.await.unwrap().unwrap_err();
        assert!(error.is_disconnected(), "{error}");
        enricher.set_name("y");
        assert!(enricher.flush().await.unwrap_err().is_disconnected());
        assert!(!enricher.is_observed());
        taker.keep_silent(false);
    });
}

#[test]
fn a_flush_holds_nothing() {
    at(Place::CONNECTED, async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        event.enricher().set_name("x");
        let flush = event.enricher().flush();
        drop((thing, handle, event));
        pass(LATENCY * 4).await;
        pair.finish().await;
        // Whatever it says, it says it.
        let _known = flush.await;
    });
}
