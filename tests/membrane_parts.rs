//! Parts of a membrane that come and go leave nothing behind.
//!
//! In a process of its own: the global allocator counts for all threads.

use capspan::membrane::{Membrane, Policy};
use capspan_testkit::membrane::World;
use capspan_testkit::memory::{COUNTING, Counting, alive};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

struct Forward;

impl Policy for Forward {}

#[test]
fn parts_that_are_gone_leave_nothing() {
    let whole = Membrane::new();
    let inside = World::new().probe("inner");
    let stays: Vec<_> = (0..10)
        .map(|_| whole.part(Forward).export(inside.clone()))
        .collect();
    let come_and_go = |times: usize| {
        for _ in 0..times {
            drop(whole.part(Forward).export(inside.clone()));
        }
        alive()
    };
    let before = come_and_go(100);
    // A few that are gone are remembered until there is no room for the next: as many as are alive.
    let after = come_and_go(10_000);
    assert!(after < before + 32 * 1024, "{before} bytes, then {after}");
    // Those that stayed are still parts of it.
    assert!(whole.revoke(capspan::Error::revoked("all of it")));
    for part in stays {
        let call = futures::executor::block_on(part.label_request().send().promise);
        let error = call.err().expect("it was revoked");
        assert!(error.extra.contains("all of it"), "{error}");
    }
}
