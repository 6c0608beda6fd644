//! Random operations on sessions and other events, held against a plain model: which spans there are and
//! what they say, how they end, what calls give, what is alive.

use std::ops::Range;

use capspan::trace::Outcome;
use capspan_testkit::session_model::{
    Layout, Limits, Op, Route, Sequence, Stage, Step, Tally, check, fails, shrink,
};

/// How long a sequence is.
const STEPS: usize = 40;

/// Bytes that look random and are the same everywhere (splitmix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let size = Sequence::size(STEPS);
    let words = (0..size.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.take(size).collect()
}

/// The seeds of a test; others where `CAPSPAN_SEQUENCES` says so, as `FIRST..LAST`.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(others) = std::env::var("CAPSPAN_SEQUENCES") else {
        return usual;
    };
    let others = others.split_once("..");
    let others = others.and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    others.expect("CAPSPAN_SEQUENCES is FIRST..LAST")
}

/// Each seed's sequence does the same for real as in the model.
fn all(usual: Range<u64>, stage: Stage) {
    let (seeds, mut all) = (seeds(usual), Tally::default());
    for seed in seeds.clone() {
        let sequence = Sequence::decode(&bytes(seed), stage);
        assert_eq!(sequence.steps.len(), STEPS);
        match std::panic::catch_unwind(|| check(&sequence)) {
            Ok(Ok(tally)) => all += tally,
            fault => {
                let shrunk = shrink(sequence, fails);
                println!("shrunk: {shrunk:#?}");
                let again = std::panic::catch_unwind(|| check(&shrunk).err());
                panic!("seed {seed}, {fault:?}; shrunk, {again:?}: {shrunk:?}");
            }
        }
    }
    let outcomes = Outcome::ALL.iter().zip(all.outcomes);
    let outcomes: Vec<_> = outcomes
        .map(|(outcome, count)| format!("{outcome} {count}"))
        .collect();
    // For the reader of a failure, and for who wonders whether anything happens at all.
    println!(
        "{seeds:?}: {} done, {} of them at once; {} events, {} spans: {outcomes:?}",
        all.ops, all.at_once, all.events, all.spans
    );
}

#[test]
fn sequences_in_one_process() {
    all(0..3_000, Stage::Process);
}

#[test]
fn sequences_over_a_connection() {
    all(3_000..6_500, Stage::Connection);
}

#[test]
fn sequences_over_graphs_of_vats() {
    all(6_500..10_000, Stage::Graph);
}

const ROUTE: Route = Route {
    from: 0,
    to: 1,
    is_connected: false,
    is_observed: true,
    joins_trace: true,
    limits: Limits {
        total: None,
        idle: None,
    },
};

/// What once differed, made short: it must agree now, in one process and over a connection. Operations of one
/// list come at once.
fn agrees(turns: &[&[Op]]) {
    agrees_within(Limits::default(), turns);
}

/// The same with limits of time on the callee's side.
fn agrees_within(limits: Limits, turns: &[&[Op]]) {
    for is_connected in [false, true] {
        let route = Route {
            is_connected,
            limits,
            ..ROUTE
        };
        let steps = turns.iter().flat_map(|turn| {
            let rests = |at| at == turn.len();
            (1..).zip(*turn).map(move |(at, &op)| Step {
                op,
                rests: rests(at),
            })
        });
        let sequence = Sequence {
            layout: Layout {
                vats: 2,
                routes: vec![route],
            },
            steps: steps.collect(),
        };
        check(&sequence).unwrap_or_else(|fault| panic!("{is_connected}: {fault}"));
    }
}

/// Opens a session, observed.
const OPEN: Op = Op::Open {
    route: 0,
    parent: 2,
    does: 5,
};

/// The same, whose service does not answer yet.
const OPEN_LATER: Op = Op::Open {
    route: 0,
    parent: 2,
    does: 1,
};

const DROP_HANDLE: Op = Op::DropHandle { session: 0 };
const DONE: Op = Op::Done { session: 0 };
const DETACH: Op = Op::Detach { session: 0 };
const DROP: Op = Op::Drop { cap: 0 };
const CALL: Op = Op::Call {
    to: 0,
    cap: 0,
    order: 15,
};

/// One unit of time passes.
const PASS: Op = Op::Pass { ticks: 0 };

/// What the high half of a start's route is where its caller limits it to one unit in all, or of idling.
const CALLERS_TOTAL: u8 = 0xa0;
const CALLERS_IDLE: u8 = 0xd0;

