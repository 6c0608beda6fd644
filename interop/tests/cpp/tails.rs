//! A callee in C++ that answers by tail calls: what these bring stays on this side (`sendResultsTo.yourself`), and is taken
//! from there (`takeFromOtherQuestion`). Whatever becomes of the call, it gives what it must, in its order; nothing is
//! refused, and nothing is kept.

use std::time::Duration;

use capnp::Error;
use capnp::capability::RemotePromise;
use capspan::guard::Usage;
use capspan_interop::legal::{Callee, SERVICE};
use capspan_testkit::legal::forwarded;
use capspan_testkit::legal_capnp::{Settled, number};
use futures::future::try_join_all;
use tokio::process::Command;

use crate::build;
use crate::gate::Gate;

/// No test takes longer, unless something is wrong.
const LIMIT: Duration = Duration::from_secs(60);

/// Turns of C++: with an odd number of them a call may be canceled, else it goes on without who made it.
const TURNS: [u8; 2] = [1, 2];

/// Within so many round trips both sides know all.
const ROUND_TRIPS: usize = 20;

/// What this side's numbers stand for.
const OURS: u32 = 20;

/// What another number stands for, whoever's it is.
const OTHER: u32 = 300;

type Sent = RemotePromise<number::forward_results::Owned>;

/// What a call is to give, and who gives it.
struct Case {
    to: Settled,
    other: Option<number::Client>,
    value: u32,
    /// Is it an object of the callee's?
    is_theirs: bool,
}

/// Objects of either side, and promises of what these will bring.
async fn cases(callee: &Callee) -> Result<Vec<Case>, Error> {
    let mut make = callee.service().make_request();
    make.get().set_value(OTHER);
    let theirs = make.send().promise.await?.get()?.get_number()?;
    let ours = callee.vat().number(OTHER);
    let mut cases = vec![Case {
        to: Settled::Own,
        other: None,
        value: OURS,
        is_theirs: false,
    }];
    for (other, is_theirs) in [(ours, false), (theirs, true)] {
        for (to, value) in [(Settled::Given, OTHER), (Settled::Answer, OURS + OTHER)] {
            cases.push(Case {
                to,
                other: Some(other.clone()),
                value,
                is_theirs,
            });
        }
    }
    Ok(cases)
}

#[test]
fn h1_tail_calls_give_what_their_callee_gives() {
    tails(10, async |callee| {
        for Case {
            to, other, value, ..
        } in cases(callee).await?
        {
            for turns in TURNS {
                let sent = forward(callee, vec![ours(callee)], to, other.clone(), turns);
                let number = sent.promise.await?.get()?.get_number()?;
                assert_eq!(read(&number).await?, value);
            }
        }
        Ok(())
    });
}

/// Reads what a call will bring before it comes to the gate, while it waits there, and when it has returned: from what is
/// pipelined on it, and from its results.
async fn read_at_any_time(
    callee: &Callee,
    mut gate: Gate,
    Sent { promise, pipeline }: Sent,
) -> Result<Vec<u32>, Error> {
    let before = read(&pipeline.get_number());
    gate.asked().await;
    let meanwhile = read(&pipeline.get_number());
    round_trip(callee).await?;
    gate.open();
    let response = promise.await?;
    let after = read(&pipeline.get_number());
    let direct = read(&response.get()?.get_number()?);
    try_join_all([before, meanwhile, after, direct]).await
}

/// Before C++ has made the tail call, while that is under way, and when it has returned.
#[test]
fn h1_tail_calls_are_pipelined_on_at_any_time() {
    tails(15, async |callee| {
        for Case {
            to, other, value, ..
        } in cases(callee).await?
        {
            let (gate, gated) = Gate::before(ours(callee));
            let sent = forward(callee, vec![gated], to, other, 0);
            let reads = read_at_any_time(callee, gate, sent).await?;
            assert_eq!(reads, [value; 4]);
        }
        Ok(())
    });
}

/// Those that come by way of the callee when this side learns that it has the object itself are overtaken by later ones:
/// only what becomes an object of this side is embargoed.
#[test]
fn h1_calls_on_what_a_tail_call_brings_keep_their_order() {
    tails(5, async |callee| {
        for Case {
            to,
            other,
            is_theirs,
            ..
        } in cases(callee).await?
        {
            let (mut gate, gated) = Gate::before(ours(callee));
            let Sent { promise, pipeline } = forward(callee, vec![gated], to, other, 0);
            let number = pipeline.get_number();
            let mut calls: Vec<_> = (0..5).map(|_| next(&number)).collect();
            gate.asked().await;
            calls.extend((0..5).map(|_| next(&number)));
            round_trip(callee).await?;
            gate.open();
            if !is_theirs {
                calls.extend((0..5).map(|_| next(&number)));
            }
            promise.await?;
            calls.extend((0..5).map(|_| next(&number)));
            let want: Vec<_> = (0..).take(calls.len()).collect();
            assert_eq!(try_join_all(calls).await?, want);
        }
        Ok(())
    });
}

#[test]
fn h1_tail_calls_whose_callee_fails() {
    tails(2, async |callee| {
        for turns in TURNS {
            let (mut gate, gated) = Gate::before(ours(callee));
            let sent = forward(callee, vec![gated], Settled::Broken, None, turns);
            let before = read(&sent.pipeline.get_number());
            gate.asked().await;
            let meanwhile = read(&sent.pipeline.get_number());
            round_trip(callee).await?;
            gate.open();
            let error = sent.promise.await.err();
            let after = read(&sent.pipeline.get_number());
            let errors = [before.await.err(), meanwhile.await.err(), after.await.err()];
            for error in errors.into_iter().chain([error]) {
                let error = error.expect("it fails");
                assert!(error.extra.contains("broken"), "{error}");
            }
        }
        Ok(())
    });
}

