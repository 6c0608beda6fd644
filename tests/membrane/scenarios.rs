//! M1 to M4, each over one table: what crosses × where the membrane stands × what is done to it.
//!
//! The test cases of C++'s `capnp/membrane-test.c++`, and where they are here. Each asks the same four
//! questions of one capability: who answers when the outside calls it and when the inside does, by a method
//! that passes and by one that the policy redirects. Here these are [`Side`] × [`Method`]; the policy there
//! redirects in both directions at once, here in one at a time, [`Treatment::RedirectInbound`] and
//! [`Treatment::RedirectOutbound`]. "Local" is [`Place::InProcess`], "remote" [`Place::ServerEnd`].
//!
//! | C++ | here |
//! |---|---|
//! | call local object inside membrane | `ObjectInside` × `InProcess` |
//! | call local promise inside membrane | `PromiseInside` × `InProcess` |
//! | call local resolved promise inside membrane | `ResolvedPromiseInside` × `InProcess` |
//! | call local object outside membrane | `ObjectOutside` × `InProcess` |
//! | call local capability that has passed into and back out of membrane | `InAndBackOut` × `InProcess` |
//! | call local promise pointing into membrane that eventually resolves to outside | `PromiseToTheOtherSide` × `InProcess` |
//! | call remote object inside membrane | `ObjectInside` × `ServerEnd` |
//! | call remote promise inside membrane | `PromiseInside` × `ServerEnd` |
//! | call remote resolved promise inside membrane (which is local there) | `ResolvedPromiseInside` × `ServerEnd` |
//! | call remote object outside membrane | `ObjectOutside` × `ServerEnd` |
//! | call remote capability that has passed into and back out of membrane | `InAndBackOut` × `ServerEnd` |
//! | call remote promise pointing into membrane that eventually resolves to outside | `PromiseToTheOtherSide` × `ServerEnd` |
//! | revoke membrane | `ObjectInside` × `ServerEnd` × `RevokedDuring`, in M5 |
//! | MembraneHook::whenMoreResolved returns same value even when called concurrently | `PromiseInside` × `InProcess`, in M3 |
//! | apply membrane using copyOutOfMembrane() on struct, on list, on AnyPointer | no row: `crossing.rs` |
//!
//! Not here: the calls that an object inside passes on as tail calls, which `capnp-rpc` does not have.
//! The other subjects, places and treatments have no counterpart there.

use capnp::capability::{Client, FromClientHook};
use capspan_testkit::membrane::events::{Started, soon, start};
use capspan_testkit::membrane::idle;
use capspan_testkit::membrane::scenario::{
    Answer, Case, Guarantee, Method, Place, Scenario, Side, Treatment, When, call, each, each_of,
    given_in, is_answer, stored,
};
use capspan_testkit::membrane::scene::{assert_revoked, identity, label, same, typed};
use capspan_testkit::probe_capnp::probe;

/// What one side has got, and whether it came from the other side.
struct Got {
    what: String,
    cap: probe::Client,
    crossed: bool,
}

impl Got {
    async fn is_there(&self) {
        let answered = label(&self.cap).await;
        answered.unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }
}

#[test]
fn m1_nothing_crosses_unwrapped() {
    each(Guarantee::M1, 324, async |scenario| {
        if scenario.case.treatment.revokes() {
            nothing_is_left(scenario).await;
        } else {
            nothing_is_bare(scenario, 0).await;
        }
    });
}

#[test]
fn m1_nothing_crosses_the_second_of_two_membranes_unwrapped() {
    let two = |case: Case| case.place == Place::Stacked && !case.treatment.revokes();
    each_of(Guarantee::M1, two, 36, async |scenario| {
        nothing_is_bare(scenario, 1).await
    });
}

/// Whatever either side has got from the other works, and fails after a revocation.
async fn nothing_is_bare(scenario: Scenario, which: usize) {
    let case = scenario.case;
    let mut got = Vec::new();
    for side in Side::BOTH {
        let when = if side == Side::Outside {
            case.first()
        } else {
            When::Working
        };
        let expected = case.answer(side, Method::Swap, when);
        // A stock request with a capability panics where its target turned out to be broken.
        let passing = case.subject.home().map(|_| scenario.probe(side, "passed"));
        let passes = passing.is_some();
        let answered = scenario.ask(scenario.of(side), Method::Swap, passing).await;
        let given = answered.as_ref().ok().and_then(|(_, given)| given.clone());
        is_answer(&format!("{side:?}"), answered, expected);
        let passed = scenario.passed();
        let expects = usize::from(passes && given.is_some());
        assert_eq!(passed.len(), expects, "passed by {side:?}");
        let crossed = case.has_crossed(side, expected);
        let whats = given.into_iter().map(|cap| ("given", cap));
        let whats = whats.chain(passed.into_iter().map(|cap| ("passed", cap)));
        got.extend(whats.map(|(what, cap)| Got {
            what: format!("{what} when {side:?} asked"),
            cap,
            crossed,
        }));
    }
    for got in &got {
        got.is_there().await;
    }
    for side in Side::BOTH {
        for method in Method::BOTH {
            scenario
                .check(side, method, case.answer(side, method, When::Working))
                .await;
        }
    }
    scenario.revoke(which);
    idle().await;
    for got in &got {
        match got.crossed {
            true => assert_revoked(&got.what, &got.cap).await,
            false => got.is_there().await,
        }
    }
    assert_revoked("the root", &scenario.root).await;
    for side in Side::BOTH {
        for method in Method::BOTH {
            let expected = case.answer_revoked(which, side, method, When::RevokedResolved);
            scenario.check(side, method, expected).await;
        }
    }
}

