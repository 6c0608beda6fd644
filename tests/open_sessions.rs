//! What sessions that are open cost, beside the same capabilities between plain servers.
//!
//! In a process of its own: the global allocator counts for all threads.

use capnp::Error;
use capspan_testkit::exchange::{Exchange, Loop, Place, Row, Work};
use capspan_testkit::memory::{COUNTING, Counting, alive};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const MANY: usize = 10_000;

/// Of both sides together, as caller and callee are in one process here. A process that has one of the two
/// has about half of it.
const BYTES_EACH: usize = 4096;

/// The bytes that so many open sessions keep, and those that are left of them.
fn kept(row: Row, set_up: fn(Row) -> Exchange) -> Result<[usize; 2], Error> {
    let event_loop = Loop::new();
    let exchange = event_loop.run(async { set_up(row) });
    // What grows once, grows before: tables, and the buffers of the connection.
    drop(event_loop.run(exchange.hold(MANY))?);
    settle(&event_loop);
    let before = alive();
    let held = event_loop.run(exchange.hold(MANY))?;
    settle(&event_loop);
    let open = alive() - before;
    drop(held);
    settle(&event_loop);
    Ok([open, alive().saturating_sub(before)])
}

/// Lets all tasks come to rest.
fn settle(event_loop: &Loop) {
    event_loop.run(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn ten_thousand_open_sessions_are_small() -> Result<(), Error> {
    for place in [Place::InProcess, Place::Connection] {
        let row = Row {
            place,
            work: Work::Session,
        };
        let [bare, _] = kept(row, Exchange::bare)?;
        let [ours, left] = kept(row, Exchange::ours)?;
        let each = (ours - bare.min(ours)) / MANY;
        println!("{place:?}: {each} bytes a session");
        assert!(each <= BYTES_EACH, "{place:?}: {each} bytes a session");
        assert!(left < ours / 20, "{place:?}: {left} of {ours} bytes stay");
    }
    Ok(())
}
