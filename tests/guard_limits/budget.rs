//! What several connections have together.

use capnp::ErrorKind;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan::guard::{Breach, Budget, GuardLimits, GuardOptions, Guarded};
use capspan_testkit::link::{direct, narrow};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::wire_peer::{Cap, Message, Peer, Service, finish, method, release};
use tokio::task::spawn_local;

use super::setting::{Once, Scene, half_message, long_call};

const KIB: usize = 1 << 10;

fn sharing(budget: &Budget) -> GuardOptions {
    GuardOptions::default().budget(budget)
}

/// Two connections that share `budget`, and have nothing of it but the bootstrap object.
async fn two(budget: &Budget) -> (Scene, Scene) {
    let (mut one, mut other) = (Scene::new(sharing(budget)), Scene::new(sharing(budget)));
    for scene in [&mut one, &mut other] {
        scene.peer.bootstrap().await;
        scene
            .peer
            .say(Message::Finish {
                question: 0,
                release_result_caps: false,
            })
            .await;
    }
    until_idle().await;
    (one, other)
}

/// The peer's call is answered `overloaded`, and its connection goes on.
async fn assert_overloaded(scene: &mut Scene, question: u32, what: &str) {
    scene.call(question, method::TEXT).await;
    let returned = scene.peer.returned(question).await;
    let fail = returned.exception();
    let text = format!("the {what} that several connections share are used up");
    assert_eq!((fail.kind, &fail.reason), (ErrorKind::Overloaded, &text));
    scene.peer.say(finish(question)).await;
    until_idle().await;
    let told = scene.told.0.take();
    let [
        Once {
            breach: Breach::Budget,
            text: told,
            ends: false,
            ..
        },
    ] = &told[..]
    else {
        panic!("told {told:?}");
    };
    assert_eq!(told, &text);
    assert!(!scene.driver.is_finished());
}

/// The peer's call is answered.
async fn assert_answered(scene: &mut Scene, question: u32) {
    scene.call(question, method::STORE).await;
    scene.peer.returned(question).await.caps();
    scene.peer.say(finish(question)).await;
    scene.assert_nothing_told().await;
}

impl Scene {
    async fn assert_nothing_told(&self) {
        until_idle().await;
        assert_eq!(self.told.0.take(), []);
        assert!(!self.driver.is_finished());
    }
}

#[test]
fn calls_of_one_are_finished_and_another_may_call() {
    run(async {
        let budget = Budget::new().calls(3);
        let (mut one, mut other) = two(&budget).await;
        for question in 1..4 {
            one.call(question, method::MAKE).await;
            one.peer.returned(question).await.caps();
        }
        assert_overloaded(&mut other, 1, "calls").await;
        assert_overloaded(&mut one, 4, "calls").await;
        one.peer.say(finish(1)).await;
        until_idle().await;
        assert_eq!(budget.used_up(), None);
        assert_answered(&mut other, 1).await;
        assert_answered(&mut one, 4).await;
    });
}

#[test]
fn one_is_refused_again_and_again_and_finishes_nothing() {
    run(async {
        let budget = Budget::new().calls(100);
        let (mut one, mut other) = two(&budget).await;
        let last = 200 + 1;
        for question in 1..last {
            one.call(question, method::NEVER).await;
        }
        until_idle().await;
        assert!(!one.driver.is_finished(), "twice as many as there are");
        assert_overloaded(&mut other, 1, "calls").await;
        one.call(last, method::NEVER).await;
        until_idle().await;
        assert!(one.driver.is_finished());
        let told = one.told.0.take();
        assert_eq!(
            told.last().map(|it| (it.breach, it.ends)),
            Some((Breach::Budget, true))
        );
        assert_eq!(budget.used_up(), None);
        assert_answered(&mut other, 2).await;
    });
}

#[test]
fn calls_of_one_are_given_back_at_its_end() {
    run(async {
        let budget = Budget::new().calls(3);
        let (mut one, mut other) = two(&budget).await;
        for question in 1..4 {
            one.call(question, method::NEVER).await;
        }
        until_idle().await;
        assert_overloaded(&mut other, 1, "calls").await;
        drop(one.peer);
        until_idle().await;
        assert!(one.driver.is_finished());
        assert_answered(&mut other, 2).await;
    });
}

#[test]
fn capabilities_of_one_are_released_and_another_may_call() {
    run(async {
        let budget = Budget::new().capabilities(10);
        let (mut one, mut other) = two(&budget).await;
        let mut last = 0;
        for question in 1..9 {
            one.call(question, method::MAKE).await;
            let returned = one.peer.returned(question).await;
            let [Cap::Hosted(id)] = returned.caps() else {
                panic!("no object");
            };
            last = *id;
        }
        assert_overloaded(&mut other, 1, "capabilities").await;
        one.peer.say(release(last, 1)).await;
        until_idle().await;
        assert_answered(&mut other, 1).await;
        one.call(9, method::MAKE).await;
        one.peer.returned(9).await.caps();
        assert_overloaded(&mut other, 2, "capabilities").await;
        one.driver.abort();
        until_idle().await;
        assert_answered(&mut other, 2).await;
    });
}

