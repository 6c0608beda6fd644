//! Calls that wait in queues: for a promise, or for an answer.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Message, Outcome, Peer, Target, call, echo, finish, method, resolve,
};

use crate::harness::{Shows, Stage, fault};

const BOOTSTRAP: Target = Target::Cap(0);

/// A promise of the service's: its id.
async fn promised(stage: &Stage) -> (Peer, u32) {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::PROMISE)).await;
    let [Cap::Promise(promise)] = peer.returned(1).await.caps()[..] else {
        panic!("no promise");
    };
    (peer, promise)
}

// A legal exchange.
fault!(
    a_call_with_a_capability_on_a_promise_that_came_home,
    Shows::Panic("rpc.rs"), behind membrane,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
            .await;
        peer.returned(1).await;
        peer.say(resolve(1, Cap::Yours(0))).await;
        peer.say(call(2, BOOTSTRAP, method::PASS).with([Cap::Hosted(5)]))
            .await;
        assert_eq!(peer.returned(2).await.caps(), [Cap::Yours(5)]);
        peer.say(call(3, BOOTSTRAP, method::DROP)).await;
        peer.returned(3).await;
    }
);

// The same without a membrane: the call gets there, and the capability is a broken one.
fault!(
    a_call_whose_capability_is_lost_on_a_promise_that_came_home,
    Shows::Panic("rpc.rs"),
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
            .await;
        peer.returned(1).await;
        peer.say(resolve(1, Cap::Yours(0))).await;
        peer.say(call(2, BOOTSTRAP, method::PASS).with([Cap::Hosted(5)]))
            .await;
        let returned = peer.returned(2).await;
        let [Cap::Hosted(lost)] = returned.caps()[..] else {
            panic!("no capability: {returned:?}");
        };
        peer.say(call(3, Target::Cap(lost), method::ECHO)).await;
        let Outcome::Exception(why) = peer.returned(3).await.outcome else {
            panic!("it is not broken");
        };
        assert!(why.reason.contains("lost"), "{why:?}");
        peer.say(call(4, BOOTSTRAP, method::DROP)).await;
        peer.returned(4).await;
    }
);

// The same for an application that has begun its request before the promise came home.
fault!(
    a_request_that_was_begun_before_its_promise_came_home,
    Shows::Panic("rpc.rs"),
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        let service = stage.service();
        let object = service.object();
        let promise = echo(&*theirs.hook, Some(object.hook.add_ref()));
        let asked = peer.called().await;
        let returned = capspan_testkit::wire_peer::returns(asked.question, [Cap::Promise(1)]);
        peer.say(returned).await;
        let _response = promise.promise.await;
        let promised = promise.pipeline.get_pointer_field(0).as_cap();
        let [Cap::Hosted(object_id)] = asked.params.caps[..] else {
            panic!("no object: {asked:?}");
        };
        peer.say(resolve(1, Cap::Yours(object_id))).await;
        idle().await;
        let call = echo(&*promised, Some(object.hook.add_ref()));
        assert!(call.promise.await.is_ok());
    }
);

fault!(
    a_canceled_call_that_holds_another_one_in_the_same_queue,
    Shows::Panic("sender_queue.rs"), behind both,
    async |stage| {
        let (mut peer, promise) = promised(stage).await;
        let promise = Target::Cap(promise);
        peer.say(call(2, promise.clone(), method::ECHO)).await;
        let held = Cap::Answer(2, vec![0]);
        peer.say(call(3, promise, method::ECHO).with([held])).await;
        idle().await;
        peer.say(finish(2)).await;
        idle().await;
        peer.say(finish(3)).await;
        idle().await;
    }
);

/// A call waits for a promise, and has the last reference to an object that keeps another one.
async fn waits_with_an_object(stage: &Stage) -> Peer {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::MAKE)).await;
    let [Cap::Hosted(object)] = peer.returned(1).await.caps()[..] else {
        panic!("no object");
    };
    peer.say(call(2, Target::Cap(object), method::CALLED_PROMISE))
        .await;
    let [Cap::Promise(promise)] = peer.returned(2).await.caps()[..] else {
        panic!("no promise");
    };
    let holds = call(3, Target::Cap(promise), method::ECHO);
    peer.say(holds.with([Cap::Yours(object)])).await;
    peer.say(finish(1)).await;
    idle().await;
    peer
}

