//! Does what a plan says, and sees that nothing is left.

use std::time::Duration;

use capspan::session::CallSpans;
use capspan::trace::Outcome;

use super::application::Application;
use super::plan::{End, Plan};
use super::spans::{
    assert_calls_belong_to_their_session, assert_no_call_outlives_its_session, callees_outcome,
    outcomes,
};
use crate::run::{pass, run};
use crate::service::{Pair, Place};

/// Longer than any limit of time.
const LONG: Duration = Duration::from_secs(7);

/// Longer than anything takes that is not kept waiting.
const SHORT: Duration = Duration::from_millis(1500);

/// Does what `plan` says. Gives how each span has ended.
///
/// # Panics
///
/// Where a call hangs, something is alive at the end, or a span is not what it must be.
pub fn check(plan: &Plan, place: Place) -> Vec<Outcome> {
    run(async {
        let pair = pair(plan, place);
        let spans = pair.spans.clone();
        let mut application = Application::open(&pair, plan);
        for step in &plan.steps {
            application.step(*step).await;
            assert_no_call_outlives_its_session(&spans);
        }
        end(&mut application, plan, &pair).await;
        let outside = application.outside.clone();
        drop(application);
        pair.settle().await;
        assert_no_call_outlives_its_session(&spans);
        assert_eq!(outside.live(), 0, "objects of the caller are alive");
        pair.finish().await;
        assert_calls_belong_to_their_session(&spans);
        let outcomes = outcomes(&spans);
        let may_end = |outcome: &Outcome| plan.may_end(*outcome, place);
        assert!(outcomes.iter().all(may_end), "{outcomes:?}");
        outcomes
    })
}

fn pair(plan: &Plan, place: Place) -> Pair {
    let [callers, callees] = plan.has_call_spans.map(|has| has.then(CallSpans::new));
    let mut pair = Pair::configured(place, |mut callee| {
        if let Some(calls) = callees {
            callee = callee.call_spans(calls);
        }
        match plan.limits[1].to_time() {
            Some(limits) => callee.time_limits(limits),
            None => callee,
        }
    });
    if let Some(calls) = callers {
        pair.pipeline = pair.pipeline.clone().call_spans(calls);
    }
    pair
}

/// Ends the session in the way that is planned; whoever waits gets an answer.
async fn end(application: &mut Application<'_>, plan: &Plan, pair: &Pair) {
    match plan.end {
        End::LetGo => {}
        End::Wait => pass(LONG).await,
        End::Cancel => drop(application.handle.take()),
        End::Cut if pair.place == Place::InProcess => {}
        End::Cut => pair.cut(),
    }
    if plan.drops_at_once {
        application.let_go();
    }
    pair.settle().await;
    pair.world.open_gate();
    pass(SHORT).await;
    let is_answered = match plan.ends_all(pair.place) {
        true => application.is_all_answered(),
        false => application.is_answered(),
    };
    assert!(is_answered, "a call hangs");
    if plan.is_unhindered() {
        application.let_go();
        application.give_up();
        pair.settle().await;
        assert_eq!(callees_outcome(&pair.spans), Some(Outcome::Ok));
    }
    // What is never answered ends with the session.
    application.handle.take();
    pair.settle().await;
    assert!(application.is_all_answered(), "a call hangs");
}
