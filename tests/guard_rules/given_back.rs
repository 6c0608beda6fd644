//! What the peer gives back over and over: nothing is put around what is there already.

use capspan::membrane::Membrane;
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Context, Message, Service, Target, call, disembargo, finish, method, release, resolve,
    returns,
};

use crate::harness::{BOOTSTRAP, Served, served, served_by};

/// In each round a call waits, and one that is pipelined on it echoes what the round before has brought: so that
/// this is given back to a call that waits. Gives the last call, which is not finished.
async fn is_given_back(on: &mut Served, rounds: u32) -> u32 {
    let mut held = Cap::Yours(0);
    let mut last = None;
    for round in 1..=rounds {
        let (waits, echoes) = (2 * round + 1_000, 2 * round + 1_001);
        let wait = call(waits, BOOTSTRAP, method::WAIT).with([Cap::Yours(0)]);
        let echo = call(echoes, Target::Answer(waits, vec![0]), method::ECHO).with([held]);
        let open = call(1, BOOTSTRAP, method::OPEN);
        on.peer.say_all([wait, echo, open]).await;
        assert_eq!(on.peer.returned(echoes).await.caps(), [Cap::Hosted(0)]);
        let over = [Some(waits), last].into_iter().flatten().map(finish);
        on.peer.say_all(over).await;
        last = Some(echoes);
        held = Cap::Answer(echoes, vec![0]);
    }
    last.expect("there is a round")
}

/// The same with promises: a round has forty calls of which each echoes what the one before will bring.
async fn is_promised(on: &mut Served, rounds: u32) -> u32 {
    let mut held = Cap::Yours(0);
    let mut last = None;
    for round in 1..=rounds {
        let waits = 100 * round;
        let mut all = vec![call(waits, BOOTSTRAP, method::WAIT).with([Cap::Yours(0)])];
        for echoes in waits + 1..=waits + 40 {
            let target = Target::Answer(waits, vec![0]);
            all.push(call(echoes, target, method::ECHO).with([held]));
            held = Cap::Answer(echoes, vec![0]);
        }
        all.push(call(1, BOOTSTRAP, method::OPEN));
        on.peer.say_all(all).await;
        on.peer.returned(waits + 40).await;
        idle().await;
        let over = (waits..waits + 40).chain(last).map(finish);
        on.peer.say_all(over).await;
        last = Some(waits + 40);
    }
    last.expect("there is a round")
}

/// It can be called, and nothing was refused.
async fn is_called(on: &mut Served, brought_by: u32) {
    let target = Target::Answer(brought_by, vec![0]);
    on.peer.say(call(7, target, method::ECHO)).await;
    assert!(on.peer.returned(7).await.caps().is_empty());
    on.is_legal().await;
}

// Each round put one more around it, and a call went through all of them on the stack.
#[test]
fn what_is_given_back_5000_times() {
    served(async |on| {
        let last = is_given_back(on, 5_000).await;
        is_called(on, last).await;
    });
}

#[test]
fn what_is_given_back_5000_times_through_a_membrane() {
    let object = || Membrane::new().export(Service::new().object());
    served_by(object, async |on| {
        let last = is_given_back(on, 5_000).await;
        is_called(on, last).await;
    });
}

#[test]
fn what_is_given_back_5000_times_and_is_with_a_call_that_waits_at_the_end() {
    served(async |on| {
        let last = is_given_back(on, 5_000).await;
        let wait = call(5, BOOTSTRAP, method::WAIT).with([Cap::Yours(0)]);
        let never = call(6, Target::Answer(5, vec![0]), method::NEVER);
        let never = never.with([Cap::Answer(last, vec![0])]);
        on.peer.say_all([wait, never]).await;
        on.peer.say(finish(last)).await;
        on.is_legal().await;
        on.peer.end_of_stream().await;
        idle().await;
        assert_eq!(on.service.live(), 0);
    });
}

// From 64 on it counted as a circle.
#[test]
fn what_is_promised_and_given_back_400_times() {
    served(async |on| {
        let last = is_promised(on, 10).await;
        is_called(on, last).await;
    });
}

// Each is fulfilled with what stands for the next one, so that they become each other before the last is there.
#[test]
fn promises_5000_of_which_each_becomes_the_next() {
    served(async |on| {
        let mut promises = Vec::new();
        for id in 1_000..6_000 {
            promises.push(on.get(id, method::PROMISE).await);
        }
        on.store(1, Cap::Yours(promises[0])).await;
        for (id, next) in (10_000..).zip(&promises[1..]) {
            on.call_with(id, method::FULFIL, [Cap::Yours(*next)]).await;
            on.peer.returned(id).await;
        }
        on.call(2, method::CALL_STORED).await;
        on.call_with(3, method::FULFIL, [Cap::Yours(0)]).await;
        on.peer.returned(3).await;
        on.peer.returned(2).await;
        on.call(4, method::DROP).await;
        on.is_legal().await;
    });
}

