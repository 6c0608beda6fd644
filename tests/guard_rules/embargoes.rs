//! Embargoes: an echo is asked for where a promise has led back, and only there.

use capspan::guard::Breach;
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Context, Message, Service, Target, disembargo, echo, method, resolve, returns,
    unimplemented,
};

use crate::harness::{BOOTSTRAP, Connected, connected, served};

#[test]
fn an_echo_from_what_does_not_lead_back() {
    served(async |on| {
        on.peer
            .say(disembargo(BOOTSTRAP, Context::SenderLoopback(1)))
            .await;
        on.is_cut(Breach::Disembargo, 0).await;
    });
}

#[test]
fn an_echo_from_an_answer_that_is_not_there() {
    served(async |on| {
        on.call(1, method::NEVER).await;
        let target = Target::Answer(1, vec![0]);
        on.peer
            .say(disembargo(target, Context::SenderLoopback(1)))
            .await;
        on.is_cut(Breach::Disembargo, 1).await;
    });
}

#[test]
fn an_echo_from_a_promise_that_is_not_kept() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        let asked = disembargo(Target::Cap(promise), Context::SenderLoopback(1));
        on.peer.say(asked).await;
        on.is_cut(Breach::Disembargo, 1).await;
    });
}

#[test]
fn an_echo_from_an_answer_that_leads_back() {
    served(async |on| {
        on.call_with(1, method::ECHO, [Cap::Hosted(5)]).await;
        assert_eq!(on.peer.returned(1).await.caps(), [Cap::Yours(5)]);
        let target = Target::Answer(1, vec![0]);
        on.peer
            .say(disembargo(target, Context::SenderLoopback(3)))
            .await;
        let echo = disembargo(Target::Cap(5), Context::ReceiverLoopback(3));
        on.peer.expect(echo).await;
        on.is_legal().await;
    });
}

#[test]
fn an_echo_from_a_promise_that_leads_back() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.call_with(2, method::FULFIL, [Cap::Hosted(5)]).await;
        on.peer.expect(resolve(promise, Cap::Yours(5))).await;
        let asked = disembargo(Target::Cap(promise), Context::SenderLoopback(3));
        on.peer.say(asked).await;
        let echo = disembargo(Target::Cap(5), Context::ReceiverLoopback(3));
        on.peer.expect(echo).await;
        on.is_legal().await;
    });
}

#[test]
fn an_echo_that_nobody_asked_for() {
    served(async |on| {
        on.peer
            .say(disembargo(BOOTSTRAP, Context::ReceiverLoopback(0)))
            .await;
        on.is_cut(Breach::Disembargo, 0).await;
    });
}

/// What the application asked for leads back to itself, and the peer is asked for an echo.
async fn leads_back(on: &mut Connected) -> Message {
    let own = Service::new();
    let asked = echo(&*on.theirs.hook, Some(own.object().hook));
    let promised = asked.pipeline.get_pointer_field(0).as_cap();
    drop(echo(&*promised, None));
    let heard = on.peer.called().await;
    on.peer.called().await;
    on.peer.say(returns(heard.question, [Cap::Yours(0)])).await;
    asked.promise.await.expect("an answer");
    let asked = on
        .peer
        .find(|message| matches!(message, Message::Disembargo { .. }))
        .await;
    let Message::Disembargo {
        context: Context::SenderLoopback(id),
        ..
    } = asked
    else {
        panic!("no embargo: {asked:?}");
    };
    disembargo(Target::Cap(0), Context::ReceiverLoopback(id))
}

#[test]
fn an_echo_that_was_asked_for() {
    connected(async |on| {
        let echo = leads_back(on).await;
        on.peer.say(echo).await;
        on.is_legal().await;
    });
}

#[test]
fn an_echo_that_comes_twice() {
    connected(async |on| {
        let echo = leads_back(on).await;
        on.peer.say_all([echo.clone(), echo]).await;
        on.is_cut(Breach::Disembargo).await;
    });
}

#[test]
fn embargoes_between_three_parties_are_not_understood() {
    served(async |on| {
        for context in [Context::Accept, Context::Provide(3)] {
            let asked = disembargo(BOOTSTRAP, context);
            on.peer.say(asked.clone()).await;
            on.peer.expect(unimplemented(asked)).await;
        }
        idle().await;
        on.is_legal().await;
    });
}
