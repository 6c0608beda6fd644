//! What the peer's promises resolve to.

use capspan::guard::Breach;
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Context, Message, Outcome, Target, call, disembargo, fails, finish, method, release,
    resolve, resolve_to_error, returns,
};

use crate::harness::{BOOTSTRAP, Served, keep, served};

/// What the service has stored last is broken, for this reason.
async fn is_broken(on: &mut Served, question: u32, why: &str) {
    on.call(question, method::CALL_STORED).await;
    let returned = on.peer.returned(question).await;
    assert!(returned.exception().reason.contains(why), "{returned:?}");
    on.peer.say(finish(question)).await;
}

/// What the service has stored last leads to this one of the peer's.
async fn leads_to(on: &mut Served, question: u32, target: Target) {
    on.call(question, method::CALL_STORED).await;
    let heard = on.peer.called().await;
    assert_eq!(heard.target, target);
    on.peer.say(returns(heard.question, [])).await;
    on.peer.returned(question).await;
}

#[test]
fn a_resolution_of_what_was_never_named() {
    served(async |on| {
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.is_cut(Breach::ResolveNotOpen, 0).await;
    });
}

#[test]
fn a_resolution_of_a_promise() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.peer.expect(release(5, 1)).await;
        leads_to(on, 2, Target::Cap(6)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_is_broken() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.peer.say(resolve_to_error(5, "as it happens")).await;
        is_broken(on, 2, "as it happens").await;
        on.is_legal().await;
    });
}

#[test]
fn a_resolution_that_crosses_the_release() {
    served(async |on| {
        on.call_with(1, method::STORE, [Cap::Promise(5)]).await;
        on.call(2, method::DROP).await;
        on.peer.expect(release(5, 1)).await;
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.peer.expect(release(6, 1)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_second_resolution_that_crosses_the_release() {
    served(async |on| {
        on.call_with(1, method::STORE, [Cap::Promise(5)]).await;
        on.call(2, method::DROP).await;
        on.peer.expect(release(5, 1)).await;
        on.peer
            .say_all([resolve(5, Cap::Hosted(6)), resolve(5, Cap::Hosted(7))])
            .await;
        on.is_cut(Breach::ResolveNotOpen, 2).await;
    });
}

// Who names a promise again says that it is one only the first time: then its release crosses this.
#[test]
fn a_promise_that_is_named_again_while_its_release_is_on_its_way() {
    served(async |on| {
        on.call_with(1, method::STORE, [Cap::Promise(5)]).await;
        on.call(2, method::DROP).await;
        on.peer.expect(release(5, 1)).await;
        on.store(3, Cap::Hosted(5)).await;
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.peer.expect(release(6, 1)).await;
        leads_to(on, 4, Target::Cap(5)).await;
        on.is_legal().await;
    });
}

#[test]
fn an_object_that_is_a_promise_the_next_time() {
    served(async |on| {
        on.store(1, Cap::Hosted(5)).await;
        on.call_with(2, method::STORE, [Cap::Promise(5)]).await;
        on.is_cut(Breach::ResolveNotOpen, 1).await;
    });
}

#[test]
fn a_promise_that_is_one_the_next_time_too_or_is_not_said_to_be() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.store(2, Cap::Promise(5)).await;
        on.store(3, Cap::Hosted(5)).await;
        assert_eq!(on.guard.usage().imports, 1);
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.peer.expect(release(5, 3)).await;
        leads_to(on, 4, Target::Cap(6)).await;
        on.is_legal().await;
    });
}

/// Promise 5 is stored, and leads to what call 2 will bring: that never comes.
async fn waits(on: &mut Served) {
    on.store(1, Cap::Promise(5)).await;
    on.call(2, method::NEVER).await;
    on.peer.say(resolve(5, Cap::Answer(2, vec![0]))).await;
}

#[test]
fn a_second_resolution() {
    served(async |on| {
        waits(on).await;
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.is_cut(Breach::ResolveTwice, 2).await;
    });
}

#[test]
fn a_promise_that_is_named_after_it_has_resolved() {
    served(async |on| {
        waits(on).await;
        on.call_with(3, method::STORE, [Cap::Promise(5)]).await;
        on.is_cut(Breach::ResolveTwice, 2).await;
    });
}

#[test]
fn calls_on_a_promise_that_waits_go_to_the_peer() {
    served(async |on| {
        waits(on).await;
        leads_to(on, 3, Target::Cap(5)).await;
        assert_eq!(on.guard.usage().waiting, 1);
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_waits_and_is_let_go_of() {
    served(async |on| {
        waits(on).await;
        on.call(3, method::DROP).await;
        on.peer.expect(release(5, 1)).await;
        assert_eq!((on.guard.usage().waiting, on.guard.usage().imports), (0, 0));
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_itself() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Promise(5))).await;
        is_broken(on, 2, "resolves to itself").await;
        on.is_refused(Breach::ResolveCycle).await;
        assert_eq!(on.guard.usage().imports, 0);
    });
}

// What the answer brings is the first promise, which this side has let go of by then.
#[test]
fn promises_that_resolve_to_each_other_by_an_answer() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.store(2, Cap::Promise(6)).await;
        on.call_with(3, method::ECHO, [Cap::Promise(5)]).await;
        assert_eq!(on.peer.returned(3).await.caps(), [Cap::Yours(5)]);
        on.peer.say(resolve(5, Cap::Promise(6))).await;
        on.peer.expect(release(5, 2)).await;
        on.peer.say(resolve(6, Cap::Answer(3, vec![0]))).await;
        is_broken(on, 4, "resolves to itself").await;
        on.is_refused(Breach::ResolveCycle).await;
    });
}

