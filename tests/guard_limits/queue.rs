//! What waits for a peer to read it.

use std::time::Duration;

use capnp::capability::RemotePromise;
use capspan::guard::{Breach, Budget, Connection, GuardLimits, GuardOptions};
use capspan_testkit::link::narrow;
use capspan_testkit::run::{pass, run, until_idle};
use capspan_testkit::wire_peer::{Cap, Peer, Service, Target, call, finish, method, release};
use tokio::task::spawn_local;

use super::setting::Scene;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn a_peer_asks_and_does_not_read() {
    run(async {
        let mut scene = Scene::talkative(narrow(4 * KIB), GuardLimits::default(), 100 * KIB);
        scene.peer.bootstrap().await;
        // The first is being written, and 40 more are below the limit when the last is asked for.
        for question in 1..43 {
            scene.call(question, 0).await;
        }
        scene.assert_unharmed().await;
        assert!(scene.guard.queued_bytes() > 4 << 20);
        scene.call(43, 0).await;
        let text = scene.assert_cut(Breach::QueuedBytes).await;
        assert!(text.ends_with("bytes unread, more than 4194304"), "{text}");
    });
}

#[test]
fn a_peer_asks_in_one_breath_for_more_than_a_burst() {
    run(async {
        let limits = GuardLimits::default()
            .max_queued(20 << 20)
            .max_burst(10 << 20);
        let mut scene = Scene::talkative(narrow(MIB), limits, MIB);
        scene.peer.bootstrap().await;
        let calls = (1..20).map(|question| super::setting::long_call(question, 0, 8));
        scene.peer.say_all(calls).await;
        let text = scene.assert_cut(Breach::QueuedBytes).await;
        assert!(
            text.ends_with("wait for the peer, more than 10485760"),
            "{text}"
        );
    });
}

/// `capnp-rpc` has its connection borrowed while it answers a call that has failed. The guard alone has the bootstrap
/// object, which keeps a capability of the peer's: that is let go of when the connection ends, and not before.
async fn a_call_that_fails_is_one_too_many(limits: GuardLimits) {
    let (client, server) = narrow(KIB);
    let service = Service::new();
    let object = service.object();
    let (connection, driver) = Connection::serve_with(server.0, server.1, limits, |_| object);
    let guard = connection.guard().clone();
    drop(connection);
    let driver = spawn_local(driver);
    let mut peer = Peer::new(client);
    assert_eq!(peer.bootstrap().await, 0);
    let stores = call(1, Target::Cap(0), method::STORE).with([Cap::Hosted(5)]);
    peer.say(stores).await;
    peer.returned(1).await;
    peer.say(release(0, 1)).await;
    for question in 2..60_000 {
        if guard.ending().reason().is_some() {
            break;
        }
        let no_method = call(question, Target::Answer(0, vec![]), 99);
        peer.say(no_method).await;
        if question % 16 == 0 {
            until_idle().await;
        }
    }
    until_idle().await;
    assert_eq!(guard.count(Breach::QueuedBytes), 1);
    let ended = driver.await;
    assert!(ended.is_ok(), "{ended:?}");
    drop(peer);
    until_idle().await;
    assert_eq!(service.live(), 0);
}

#[test]
fn a_peer_that_does_not_read_makes_calls_that_fail() {
    run(a_call_that_fails_is_one_too_many(
        GuardLimits::default().max_queued(4096),
    ));
    run(a_call_that_fails_is_one_too_many(GuardLimits::default()));
}

#[test]
fn a_peer_reads_100_mib_of_answers_slowly() {
    run(async {
        let mut scene = Scene::talkative(narrow(16 * KIB), GuardLimits::default(), MIB);
        scene.peer.bootstrap().await;
        for question in 1..=100 {
            scene.call(question, 0).await;
            if question > 4 {
                pass(Duration::from_secs(5)).await;
                scene.peer.returned(question - 4).await;
                scene.peer.say(finish(question - 4)).await;
            }
        }
        scene.assert_unharmed().await;
    });
}

/// Its answers wait for as long as it may read them, and count in a budget.
#[test]
fn a_peer_closes_its_end_and_does_not_read() {
    run(async {
        let budget = Budget::new().bytes(2 << 20);
        for _ in 0..20 {
            let options = GuardOptions::default().budget(&budget);
            let mut scene = Scene::talkative(narrow(4 * KIB), options, 300 * KIB);
            scene.peer.bootstrap().await;
            for question in 1..4 {
                scene.call(question, 0).await;
            }
            scene.assert_unharmed().await;
            scene.peer.end_of_stream().await;
            pass(Duration::from_secs(29)).await;
            assert!(!scene.driver.is_finished() && scene.guard.queued_bytes() > 0);
            pass(Duration::from_secs(2)).await;
            assert!(scene.driver.is_finished());
            assert_eq!((scene.guard.queued_bytes(), scene.guard.refused()), (0, 0));
        }
    });
}

#[test]
fn a_peer_reads_one_answer_of_40_mib_slowly_and_asks_for_small_ones() {
    run(async {
        let mut scene = Scene::talkative(narrow(16 * KIB), GuardLimits::default(), 40 * MIB);
        scene.peer.bootstrap().await;
        scene.call(1, 0).await;
        until_idle().await;
        for question in 2..1_000 {
            scene.call(question, 1).await;
        }
        scene.assert_unharmed().await;
        scene.peer.returned(1).await;
        scene.peer.returned(999).await;
        scene.assert_unharmed().await;
    });
}

#[test]
fn a_service_calls_a_peer_that_does_not_read() {
    run(async {
        let (client, server) = narrow(4 * KIB);
        let (connection, driver) = Connection::connect(client.0, client.1);
        let driver = spawn_local(driver);
        let _never_reads = Peer::new(server);
        let callee: capnp::capability::Client = connection.bootstrap();
        let text = "x".repeat(MIB);
        let calls: Vec<RemotePromise<capnp::any_pointer::Owned>> = (0..100)
            .map(|_| {
                let mut request = callee.hook.new_call(0, method::ECHO, None);
                request.get().set_as(text.as_str()).expect("room");
                request.send()
            })
            .collect();
        until_idle().await;
        assert_eq!(connection.guard().refused(), 0);
        assert!(connection.guard().queued_bytes() > 99 << 20);
        assert!(!driver.is_finished());
        drop(calls);
        driver.abort();
    });
}