#[test]
fn h1_tail_calls_that_are_given_up() {
    tails(30, async |callee| {
        for turns in TURNS {
            for Case { to, other, .. } in cases(callee).await? {
                // Before the callee has heard of it.
                let sent = forward(callee, vec![ours(callee)], to, other.clone(), turns);
                drop(sent);
                // While its own callee is at work.
                let (mut gate, gated) = Gate::before(ours(callee));
                let sent = forward(callee, vec![gated], to, other.clone(), turns);
                gate.asked().await;
                round_trip(callee).await?;
                drop(sent);
                round_trip(callee).await?;
                gate.open();
                // When that answers.
                let (mut gate, gated) = Gate::before(ours(callee));
                let sent = forward(callee, vec![gated], to, other.clone(), turns);
                gate.asked().await;
                gate.open();
                drop(sent);
                // When it has answered.
                let sent = forward(callee, vec![ours(callee)], to, other.clone(), turns);
                for _ in 0..ROUND_TRIPS {
                    round_trip(callee).await?;
                }
                drop(sent);
            }
        }
        Ok(())
    });
}

#[test]
fn h1_tail_calls_that_are_given_up_with_calls_on_them() {
    tails(20, async |callee| {
        for turns in TURNS {
            for Case {
                to, other, value, ..
            } in cases(callee).await?
            {
                let (mut gate, gated) = Gate::before(ours(callee));
                let sent = forward(callee, vec![gated], to, other.clone(), turns);
                let before = read(&sent.pipeline.get_number());
                gate.asked().await;
                let meanwhile = read(&sent.pipeline.get_number());
                round_trip(callee).await?;
                drop(sent);
                round_trip(callee).await?;
                gate.open();
                assert_eq!([before.await?, meanwhile.await?], [value; 2]);
                // And with these.
                let (mut gate, gated) = Gate::before(ours(callee));
                let sent = forward(callee, vec![gated], to, other, turns);
                let before = read(&sent.pipeline.get_number());
                gate.asked().await;
                let meanwhile = read(&sent.pipeline.get_number());
                drop((sent, before));
                round_trip(callee).await?;
                drop(meanwhile);
                round_trip(callee).await?;
            }
        }
        Ok(())
    });
}

#[test]
fn h1_tail_calls_of_tail_calls() {
    tails(30, async |callee| {
        for turns in TURNS {
            for Case {
                to, other, value, ..
            } in cases(callee).await?
            {
                let service = callee.service();
                let (gate, gated) = Gate::before(ours(callee));
                let way = vec![
                    callee.vat().number(1),
                    service.clone(),
                    callee.vat().number(2),
                    service.clone(),
                    gated,
                ];
                let sent = forward(callee, way, to, other, turns);
                let reads = read_at_any_time(callee, gate, sent).await?;
                assert_eq!(reads, [value; 4]);
            }
        }
        Ok(())
    });
}

/// A test with a callee that makes at least so many tail calls. In the end nothing is left of them, before the connection
/// is over and after.
fn tails(at_least: usize, test: impl AsyncFnOnce(&Callee) -> Result<(), Error>) {
    capspan_interop::run(LIMIT, async {
        let callee = Callee::start(Command::new(build::peer())).await;
        test(&callee).await.expect("all is legal");
        nothing_is_kept(&callee).await;
        let seen = callee.tails();
        assert_eq!(seen.called(), seen.taken());
        assert!(seen.called() >= at_least, "{} tail calls", seen.called());
        callee.finish().await;
    });
}

/// With nothing under way, neither side has anything of the other's, and no object of this side's is alive.
async fn nothing_is_kept(callee: &Callee) {
    let mut left = None;
    for _ in 0..ROUND_TRIPS {
        round_trip(callee).await.expect("it is answered");
        let (usage, live) = (callee.connection().guard().usage(), callee.vat().live());
        if (usage, live) == (Usage::default(), 0) {
            return;
        }
        left = Some((usage, live));
    }
    panic!("there is still {left:?}");
}

/// What was sent before has been read by the callee, and what it has sent since has been read here.
async fn round_trip(callee: &Callee) -> Result<(), Error> {
    assert_eq!(read(&callee.service()).await?, SERVICE);
    Ok(())
}

fn ours(callee: &Callee) -> number::Client {
    callee.vat().number(OURS)
}

/// Asks the callee for what the last on the `way` settles.
fn forward(
    callee: &Callee,
    way: Vec<number::Client>,
    to: Settled,
    other: Option<number::Client>,
    turns: u8,
) -> Sent {
    forwarded(&callee.service(), way, to, other, turns).send()
}

/// Reads a number; the call leaves at once.
fn read(number: &number::Client) -> impl Future<Output = Result<u32, Error>> + use<> {
    let sent = number.read_request().send();
    async move { Ok(sent.promise.await?.get()?.get_value()) }
}

/// Counts a call on a number; it leaves at once.
fn next(number: &number::Client) -> impl Future<Output = Result<u32, Error>> + use<> {
    let sent = number.next_request().send();
    async move { Ok(sent.promise.await?.get()?.get_count()) }
}
