//! Promises that lead back to themselves: whoever looks for what they are looks for ever.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Context, Peer, Target, call, disembargo, echo, method, resolve, returns,
};

use crate::harness::{Shows, Stage, fault};

const BOOTSTRAP: Target = Target::Cap(0);

/// The peer's promise 1 is stored.
async fn storing(stage: &Stage) -> Peer {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
        .await;
    peer.returned(1).await;
    peer
}

/// What is stored is sent: whoever sends it asks what it has become. And the connection goes on, or is
/// given up; nothing else may happen.
async fn sends_it(peer: &mut Peer) {
    peer.say(call(9, BOOTSTRAP, method::STORED)).await;
    idle().await;
    peer.say(call(10, BOOTSTRAP, method::DROP)).await;
    idle().await;
}

fault!(
    a_promise_that_resolves_to_itself,
    Shows::Spin,
    async |stage| {
        let mut peer = storing(stage).await;
        peer.say(resolve(1, Cap::Promise(1))).await;
        sends_it(&mut peer).await;
    }
);

fault!(
    a_promise_that_resolves_to_its_own_id_as_an_object,
    Shows::Spin,
    async |stage| {
        let mut peer = storing(stage).await;
        peer.say(resolve(1, Cap::Hosted(1))).await;
        sends_it(&mut peer).await;
    }
);

// The import of a promise that has resolved is gone, so its id is a new promise's.
fault!(
    two_promises_that_resolve_to_each_other,
    Shows::Nothing,
    async |stage| {
        let mut peer = storing(stage).await;
        peer.say(call(2, BOOTSTRAP, method::STORE).with([Cap::Promise(2)]))
            .await;
        peer.returned(2).await;
        peer.say_all([resolve(1, Cap::Promise(2)), resolve(2, Cap::Promise(1))])
            .await;
        sends_it(&mut peer).await;
    }
);

fault!(
    a_promise_that_resolves_to_a_promise_which_it_fulfils,
    Shows::Spin,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::PROMISE)).await;
        let Some(Cap::Promise(theirs)) = peer.returned(1).await.caps().first().cloned() else {
            panic!("no promise");
        };
        peer.say(call(2, BOOTSTRAP, method::FULFIL).with([Cap::Promise(1)]))
            .await;
        peer.returned(2).await;
        peer.say(resolve(1, Cap::Yours(theirs))).await;
        idle().await;
        peer.say(call(3, BOOTSTRAP, method::ECHO).with([Cap::Yours(theirs)]))
            .await;
        idle().await;
    }
);

fault!(
    a_promise_that_resolves_to_the_answer_of_a_call_that_echoes_it,
    Shows::Spin,
    async |stage| {
        let mut peer = storing(stage).await;
        peer.say(call(2, BOOTSTRAP, method::ECHO).with([Cap::Promise(1)]))
            .await;
        peer.returned(2).await;
        peer.say(resolve(1, Cap::Answer(2, vec![0]))).await;
        sends_it(&mut peer).await;
    }
);

fault!(
    a_promise_that_resolves_to_the_answer_of_a_call_that_will_echo_it,
    Shows::Spin,
    async |stage| {
        let mut peer = storing(stage).await;
        peer.say(call(2, BOOTSTRAP, method::WAIT).with([Cap::Promise(1)]))
            .await;
        idle().await;
        peer.say(resolve(1, Cap::Answer(2, vec![0]))).await;
        idle().await;
        peer.say(call(3, BOOTSTRAP, method::OPEN)).await;
        idle().await;
        sends_it(&mut peer).await;
    }
);

// The legal exchange beside those two.
fault!(
    a_promise_that_resolves_to_a_pending_answer,
    Shows::Nothing,
    async |stage| {
        let mut peer = storing(stage).await;
        peer.say(call(2, BOOTSTRAP, method::WAIT).with([Cap::Yours(0)]))
            .await;
        idle().await;
        peer.say(resolve(1, Cap::Answer(2, vec![0]))).await;
        idle().await;
        peer.say(call(3, BOOTSTRAP, method::OPEN)).await;
        peer.returned(2).await;
        idle().await;
        // It is the bootstrap object now: the peer is not asked any more.
        peer.say(call(4, BOOTSTRAP, method::CALL_STORED)).await;
        assert_eq!(peer.returned(4).await.caps(), []);
        peer.say(call(5, BOOTSTRAP, method::DROP)).await;
        peer.returned(5).await;
    }
);

fault!(
    a_disembargo_to_a_promise_that_resolved_to_itself,
    Shows::Spin,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::PROMISE)).await;
        let Some(Cap::Promise(theirs)) = peer.returned(1).await.caps().first().cloned() else {
            panic!("no promise");
        };
        peer.say(call(2, BOOTSTRAP, method::FULFIL).with([Cap::Promise(1)]))
            .await;
        peer.returned(2).await;
        peer.say(resolve(1, Cap::Promise(1))).await;
        peer.say(disembargo(Target::Cap(theirs), Context::SenderLoopback(1)))
            .await;
        idle().await;
    }
);

fault!(
    a_return_whose_capability_is_what_was_pipelined_on_it,
    Shows::Spin,
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        let service = stage.service();
        let object = service.object();
        let promise = echo(&*theirs.hook, Some(object.hook.add_ref()));
        let pipelined = promise.pipeline.get_pointer_field(0).as_cap();
        service.store(&object, pipelined).await;
        let asked = peer.called().await;
        // The peer has the object, and asks it for what it has stored.
        let [Cap::Hosted(object_id)] = asked.params.caps[..] else {
            panic!("no object: {asked:?}");
        };
        peer.say(call(5, Target::Cap(object_id), method::STORED))
            .await;
        peer.returned(5).await;
        peer.say(returns(asked.question, [Cap::Answer(5, vec![0])]))
            .await;
        idle().await;
        peer.say(call(6, Target::Cap(object_id), method::STORED))
            .await;
        idle().await;
        drop(promise);
    }
);
