//! An event that is over for its callee, while the caller's span is open: nothing more is written (E3), in process
//! as over a connection.

use std::time::Duration;

use capspan::session::TimeLimits;
use capspan::trace::{EnrichStatus, SpanKind};
use capspan_testkit::run::{PausedTime, pass};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::taker::Opened;
use futures::FutureExt;

const TOTAL: Duration = Duration::from_secs(30);

#[test]
fn e3_what_is_written_after_the_callees_end_goes_nowhere_while_the_callers_span_is_open() {
    everywhere(async |place| {
        let limits = TimeLimits::new(PausedTime).total(TOTAL);
        let pair = Pair::configured(place, |callee| callee.time_limits(limits));
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        let clone = event.enricher().clone();
        clone.set_attribute("in time", true);
        pass(TOTAL).await;
        pair.settle().await;

        for caller in [event.enricher(), &clone] {
            assert!(!caller.is_observed());
            caller.set_attribute("late", true);
            caller.set_name("late");
            caller.add_event("late");
            let flushed = caller.flush().now_or_never();
            let error = flushed.expect("it is known").unwrap_err();
            assert!(error.is_ended(), "{error}");
        }
        pair.settle().await;
        let span = pair.spans.named("open").unwrap();
        assert!(span.is_open() && span.events().is_empty());
        let keys: Vec<_> = span.attributes().iter().map(|known| &*known.key).collect();
        assert_eq!(keys, ["in time"]);
        assert_eq!(pair.caller.late_updates(), 0, "nor is it late");
        drop((thing, handle, event, clone));
        pair.finish().await;
    });
}

#[test]
fn e3_another_callee_of_the_same_span_goes_on() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let span = pair.caller.root().start("mine", SpanKind::Client);
        let enricher = capspan::enrich::export(span.downgrade());
        let over = Opened::with(&pair, enricher.clone()).await;
        let over_event = pair.event();
        let other = Opened::with(&pair, enricher).await;
        let event = pair.event();
        drop(over);
        pair.settle().await;

        over_event.enricher().set_attribute("over", true);
        event.enricher().set_attribute("other", true);
        assert_eq!(event.enricher().flush().await, Ok(EnrichStatus::Applied));
        let flushed = over_event.enricher().flush().await;
        assert!(flushed.unwrap_err().is_ended());
        let record = pair.spans.named("mine").unwrap();
        let keys: Vec<_> = record.attributes().iter().map(|own| &*own.key).collect();
        assert_eq!(keys, ["other"]);
        drop((other, event, over_event, span));
        pair.finish().await;
    });
}

#[test]
fn each_callee_learns_what_became_of_what_it_wrote_itself() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let span = pair.caller.root().start("mine", SpanKind::Client);
        let enricher = capspan::enrich::export(span.downgrade());
        let first = Opened::with(&pair, enricher.clone()).await;
        let first_event = pair.event();
        let second = Opened::with(&pair, enricher).await;
        let second_event = pair.event();
        second_event.enricher().set_name("in time");
        pair.settle().await;
        span.end();
        first_event.enricher().set_name("late");
        let flushed = first_event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::SpanEnded));
        let flushed = second_event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::Applied));
        drop((first, second, first_event, second_event, span));
        pair.finish().await;
    });
}

#[test]
fn who_was_told_that_the_span_has_ended_is_told_so_after_the_event_as_well() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let span = pair.caller.root().start("mine", SpanKind::Client);
        let enricher = capspan::enrich::export(span.downgrade());
        let opened = Opened::with(&pair, enricher).await;
        let event = pair.event();
        span.end();
        event.enricher().set_name("late");
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::SpanEnded));
        drop(opened);
        pair.settle().await;
        let flushed = event.enricher().flush().await;
        assert_eq!(flushed, Ok(EnrichStatus::SpanEnded));
        drop((event, span));
        pair.finish().await;
    });
}
