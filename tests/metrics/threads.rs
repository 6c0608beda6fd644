//! One set of instruments, written to by many threads.

use std::thread;

use capspan::session::{CallSpans, SessionBuilder};
use capspan::trace::Tracer;
use capspan_testkit::calls::number;
use capspan_testkit::run::run;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use tokio::task::spawn_local;

use super::setting::Meters;

const THREADS: usize = 4;
const CALLS: u64 = 50;

#[test]
fn threads_count_together_and_what_is_alive_on_each_adds_up() {
    let meters = Meters::new();
    let (open, all_open) = (
        std::sync::Barrier::new(THREADS + 1),
        std::sync::Barrier::new(THREADS + 1),
    );
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let metrics = meters.metrics.clone();
            let (open, all_open) = (&open, &all_open);
            scope.spawn(move || {
                run(async {
                    let (tasks, driver) = capspan::Tasks::new();
                    spawn_local(driver);
                    let tracer = Tracer::new(metrics.observer());
                    let calls = CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
                    let session = SessionBuilder::new(&tasks).parent(tracer.root());
                    let world = World::new();
                    let (thing, _) = session.call_spans(calls).begin("session", world.thing());
                    for _ in 0..CALLS {
                        number(&thing).await;
                    }
                    open.wait();
                    all_open.wait();
                });
            });
        }
        open.wait();
        let active = meters.sums("capspan.event.active");
        assert_eq!(active["capspan.side=server"], THREADS as f64);
        all_open.wait();
    });
    assert!(meters.sums("capspan.event.active").is_empty());
    let calls = meters.counts("rpc.server.call.duration");
    let calls: Vec<_> = calls.into_values().collect();
    assert_eq!(calls, [THREADS as u64 * CALLS]);
}