#[test]
fn bytes_of_calls_of_one_are_given_back_at_its_end() {
    run(async {
        let budget = Budget::new().bytes(100_000);
        let (mut one, mut other) = two(&budget).await;
        one.peer.say(long_call(1, method::NEVER, 90_000)).await;
        one.assert_nothing_told().await;
        other.peer.say(long_call(1, method::STORE, 9_000)).await;
        other.peer.returned(1).await.caps();
        other.assert_nothing_told().await;
        // Small enough to be read, and to be answered.
        other.peer.say(long_call(2, method::STORE, 11_000)).await;
        assert_eq!(
            other.peer.returned(2).await.exception().kind,
            ErrorKind::Overloaded
        );
        assert!(!other.driver.is_finished());
        drop(one.peer);
        until_idle().await;
        other.peer.say(long_call(3, method::STORE, 11_000)).await;
        other.peer.returned(3).await.caps();
    });
}

#[test]
fn a_message_that_begins_takes_what_it_says_it_will_have() {
    run(async {
        let budget = Budget::new().bytes(1_000_000);
        let (mut one, mut other) = two(&budget).await;
        one.peer.say(half_message(600_000)).await;
        one.assert_nothing_told().await;
        assert_answered(&mut other, 1).await;
        other.peer.say(half_message(600_000)).await;
        let text = other.assert_cut(Breach::Budget).await;
        assert_eq!(text, "a message of 600000 bytes has no room in the budget");
        one.assert_nothing_told().await;
    });
}

#[test]
fn a_message_that_becomes_whole_gives_its_room_to_another() {
    run(async {
        let budget = Budget::new().bytes(1_000_000);
        let (mut one, mut other) = two(&budget).await;
        let bytes = long_call(1, method::STORE, 600_000).to_bytes();
        let (half, rest) = bytes.split_at(1_000);
        one.peer.say(Message::Raw(half.to_vec())).await;
        until_idle().await;
        one.peer.say(Message::Raw(rest.to_vec())).await;
        one.peer.returned(1).await;
        other.peer.say(long_call(1, method::STORE, 600_000)).await;
        other.peer.returned(1).await;
        one.assert_nothing_told().await;
        other.assert_nothing_told().await;
    });
}

#[test]
fn what_is_on_its_way_is_read_though_others_use_up_the_bytes() {
    run(async {
        let budget = Budget::new().bytes(1_000_000);
        let (mut one, mut other) = two(&budget).await;
        let bytes = long_call(1, method::STORE, 600_000).to_bytes();
        let (half, rest) = bytes.split_at(1_000);
        one.peer.say(Message::Raw(half.to_vec())).await;
        for question in 1..42 {
            let call = long_call(question, method::NEVER, 10_000);
            other.peer.say(call).await;
        }
        assert_eq!(
            other.peer.returned(41).await.exception().kind,
            ErrorKind::Overloaded
        );
        one.peer.say(Message::Raw(rest.to_vec())).await;
        one.peer.returned(1).await;
        assert!(!one.driver.is_finished());
    });
}

#[test]
fn answers_that_one_does_not_read() {
    run(async {
        let budget = Budget::new().bytes(1_000_000);
        let limits = GuardLimits::default();
        let options = sharing(&budget).limits(limits);
        let mut one = Scene::talkative(narrow(4 * KIB), options, 100 * KIB);
        let (mut other, _) = two(&budget).await;
        one.peer.bootstrap().await;
        for question in 1..12 {
            one.call(question, 0).await;
            until_idle().await;
        }
        let text = one.assert_cut(Breach::Budget).await;
        assert!(text.ends_with("and the budget is used up"), "{text}");
        assert_eq!(budget.used_up(), None);
        assert_answered(&mut other, 1).await;
    });
}

#[test]
fn what_a_system_had_is_given_back_when_it_is_dropped() {
    run(async {
        let budget = Budget::new().calls(1);
        let (client, server) = direct();
        let options = ReaderOptions::default();
        let network = twoparty::VatNetwork::new(server.0, server.1, Side::Server, options);
        let guarded = Guarded::new(network, sharing(&budget));
        let guard = guarded.guard();
        let service = Service::new();
        let system = RpcSystem::new(Box::new(guarded), Some(service.object()));
        let system = spawn_local(system);
        let mut peer = Peer::new(client);
        peer.bootstrap().await;
        assert_eq!(budget.used_up(), Some("calls"));
        system.abort();
        until_idle().await;
        assert_eq!(budget.used_up(), None);
        assert!(guard.ending().reason().is_some());
    });
}
