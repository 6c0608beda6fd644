//! Events on behalf of each other: what the last callee writes gets to each of the callers.

use capspan::trace::{SpanKind, Value};
use capspan_testkit::service::{Pair, Place, at};
use capspan_testkit::testkit_capnp::thing;

/// Whoever can have a service start events on behalf of its own says how long a chain is.
#[test]
fn a_chain_of_events_in_one_process_takes_no_stack() {
    at([Place::InProcess], async |place| {
        let pair = Pair::new(place);
        let mut open = vec![pair.open().into_parts()];
        for _ in 0..3_000 {
            let (last, _) = open.last().expect("the first one");
            last.number_request().send().promise.await.unwrap();
            let next = pair.pipeline.event("next").on_behalf_of(&pair.event());
            open.push(next.open_session::<thing::Client>().into_parts());
        }
        let (last, _) = open.last().expect("the last one");
        last.number_request().send().promise.await.unwrap();
        pair.event().enricher().set_attribute("rows", 2);
        let spans = pair.spans.open();
        let callers = spans.iter().filter(|span| span.kind() == SpanKind::Client);
        let rows = callers.map(|span| span.attributes().get("rows"));
        let written = rows.filter(|rows| *rows == Some(&Value::from(2)));
        assert_eq!(written.count(), open.len());
        drop(open);
        pair.finish().await;
    });
}
