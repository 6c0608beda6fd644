//! The peer's calls, and their ends.

use capnp::ErrorKind;
use capspan::guard::{Breach, GuardLimits};
use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Message, Outcome, Target, bootstrap, call, finish, method, release, resolve, returns,
};

use crate::harness::{BOOTSTRAP, keep, served, served_within};

#[test]
fn the_id_of_a_call_that_runs() {
    served(async |on| {
        on.call(1, method::NEVER).await;
        on.call(1, method::ECHO).await;
        on.is_cut(Breach::QuestionInUse, 1).await;
    });
}

#[test]
fn the_id_of_a_call_that_is_not_finished_for_a_bootstrap() {
    served(async |on| {
        on.peer.say(bootstrap(0)).await;
        on.is_cut(Breach::QuestionInUse, 0).await;
    });
}

#[test]
fn the_id_of_a_call_that_was_canceled_and_has_not_returned() {
    served(async |on| {
        on.call(1, method::NEVER).await;
        on.peer.say(finish(1)).await;
        on.call(1, method::ECHO).await;
        on.is_cut(Breach::QuestionInUse, 1).await;
    });
}

#[test]
fn an_id_that_is_free_again() {
    served(async |on| {
        on.get(1, method::MAKE).await;
        on.get(1, method::MAKE).await;
        on.peer.say_all([keep(0), bootstrap(0)]).await;
        on.peer.returned(0).await;
        on.is_legal().await;
    });
}

#[test]
fn an_id_out_of_order() {
    served(async |on| {
        for question in [u32::MAX, 1 << 31, 70_000, 5] {
            on.get(question, method::MAKE).await;
        }
        on.is_legal().await;
    });
}

#[test]
fn a_call_on_a_capability_that_the_peer_has_not_got() {
    served(async |on| {
        on.peer.say(call(1, Target::Cap(9), method::ECHO)).await;
        on.is_cut(Breach::UnknownExport, 0).await;
    });
}

#[test]
fn a_call_on_a_capability_that_the_peer_has_let_go_of() {
    served(async |on| {
        let object = on.get(1, method::MAKE).await;
        on.peer.say(release(object, 1)).await;
        on.peer
            .say(call(2, Target::Cap(object), method::ECHO))
            .await;
        on.is_cut(Breach::UnknownExport, 1).await;
    });
}

#[test]
fn a_call_on_a_capability_that_the_peer_lets_go_of_at_once() {
    served(async |on| {
        let object = on.get(1, method::MAKE).await;
        let called = call(2, Target::Cap(object), method::ECHO);
        on.peer.say_all([called.into(), release(object, 1)]).await;
        on.peer.returned(2).await;
        on.is_legal().await;
    });
}

#[test]
fn a_call_with_a_capability_that_the_peer_has_not_got() {
    served(async |on| {
        on.call_with(1, method::ECHO, [Cap::Yours(9)]).await;
        on.is_cut(Breach::UnknownExport, 0).await;
    });
}

#[test]
fn a_call_with_a_capability_that_the_peer_has() {
    served(async |on| {
        on.call_with(1, method::ECHO, [Cap::Yours(0)]).await;
        assert_eq!(on.peer.returned(1).await.caps(), [Cap::Hosted(0)]);
        on.is_legal().await;
    });
}

#[test]
fn a_finish_of_no_call() {
    served(async |on| {
        on.peer.say(finish(9)).await;
        on.is_cut(Breach::FinishNotOpen, 0).await;
    });
}

#[test]
fn a_second_finish_of_a_call_that_has_returned() {
    served(async |on| {
        on.peer.say_all([finish(0), finish(0)]).await;
        on.is_cut(Breach::FinishNotOpen, 0).await;
    });
}

#[test]
fn a_second_finish_of_a_call_that_has_not_returned() {
    served(async |on| {
        on.call(1, method::NEVER).await;
        on.peer.say_all([finish(1), finish(1)]).await;
        on.is_cut(Breach::FinishNotOpen, 1).await;
    });
}

#[test]
fn a_finish_before_the_return_and_one_after_it() {
    served(async |on| {
        on.call(1, method::NEVER).await;
        on.peer.say_all([finish(1), keep(0)]).await;
        on.is_legal().await;
    });
}