/// What crossed before a revocation has not crossed bare.
async fn nothing_is_left(scenario: Scenario) {
    let case = scenario.case;
    scenario.before().await;
    scenario.during().await;
    for side in Side::BOTH {
        for method in Method::BOTH {
            scenario
                .check(side, method, case.answer(side, method, case.treated()))
                .await;
        }
    }
    assert!(scenario.passed().is_empty());
    assert_revoked("the root", &scenario.root).await;
}

#[test]
fn m2_what_crosses_twice_is_the_same_and_what_comes_back_is_the_original() {
    each(Guarantee::M2, 168, async |scenario| {
        let root = &scenario.root;
        let (first, second) = (stored(root).await, stored(root).await);
        let again = given_in(root, &scenario.inside, &scenario.subject).await;
        let returned = given_in(root, &scenario.inside, &first).await;
        let (home, name) = scenario.case.subject.home().expect("it leads somewhere");
        for cap in [
            &first,
            &second,
            &again,
            &returned,
            &scenario.seen,
            &scenario.subject,
        ] {
            is_answer(
                "it",
                scenario.ask(cap, Method::Label, None).await,
                Answer::By(name),
            );
        }
        idle().await;
        assert!(same(&first, &scenario.subject), "out for the first time");
        assert!(same(&second, &scenario.subject), "out for the second time");
        assert!(same(&again, &scenario.seen), "in for the second time");
        assert!(same(&returned, &scenario.seen), "in after it came out");
        assert!(!same(&scenario.subject, root), "another one");
        assert!(
            !same(&scenario.subject, &scenario.seen),
            "not the original on both sides"
        );
        let (original, world) = match home {
            Side::Inside => (&scenario.seen, &scenario.inside),
            Side::Outside => (&scenario.subject, &scenario.outside),
        };
        // Of no connection and no membrane.
        assert_eq!(
            identity(original),
            (0, world.address(name)),
            "not the original"
        );
    });
}

#[test]
fn m3_a_promise_behaves_as_what_it_resolved_to() {
    each(Guarantee::M3, 180, async |scenario| {
        for awaited in [false, true] {
            let scenario = Scenario::new(scenario.case, scenario.driven).await;
            behaves_as_resolved(scenario, awaited).await;
        }
    });
}

