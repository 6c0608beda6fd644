//! Calls that return what was given as their own results: no message shows it.

use capnp::any_pointer;
use capnp::capability::{Client, RemotePromise};
use capnp::private::capability::ClientHook;
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Content, Message, Outcome, Peer, Return, Target, call, echo, finish, method, release,
    returns,
};

use crate::harness::{Shows, Stage, fault};

const BOOTSTRAP: Target = Target::Cap(0);

/// What call 2 will return.
fn its_results() -> Cap {
    Cap::Answer(2, vec![0])
}

/// Call 2 waits for what the peer answers, by question 0, and will return that.
async fn passing(stage: &Stage) -> (Peer, u32) {
    let (mut peer, _) = stage.serve().await;
    peer.say(call(1, BOOTSTRAP, method::STORE).with([Cap::Hosted(5)]))
        .await;
    peer.returned(1).await;
    peer.say(call(2, BOOTSTRAP, method::PASS).with([Cap::Hosted(6)]))
        .await;
    let asked = peer.called().await;
    assert_eq!(asked.target, Target::Cap(5));
    (peer, asked.question)
}

/// A call on what call 2 has returned, by its first capability.
async fn call_it(peer: &mut Peer, returned: &Return, question: u32) -> Return {
    let [Cap::Hosted(id) | Cap::Promise(id)] = returned.caps()[..] else {
        panic!("no capability of the service's: {returned:?}");
    };
    peer.say(call(question, Target::Cap(id), method::MAKE))
        .await;
    peer.returned(question).await
}

/// What does not end well ends: the circle is broken, and the connection goes on.
async fn is_broken(peer: &mut Peer) {
    let returned = peer.returned(2).await;
    let failed = call_it(peer, &returned, 20).await;
    assert!(
        matches!(failed.outcome, Outcome::Exception(_)),
        "{failed:?}"
    );
    peer.say(call(21, BOOTSTRAP, method::DROP)).await;
    peer.returned(21).await;
}

fault!(
    a_call_that_returns_what_it_was_answered_with,
    Shows::Spin,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(returns(question, [its_results()])).await;
        is_broken(&mut peer).await;
    }
);

// By way of a capability that another call has stored, and this side has given out.
fault!(
    a_call_that_returns_what_a_later_call_brought,
    Shows::Spin,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::ECHO).with([its_results()]))
            .await;
        let [Cap::Promise(promise)] = peer.returned(3).await.caps()[..] else {
            panic!("no promise");
        };
        peer.say(returns(question, [Cap::Yours(promise)])).await;
        is_broken(&mut peer).await;
    }
);

fault!(
    a_call_that_returns_what_it_was_answered_with_and_was_called_on,
    Shows::Panic("queued.rs"),
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::STORE).with([its_results()]))
            .await;
        peer.returned(3).await;
        peer.say(call(4, BOOTSTRAP, method::CALL_STORED)).await;
        idle().await;
        peer.say(call(5, BOOTSTRAP, method::STORED)).await;
        let [Cap::Promise(promise)] = peer.returned(5).await.caps()[..] else {
            panic!("no promise");
        };
        peer.say(returns(question, [Cap::Yours(promise)])).await;
        let failed = peer.returned(4).await;
        assert!(
            matches!(failed.outcome, Outcome::Exception(_)),
            "{failed:?}"
        );
        is_broken(&mut peer).await;
    }
);

fault!(
    two_calls_that_return_what_the_other_will_return,
    Shows::Spin,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::PASS).with([Cap::Hosted(7)]))
            .await;
        let other = peer.called().await.question;
        peer.say(returns(question, [Cap::Answer(3, vec![0])])).await;
        assert!(matches!(peer.returned(2).await.caps(), [Cap::Promise(_)]));
        peer.say(returns(other, [its_results()])).await;
        peer.returned(3).await;
        idle().await;
        peer.say(call(21, BOOTSTRAP, method::DROP)).await;
        peer.returned(21).await;
    }
);

// Nobody asks any more what it has become: it must not keep itself.
fault!(
    a_circle_that_nobody_looks_at,
    Shows::Nothing,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        let messages: [Message; 2] = [returns(question, [its_results()]).into(), finish(2)];
        peer.say_all(messages).await;
        idle().await;
        peer.say(call(21, BOOTSTRAP, method::DROP)).await;
        peer.returned(21).await;
    }
);

