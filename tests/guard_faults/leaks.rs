//! What is alive after a connection's end.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{Cap, Target, call, method, resolve};

use crate::harness::{Shows, fault};

const BOOTSTRAP: Target = Target::Cap(0);

fault!(
    what_a_promise_that_resolved_to_itself_keeps,
    Shows::Leak,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
            .await;
        peer.returned(1).await;
        peer.say(resolve(1, Cap::Promise(1))).await;
        idle().await;
        peer.say(call(2, BOOTSTRAP, method::DROP)).await;
        idle().await;
    }
);

fault!(
    a_capability_of_the_peers_that_the_bootstrap_object_keeps,
    Shows::Leak,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Hosted(1)]))
            .await;
        peer.returned(1).await;
    }
);

fault!(
    a_promise_of_the_peers_that_the_bootstrap_object_keeps,
    Shows::Leak,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
            .await;
        peer.returned(1).await;
    }
);

// The peer makes what only the service can undo: its object holds itself, and nothing of the connection's.
fault!(
    an_object_that_is_stored_in_itself,
    Shows::Leak,
    stays,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::MAKE)).await;
        let [Cap::Hosted(object)] = peer.returned(1).await.caps()[..] else {
            panic!("no object");
        };
        peer.say(call(2, Target::Cap(object), method::STORE).with([Cap::Yours(object)]))
            .await;
        peer.returned(2).await;
    }
);

fault!(
    the_bootstrap_object_stored_in_itself,
    Shows::Leak,
    stays,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Yours(0)]))
            .await;
        peer.returned(1).await;
    }
);

// The promise of an answer, kept by the object that answers: the peer stores it before there is one.
fault!(
    the_promised_answer_of_a_call_that_never_returns_kept,
    Shows::Leak,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::NEVER)).await;
        peer.say(call(2, BOOTSTRAP, method::STORE).with([Cap::Answer(1, vec![0])]))
            .await;
        peer.returned(2).await;
    }
);

// Behind the guard it is not begun.
fault!(
    results_that_stay_and_are_not_taken,
    Shows::Leak,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        let stays = call(1, BOOTSTRAP, method::ECHO).with([Cap::Hosted(5)]);
        peer.say(stays.to_yourself()).await;
        peer.say(call(2, Target::Answer(1, vec![0]), method::ECHO))
            .await;
        idle().await;
    }
);

fault!(
    a_driver_that_is_dropped_with_a_call_in_flight,
    Shows::Leak,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::NEVER)).await;
        idle().await;
        stage.drop_drivers().await;
    }
);

// The legal exchange beside them.
fault!(
    what_the_bootstrap_object_has_let_go,
    Shows::Nothing,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        let caps = [Cap::Hosted(1)];
        peer.say(call(1, BOOTSTRAP, method::STORE).with(caps)).await;
        peer.returned(1).await;
        peer.say(call(2, BOOTSTRAP, method::DROP)).await;
        peer.returned(2).await;
        peer.say(call(3, BOOTSTRAP, method::NEVER)).await;
    }
);