/// Whether or not anybody waits for the resolution.
async fn behaves_as_resolved(scenario: Scenario, awaited: bool) {
    let case = scenario.case;
    let resolves = case.subject.is_unresolved() && !case.treatment.revokes();
    scenario.before().await;
    let (mut queued, mut resolved, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for side in Side::BOTH {
        let cap = scenario.of(side);
        if awaited {
            let hook = cap.as_client_hook();
            resolved.push(start(hook.when_resolved()));
            more.push([0, 1].map(|_| hook.when_more_resolved().map(start)));
        }
        for method in Method::BOTH {
            queued.push((side, method, call(cap, method, None)));
        }
    }
    idle().await;
    if resolves {
        let labels = queued
            .iter()
            .filter(|(_, method, _)| *method == Method::Label);
        assert!(
            labels
                .map(|(_, _, call)| call)
                .all(|call| !call.is_finished())
        );
        assert!(!resolved.iter().any(|resolved| resolved.is_finished()));
    }
    scenario.during().await;
    scenario.open();
    for (side, method, call) in queued {
        let expected = case.answer(side, method, case.queued());
        is_answer(
            &format!("queued by {side:?}, {method:?}"),
            soon(call).await,
            expected,
        );
    }
    if resolves {
        for resolved in resolved {
            soon(resolved).await.expect("it resolves");
        }
        // Whoever asks, it is the same.
        for [one, other] in more {
            let (one, other) = (one.expect("a promise"), other.expect("a promise"));
            let (one, other) = (soon(one).await.unwrap(), soon(other).await.unwrap());
            assert_eq!(one.get_ptr(), other.get_ptr());
        }
    }
    idle().await;
    for side in Side::BOTH {
        for method in [Method::Label, Method::Swap, Method::Label, Method::Swap] {
            scenario
                .check(side, method, case.answer(side, method, case.settled()))
                .await;
        }
    }
    if resolves {
        for cap in Side::BOTH.map(|side| scenario.of(side)) {
            let resolved = cap
                .as_client_hook()
                .get_resolved()
                .expect("it has resolved");
            assert!(
                same(cap, &typed(Client::new(resolved))),
                "not what it resolved to"
            );
        }
    }
    assert!(scenario.passed().is_empty());
}

/// How many calls each part of an order has.
const CALLS: u64 = 4;

/// A call that counts, and one that asks how many there were and what they carried.
type Counted = (
    Started<Result<(), capnp::Error>>,
    Started<Result<(u64, u64), capnp::Error>>,
);

fn count(cap: &probe::Client, bytes: u64) -> Counted {
    let mut push = cap.push_request();
    push.get().set_data(&vec![7; bytes as usize]);
    let pushed = cap.pushed_request();
    let pushed = async {
        let response = pushed.send().promise.await?;
        let response = response.get()?;
        Ok((response.get_calls(), response.get_bytes()))
    };
    (start(async { push.send().await }), start(pushed))
}

/// Calls made before a promise resolves, at that time, and after: what each saw of those before it.
async fn counts(scenario: &Scenario, side: Side) -> Vec<Result<(u64, u64), capnp::Error>> {
    let cap = scenario.of(side);
    // Calls that are refused don't make a promise of this process resolve.
    let _resolves = start(cap.as_client_hook().when_resolved());
    let mut calls: Vec<Counted> = (1..=CALLS).map(|bytes| count(cap, bytes)).collect();
    idle().await;
    scenario.during().await;
    scenario.open();
    calls.extend((CALLS + 1..=2 * CALLS).map(|bytes| count(cap, bytes)));
    idle().await;
    calls.extend((2 * CALLS + 1..=3 * CALLS).map(|bytes| count(cap, bytes)));
    let mut counts = Vec::new();
    for (push, pushed) in calls {
        let _told_by_the_other = soon(push).await;
        counts.push(soon(pushed).await);
    }
    counts
}

/// Checks that calls were refused or answered as expected, and that what was answered by one object came
/// there in the order in which it was asked.
fn are_in_order(case: Case, side: Side, counts: &[Result<(u64, u64), capnp::Error>]) {
    let mut last: Option<(u64, u64)> = None;
    let mut objects = Vec::new();
    for (at, count) in (1..).zip(counts) {
        let early = case.answer(side, Method::Swap, case.queued());
        let late = case.answer(side, Method::Swap, case.settled());
        let expected = match (at - 1) / CALLS {
            0 => vec![early],
            // When the resolution is on its way, it may be either.
            1 if case.treatment.revokes() => vec![late],
            1 => vec![early, late],
            _ => vec![late],
        };
        let Ok(count) = count else {
            let fails = expected.iter().any(|one| matches!(one, Answer::Fails(_)));
            assert!(
                fails,
                "{side:?}, call {at}: expected {expected:?}, got {count:?}"
            );
            continue;
        };
        let answers = expected.iter().any(|one| matches!(one, Answer::By(_)));
        assert!(
            answers,
            "{side:?}, call {at}: expected {expected:?}, got {count:?}"
        );
        match last {
            Some((calls, bytes)) if *count == (calls + 1, bytes + at) => {}
            _ if *count == (1, at) => objects.push(at),
            _ => panic!("{side:?}, call {at} is out of order: {counts:?}"),
        }
        last = Some(*count);
        if early == late {
            assert!(objects.len() <= 1, "{side:?}: {counts:?}");
        }
    }
    assert!(objects.len() <= 2, "{side:?}: {counts:?}");
}

#[test]
fn m4_calls_arrive_in_the_order_in_which_they_were_made() {
    each(Guarantee::M4, 252, async |scenario| {
        let (case, driven) = (scenario.case, scenario.driven);
        drop(scenario);
        for side in Side::BOTH {
            let scenario = Scenario::new(case, driven).await;
            scenario.before().await;
            are_in_order(case, side, &counts(&scenario, side).await);
        }
    });
}

#[test]
fn m4_as_without_a_membrane() {
    let pass = |case: Case| case.treatment == Treatment::Pass;
    each_of(Guarantee::M4, pass, 42, async |scenario| {
        for side in Side::BOTH {
            let scenario = Scenario::bare(scenario.case).await;
            are_in_order(scenario.case, side, &counts(&scenario, side).await);
        }
    });
}