// The legal exchanges beside them.
fault!(
    a_capability_that_a_call_will_return_and_that_is_called_before,
    Shows::Nothing,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::STORE).with([its_results()]))
            .await;
        peer.returned(3).await;
        peer.say(call(4, BOOTSTRAP, method::CALL_STORED)).await;
        idle().await;
        // It is the bootstrap object.
        peer.say(returns(question, [Cap::Yours(0)])).await;
        assert_eq!(peer.returned(2).await.caps(), [Cap::Hosted(0)]);
        assert_eq!(peer.returned(4).await.caps(), []);
        peer.say(call(5, BOOTSTRAP, method::STORED)).await;
        assert_eq!(peer.returned(5).await.caps(), [Cap::Hosted(0)]);
        peer.say(call(6, BOOTSTRAP, method::DROP)).await;
        peer.returned(6).await;
    }
);

fault!(
    an_answer_by_what_another_call_will_return,
    Shows::Nothing,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::WAIT).with([Cap::Hosted(8)]))
            .await;
        idle().await;
        peer.say(returns(question, [Cap::Answer(3, vec![0])])).await;
        let [Cap::Promise(promise)] = peer.returned(2).await.caps()[..] else {
            panic!("no promise");
        };
        // It waits for what it will be, and goes there.
        peer.say(call(4, Target::Cap(promise), method::ECHO)).await;
        peer.say(call(5, BOOTSTRAP, method::OPEN)).await;
        peer.returned(5).await;
        let asked = peer.called().await;
        assert_eq!(asked.target, Target::Cap(8));
        peer.say(returns(asked.question, [])).await;
        assert_eq!(peer.returned(4).await.caps(), []);
        peer.say(call(6, BOOTSTRAP, method::DROP)).await;
        peer.returned(6).await;
    }
);

// Whoever has finished the call gets nothing of it, and what it will return still comes.
fault!(
    a_call_that_is_finished_and_returns_what_it_was_answered_with,
    Shows::Panic("queued.rs"),
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::STORE).with([its_results()]))
            .await;
        peer.returned(3).await;
        peer.say(call(4, BOOTSTRAP, method::CALL_STORED)).await;
        idle().await;
        peer.say(call(5, BOOTSTRAP, method::STORED)).await;
        let [Cap::Promise(promise)] = peer.returned(5).await.caps()[..] else {
            panic!("no promise");
        };
        peer.say(finish(2)).await;
        peer.say(returns(question, [Cap::Yours(promise)])).await;
        let failed = peer.returned(4).await;
        assert!(
            matches!(failed.outcome, Outcome::Exception(_)),
            "{failed:?}"
        );
        peer.say(call(21, BOOTSTRAP, method::DROP)).await;
        peer.returned(21).await;
    }
);

fault!(
    a_finished_call_that_returns_what_was_called_before,
    Shows::Nothing,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        peer.say(call(3, BOOTSTRAP, method::STORE).with([its_results()]))
            .await;
        peer.returned(3).await;
        peer.say(call(4, BOOTSTRAP, method::CALL_STORED)).await;
        idle().await;
        peer.say(finish(2)).await;
        peer.say(returns(question, [Cap::Yours(0)])).await;
        assert_eq!(peer.returned(4).await.caps(), []);
        peer.say(call(6, BOOTSTRAP, method::DROP)).await;
        peer.returned(6).await;
    }
);

// The guard hands on a copy then: its capabilities are the same, as often.
fault!(
    a_message_that_names_results_to_come_and_other_capabilities_twice,
    Shows::Nothing,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        let caps = [
            Cap::Hosted(9),
            its_results(),
            Cap::Hosted(9),
            Cap::Hosted(10),
        ];
        let content = [1, 2, 2, 0].map(Content::Cap).to_vec();
        let brings = call(3, BOOTSTRAP, method::MAKE).with(caps);
        peer.say(brings.content(Content::Struct(content))).await;
        peer.find(|message| *message == release(9, 2)).await;
        peer.find(|message| *message == release(10, 1)).await;
        peer.say(call(4, BOOTSTRAP, method::STORE).with([its_results(), Cap::Hosted(11)]))
            .await;
        peer.returned(4).await;
        peer.say(returns(question, [Cap::Yours(0)])).await;
        peer.returned(2).await;
        peer.say(call(5, BOOTSTRAP, method::STORED)).await;
        assert_eq!(peer.returned(5).await.caps(), [Cap::Hosted(0)]);
        peer.say(call(6, BOOTSTRAP, method::DROP)).await;
        peer.returned(6).await;
    }
);