#[test]
fn a_finish_on_its_way_when_the_call_returns_that_needs_none() {
    served(async |on| {
        on.call(1, method::ECHO).await;
        assert!(on.peer.returned(1).await.no_finish_needed);
        on.peer.say(finish(1)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_second_finish_of_a_call_that_needs_none() {
    served(async |on| {
        on.call(1, method::ECHO).await;
        on.peer.returned(1).await;
        on.peer.say_all([finish(1), finish(1)]).await;
        on.is_cut(Breach::FinishNotOpen, 1).await;
    });
}

#[test]
fn a_call_on_what_a_call_in_flight_will_bring() {
    served(async |on| {
        let made = call(1, BOOTSTRAP, method::MAKE);
        let pipelined = call(2, Target::Answer(1, vec![0]), method::ECHO);
        on.peer.say_all([made, pipelined]).await;
        on.peer.returned(2).await;
        on.is_legal().await;
    });
}

#[test]
fn a_call_whose_results_are_those_of_another() {
    served(async |on| {
        on.store(1, Cap::Hosted(5)).await;
        on.call(2, method::PASS).await;
        let asked = on.peer.called().await.question;
        let stays = call(3, BOOTSTRAP, method::MAKE).to_yourself();
        let taken = returns(asked, []).outcome(Outcome::TakeFromOtherQuestion(3));
        on.peer.say_all([Message::from(stays), taken.into()]).await;
        let returned = on.peer.returned(2).await;
        assert!(matches!(returned.caps(), [Cap::Hosted(_)]));
        let returned = on.peer.returned(3).await;
        assert_eq!(returned.outcome, Outcome::ResultsSentElsewhere);
        assert_eq!(on.guard.usage().unfinished, 3);
        on.peer.say_all([finish(2), finish(3)]).await;
        on.is_legal().await;
        assert_eq!(on.guard.usage().unfinished, 1);
    });
}

/// The call takes a while. The peer has done with it as soon as its results are taken.
#[test]
fn a_call_whose_results_are_those_of_another_and_come_late() {
    served(async |on| {
        on.store(1, Cap::Hosted(5)).await;
        on.call(2, method::PASS).await;
        let asked = on.peer.called().await.question;
        let stays = call(3, BOOTSTRAP, method::WAIT).with([Cap::Hosted(6)]);
        let taken = returns(asked, []).outcome(Outcome::TakeFromOtherQuestion(3));
        on.peer
            .say_all([Message::from(stays.to_yourself()), taken.into(), finish(3)])
            .await;
        on.call(4, method::OPEN).await;
        on.peer.returned(4).await;
        let returned = on.peer.returned(3).await;
        assert_eq!(returned.outcome, Outcome::ResultsSentElsewhere);
        assert_eq!(on.peer.returned(2).await.caps(), [Cap::Yours(6)]);
        on.is_legal().await;
        assert_eq!(on.guard.usage().calls, 0);
    });
}

/// What is in them has got other names since.
#[test]
fn a_call_whose_results_are_taken_late() {
    served(async |on| {
        on.store(1, Cap::Promise(7)).await;
        on.peer
            .say(call(3, BOOTSTRAP, method::STORED).to_yourself())
            .await;
        on.peer.returned(3).await;
        on.peer.say(resolve(7, Cap::Hosted(8))).await;
        on.peer.expect(release(7, 1)).await;
        on.call(2, method::PASS).await;
        let asked = on.peer.called().await;
        assert_eq!(asked.target, Target::Cap(8));
        let taken = returns(asked.question, []).outcome(Outcome::TakeFromOtherQuestion(3));
        on.peer.say(taken).await;
        assert_eq!(on.peer.returned(2).await.caps(), [Cap::Yours(8)]);
        on.peer.say_all([finish(2), finish(3)]).await;
        on.call(4, method::DROP).await;
        on.peer.returned(4).await;
        on.peer.expect(release(8, 1)).await;
        on.is_legal().await;
    });
}

#[test]
fn results_that_are_taken_twice() {
    served(async |on| {
        on.store(1, Cap::Hosted(5)).await;
        let mut asked = Vec::new();
        for id in [2, 3] {
            on.call(id, method::PASS).await;
            asked.push(on.peer.called().await.question);
        }
        let stays = call(4, BOOTSTRAP, method::NEVER).to_yourself();
        let take = |question| returns(question, []).outcome(Outcome::TakeFromOtherQuestion(4));
        on.peer
            .say_all([
                Message::from(stays),
                take(asked[0]).into(),
                take(asked[1]).into(),
            ])
            .await;
        on.is_cut(Breach::ReturnKind, 4).await;
    });
}

#[test]
fn a_call_whose_results_nobody_takes() {
    served(async |on| {
        let stays = call(3, BOOTSTRAP, method::STORE).with([Cap::Hosted(5)]);
        on.peer.say(stays.to_yourself()).await;
        on.call(4, method::DROP).await;
        let returned = on.peer.returned(3).await;
        assert_eq!(returned.outcome, Outcome::ResultsSentElsewhere);
        on.peer.expect(release(5, 1)).await;
        on.peer.returned(4).await;
        on.peer.say(finish(3)).await;
        on.is_legal().await;
    });
}

/// This side has given up the call that it answers. The peer can't know that yet, nor can what it pipelines on that.
#[test]
fn a_call_whose_results_are_not_wanted_any_more() {
    served(async |on| {
        on.store(1, Cap::Hosted(5)).await;
        on.call(2, method::PASS).await;
        let asked = on.peer.called().await.question;
        on.peer.say(finish(2)).await;
        on.peer.expect(finish(asked)).await;
        let stays = call(3, BOOTSTRAP, method::MAKE).to_yourself();
        let taken = returns(asked, []).outcome(Outcome::TakeFromOtherQuestion(3));
        let pipelined = call(4, Target::Answer(3, vec![0]), method::ECHO);
        on.peer
            .say_all([Message::from(stays), taken.into(), pipelined.into()])
            .await;
        let returned = on.peer.returned(3).await;
        assert_eq!(returned.outcome, Outcome::ResultsSentElsewhere);
        on.peer.returned(4).await;
        on.peer.say_all([finish(3), finish(4)]).await;
        on.is_legal().await;
    });
}

#[test]
fn a_call_that_is_pipelined_on_one_that_was_refused() {
    served_within(GuardLimits::default().max_calls(1), async |on| {
        on.call(1, method::NEVER).await;
        on.call(2, method::MAKE).await;
        on.fails(2, ErrorKind::Overloaded, "in flight").await;
        let pipelined = call(3, Target::Answer(2, vec![0]), method::ECHO);
        on.peer.say(pipelined.with([Cap::Hosted(5)])).await;
        on.fails(3, ErrorKind::Overloaded, "refused").await;
        on.peer.expect(release(5, 1)).await;
        assert_eq!(on.service.calls(), 1);
        on.peer.say_all([finish(1), finish(2), finish(3)]).await;
        on.goes_on().await;
        assert_eq!(on.guard.count(Breach::CallsInFlight), 1);
        assert_eq!(on.guard.count(Breach::OnRefused), 1);
        assert_eq!(on.guard.refused(), 2);
    });
}

#[test]
fn a_capability_that_is_to_be_had_of_a_third_party() {
    served(async |on| {
        on.call_with(1, method::ECHO, [Cap::ThirdParty(5)]).await;
        on.fails(1, ErrorKind::Unimplemented, "third parties").await;
        on.peer.expect(release(5, 1)).await;
        assert_eq!(on.service.calls(), 0);
        on.peer.say(finish(1)).await;
        on.is_refused(Breach::ThirdParty).await;
    });
}

#[test]
fn a_capability_that_is_to_be_had_of_the_peer() {
    served(async |on| {
        on.call_with(1, method::ECHO, [Cap::Hosted(5)]).await;
        assert_eq!(on.peer.returned(1).await.caps(), [Cap::Yours(5)]);
        on.peer.say(finish(1)).await;
        on.peer.expect(release(5, 1)).await;
        on.is_legal().await;
    });
}

#[test]
fn a_service_that_calls_back() {
    served(async |on| {
        on.call_with(1, method::CALL_BACK, [Cap::Hosted(5)]).await;
        let (first, second) = (on.peer.called().await, on.peer.called().await);
        assert_eq!(first.target, Target::Cap(5));
        assert_eq!(second.target, Target::Answer(first.question, vec![0]));
        let [Cap::Hosted(object)] = first.params.caps[..] else {
            panic!("no object: {first:?}");
        };
        on.peer
            .say(returns(first.question, [Cap::Yours(object)]))
            .await;
        on.peer.say(returns(second.question, [])).await;
        let returned = on.peer.returned(1).await;
        assert!(matches!(returned.outcome, Outcome::Results(_)));
        idle().await;
        on.is_legal().await;
    });
}

#[test]
fn results_that_are_kept_and_let_go_of_later() {
    served(async |on| {
        on.call(1, method::MAKE).await;
        let [Cap::Hosted(object)] = on.peer.returned(1).await.caps()[..] else {
            panic!("no object");
        };
        let finished: Vec<Message> = vec![keep(1), release(object, 1)];
        on.peer.say_all(finished).await;
        on.is_legal().await;
    });
}
