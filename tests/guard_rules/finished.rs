//! Calls that the peer has done with while something waits for what they bring.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{Cap, Message, Target, finish, method, release, resolve, returns};

use crate::harness::connected;
use crate::tail_lists::Lists;

/// A promise that waits for what a call will bring, which brings a promise; then the peer has done with the call.
#[test]
fn a_promise_that_waits_for_the_results_of_a_call_that_is_finished() {
    for keeps in [false, true] {
        connected(async |on| {
            let mut lists = Lists::new(on).await;
            on.peer.say(lists.call(1, method::PROMISE)).await;
            let [Cap::Promise(promise)] = on.peer.returned(1).await.caps()[..] else {
                panic!("no promise");
            };
            lists.keeps(on, Cap::Promise(7)).await;
            on.peer.say(resolve(7, Cap::Answer(1, vec![0]))).await;
            idle().await;
            assert_eq!(on.guard.usage().waiting, 1);
            let over = Message::Finish {
                question: 1,
                release_result_caps: !keeps,
            };
            on.peer.say(over).await;
            idle().await;
            assert_eq!(on.guard.usage().waiting, 0);
            on.peer.say(lists.call(2, method::PASS)).await;
            let fulfils = lists.call(3, method::FULFIL).with([Cap::Hosted(5)]);
            on.peer.say(fulfils).await;
            let heard = on.peer.called().await;
            assert_eq!(heard.target, Target::Cap(5));
            on.peer.say(returns(heard.question, [])).await;
            on.peer.returned(2).await;
            if keeps {
                on.peer.say(release(promise, 1)).await;
            }
            lists.end(on).await;
            let rest = on.peer.rest().await;
            let count = |id| {
                rest.iter()
                    .filter(|it| **it == Some(release(id, 1)))
                    .count()
            };
            assert_eq!((count(7), count(5)), (1, 1), "{rest:?}");
            on.is_legal().await;
        });
    }
}

/// Each call brings what the one before it has brought. All are let go of while promises wait for them.
#[test]
fn promises_that_wait_over_calls_that_are_finished() {
    connected(async |on| {
        let mut lists = Lists::new(on).await;
        on.peer.say(lists.call(1, method::PROMISE)).await;
        on.peer.returned(1).await;
        // Calls 2 and 3 bring the promise again, or what the call before has brought.
        let echoes = lists.call(2, method::ECHO).with([Cap::Answer(1, vec![0])]);
        on.peer.say(echoes).await;
        on.peer.returned(2).await;
        let echoes = lists.call(3, method::ECHO).with([Cap::Answer(2, vec![0])]);
        on.peer.say(echoes).await;
        on.peer.returned(3).await;
        for (id, answer) in [(7, 3), (8, 2), (9, 1)] {
            lists.keeps(on, Cap::Promise(id)).await;
            on.peer.say(resolve(id, Cap::Answer(answer, vec![0]))).await;
        }
        idle().await;
        on.peer.say_all([finish(1), finish(2), finish(3)]).await;
        idle().await;
        assert_eq!(on.guard.usage().waiting, 0);
        on.peer.say(lists.call(4, method::PASS)).await;
        let fulfils = lists.call(5, method::FULFIL).with([Cap::Hosted(5)]);
        on.peer.say(fulfils).await;
        let heard = on.peer.called().await;
        on.peer.say(returns(heard.question, [])).await;
        on.peer.returned(4).await;
        lists.end(on).await;
        on.is_legal().await;
    });
}
