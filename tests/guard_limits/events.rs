//! Refusals as events of the `tracing` crate.

use std::sync::{Arc, Mutex};

use capspan::guard::{Connection, GuardLimits, GuardOptions, TracingObserver};
use capspan_testkit::link::direct;
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::wire_peer::{Peer, Service, Target, call, method};
use tokio::task::spawn_local;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::setting::NAME;

/// Writes each event as a line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        self.0.lock().expect("no test panics with it").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

#[test]
fn a_refusal_is_an_event_and_one_that_ends_a_connection_a_warning() {
    let lines = Lines::default();
    let _default = tracing::subscriber::set_default(lines.clone());
    run(async {
        let (client, server) = direct();
        let options = GuardOptions::default()
            .limits(GuardLimits::default().max_calls(1))
            .peer(NAME)
            .observer(TracingObserver);
        let object = Service::new().object();
        let (_, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
        spawn_local(driver);
        let mut peer = Peer::new(client);
        peer.bootstrap().await;
        peer.say(call(1, Target::Cap(0), method::NEVER)).await;
        peer.say(call(2, Target::Cap(0), method::NEVER)).await;
        until_idle().await;
        peer.say(call(2, Target::Cap(0), method::NEVER)).await;
        until_idle().await;
    });
    let lines = lines.0.lock().expect("no test panics with it");
    let [refused, ended] = &lines[..] else {
        panic!("told {lines:?}");
    };
    assert_eq!(
        refused,
        "INFO capspan::guard peer=\"mallory\" breach=\"calls_in_flight\" \
         text=\"1 calls are in flight, which is the limit\" ends=false"
    );
    assert_eq!(
        ended,
        "WARN capspan::guard peer=\"mallory\" breach=\"question_in_use\" \
         text=\"the peer calls with the id 2 of a call that is not over\" ends=true"
    );
}
