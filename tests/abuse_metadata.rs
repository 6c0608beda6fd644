//! What travels with events is kept for as long as these are. Alone in its process, as it counts what is allocated.

use std::rc::Rc;

use capspan::pipeline::EventLimits;
use capspan_testkit::abuse::Served;
use capspan_testkit::chaos::Desks;
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::service::Place;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const LIMIT: usize = 8 << 20;

#[test]
fn sessions_with_the_longest_metadata_find_no_room_beyond_its_limit() {
    run(async {
        let service = |world: &_| Desks::new(world, Rc::default());
        let limits = EventLimits::default().max_kept_bytes(LIMIT);
        let served = Served::new(Place::Connection, service, |callee| {
            callee.event_limits(limits)
        });
        let long = "x".repeat(64 * 1024);
        let open = || {
            let mut start = served.client.start_event_request();
            let mut metadata = start.get().init_metadata();
            metadata.set_application(&long[..]);
            metadata.set_feature_flags(&long[..]);
            let open = start.send().pipeline.get_dispatcher();
            open.open_session_request().send().promise
        };
        for round in 1..=2 {
            let (before, mut held) = (alive(), Vec::new());
            for _ in 0..LIMIT / (2 * long.len()) {
                held.push(open().await.unwrap());
            }
            for _ in 0..100 {
                let error = open().await.err().unwrap();
                assert_eq!(error.kind, capnp::ErrorKind::Overloaded);
                assert!(error.extra.contains("bytes of events are kept"), "{error}");
            }
            until_idle().await;
            let kept = alive() - before;
            assert!(kept < LIMIT + LIMIT / 8, "{kept} bytes");
            assert_eq!(served.callee.refused().bytes, 100 * round);
            // What is over makes room.
            drop(held);
            until_idle().await;
        }
    });
}
