//! How often a call, a membrane's life and a session allocate more than the same without us.
//!
//! In a process of its own: the global allocator counts for all threads.

use capspan_testkit::exchange::{Exchange, Row, allocations};
use capspan_testkit::memory::{COUNTING, Counting};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// At most. Where less is allocated, lower it.
fn allowed(row: Row) -> i64 {
    match row.path() {
        // Our own calls: without a queue for pipelined calls, and the futures that drive it.
        ["in_process", "none" | "mib"] => -21,
        ["in_process", "caps" | "mib_with_cap"] => -17,
        ["life"] => -17,
        // Parameters, results, promise.
        ["connection", "none" | "mib"] => 3,
        // And the wrapper, its hook, what it wraps, and the original that goes back.
        ["connection", "caps" | "mib_with_cap"] => 7,
        ["session", "in_process"] => 1,
        // Two of them for the update: who sends it when its turn ends, and that it awaits an answer. Fewer for
        // each message, for both ends are guarded; those of the other rows are not.
        ["session", "connection"] => -30,
        ["session_unobserved", "in_process"] => 18,
        ["session_unobserved", "connection"] => -42,
        ["call_span", "in_process"] => -15,
        // On each side a span, and who is told of the call; the caller's membrane.
        ["call_span", "connection"] => 8,
        ["call_unobserved", "in_process"] => -21,
        ["call_unobserved", "connection"] => 0,
        // Our own transport has fewer for a message than that of `capnp-rpc`.
        ["guarded", "none"] => -4,
        ["guarded", "caps"] => -8,
        other => panic!("how many may {other:?} have?"),
    }
}

#[test]
fn nothing_allocates_more_often_than_it_did() {
    let added = |row| {
        let [bare, ours] = [Exchange::bare, Exchange::ours].map(|way| allocations(row, way));
        ours.unwrap().0 - bare.unwrap().0
    };
    let all = Row::ALL.map(|row| (row.path().join("/"), added(row), allowed(row)));
    let more: Vec<_> = all
        .iter()
        .filter(|(_, added, allowed)| added > allowed)
        .collect();
    assert!(more.is_empty(), "more than allowed: {more:?}, of {all:?}");
}