fault!(
    a_canceled_call_that_holds_an_object_with_a_call_in_the_same_queue,
    Shows::Panic("sender_queue.rs"), behind both,
    async |stage| {
        let mut peer = waits_with_an_object(stage).await;
        peer.say(finish(3)).await;
        idle().await;
    }
);

// The same at the end of the connection, whose other end is gone, and where this one is dropped.
fault!(
    a_call_that_holds_an_object_with_a_call_in_the_same_queue,
    Shows::Panic("sender_queue.rs"), behind both,
    async |stage| {
        drop(waits_with_an_object(stage).await);
        idle().await;
    }
);

fault!(
    a_dropped_connection_with_such_a_call,
    Shows::Leak, behind both,
    async |stage| {
        let _peer = waits_with_an_object(stage).await;
        stage.drop_drivers().await;
        idle().await;
    }
);

// A legal exchange, so no message can be refused; and the queue is of the service's making.
fault!(
    a_call_on_a_promise_with_that_promise_in_it,
    Shows::Panic("queued.rs"), behind both,
    async |stage| {
        let (mut peer, promise) = promised(stage).await;
        peer.say(call(2, Target::Cap(promise), method::ECHO).with([Cap::Yours(promise)]))
            .await;
        peer.say(call(3, BOOTSTRAP, method::FULFIL).with([Cap::Hosted(7)]))
            .await;
        let call = peer.called().await;
        assert_eq!(call.target, Target::Cap(7));
    }
);

// The promise may be fulfilled with anything: what the service does with a capability is not told.
fault!(
    a_promise_that_is_fulfilled_with_itself,
    Shows::Panic("queued.rs"), behind both,
    async |stage| {
        let (mut peer, promise) = promised(stage).await;
        peer.say(call(2, Target::Cap(promise), method::ECHO)).await;
        idle().await;
        peer.say(call(3, BOOTSTRAP, method::FULFIL).with([Cap::Yours(promise)]))
            .await;
        idle().await;
    }
);

fault!(
    a_promise_that_is_fulfilled_with_itself_and_not_called,
    Shows::Spin, behind both,
    async |stage| {
        let (mut peer, promise) = promised(stage).await;
        peer.say(call(3, BOOTSTRAP, method::FULFIL).with([Cap::Yours(promise)]))
            .await;
        idle().await;
    }
);

// The legal exchange beside it.
fault!(
    a_promise_that_is_fulfilled_with_an_object,
    Shows::Nothing,
    async |stage| {
        let (mut peer, promise) = promised(stage).await;
        peer.say(call(2, Target::Cap(promise), method::ECHO)).await;
        peer.say(call(3, BOOTSTRAP, method::FULFIL).with([Cap::Yours(0)]))
            .await;
        peer.returned(2).await;
        peer.expect(resolve(promise, Cap::Hosted(0))).await;
    }
);

// A promise of the peer's is stored, called, and comes home: its calls come back first.
fault!(
    a_promise_that_comes_home_with_calls_on_it,
    Shows::Nothing,
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Promise(1)]))
            .await;
        peer.say(call(2, BOOTSTRAP, method::CALL_STORED)).await;
        let back = peer.called().await;
        assert_eq!(back.target, Target::Cap(1));
        peer.say(resolve(1, Cap::Yours(0))).await;
        let Message::Disembargo { context, .. } = peer
            .find(|message| matches!(message, Message::Disembargo { .. }))
            .await
        else {
            unreachable!()
        };
        let capspan_testkit::wire_peer::Context::SenderLoopback(id) = context else {
            panic!("{context:?}");
        };
        peer.say(capspan_testkit::wire_peer::returns(back.question, []))
            .await;
        peer.returned(2).await;
        let back = capspan_testkit::wire_peer::Context::ReceiverLoopback(id);
        peer.say(capspan_testkit::wire_peer::disembargo(BOOTSTRAP, back))
            .await;
        peer.say(call(3, BOOTSTRAP, method::CALL_STORED)).await;
        peer.returned(3).await;
        peer.say(call(4, BOOTSTRAP, method::DROP)).await;
        peer.returned(4).await;
    }
);
