//! What travels with events is kept for as long as these are open. Alone in its process, as it counts what is
//! allocated.

use std::rc::Rc;

use capspan::pipeline::EventLimits;
use capspan_testkit::abuse::Served;
use capspan_testkit::chaos::Desks;
use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::service::Place;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

#[test]
fn sessions_with_the_longest_metadata_find_no_room_beyond_what_the_announced_may_have() {
    run(async {
        let service = |world: &_| Desks::new(world, Rc::default());
        let served = Served::new(Place::Connection, service, |callee| {
            callee.event_limits(EventLimits::default())
        });
        let long = "x".repeat(64 * 1024);
        let before = alive();
        let mut held = Vec::new();
        for _ in 0..3_000 {
            let mut start = served.client.start_event_request();
            let mut metadata = start.get().init_metadata();
            metadata.set_application(&long[..]);
            metadata.set_feature_flags(&long[..]);
            let start = start.send();
            let open = start.pipeline.get_dispatcher().open_session_request();
            held.push(open.send().promise.await);
        }
        until_idle().await;
        let kept = alive() - before;
        assert!(kept < 256 * 1024 * 1024, "{} MiB", kept / 1024 / 1024);
        drop(held);
    });
}