#[test]
fn done_of_a_session_that_is_canceled_before_its_service_has_answered() {
    agrees(&[&[OPEN_LATER], &[DONE], &[DROP_HANDLE]]);
    agrees(&[&[OPEN_LATER], &[DONE, DROP_HANDLE]]);
    agrees(&[&[OPEN_LATER, DONE, DROP_HANDLE]]);
}

#[test]
fn done_is_asked_and_the_handle_dropped_at_once() {
    agrees(&[&[OPEN], &[DONE, DROP_HANDLE]]);
}

#[test]
fn the_handle_is_dropped_at_once_after_the_top_level_with_a_call_in_flight() {
    let call = |order| Op::Call {
        to: 0,
        cap: 0,
        order,
    };
    let [returns, waits, gives_nothing, fails] = [15, 2, 0, 1].map(call);
    for call in [returns, waits, gives_nothing, fails] {
        agrees(&[&[OPEN], &[call, DROP, DROP_HANDLE]]);
        agrees(&[&[OPEN], &[DROP, call, DROP_HANDLE]]);
    }
    let cancel = Op::Cancel { call: 0 };
    agrees(&[&[OPEN], &[waits], &[DROP, DROP_HANDLE, cancel]]);
    agrees(&[&[OPEN], &[waits], &[cancel, DROP, DROP_HANDLE]]);
}

#[test]
fn the_last_answer_arrives_together_with_that_of_done() {
    let waits = Op::Call {
        to: 0,
        cap: 0,
        order: 5,
    };
    let release = Op::Release { waiting: 0 };
    agrees(&[&[OPEN], &[DETACH], &[waits, DROP], &[release]]);
    agrees(&[&[OPEN], &[DONE], &[waits, DROP], &[release]]);
}

/// One unit of time, in all.
const TOTAL: Limits = Limits {
    total: Some(1),
    idle: None,
};

#[test]
fn a_caller_learns_of_an_end_before_its_time_when_it_asks_or_calls_and_else_never() {
    for learns in [CALL, DONE, DETACH, DROP, DROP_HANDLE] {
        agrees_within(TOTAL, &[&[OPEN], &[PASS], &[learns], &[CALL]]);
        agrees(&[&[OPEN], &[Op::Drain { route: 0 }], &[learns], &[CALL]]);
    }
    agrees_within(TOTAL, &[&[OPEN], &[DONE], &[PASS], &[CALL]]);
    agrees_within(TOTAL, &[&[OPEN_LATER], &[DONE], &[PASS], &[DROP_HANDLE]]);
}

#[test]
fn what_is_limited_by_its_caller_is_canceled_for_its_callee() {
    let limited = |limit, does| Op::Open {
        route: limit,
        parent: 2,
        does,
    };
    for limit in [CALLERS_TOTAL, CALLERS_IDLE] {
        agrees(&[&[limited(limit, 5)], &[PASS], &[DONE], &[CALL]]);
        agrees(&[&[limited(limit, 5)], &[DONE], &[PASS], &[DROP_HANDLE]]);
        agrees(&[&[limited(limit, 1)], &[PASS], &[DONE]]);
        agrees_within(TOTAL, &[&[limited(limit, 5)], &[PASS], &[DONE]]);
        agrees_within(TOTAL, &[&[limited(limit, 1)], &[PASS], &[DONE]]);
    }
}

#[test]
fn what_a_limit_ends_may_hold_the_last_of_what_another_ends_at_the_same_time() {
    let limited = Op::Open {
        route: CALLERS_TOTAL,
        parent: 2,
        does: 5,
    };
    let keeps = Op::Custom {
        route: CALLERS_TOTAL,
        cap: 0x21,
        does: 4,
    };
    agrees(&[&[limited], &[keeps], &[DROP], &[PASS]]);
    agrees_within(TOTAL, &[&[OPEN], &[DETACH], &[keeps], &[DROP], &[PASS]]);
}

#[test]
fn a_callee_that_is_drained_takes_no_event_until_there_is_another() {
    let drain = Op::Drain { route: 0 };
    let connect = Op::Connect { route: 0 };
    agrees(&[
        &[OPEN],
        &[drain],
        &[OPEN],
        &[DONE],
        &[connect],
        &[OPEN],
        &[CALL],
    ]);
    agrees(&[&[OPEN_LATER, CALL], &[drain], &[DROP], &[connect], &[OPEN]]);
}
