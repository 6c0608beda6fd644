//! Messages that don't come, or not wholly.

use std::time::Duration;

use capspan::guard::{Breach, Connection, GuardLimits, GuardOptions};
use capspan_testkit::link::narrow;
use capspan_testkit::run::{PausedTime, pass, run, until_idle};
use capspan_testkit::wire_peer::{
    Message, Peer, Service, Target, bootstrap, call, method, returns,
};
use futures::io::BufWriter;
use tokio::task::spawn_local;

use super::setting::{Scene, half_message, long_call};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

/// Longer than any of it may take, and not as long.
const TOO_LONG: Duration = Duration::from_secs(31);
const LONG: Duration = Duration::from_secs(29);

#[test]
fn no_message_comes() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        pass(LONG).await;
        scene.assert_unharmed().await;
        pass(TOO_LONG - LONG).await;
        let text = scene.assert_cut(Breach::FirstMessage).await;
        assert_eq!(text, "no message came within 30s");
        scene.peer.aborted().await;
        scene.peer.ended().await;
    });
}

/// What is cut off is not waited for, also where the stream has taken all, and keeps it.
#[test]
fn a_peer_that_is_cut_does_not_read_and_the_stream_has_a_buffer() {
    run(async {
        let (client, server) = narrow(256);
        let options = GuardOptions::default().timer(PausedTime);
        let writer = BufWriter::with_capacity(64 * 1024, server.1);
        let object = Service::new().object();
        let (connection, driver) = Connection::serve_with(server.0, writer, options, |_| object);
        let driver = spawn_local(driver);
        let mut peer = Peer::new(client);
        peer.say(bootstrap(0)).await;
        for question in 1..20 {
            let text = call(question, Target::Answer(0, vec![]), method::TEXT);
            peer.say(text).await;
        }
        until_idle().await;
        peer.say(returns(5, [])).await;
        until_idle().await;
        assert_eq!(connection.guard().count(Breach::ReturnNotOpen), 1);
        pass(TOO_LONG).await;
        assert!(driver.is_finished());
    });
}

#[test]
fn the_first_message_comes_late_and_none_after_it() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        pass(LONG).await;
        scene.peer.bootstrap().await;
        pass(HALF_AN_HOUR).await;
        scene.assert_unharmed().await;
    });
}

#[test]
fn half_of_the_first_message_comes() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        let bytes = bootstrap(0).to_bytes();
        scene.peer.say(Message::Raw(bytes[..20].to_vec())).await;
        pass(TOO_LONG).await;
        scene.assert_cut(Breach::FirstMessage).await;
    });
}

#[test]
fn limits_of_time_that_no_clock_could_show() {
    run(async {
        let limits = GuardLimits::default()
            .first_message(Duration::MAX)
            .half_message(Duration::MAX)
            .last_message(Duration::MAX);
        let mut scene = Scene::new(limits);
        pass(TOO_LONG).await;
        scene.peer.bootstrap().await;
        scene.peer.say(half_message(1_000_000)).await;
        pass(TOO_LONG).await;
        scene.assert_unharmed().await;
        scene.peer.end_of_stream().await;
        until_idle().await;
        assert!(scene.driver.is_finished());
    });
}

#[test]
fn half_of_a_message_comes() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        pass(HALF_AN_HOUR).await;
        scene.peer.say(half_message(1_000_000)).await;
        pass(LONG).await;
        scene.assert_unharmed().await;
        pass(TOO_LONG - LONG).await;
        let text = scene.assert_cut(Breach::HalfMessage).await;
        assert_eq!(text, "a message was not whole after 30s");
        scene.peer.aborted().await;
    });
}

#[test]
fn a_message_comes_byte_by_byte_for_ever() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for byte in long_call(1, method::ECHO, 100).to_bytes() {
            scene.peer.say(Message::Raw(vec![byte])).await;
            pass(Duration::from_secs(1)).await;
        }
        scene.assert_cut(Breach::HalfMessage).await;
    });
}

#[test]
fn messages_come_byte_by_byte_each_in_time() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for question in 1..10 {
            let bytes = long_call(question, method::ECHO, 100).to_bytes();
            let pause = LONG / bytes.len() as u32;
            for byte in bytes {
                scene.peer.say(Message::Raw(vec![byte])).await;
                pass(pause).await;
            }
            scene.peer.returned(question).await;
        }
        scene.assert_unharmed().await;
    });
}
