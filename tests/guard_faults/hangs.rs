//! What is never answered, never run, and never released.

use capspan_testkit::membrane::idle;
use capspan_testkit::wire_peer::{
    Cap, Outcome, Return, Target, call, echo, finish, method, release, returns,
};
use futures::FutureExt;

use crate::harness::{Shows, Stage, fault};

const BOOTSTRAP: Target = Target::Cap(0);

/// Whoever has called is told something, whatever the peer returns; at the latest, when it gives up.
async fn is_told(stage: &Stage, outcome: Outcome) {
    let (mut peer, theirs) = stage.connect().await;
    let promise = echo(&*theirs.hook, None);
    let asked = peer.called().await;
    peer.say(returns(asked.question, []).outcome(outcome)).await;
    idle().await;
    if promise.promise.now_or_never().is_none() {
        stage.wrong("the call waits for ever");
    }
}

fault!(
    a_return_that_says_canceled,
    Shows::Wrong("waits for ever"),
    async |stage| {
        is_told(stage, Outcome::Canceled).await;
    }
);

fault!(
    a_return_whose_results_are_elsewhere,
    Shows::Wrong("waits for ever"),
    async |stage| {
        is_told(stage, Outcome::ResultsSentElsewhere).await;
    }
);

fault!(
    a_return_from_a_third_party,
    Shows::Wrong("waits for ever"),
    async |stage| {
        is_told(stage, Outcome::AcceptFromThirdParty).await;
    }
);

fault!(
    a_return_from_another_question_that_nobody_knows,
    Shows::Nothing,
    async |stage| {
        is_told(stage, Outcome::TakeFromOtherQuestion(77)).await;
    }
);

// A legal call: it is to run, and to be answered with `resultsSentElsewhere`.
fault!(
    a_call_whose_results_are_to_stay,
    Shows::Wrong("is not run"),
    async |stage| {
        let (mut peer, service) = stage.serve().await;
        peer.say(call(1, BOOTSTRAP, method::MAKE).to_yourself())
            .await;
        // What may come next is a `Return` that takes its results.
        peer.say(release(0, 0)).await;
        idle().await;
        // Refused, or run.
        let is_answered = !peer.rest().await.is_empty();
        if service.calls() == 0 && !is_answered {
            stage.wrong("the call is not run");
        }
    }
);

fault!(
    a_return_from_a_question_whose_results_stayed,
    Shows::Wrong("waits for ever"),
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        let service = stage.service();
        let promise = echo(&*theirs.hook, Some(service.object().hook));
        let asked = peer.called().await;
        let [Cap::Hosted(object)] = asked.params.caps[..] else {
            panic!("no object: {asked:?}");
        };
        peer.say(call(1, Target::Cap(object), method::ECHO).to_yourself())
            .await;
        let outcome = Outcome::TakeFromOtherQuestion(1);
        peer.say(returns(asked.question, []).outcome(outcome)).await;
        idle().await;
        if promise.promise.now_or_never().is_none() {
            stage.wrong("the call waits for ever");
        }
    }
);

// As `releaseParamCaps` is by default.
fault!(
    a_return_that_releases_the_parameters,
    Shows::Wrong("is kept"),
    async |stage| {
        let (mut peer, theirs) = stage.connect().await;
        let service = stage.service();
        let promise = echo(&*theirs.hook, Some(service.object().hook));
        let asked = peer.called().await;
        peer.say(Return {
            release_param_caps: true,
            ..returns(asked.question, [])
        })
        .await;
        drop(promise.promise.await);
        drop(promise.pipeline);
        idle().await;
        if service.live() > 0 {
            stage.wrong("the object is kept");
        }
    }
);

// Its slot, and its id, are taken until the connection's end.
fault!(
    a_call_that_is_finished_before_it_returns,
    Shows::Wrong("no return"),
    async |stage| {
        let (mut peer, _) = stage.serve().await;
        let many = 70_000;
        for question in 1..=many {
            peer.say(call(question, BOOTSTRAP, method::NEVER)).await;
            peer.say(finish(question)).await;
        }
        if peer.rest().await.is_empty() {
            stage.wrong("no return");
        }
    }
);