/// Promise 5 is stored, and leads to what call 2 has brought: a promise of this side's, which the peer has let go of,
/// so that it never hears where that leads. Call 3 has brought promise 5, and calls on it are to come back first.
async fn leads_to_what_is_let_go_of(on: &mut Served) {
    on.store(1, Cap::Promise(5)).await;
    on.call(2, method::PROMISE).await;
    let [Cap::Promise(promise)] = on.peer.returned(2).await.caps()[..] else {
        panic!("no promise");
    };
    on.call(3, method::STORED).await;
    on.peer.returned(3).await;
    on.peer.say(release(promise, 1)).await;
    on.peer.say(resolve(5, Cap::Answer(2, vec![0]))).await;
    echoes(on).await;
}

#[test]
fn a_promise_that_resolves_to_one_of_this_side_which_the_peer_has_let_go_of() {
    served(async |on| {
        leads_to_what_is_let_go_of(on).await;
        on.call_with(4, method::FULFIL, [Cap::Hosted(6)]).await;
        on.peer.returned(4).await;
        leads_to(on, 5, Target::Cap(6)).await;
        on.peer.say_all([keep(2), finish(3)]).await;
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_one_which_the_peer_has_let_go_of_and_which_becomes_it() {
    served(async |on| {
        leads_to_what_is_let_go_of(on).await;
        on.call_with(4, method::FULFIL, [Cap::Answer(3, vec![0])])
            .await;
        on.peer.returned(4).await;
        is_broken(on, 5, "the capability itself").await;
        on.is_refused(Breach::ReturnCycle).await;
    });
}

#[test]
fn promises_that_resolve_to_one_by_an_answer() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.store(2, Cap::Promise(7)).await;
        on.call_with(3, method::ECHO, [Cap::Promise(5)]).await;
        on.peer.returned(3).await;
        on.peer.say(resolve(5, Cap::Promise(6))).await;
        on.peer.expect(release(5, 2)).await;
        on.peer.say(resolve(7, Cap::Answer(3, vec![0]))).await;
        leads_to(on, 4, Target::Cap(6)).await;
        on.is_legal().await;
    });
}

#[test]
fn promises_that_resolve_one_after_the_other() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        let resolved = [
            resolve(5, Cap::Promise(6)),
            resolve(6, Cap::Promise(7)),
            resolve(7, Cap::Hosted(8)),
        ];
        on.peer.say_all(resolved).await;
        leads_to(on, 2, Target::Cap(8)).await;
        on.is_legal().await;
        assert_eq!(on.guard.usage().imports, 1);
    });
}

#[test]
fn a_promise_that_resolves_to_an_answer_with_itself() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.call_with(2, method::ECHO, [Cap::Promise(5)]).await;
        assert_eq!(on.peer.returned(2).await.caps(), [Cap::Yours(5)]);
        on.peer.say(resolve(5, Cap::Answer(2, vec![0]))).await;
        is_broken(on, 3, "resolves to itself").await;
        on.is_refused(Breach::ResolveCycle).await;
    });
}

#[test]
fn a_promise_that_resolves_to_an_answer_with_another() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.call(2, method::MAKE).await;
        on.peer.returned(2).await;
        on.peer.say(resolve(5, Cap::Answer(2, vec![0]))).await;
        on.call(3, method::CALL_STORED).await;
        on.peer.returned(3).await;
        on.is_legal().await;
    });
}

/// Promise 5 is stored, and leads to what call 2 will bring; which is what the peer answers to the question
/// that is given.
async fn waits_for_the_peer(on: &mut Served) -> u32 {
    on.store(1, Cap::Hosted(4)).await;
    let with = [Cap::Promise(5)];
    on.call_with(2, method::PASS, with).await;
    let asked = on.peer.called().await.question;
    on.store(3, Cap::Promise(5)).await;
    on.peer.say(resolve(5, Cap::Answer(2, vec![0]))).await;
    idle().await;
    assert_eq!(on.guard.usage().waiting, 1);
    asked
}