/// An application has called, and keeps what that will bring, in an object that it has passed along.
struct Keeps {
    peer: Peer,
    asked: RemotePromise<any_pointer::Owned>,
    promised: Box<dyn ClientHook>,
    question: u32,
    object: u32,
    _theirs: Client,
}

async fn keeps_what_it_will_get(stage: &Stage) -> Keeps {
    let (mut peer, theirs) = stage.connect().await;
    let service = stage.service();
    let own = service.object();
    let asked = echo(&*theirs.hook, Some(own.hook.add_ref()));
    let heard = peer.called().await;
    let [Cap::Hosted(object)] = heard.params.caps[..] else {
        panic!("no object: {heard:?}");
    };
    let promised = asked.pipeline.get_pointer_field(0).as_cap();
    service.store(&own, promised.add_ref()).await;
    Keeps {
        peer,
        asked,
        promised,
        question: heard.question,
        object,
        _theirs: theirs,
    }
}

/// The peer has answered by calling for what is kept.
async fn leads_to_itself(mut keeps: Keeps) {
    idle().await;
    let _response = keeps.asked.promise.await;
    let called = echo(&*keeps.promised, None).promise.await;
    assert!(called.is_err(), "it leads to itself");
    let lets_go = call(7, Target::Cap(keeps.object), method::DROP);
    keeps.peer.say(lets_go).await;
    keeps.peer.returned(7).await;
}

fault!(
    a_call_that_is_answered_by_a_getter_of_what_it_promised,
    Shows::Panic("rpc.rs"), behind both,
    async |stage| {
        let mut keeps = keeps_what_it_will_get(stage).await;
        let stays = call(1, Target::Cap(keeps.object), method::STORED).to_yourself();
        let taken = returns(keeps.question, []).outcome(Outcome::TakeFromOtherQuestion(1));
        let runs = call(2, Target::Answer(1, vec![1]), method::ECHO);
        keeps
            .peer
            .say_all([Message::from(stays), taken.into(), runs.into()])
            .await;
        leads_to_itself(keeps).await;
    }
);

// The results come late, and the peer has done with its call before.
fault!(
    a_call_that_is_answered_by_a_finished_getter_of_what_it_promised,
    Shows::Nothing, behind both,
    async |stage| {
        let mut keeps = keeps_what_it_will_get(stage).await;
        let object = Target::Cap(keeps.object);
        let waits = call(5, object.clone(), method::WAIT).with([Cap::Yours(keeps.object)]);
        let stays = call(1, Target::Answer(5, vec![0]), method::STORED).to_yourself();
        let taken = returns(keeps.question, []).outcome(Outcome::TakeFromOtherQuestion(1));
        let opens = call(6, object, method::OPEN);
        let all = [waits.into(), stays.into(), taken.into(), finish(1), opens.into()];
        keeps.peer.say_all(all).await;
        leads_to_itself(keeps).await;
    }
);

// The call of the peer's waits for what it is answered with itself, and the peer has done with it.
fault!(
    a_finished_tail_call_that_returns_what_it_was_answered_with,
    Shows::Leak, behind both,
    async |stage| {
        let (mut peer, question) = passing(stage).await;
        let stays = call(3, BOOTSTRAP, method::PASS).to_yourself();
        let taken = returns(question, []).outcome(Outcome::TakeFromOtherQuestion(3));
        peer.say_all([Message::from(stays), taken.into(), finish(3)])
            .await;
        idle().await;
        let later = peer.rest().await;
        let asked = later.into_iter().flatten().find_map(|message| match message {
            Message::Call(call) => Some(call.question),
            _ => None,
        });
        // The bare library never runs the call.
        if let Some(asked) = asked {
            peer.say(returns(asked, [Cap::Answer(3, vec![0])])).await;
            is_broken(&mut peer).await;
        }
    }
);
