//! Messages, bytes and canceled calls a second.

use std::time::Duration;

use capspan::guard::{Breach, GuardLimits};
use capspan_testkit::run::{pass, run};
use capspan_testkit::wire_peer::{Cap, Target, call, finish, method};

use super::setting::{Scene, long_call};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn more_messages_within_a_second_than_allowed() {
    run(async {
        let limits = GuardLimits::default().messages_a_second(10);
        let mut scene = Scene::new(limits);
        scene.peer.bootstrap().await;
        for question in 1..10 {
            scene.call(question, method::NEVER).await;
        }
        scene.assert_unharmed().await;
        scene.call(10, method::NEVER).await;
        scene.peer.aborted().await;
        let text = scene.assert_cut(Breach::MessageRate).await;
        assert_eq!(text, "more than 10 messages within a second");
        scene.peer.ended().await;
    });
}

#[test]
fn what_a_service_keeps_of_a_peer_is_gone_with_it() {
    run(async {
        let limits = GuardLimits::default().messages_a_second(10);
        let mut scene = Scene::new(limits);
        scene.peer.bootstrap().await;
        for (question, cap) in [(1, Cap::Hosted(1)), (2, Cap::Promise(2))] {
            let store = call(question, Target::Cap(0), method::STORE);
            scene.peer.say(store.with([cap])).await;
            scene.peer.returned(question).await;
        }
        scene.call(3, method::CALL_STORED).await;
        for question in 4..12 {
            scene.call(question, method::MAKE).await;
        }
        scene.assert_cut(Breach::MessageRate).await;
    });
}

#[test]
fn as_many_messages_each_second_as_are_allowed() {
    run(async {
        let limits = GuardLimits::default().messages_a_second(10);
        let mut scene = Scene::new(limits);
        scene.peer.bootstrap().await;
        for question in 1..100 {
            if question % 10 == 0 {
                pass(SECOND).await;
            }
            scene.call(question, method::NEVER).await;
        }
        scene.assert_unharmed().await;
    });
}

#[test]
fn more_bytes_within_a_second_than_allowed() {
    run(async {
        let limits = GuardLimits::default().bytes_a_second(10_000);
        let mut scene = Scene::new(limits);
        scene.peer.bootstrap().await;
        scene.peer.say(long_call(1, method::ECHO, 9_000)).await;
        scene.assert_unharmed().await;
        scene.peer.say(long_call(2, method::ECHO, 1_000)).await;
        scene.peer.aborted().await;
        let text = scene.assert_cut(Breach::ByteRate).await;
        assert_eq!(text, "more than 10000 bytes within a second");
    });
}

#[test]
fn as_many_bytes_each_second_as_are_allowed() {
    run(async {
        let limits = GuardLimits::default().bytes_a_second(10_000);
        let mut scene = Scene::new(limits);
        scene.peer.bootstrap().await;
        for question in 1..20 {
            scene
                .peer
                .say(long_call(question, method::ECHO, 9_000))
                .await;
            pass(SECOND).await;
        }
        scene.assert_unharmed().await;
    });
}

/// Calls that are canceled at once, and calls that are finished when they have returned.
async fn calls(scene: &mut Scene, first: u32, canceled: u32, returned: u32) {
    for question in first..first + canceled {
        scene.call(question, method::NEVER).await;
        scene.peer.say(finish(question)).await;
    }
    for question in first + canceled..first + canceled + returned {
        scene.call(question, method::TEXT).await;
        scene.peer.returned(question).await;
        scene.peer.say(finish(question)).await;
    }
}

#[test]
fn more_than_half_of_500_calls_are_canceled_within_a_second() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        calls(&mut scene, 1, 1_100, 0).await;
        scene.peer.aborted().await;
        let text = scene.assert_cut(Breach::CanceledCalls).await;
        assert_eq!(
            text,
            "500 of 500 calls were finished before they had returned"
        );
    });
}

#[test]
fn no_more_than_half_of_the_calls_are_canceled() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for round in 0..50 {
            calls(&mut scene, 1 + 100 * round, 50, 50).await;
        }
        scene.assert_unharmed().await;
    });
}

#[test]
fn calls_are_canceled_slowly() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for round in 0..50 {
            calls(&mut scene, 1 + 100 * round, 100, 0).await;
            pass(SECOND / 4).await;
        }
        scene.assert_unharmed().await;
    });
}

// What is pipelined on a call keeps it going, and is all that its caller wants: C++ and Rust finish it as soon as that
// was sent.
#[test]
fn calls_that_are_only_pipelined_on_are_not_canceled() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for chain in 1..=500 {
            let [first, second, third] = [0, 1, 2].map(|step| 10 * chain + step);
            let waits = |question, target| {
                let wait = call(question, target, method::WAIT);
                wait.with([Cap::Yours(0)])
            };
            let on = |question| Target::Answer(question, vec![0]);
            scene.peer.say(waits(first, Target::Cap(0))).await;
            scene.peer.say(waits(second, on(first))).await;
            scene.peer.say(finish(first)).await;
            scene.peer.say(call(third, on(second), method::TEXT)).await;
            scene.peer.say(finish(second)).await;
        }
        for open in 1..=2 {
            scene.call(open, method::OPEN).await;
            scene.peer.returned(open).await;
        }
        for chain in 1..=500 {
            scene.peer.returned(10 * chain + 2).await;
        }
        scene.assert_unharmed().await;
    });
}

// Each has what the one before will bring among its parameters, and all run at once. When the last is given up, nothing
// wants any of them.
#[test]
fn calls_that_are_given_up_with_the_one_that_they_were_made_for_are_canceled() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for chain in 1..=40 {
            let first = 100 * chain;
            scene.call(first, method::NEVER).await;
            for question in first + 1..first + 50 {
                let carried = Cap::Answer(question - 1, vec![0]);
                let carries = call(question, Target::Cap(0), method::NEVER).with([carried]);
                scene.peer.say(carries).await;
                scene.peer.say(finish(question - 1)).await;
            }
            scene.peer.say(finish(first + 49)).await;
        }
        scene.assert_cut(Breach::CanceledCalls).await;
    });
}

// A call may be made on what several others will bring.
#[test]
fn calls_of_which_another_takes_the_results_are_not_canceled() {
    run(async {
        let mut scene = Scene::new(GuardLimits::default());
        scene.peer.bootstrap().await;
        for join in 1..=600 {
            let first = 10 * join;
            for question in first..first + 3 {
                let waits = call(question, Target::Cap(0), method::WAIT);
                scene.peer.say(waits.with([Cap::Yours(0)])).await;
            }
            let all = [0, 1, 2].map(|at| Cap::Answer(first + at, vec![0]));
            let joins = call(first + 3, Target::Cap(0), method::WAIT).with(all);
            scene.peer.say(joins).await;
            for question in first..first + 3 {
                scene.peer.say(finish(question)).await;
            }
        }
        scene.call(1, method::OPEN).await;
        scene.peer.returned(1).await;
        for join in 1..=600 {
            scene.peer.returned(10 * join + 3).await;
        }
        scene.assert_unharmed().await;
    });
}
