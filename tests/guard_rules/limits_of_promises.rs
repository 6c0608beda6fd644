//! How many promises may lead to each other, and wait.

use capspan::guard::{Breach, GuardLimits};
use capspan_testkit::wire_peer::{Cap, Target, finish, method, release, resolve, returns};

use crate::harness::served_within;

#[test]
fn promises_that_lead_to_promises() {
    served_within(GuardLimits::default().max_hops(2), async |on| {
        for promise in 5..=8 {
            on.store(promise, Cap::Promise(promise)).await;
        }
        for promise in 5..=7 {
            on.peer
                .say(resolve(promise, Cap::Promise(promise + 1)))
                .await;
        }
        // The first two were let through: what they led to fails with what it leads to.
        on.peer.expect(release(8, 1)).await;
        on.is_refused(Breach::ResolutionHops).await;
    });
}

#[test]
fn fewer_promises_that_lead_to_promises() {
    served_within(GuardLimits::default().max_hops(2), async |on| {
        on.store(1, Cap::Promise(5)).await;
        for promise in 5..=6 {
            on.peer
                .say(resolve(promise, Cap::Promise(promise + 1)))
                .await;
        }
        on.peer.say(resolve(7, Cap::Hosted(8))).await;
        on.call(2, method::CALL_STORED).await;
        let heard = on.peer.called().await;
        assert_eq!(heard.target, Target::Cap(8));
        on.peer.say(returns(heard.question, [])).await;
        on.peer.returned(2).await;
        on.is_legal().await;
    });
}

#[test]
fn promises_that_lead_to_one_and_are_let_go_of() {
    served_within(GuardLimits::default().max_imports(3), async |on| {
        on.store(1, Cap::Promise(6)).await;
        for question in 2..=100 {
            on.store(question, Cap::Promise(5)).await;
            on.peer.say(resolve(5, Cap::Promise(6))).await;
            on.peer.expect(release(5, 1)).await;
        }
        assert_eq!(on.guard.usage().imports, 1);
        on.is_legal().await;
    });
}

/// What the service has returned, and the peer has not finished, may lead to them still.
#[test]
fn promises_that_lead_to_one_and_are_in_results() {
    served_within(GuardLimits::default().max_imports(3), async |on| {
        on.store(1, Cap::Promise(6)).await;
        for question in [10, 20, 30] {
            on.store(question, Cap::Promise(5)).await;
            on.call(question + 1, method::STORED).await;
            on.peer.returned(question + 1).await;
            on.peer.say(resolve(5, Cap::Promise(6))).await;
            on.peer.expect(release(5, 1)).await;
        }
        on.store(40, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Promise(6))).await;
        on.is_refused(Breach::Imports).await;
        // There is room again when the peer has done with one of them.
        on.peer.say(finish(11)).await;
        on.store(50, Cap::Promise(5)).await;
        on.peer.say(resolve(5, Cap::Promise(6))).await;
        on.is_refused(Breach::Imports).await;
    });
}

#[test]
fn promises_that_wait() {
    served_within(GuardLimits::default().max_waiting(1), async |on| {
        on.store(1, Cap::Hosted(4)).await;
        on.call(2, method::CALL_STORED).await;
        let asked = on.peer.called().await.question;
        for promise in 5..=6 {
            on.store(promise, Cap::Promise(promise)).await;
            on.peer.say(resolve(promise, Cap::Answer(2, vec![0]))).await;
        }
        // The second one is broken.
        on.peer.expect(release(6, 1)).await;
        assert_eq!(on.guard.usage().waiting, 1);
        // And there is room again when the first waits no more.
        on.peer.say(returns(asked, [])).await;
        on.peer.returned(2).await;
        on.peer.expect(release(5, 1)).await;
        on.call(3, method::NEVER).await;
        on.store(7, Cap::Promise(7)).await;
        on.peer.say(resolve(7, Cap::Answer(3, vec![0]))).await;
        on.is_refused(Breach::WaitingPromises).await;
        assert_eq!(on.guard.usage().waiting, 1);
        on.peer.say(crate::harness::keep(0)).await;
        on.goes_on().await;
    });
}
