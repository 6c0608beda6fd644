//! Random operations on membranes, held against a plain model: who can call whom and with what result,
//! what is complete, what is alive, after each of them.

use capspan_testkit::membrane::model::{Lie, Sequence, Stage, check, check_with, fails, shrink};

/// How long a sequence is.
const OPS: usize = 100;

/// Bytes that look random and are the same everywhere (splitmix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = (0..=OPS / 2).flat_map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.take(4 * (OPS + 1)).collect()
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
fn objects() {
    all(0..2_000, Stage::Objects);
}

#[test]
fn promises() {
    all(2_000..6_000, Stage::Promises);
}

#[test]
fn graphs() {
    all(6_000..10_000, Stage::Graphs);
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
            .map(|seed| Sequence::decode(&bytes(seed), Stage::ALL))
            .find(lies);
        let shrunk = shrink(
            found.unwrap_or_else(|| panic!("{lie:?} was believed")),
            lies,
        );
        assert!(check(&shrunk).is_ok());
        assert!(shrunk.ops.len() <= 15, "{lie:?}: {:?}", shrunk.ops);
        println!("{lie:?}: {:?}", shrunk.ops);
    }
}
