//! Random operations on sessions and other events, held against a plain model: which spans there are and
//! what they say, how they end, what calls give, what is alive.

use std::ops::Range;

use capspan::trace::Outcome;
use capspan_testkit::session_model::{
    Layout, Op, Route, Sequence, Stage, Step, Tally, check, fails, shrink,
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
};

/// What once differed, made short: it must agree now, in one process and over a connection. Operations of one
/// list come at once.
fn agrees(turns: &[&[Op]]) {
    for is_connected in [false, true] {
        let route = Route {
            is_connected,
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
    let [returns, waits] = [15, 2].map(call);
    let drop = Op::Drop { cap: 0 };
    for call in [returns, waits] {
        agrees(&[&[OPEN], &[call, drop, DROP_HANDLE]]);
        agrees(&[&[OPEN], &[drop, call, DROP_HANDLE]]);
    }
    let cancel = Op::Cancel { call: 0 };
    agrees(&[&[OPEN], &[waits], &[drop, DROP_HANDLE, cancel]]);
    agrees(&[&[OPEN], &[waits], &[cancel, drop, DROP_HANDLE]]);
}

#[test]
fn the_last_answer_arrives_together_with_that_of_done() {
    let waits = Op::Call {
        to: 0,
        cap: 0,
        order: 5,
    };
    let drop = Op::Drop { cap: 0 };
    let release = Op::Release { waiting: 0 };
    agrees(&[
        &[OPEN],
        &[Op::Detach { session: 0 }],
        &[waits, drop],
        &[release],
    ]);
    agrees(&[&[OPEN], &[DONE], &[waits, drop], &[release]]);
}
