//! M5 to M8, each over the same table as M1 to M4 (`scenarios.rs`): revocation, completion, data,
//! and what can't be wrapped.

use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::scenario::{
    Answer, Case, Guarantee, Method, Scenario, Side, Subject, Treatment, When, each, is_answer,
    store,
};
use capspan_testkit::membrane::scene::{REASON, assert_revoked};
use capspan_testkit::membrane::{World, idle};
use capspan_testkit::probe_capnp::probe;

/// A call that never returns.
async fn hang(cap: probe::Client) -> Result<(), capnp::Error> {
    cap.hang_request().send().promise.await.map(drop)
}

#[test]
fn m5_a_revocation_ends_what_crosses_and_nothing_else() {
    each(Guarantee::M5, 324, async |scenario| {
        for which in 0..scenario.membranes.len() {
            // One treatment may have revoked it before.
            let scenario = Scenario::new(scenario.case, scenario.driven).await;
            everything_ends(scenario, which).await;
        }
    });
}

async fn everything_ends(scenario: Scenario, which: usize) {
    let case = scenario.case;
    let when = match case.first() {
        When::Unresolved => When::RevokedUnresolved,
        _ => When::RevokedResolved,
    };
    let begun_before = case.treatment != Treatment::RevokedBefore;
    if !begun_before {
        scenario.revoke(which);
        idle().await;
    }
    let root = start(hang(scenario.root.clone()));
    let calls = Side::BOTH.map(|side| (side, start(hang(scenario.of(side).clone()))));
    idle().await;
    if begun_before {
        assert!(!root.is_finished());
        assert!(scenario.inside.calls() >= 1);
        scenario.revoke(which);
    }
    let error = soon(root).await.expect_err("the root's call");
    assert!(error.extra.contains(REASON), "the root's call: {error}");
    idle().await;
    scenario.open();
    idle().await;
    for (side, call) in calls {
        let expected = case.answer(side, Method::Label, when);
        match expected {
            Answer::By(_) => assert!(!call.is_finished(), "{side:?}: it does not cross"),
            Answer::Fails(_) => {
                let ended = soon(call).await.map(|()| (String::from("nobody"), ()));
                is_answer(&format!("{side:?}'s call"), ended, expected);
            }
        }
    }
    idle().await;
    for side in Side::BOTH {
        for method in Method::BOTH {
            let expected = case.answer_revoked(which, side, method, when);
            scenario.check(side, method, expected).await;
        }
    }
    assert_revoked("the root", &scenario.root).await;
    let again = capspan::Error::revoked("a second reason");
    assert!(!scenario.membranes[which].downgrade().revoke(again));
    assert_revoked("the root", &scenario.root).await;
    // What either side still has is its own.
    let Scenario {
        inside,
        outside,
        own,
        seen,
        subject,
        root,
        connections,
        ..
    } = scenario;
    drop(seen);
    idle().await;
    let holds_itself = usize::from(case.subject == Subject::SelfReference);
    assert_eq!((inside.live(), inside.calls()), (holds_itself, 0), "inside");
    drop((own, subject));
    idle().await;
    assert_eq!((outside.live(), outside.calls()), (0, 0), "outside");
    drop((root, connections));
}

#[test]
fn m6_a_membrane_is_complete_when_nothing_refers_through_it() {
    each(Guarantee::M6, 324, async |scenario| {
        for settled in [false, true] {
            let scenario = Scenario::new(scenario.case, scenario.driven).await;
            is_complete_in_the_end(scenario, settled).await;
        }
    });
}

/// Does the subject alone, as the outside has it, keep the outermost membrane from being complete?
/// `None`: that depends on what `capnp-rpc` does with a promise that failed.
fn keeps_open(case: Case, settled: bool) -> Option<bool> {
    match case.subject {
        Subject::ObjectInside | Subject::ResolvedPromiseInside | Subject::SelfReference => {
            Some(true)
        }
        Subject::ObjectOutside | Subject::InAndBackOut => Some(false),
        Subject::Broken | Subject::Null => None,
        _ if case.treatment.revokes() => None,
        Subject::PromiseInside => Some(true),
        Subject::PromiseToTheOtherSide => (!settled).then_some(true),
    }
}

