//! What guards refuse.

use std::cell::Cell;
use std::rc::Rc;

use capspan::guard::{Connection, GuardLimits, GuardObserver, GuardOptions, Refusal};
use capspan_testkit::link::direct;
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::wire_peer::{Peer, Service, Target, call, method};
use tokio::task::spawn_local;

use super::setting::Meters;

#[derive(Default)]
struct Count(Cell<u32>);

impl GuardObserver for Count {
    fn refused(&self, _: &Refusal<'_>) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn refusals_are_counted_by_what_was_refused_and_others_are_told_as_well() {
    let (meters, count) = (Meters::new(), Rc::<Count>::default());
    run(async {
        let (client, server) = direct();
        let options = GuardOptions::default()
            .limits(GuardLimits::default().max_calls(1))
            .observer((count.clone(), meters.metrics.guard_observer()));
        let object = Service::new().object();
        let (_, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
        spawn_local(driver);
        let mut peer = Peer::new(client);
        peer.bootstrap().await;
        for question in 1..4 {
            peer.say(call(question, Target::Cap(0), method::NEVER))
                .await;
        }
        until_idle().await;
        peer.say(call(2, Target::Cap(0), method::NEVER)).await;
        until_idle().await;
    });
    assert_eq!(count.0.get(), 3);
    let sums = meters.sums("capspan.guard.refusals");
    let wanted = [
        ("calls_in_flight", "false", 2.0),
        ("question_in_use", "true", 1.0),
    ];
    let wanted = wanted.map(|(breach, ends, count)| {
        let key = format!("capspan.guard.breach={breach} capspan.guard.ends_connection={ends}");
        (key, count)
    });
    assert_eq!(sums, wanted.into());
}
