//! What must be true of the spans of a session and of its calls.

use capspan::trace::{MemoryObserver, Outcome, SpanRecord};

use crate::story::in_order;

/// The two sides.
const SIDES: [&str; 2] = ["caller", "callee"];

/// The caller's span in which the session is opened.
const REQUEST: &str = "request";

/// Is it a session's? The caller calls it "open", the callee "session", or "event" if it is over before the
/// callee learns what it is.
fn is_session(span: &SpanRecord) -> bool {
    ["open", "session", "event"].contains(&span.name())
}

/// What there is in the session on one side.
fn of_side<'a>(spans: &'a [SpanRecord], side: &str) -> impl Iterator<Item = &'a SpanRecord> {
    let spans = spans.iter().filter(move |span| span.service() == side);
    spans.filter(|span| span.name() != REQUEST)
}

/// Makes sure that on each side no call's span is open where the session's is not.
///
/// # Panics
///
/// Where one is.
pub(super) fn assert_no_call_outlives_its_session(spans: &MemoryObserver) {
    let open = spans.open();
    for side in SIDES {
        let has_session = of_side(&open, side).any(is_session);
        let first = of_side(&open, side).next();
        assert!(has_session || first.is_none(), "{side}: {first:?}");
    }
}

/// Makes sure that the span of each call is in its session's trace, and a child of the session's span or of
/// another call's, of the same side and opened before.
///
/// # Panics
///
/// Where one is not.
pub(super) fn assert_calls_belong_to_their_session(spans: &MemoryObserver) {
    let all = in_order(spans);
    for side in SIDES {
        let mut before: Vec<&SpanRecord> = Vec::new();
        for span in of_side(&all, side) {
            if is_session(span) {
                assert!(!before.iter().any(|its| is_session(its)), "{before:?}");
            } else {
                assert_is_child_of_one(&before, span);
            }
            before.push(span);
        }
    }
}

fn assert_is_child_of_one(before: &[&SpanRecord], call: &SpanRecord) {
    let mut before = before.iter();
    let parent = before.find(|span| Some(span.span_id()) == call.parent_span_id());
    let parent = parent.unwrap_or_else(|| panic!("nobody's child before it: {call:?}"));
    assert_eq!(call.trace_id(), parent.trace_id(), "{call:?}");
}

/// How the session's spans and those of its calls have ended.
///
/// # Panics
///
/// Where one of them does not say.
pub(super) fn outcomes(spans: &MemoryObserver) -> Vec<Outcome> {
    let closed = spans.closed();
    let its = closed.iter().filter(|span| span.name() != REQUEST);
    let outcome = |span: &SpanRecord| span.outcome().unwrap_or_else(|| panic!("{span:?}"));
    its.map(outcome).collect()
}

/// How the session has ended on the callee's side, if it has.
pub(super) fn callees_outcome(spans: &MemoryObserver) -> Option<Outcome> {
    let closed = spans.closed();
    let session = of_side(&closed, SIDES[1]).find(|span| is_session(span))?;
    session.outcome()
}