/// Answers the embargo of a promise on which the service had called.
async fn echoes(on: &mut Served) {
    let asked = on
        .peer
        .find(|message| matches!(message, Message::Disembargo { .. }))
        .await;
    let Message::Disembargo {
        target,
        context: Context::SenderLoopback(id),
    } = asked
    else {
        panic!("no embargo: {asked:?}");
    };
    assert_eq!(target, Target::Cap(5));
    on.peer
        .say(disembargo(target, Context::ReceiverLoopback(id)))
        .await;
}

#[test]
fn a_promise_that_resolves_to_a_pending_answer_which_then_brings_it() {
    served(async |on| {
        let asked = waits_for_the_peer(on).await;
        on.peer.say(returns(asked, [Cap::Hosted(5)])).await;
        on.is_cut(Breach::ResolveTwice, 3).await;
    });
}

#[test]
fn a_promise_that_resolves_to_a_pending_answer_which_then_brings_another() {
    served(async |on| {
        let asked = waits_for_the_peer(on).await;
        on.peer.say(returns(asked, [Cap::Hosted(6)])).await;
        assert_eq!(on.peer.returned(2).await.caps(), [Cap::Yours(6)]);
        assert_eq!(on.guard.usage().waiting, 0);
        leads_to(on, 4, Target::Cap(6)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_a_pending_answer_which_fails() {
    served(async |on| {
        let asked = waits_for_the_peer(on).await;
        on.peer.say(fails(asked, "as it happens")).await;
        on.peer.returned(2).await;
        echoes(on).await;
        is_broken(on, 4, "as it happens").await;
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_an_answer_that_the_peer_gives_up() {
    served(async |on| {
        waits(on).await;
        on.peer.say(finish(2)).await;
        is_broken(on, 3, "let go of").await;
        on.is_refused(Breach::ResolveLost).await;
    });
}

#[test]
fn a_promise_that_resolves_to_an_answer_that_is_finished_once_it_came() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.call(2, method::MAKE).await;
        on.peer.returned(2).await;
        let at_once: [Message; 2] = [resolve(5, Cap::Answer(2, vec![0])), finish(2)];
        on.peer.say_all(at_once).await;
        on.call(3, method::CALL_STORED).await;
        assert!(matches!(
            on.peer.returned(3).await.outcome,
            Outcome::Results(_)
        ));
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_one_of_this_side_which_the_peer_lets_go_of() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.store(2, Cap::Promise(5)).await;
        on.peer
            .say_all([resolve(5, Cap::Yours(promise)), release(promise, 1)])
            .await;
        on.call_with(3, method::FULFIL, [Cap::Hosted(6)]).await;
        on.peer.returned(3).await;
        leads_to(on, 4, Target::Cap(6)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_one_of_this_side_which_is_fulfilled() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.store(2, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Yours(promise))).await;
        on.call_with(3, method::FULFIL, [Cap::Hosted(6)]).await;
        on.peer.expect(resolve(promise, Cap::Yours(6))).await;
        leads_to(on, 4, Target::Cap(6)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_promise_that_resolves_to_one_of_this_side_which_is_fulfilled_with_it() {
    served(async |on| {
        let promise = on.get(1, method::PROMISE).await;
        on.store(2, Cap::Promise(5)).await;
        on.call_with(3, method::FULFIL, [Cap::Promise(5)]).await;
        on.peer.expect(resolve(promise, Cap::Yours(5))).await;
        on.peer.say(resolve(5, Cap::Yours(promise))).await;
        is_broken(on, 4, "resolves to itself").await;
        on.is_refused(Breach::ResolveCycle).await;
    });
}

#[test]
fn a_resolution_to_a_capability_that_the_peer_has_not_got() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Yours(9))).await;
        on.is_cut(Breach::UnknownExport, 1).await;
    });
}

#[test]
fn a_resolution_to_nothing() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::None)).await;
        on.is_cut(Breach::Malformed, 1).await;
    });
}

#[test]
fn the_id_of_a_promise_that_is_another_object_later() {
    served(async |on| {
        on.store(1, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Hosted(6))).await;
        on.peer.expect(release(5, 1)).await;
        let again = call(2, BOOTSTRAP, method::STORE).with([Cap::Promise(5)]);
        on.peer.say(again).await;
        on.peer.returned(2).await;
        on.peer.say(resolve(5, Cap::Promise(7))).await;
        leads_to(on, 3, Target::Cap(7)).await;
        on.is_legal().await;
    });
}
