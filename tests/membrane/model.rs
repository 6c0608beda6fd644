//! Random operations on membranes, held against a plain model: who can call whom and with what result,
//! what is complete, what is alive, after each of them.

use std::collections::HashSet;

use capspan_testkit::membrane::model::{
    Kind, Layout, Lie, Op, Sequence, Stage, check, check_with, fails, shrink,
};

/// How long a sequence is.
const OPS: usize = 100;

/// Bytes that look random and are the same everywhere (splitmix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let size = Sequence::size(OPS);
    let words = (0..size.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.take(size).collect()
}

/// Each seed's sequence does the same for real as in the model.
fn all(seeds: std::ops::Range<u64>, stage: Stage) {
    let (mut ops, mut failed, mut complete) = (0, 0, 0);
    for seed in seeds.clone() {
        let sequence = Sequence::decode(&bytes(seed), stage);
        assert_eq!(sequence.ops.len(), OPS);
        match check(&sequence) {
            Ok(done) => {
                ops += done.ops;
                failed += done.failed;
                complete += done.complete;
            }
            Err(fault) => {
                let shrunk = shrink(sequence, fails);
                let again = check(&shrunk).err();
                panic!("seed {seed}, {fault}; shrunk, {again:?}: {shrunk:?}");
            }
        }
    }
    // For the reader of a failure, and for who wonders whether anything happens at all.
    println!(
        "{seeds:?}: {ops} done, {failed} failed as they had to, {complete} complete before the end"
    );
}

#[test]
fn sequences_of_objects() {
    all(0..2_000, Stage::Objects);
}

#[test]
fn sequences_of_promises() {
    all(2_000..5_000, Stage::Promises);
}

#[test]
fn sequences_over_graphs() {
    all(5_000..8_000, Stage::Graphs);
}

#[test]
fn sequences_over_connections() {
    all(8_000..10_000, Stage::Connections);
}

#[test]
fn a_layout_is_any_graph() {
    for stage in [Stage::Graphs, Stage::Connections] {
        let layouts = (0..5_000).map(|seed| Sequence::decode(&bytes(seed), stage).layout);
        let graphs: HashSet<(u8, Vec<(u8, u8)>)> = layouts
            .map(|layout| {
                let ends = layout.edges.iter().map(|edge| (edge.0, edge.1));
                (layout.vats, ends.collect())
            })
            .collect();
        // Behind each other, side by side, against each other, in a ring, around one.
        for (vats, edges) in [
            (3, vec![(0, 1), (1, 2)]),
            (2, vec![(0, 1), (0, 1)]),
            (2, vec![(0, 1), (1, 0)]),
            (3, vec![(0, 1), (1, 2), (2, 0)]),
            (4, vec![(0, 1), (0, 2), (0, 3)]),
        ] {
            assert!(graphs.contains(&(vats, edges.clone())), "{edges:?}");
        }
        for (vats, edges) in &graphs {
            assert!((2..=4).contains(vats) && (1..=5).contains(&edges.len()));
            let mut ends = edges.iter();
            assert!(ends.all(|(one, other)| one != other && one.max(other) < vats));
        }
        assert!(graphs.len() > 1_000);
    }
}

#[test]
fn what_does_not_matter_is_left_out_of_the_graph() {
    let revokes = |sequence: &Sequence| {
        let ops = &sequence.ops;
        ops.iter().any(|op| matches!(op, Op::Revoke { .. })) && sequence.layout.edges.len() > 1
    };
    for seed in 0..100 {
        let sequence = Sequence::decode(&bytes(seed), Stage::Graphs);
        if revokes(&sequence) {
            let shrunk = shrink(sequence, revokes);
            assert_eq!((shrunk.ops.len(), shrunk.layout.edges.len()), (1, 2));
            let vats: HashSet<u8> = shrunk
                .layout
                .edges
                .iter()
                .flat_map(|edge| [edge.0, edge.1])
                .collect();
            assert_eq!(vats.len(), usize::from(shrunk.layout.vats));
        }
    }
}

#[test]
fn a_model_that_is_wrong_is_found_out() {
    let lies = [
        Lie::NeverUnwraps,
        Lie::RevokesNothing,
        Lie::ForgetsRequests,
        Lie::NeverCancels,
        Lie::CountsNoStream,
    ];
    for lie in lies {
        let lies = |sequence: &Sequence| check_with(sequence, Some(lie)).is_err();
        let found = (0..100)
            .map(|seed| Sequence::decode(&bytes(seed), Stage::Graphs))
            .find(lies);
        let shrunk = shrink(
            found.unwrap_or_else(|| panic!("{lie:?} was believed")),
            lies,
        );
        assert!(check(&shrunk).is_ok());
        assert!(shrunk.ops.len() <= 20, "{lie:?}: {:?}", shrunk.ops);
        println!("{lie:?}: {:?}", shrunk.ops);
    }
}