// One is made when the one before is fulfilled with it, so that there are few at a time. What was deep in calls that wait
// for each other, and in promises that do, is not any more.
#[test]
fn calls_that_wait_for_10000_promises_one_after_the_other() {
    served(async |on| {
        let mut last = on.get(1, method::PROMISE).await;
        on.store(2, Cap::Yours(last)).await;
        let settles = call(3, BOOTSTRAP, method::ECHO).with([Cap::Yours(last)]);
        on.peer.say(settles).await;
        assert_eq!(on.peer.returned(3).await.caps().len(), 1);
        on.call(4, method::CALL_STORED).await;
        on.peer.say(call(5, Target::Cap(last), method::ECHO)).await;
        for id in (1_000..21_000).step_by(2) {
            let next = on.get(id, method::PROMISE).await;
            on.call_with(id + 1, method::FULFIL, [Cap::Yours(next)])
                .await;
            on.peer.returned(id + 1).await;
            on.peer.say(release(last, 1)).await;
            last = next;
        }
        on.call_with(6, method::FULFIL, [Cap::Yours(0)]).await;
        on.peer.returned(6).await;
        on.peer.returned(4).await;
        on.peer.returned(5).await;
        on.call(7, method::DROP).await;
        on.is_legal().await;
    });
}

// A call for each promise returns it, and each is fulfilled with what the call for the next one returns. All return at
// once, and what waits for the first goes to the last: by one step, not by so many.
#[test]
fn calls_3000_that_wait_for_a_chain_of_3000_promises() {
    served(async |on| {
        let mut promises = Vec::new();
        for id in 10_000..13_000 {
            promises.push(on.get(id, method::PROMISE).await);
        }
        for (id, promise) in (20_000..).zip(&promises) {
            on.call_with(id, method::WAIT, [Cap::Yours(*promise)]).await;
        }
        for id in 20_001..23_000 {
            let next = Cap::Answer(id, vec![0]);
            on.call_with(id + 10_000, method::FULFIL, [next]).await;
        }
        on.store(1, Cap::Answer(20_000, vec![0])).await;
        let first = on.get(2, method::STORED).await;
        for id in 50_000..53_000 {
            on.peer
                .say(call(id, Target::Cap(first), method::ECHO))
                .await;
        }
        on.call_with(3, method::FULFIL, [Cap::Yours(0)]).await;
        on.call(4, method::OPEN).await;
        for id in 50_000..53_000 {
            on.peer.returned(id).await;
        }
        on.call(5, method::DROP).await;
        on.is_legal().await;
    });
}

// Before and after it becomes a promise of the peer's, which comes home.
#[test]
fn calls_on_what_stands_for_a_promise_go_in_their_order() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.store(2, Cap::Yours(promise)).await;
        let pass =
            |id: u32| Message::from(call(id, BOOTSTRAP, method::PASS).with([Cap::Hosted(id)]));
        let fulfil = call(3, BOOTSTRAP, method::FULFIL).with([Cap::Promise(8)]);
        let all = [pass(100), pass(101), fulfil.into(), pass(102), pass(103)];
        on.peer.say_all(all).await;
        let mut asked = Vec::new();
        for id in 100..104 {
            let heard = on.peer.called().await;
            assert_eq!(heard.target, Target::Cap(8));
            assert_eq!(heard.params.caps, [Cap::Yours(id)]);
            asked.push(heard.question);
        }
        on.peer
            .say_all([resolve(8, Cap::Yours(0)), pass(104)])
            .await;
        idle().await;
        let said = on.peer.rest().await;
        let embargo = said.iter().flatten().find_map(|message| match message {
            Message::Disembargo {
                context: Context::SenderLoopback(id),
                ..
            } => Some(*id),
            _ => None,
        });
        let embargo = embargo.unwrap_or_else(|| panic!("no embargo: {said:?}"));
        let is_early =
            |message: &Message| matches!(message, Message::Return(it) if it.answer == 104);
        assert!(!said.iter().flatten().any(is_early), "{said:?}");
        on.peer
            .say_all(asked.into_iter().map(|question| returns(question, [])))
            .await;
        let echo = disembargo(BOOTSTRAP, Context::ReceiverLoopback(embargo));
        on.peer.say(echo).await;
        on.peer.returned(104).await;
        on.call(4, method::DROP).await;
        on.is_legal().await;
    });
}
