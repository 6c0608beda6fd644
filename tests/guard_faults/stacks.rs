//! Chains that are as long as a peer likes, on a stack of 2 MiB.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Message, Outcome, Peer, Return, Target, call, finish, method, resolve,
};

use crate::harness::{Shows, Stage, fault};

const BOOTSTRAP: Target = Target::Cap(0);
/// Questions beside those that are counted.
const FIRST: u32 = 1_000_000;
const LAST: u32 = 1_000_001;

/// Calls, each on what the one before it promises, the first of which has not returned.
async fn pipelined(stage: &Stage, length: u32) -> Peer {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::WAIT).with([Cap::Yours(0)]))
        .await;
    for question in 2..=length {
        let before = Target::Answer(question - 1, vec![0]);
        peer.say(call(question, before, method::ECHO).with([Cap::Yours(0)]))
            .await;
    }
    idle().await;
    peer
}

async fn returns_all(stage: &Stage, length: u32) {
    let mut peer = pipelined(stage, length).await;
    peer.say(call(LAST, BOOTSTRAP, method::OPEN)).await;
    idle().await;
}

async fn ends(stage: &Stage, length: u32) {
    drop(pipelined(stage, length).await);
    idle().await;
}

fault!(
    a_chain_of_64_pipelined_calls,
    Shows::Nothing,
    async |stage| {
        returns_all(stage, 64).await;
    }
);

fault!(
    a_chain_of_1024_pipelined_calls,
    Shows::Overflow,
    async |stage| {
        returns_all(stage, 1024).await;
    }
);

fault!(
    a_chain_of_10000_pipelined_calls,
    Shows::Overflow,
    async |stage| {
        returns_all(stage, 10_000).await;
    }
);

fault!(
    a_chain_of_1024_pipelined_calls_and_the_end,
    Shows::Overflow,
    async |stage| {
        ends(stage, 1024).await;
    }
);

/// The same, where each call is for a promise of the service's: what the one before it promises was given to
/// the service, and came back as that.
async fn through_promises(stage: &Stage, length: u32) {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::WAIT).with([Cap::Yours(0)]))
        .await;
    for question in 2..=length {
        let before = Cap::Answer(question - 1, vec![0]);
        let echo = FIRST + question;
        peer.say(call(echo, BOOTSTRAP, method::ECHO).with([before]))
            .await;
        let Some(Cap::Promise(promise)) = promised(&mut peer, echo).await else {
            return;
        };
        let next = call(question, Target::Cap(promise), method::ECHO);
        peer.say(next.with([Cap::Yours(0)])).await;
    }
    idle().await;
}

fault!(
    a_chain_of_64_calls_on_promises_of_answers,
    Shows::Nothing,
    async |stage| {
        through_promises(stage, 64).await;
    }
);

fault!(
    a_chain_of_1024_calls_on_promises_of_answers,
    Shows::Overflow,
    async |stage| {
        through_promises(stage, 1024).await;
    }
);

/// The capability that a call has brought; none where it was refused, or the connection is over.
async fn promised(peer: &mut Peer, question: u32) -> Option<Cap> {
    idle().await;
    peer.rest()
        .await
        .into_iter()
        .flatten()
        .find_map(|message| match message {
            Message::Return(Return {
                answer,
                outcome: Outcome::Results(payload),
                ..
            }) if answer == question => payload.caps.first().cloned(),
            _ => None,
        })
}

/// The peer's promise 1 is stored, and resolves to 2, which resolves to 3, and so on.
async fn resolving(stage: &Stage, length: u32) -> Peer {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
        .await;
    peer.returned(1).await;
    let steps: Vec<Message> = (1..length)
        .map(|promise| resolve(promise, Cap::Promise(promise + 1)))
        .collect();
    for part in steps.chunks(1000) {
        peer.say_all(part.iter().cloned()).await;
    }
    idle().await;
    peer
}

fault!(
    a_promise_that_resolves_in_100000_steps,
    Shows::Overflow,
    async |stage| {
        let mut peer = resolving(stage, 100_000).await;
        peer.say(call(2, BOOTSTRAP, method::DROP)).await;
        idle().await;
    }
);

fault!(
    a_promise_that_resolves_in_100000_steps_and_is_called,
    Shows::Overflow,
    async |stage| {
        let mut peer = resolving(stage, 100_000).await;
        peer.say(call(2, BOOTSTRAP, method::CALL_STORED)).await;
        idle().await;
        peer.say_all([finish(2), call(3, BOOTSTRAP, method::DROP).into()])
            .await;
        idle().await;
    }
);

fault!(
    a_promise_that_resolves_in_30_steps,
    Shows::Nothing,
    async |stage| {
        let mut peer = resolving(stage, 30).await;
        peer.say(call(2, BOOTSTRAP, method::CALL_STORED)).await;
        let back = peer.called().await;
        assert_eq!(back.target, Target::Cap(30));
        peer.say(capspan_testkit::wire_peer::returns(back.question, []))
            .await;
        peer.returned(2).await;
        peer.say(call(3, BOOTSTRAP, method::DROP)).await;
        peer.returned(3).await;
    }
);

/// The service's promises, each fulfilled with the next one. All that is left is the first, which is stored.
async fn fulfilling(stage: &Stage, length: u32) -> Peer {
    let (mut peer, _) = stage.serve().await;
    let mut promises = Vec::new();
    for question in 1..=length {
        peer.say(call(question, BOOTSTRAP, method::PROMISE)).await;
        match peer.returned(question).await.caps() {
            [Cap::Promise(id)] => promises.push(*id),
            caps => panic!("no promise: {caps:?}"),
        }
    }
    let first = Cap::Yours(promises[0]);
    peer.say(call(FIRST, BOOTSTRAP, method::STORE).with([first]))
        .await;
    peer.returned(FIRST).await;
    for (question, next) in (length + 1..).zip(&promises[1..]) {
        peer.say(call(question, BOOTSTRAP, method::FULFIL).with([Cap::Yours(*next)]))
            .await;
    }
    idle().await;
    peer.say_all((1..=length * 2 - 1).chain([FIRST]).map(finish))
        .await;
    idle().await;
    peer
}

fault!(
    a_chain_of_30_promises_of_the_services,
    Shows::Nothing,
    async |stage| {
        let mut peer = fulfilling(stage, 30).await;
        peer.say(call(LAST, BOOTSTRAP, method::DROP)).await;
        idle().await;
    }
);

// What a service's promises are fulfilled with is not told, so nobody but the service can count the steps.
fault!(
    a_chain_of_20000_promises_of_the_services_called,
    Shows::Overflow,
    async |stage| {
        let mut peer = fulfilling(stage, 20_000).await;
        peer.say(call(LAST, BOOTSTRAP, method::CALL_STORED)).await;
        idle().await;
    }
);