async fn is_complete_in_the_end(scenario: Scenario, settled: bool) {
    let case = scenario.case;
    let completions: Vec<_> = scenario
        .membranes
        .iter()
        .map(|one| one.completion())
        .collect();
    let weak: Vec<_> = scenario
        .membranes
        .iter()
        .map(|one| one.downgrade())
        .collect();
    scenario.before().await;
    scenario.during().await;
    if settled {
        for side in Side::BOTH {
            for method in Method::BOTH {
                // What comes of it is for other tests.
                let _ = scenario.ask(scenario.of(side), method, None).await;
            }
        }
    }
    let Scenario {
        inside,
        outside,
        guards,
        own,
        seen,
        subject,
        root,
        membranes,
        connections,
        ..
    } = scenario;
    drop((membranes, root, seen));
    idle().await;
    if let Some(open) = keeps_open(case, settled) {
        assert_eq!(completions[0].is_complete(), !open, "the subject is held");
        assert_eq!(weak[0].is_unreferenced(), !open, "the subject is held");
    }
    drop(subject);
    idle().await;
    for (completion, weak) in completions.into_iter().zip(weak) {
        assert!(completion.is_complete(), "nothing is held");
        assert!(weak.is_unreferenced());
        assert!(!weak.revoke(capspan::Error::revoked("too late")));
        assert_eq!(soon(completion.clone()).await, soon(completion).await);
    }
    drop(own);
    idle().await;
    let holds_itself = usize::from(case.subject == Subject::SelfReference);
    assert_eq!(inside.live(), holds_itself, "inside");
    assert_eq!(
        (outside.live(), guards.live()),
        (0, 0),
        "outside, and guards"
    );
    drop(connections);
}

#[test]
fn m7_data_arrives_as_it_was_sent() {
    each(Guarantee::M7, 324, async |scenario| {
        let case = scenario.case;
        scenario.before().await;
        scenario.during().await;
        let mut when = case.treated();
        for bytes in [0, 1, 8, 100_000] {
            let data: Vec<u8> = (0..bytes).map(|at| ((at * 31) >> 3) as u8).collect();
            for side in Side::BOTH {
                let mut request = scenario.of(side).echo_request();
                request.get().set_data(&data);
                let echoed = start(async { request.send().promise.await });
                idle().await;
                scenario.open();
                let echoed = soon(echoed).await;
                let expected = case.answer(side, Method::Label, when);
                match (echoed, expected) {
                    (Ok(echoed), Answer::By(_)) => {
                        let echoed = echoed.get().and_then(|echoed| echoed.get_data());
                        assert!(
                            echoed.is_ok_and(|echoed| echoed == data),
                            "{side:?}, {bytes} bytes"
                        );
                    }
                    (echoed, _) => {
                        let echoed = echoed.map(|_| (String::from("echoed"), ()));
                        is_answer(&format!("{side:?}, {bytes} bytes"), echoed, expected);
                    }
                }
            }
            when = case.settled();
        }
    });
}

#[test]
fn m8_what_can_not_be_wrapped_is_unusable() {
    each(Guarantee::M8, 324, async |scenario| {
        let case = scenario.case;
        if case.subject == Subject::PromiseInside {
            // Its resolution makes an object, which is not to be counted.
            let resolved = scenario.ask(&scenario.seen, Method::Label, None).await;
            resolved.expect("it is inside");
        }
        scenario.before().await;
        scenario.during().await;
        for side in Side::BOTH {
            for method in Method::BOTH {
                let expected = case.answer(side, method, case.treated());
                if matches!(expected, Answer::Fails(_)) {
                    nobody_is_called(&scenario, side, method, expected).await;
                }
            }
        }
        if !case.treatment.revokes() {
            // Null is null on the other side.
            store(&scenario.root, None).await;
            let response = soon(scenario.root.stored_request().send().promise)
                .await
                .unwrap();
            assert!(!response.get().unwrap().has_cap());
            scenario.revoke(0);
        }
        for membrane in &scenario.membranes[..1] {
            let late = World::new();
            assert_revoked("exported late", &membrane.export(late.probe("late"))).await;
            assert_revoked("imported late", &membrane.import(late.probe("late"))).await;
            assert_eq!(late.live(), 0);
        }
    });
}

/// A call that fails reaches no object, and what it carries goes nowhere.
async fn nobody_is_called(scenario: &Scenario, side: Side, method: Method, expected: Answer) {
    let live = || {
        let worlds = [&scenario.inside, &scenario.outside, &scenario.guards];
        worlds.map(World::live)
    };
    let (what, before) = (format!("{side:?}, {method:?}"), live());
    let answered = scenario.ask(scenario.of(side), method, None).await;
    is_answer(&what, answered, expected);
    idle().await;
    assert_eq!(live(), before, "{what}");
    assert!(scenario.passed().is_empty(), "{what}");
}
