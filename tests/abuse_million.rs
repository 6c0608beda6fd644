//! A million events that are announced and never delivered: nothing of them stays. Alone in its process, as it
//! counts what is allocated.

use std::rc::Rc;

use capspan::pipeline::EventLimits;
use capspan_testkit::abuse::Served;
use capspan_testkit::chaos::Desks;
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::service::Place;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// Announces as many and drops each at once; a peer's are in flight a thousand at a time.
async fn flood(served: &Served<Desks>, count: usize) {
    for _ in 0..count / 1_000 {
        let sent: Vec<_> = (0..1_000)
            .map(|_| served.client.start_event_request().send().promise)
            .collect();
        for started in sent {
            drop(started.await.unwrap());
        }
        until_idle().await;
    }
}

#[test]
fn a_million_events_that_are_announced_and_dropped_leave_nothing() {
    run(async {
        for (place, count) in [(Place::InProcess, 900_000), (Place::Connection, 100_000)] {
            let service = |world: &_| Desks::new(world, Rc::default());
            let served = Served::new(place, service, |callee| {
                callee.event_limits(EventLimits::default())
            });
            flood(&served, 10_000).await;
            let before = alive();
            flood(&served, count).await;
            let after = alive();
            assert_eq!(served.tally.outcome("canceled"), count + 10_000);
            assert_eq!(served.callee.refused().announced, 0);
            // Room that `capnp-rpc` has for its tables, and its queues.
            assert!(after.abs_diff(before) < 64 * 1024, "{before} {after}");
        }
    });
}
