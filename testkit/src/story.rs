//! What an observer was told, in a form that tests can compare.

use std::fmt::Write as _;

use capspan::trace::{Channel, MemoryObserver, Noticed, SpanId, SpanRecord};

/// All spans, each below its parent and in the order in which they were opened: name, kind, service, and
/// how it ended; the names of the spans that it links to; "internal" if that is its channel.
///
/// # Panics
///
/// Where a span is not in its parent's trace, or its parent is not known.
pub fn tree(spans: &MemoryObserver) -> String {
    let all = in_order(spans);
    let mut tree = String::new();
    for root in all.iter().filter(|span| span.parent_span_id().is_none()) {
        branch(&all, root, 0, &mut tree);
    }
    let shown = tree.lines().count();
    assert_eq!(shown, all.len(), "spans without a known parent; {tree}");
    tree
}

fn branch(all: &[SpanRecord], span: &SpanRecord, depth: usize, tree: &mut String) {
    let _ = write!(
        tree,
        "{:indent$}{} {} {} {}",
        "",
        span.name(),
        span.kind().as_str(),
        span.service(),
        match (span.outcome(), span.is_open()) {
            (_, true) => "open",
            (Some(outcome), false) => outcome.as_str(),
            (None, false) => "closed",
        },
        indent = 2 * depth,
    );
    if span.channel() == Channel::Internal {
        tree.push_str(" internal");
    }
    for link in span.links() {
        let linked = all.iter().find(|other| other.span_id() == link.span_id());
        let linked = linked.expect("a link leads to a span");
        assert_eq!(linked.trace_id(), link.trace_id());
        let _ = write!(tree, " -> {}", linked.name());
    }
    tree.push('\n');
    for child in all {
        if child.parent_span_id() == Some(span.span_id()) {
            assert_eq!(child.trace_id(), span.trace_id(), "{}", child.name());
            branch(all, child, depth + 1, tree);
        }
    }
}

/// Makes sure that every span was opened once, and closed once.
///
/// # Panics
///
/// Where one was not.
pub fn assert_closed_once(spans: &MemoryObserver) {
    for span in in_order(spans) {
        let counts = (
            spans.opened_count(span.span_id()),
            spans.closed_count(span.span_id()),
        );
        assert_eq!(counts, (1, 1), "{span:?}");
    }
}

/// All spans in the order in which they were opened.
pub(crate) fn in_order(spans: &MemoryObserver) -> Vec<SpanRecord> {
    let opened: Vec<SpanId> = spans
        .log()
        .into_iter()
        .filter_map(|noticed| match noticed {
            Noticed::Opened(span) => Some(span),
            _ => None,
        })
        .collect();
    let mut all = spans.closed();
    all.extend(spans.open());
    all.sort_by_key(|span| opened.iter().position(|id| *id == span.span_id()));
    all
}
