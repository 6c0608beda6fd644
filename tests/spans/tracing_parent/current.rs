//! Whoever was entered last is current.

use capspan::trace::{InSpan, SpanKind, SpanParent, with_current};
use capspan_testkit::run::run;
use capspan_testkit::story;
use tokio::task::yield_now;
use tracing::info_span;

use super::setting::{mark, observed};

#[test]
fn whoever_was_entered_last_is_current() {
    let (spans, tracer, _observing) = observed();
    let ours = |name| tracer.root().start(name, SpanKind::Internal);
    let (a, b) = (ours("a"), ours("b"));
    info_span!("outside").in_scope(|| {
        mark("1");
        with_current(a.parent(), || {
            mark("2");
            let inside = info_span!("inside").entered();
            mark("3");
            with_current(b.parent(), || mark("4"));
            mark("5");
            drop(inside);
            mark("6");
        });
        mark("7");
        with_current(SpanParent::none(), || {
            mark("not seen");
            info_span!("not seen either").in_scope(|| mark("nor this"));
        });
        mark("8");
    });
    mark("in nothing");
    drop((a, b));
    let wanted = "\
a INTERNAL test closed
  2 INTERNAL test closed
  inside INTERNAL test closed
    3 INTERNAL test closed
    5 INTERNAL test closed
  6 INTERNAL test closed
b INTERNAL test closed
  4 INTERNAL test closed
outside INTERNAL test closed
  1 INTERNAL test closed
  7 INTERNAL test closed
  8 INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
    story::assert_closed_once(&spans);
}

#[test]
fn a_span_entered_twice_and_left_in_any_order_leaves_nothing() {
    let (spans, _, _observing) = observed();
    let (a, b) = (info_span!("a"), info_span!("b"));
    let (first, second, again) = (a.enter(), b.enter(), a.enter());
    mark("in a");
    drop(first);
    mark("in b");
    drop(second);
    mark("in a still");
    drop(again);
    mark("in nothing");
    drop((a, b));
    let wanted = "\
a INTERNAL test closed
  in a INTERNAL test closed
  in a still INTERNAL test closed
b INTERNAL test closed
  in b INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
}

#[test]
fn a_guard_that_is_held_across_an_await_is_not_current_for_others() {
    run(async {
        let (spans, tracer, _observing) = observed();
        let request = tracer.root().start("request", SpanKind::Internal);
        let wrong = async {
            let span = info_span!("held");
            let _entered = span.enter();
            mark("before");
            yield_now().await;
            mark("after");
        };
        let others = async {
            mark("in nothing");
            yield_now().await;
            mark("in nothing");
        };
        futures::join!(wrong.in_span(request.parent()), others);
        mark("in nothing");
        drop(request);
        let wanted = "\
request INTERNAL test closed
  held INTERNAL test closed
    before INTERNAL test closed
  after INTERNAL test closed
";
        assert_eq!(story::tree(&spans), wanted);
    });
}

#[test]
fn a_parent_that_is_named_counts_and_so_does_none() {
    let (spans, tracer, _observing) = observed();
    let a = info_span!("a");
    let request = tracer.root().start("request", SpanKind::Internal);
    with_current(request.parent(), || {
        info_span!(parent: &a, "of a").in_scope(|| mark("in it"));
        info_span!(parent: None, "of nothing").in_scope(|| mark("in it"));
        info_span!("of the current");
    });
    drop((a, request));
    let wanted = "\
a INTERNAL test closed
  of a INTERNAL test closed
    in it INTERNAL test closed
request INTERNAL test closed
  of the current INTERNAL test closed
of nothing INTERNAL test closed
  in it INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
}