/// What once differed, made short. Each must agree now.
fn agrees(edges: &[(u8, u8, Kind)], ops: &[Op]) {
    let vats = 1 + edges.iter().map(|edge| edge.0.max(edge.1)).max().unwrap();
    let layout = Layout {
        vats,
        edges: edges.to_vec(),
    };
    let ops = ops.to_vec();
    check(&Sequence { layout, ops }).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn a_response_to_a_promise_of_ones_own_is_revoked() {
    // The promise forwards the call: what the response holds has crossed, and nothing behind it.
    agrees(
        &[(0, 1, Kind::Driven)],
        &[
            Op::Pass { edge: 0, cap: 0 },
            Op::Promise {
                of: 1,
                cap: 1,
                target: 1,
            },
            Op::Resolve { vat: 1 },
            Op::Hold { to: 3 },
            Op::Revoke { edge: 0 },
            Op::Open { response: 0 },
        ],
    );
}

#[test]
fn a_stream_through_a_connection_to_what_was_taken_back() {
    // Over a connection a stream tells of an error with a later call: the model leaves that open.
    agrees(
        &[
            (0, 1, Kind::Driven),
            (1, 2, Kind::Connection),
            (2, 0, Kind::Connection),
        ],
        &[
            Op::Pass { edge: 0, cap: 0 },
            Op::Pass { edge: 1, cap: 2 },
            Op::Revoke { edge: 0 },
            Op::Stream {
                to: 4,
                cap: 4,
                bytes: 1,
            },
            Op::Revoke { edge: 2 },
            Op::Renew { edge: 2 },
            Op::Pass { edge: 3, cap: 0 },
        ],
    );
}

#[test]
fn an_original_that_comes_back_around_a_ring() {
    agrees(
        &[
            (0, 1, Kind::Plain),
            (1, 2, Kind::Driven),
            (2, 0, Kind::Plain),
        ],
        &[
            Op::Pass { edge: 0, cap: 0 },
            Op::Pass { edge: 1, cap: 2 },
            Op::Pass { edge: 2, cap: 3 },
            Op::Store { to: 4, cap: 0 },
            Op::LoopBack { through: 4, cap: 4 },
            Op::Revoke { edge: 1 },
            Op::Leave { edge: 1 },
        ],
    );
}

#[test]
fn a_call_in_flight_that_came_over_a_connection() {
    // Nobody holds the wrapper that it was made on, and no parameter crossed: the call alone is left.
    agrees(
        &[(0, 1, Kind::Connection), (2, 0, Kind::Driven)],
        &[
            Op::Pass { edge: 1, cap: 1 },
            Op::Pass { edge: 0, cap: 2 },
            Op::Wait { to: 4, cap: 1 },
            Op::Drop { cap: 4 },
            Op::Drop { cap: 3 },
            Op::Leave { edge: 1 },
            Op::Resolve { vat: 2 },
        ],
    );
}

#[test]
fn a_promise_that_is_revoked_where_it_has_gone_over_a_connection() {
    // The connection tells that it is broken, and lets go of the wrapper.
    agrees(
        &[(0, 1, Kind::Driven), (1, 2, Kind::Connection)],
        &[
            Op::Promise {
                of: 0,
                cap: 0,
                target: 0,
            },
            Op::Pass { edge: 0, cap: 2 },
            Op::Pass { edge: 1, cap: 2 },
            Op::Drop { cap: 4 },
            Op::Revoke { edge: 0 },
            Op::Leave { edge: 0 },
        ],
    );
}

#[test]
fn a_promise_over_a_connection_that_only_a_request_holds() {
    // It resolves all the same: the connection waits for it.
    agrees(
        &[(0, 1, Kind::Connection)],
        &[
            Op::Pass { edge: 0, cap: 0 },
            Op::Promise {
                of: 2,
                cap: 0,
                target: 0,
            },
            Op::Prepare { to: 1, cap: 2 },
            Op::Drop { cap: 3 },
            Op::Resolve { vat: 0 },
        ],
    );
}

#[test]
fn a_promise_that_comes_home_over_a_connection() {
    // It was asked before: what is asked later must not overtake that (a disembargo).
    agrees(
        &[(0, 1, Kind::Connection), (0, 1, Kind::Plain)],
        &[
            Op::Pass { edge: 0, cap: 0 },
            Op::Promise {
                of: 2,
                cap: 0,
                target: 1,
            },
            Op::Ask { to: 3 },
            Op::Resolve { vat: 0 },
            Op::Store { to: 3, cap: 0 },
        ],
    );
}
