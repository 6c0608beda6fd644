//! Random calls on the capabilities of a session, with limits of time and call spans on either side; dropped, waited for,
//! held; the session let go of, canceled, cut: S1, S7, S8. All of it ends, and nothing is left. A failure names its seed.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::catch_unwind;

use capspan_testkit::random_calls::{Plan, check, shrink};
use capspan_testkit::service::Place;

/// Bytes that look random and are the same everywhere (splitmix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = (0..Plan::BYTES.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.take(Plan::BYTES).collect()
}

/// The seeds where `CAPSPAN_SEQUENCES` says so, as `FIRST..LAST`.
fn chosen_seeds() -> Option<Range<u64>> {
    let chosen = std::env::var("CAPSPAN_SEQUENCES").ok()?;
    let chosen = chosen.split_once("..");
    let chosen = chosen.and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    Some(chosen.expect("CAPSPAN_SEQUENCES is FIRST..LAST"))
}

/// Each seed's plan is carried out in `place`; `often` says which ends many spans must have.
fn all(usual: Range<u64>, place: Place, often: &[&str]) {
    let mut seen = HashMap::<_, usize>::new();
    let chosen = chosen_seeds();
    for seed in chosen.clone().unwrap_or(usual) {
        let plan = Plan::decode(&bytes(seed));
        match catch_unwind(|| check(&plan, place)) {
            Ok(outcomes) => outcomes
                .into_iter()
                .for_each(|outcome| *seen.entry(outcome.as_str()).or_default() += 1),
            Err(_) => {
                let shrunk = shrink(plan, |plan| catch_unwind(|| check(plan, place)).is_err());
                let again = format!("CAPSPAN_SEQUENCES={seed}..{}", seed + 1);
                panic!("{again}, {place:?}; shrunk: {shrunk:?}");
            }
        }
    }
    // Enough of each that what is tested is there.
    let is_seen = |end: &&str| seen.get(*end).is_some_and(|count| *count > 100);
    assert!(chosen.is_some() || often.iter().all(is_seen), "{seen:?}");
}

#[test]
fn s8_random_calls_in_one_process() {
    let often = ["ok", "canceled", "exception", "timeout"];
    all(0..1_000, Place::InProcess, &often);
}

#[test]
fn s8_random_calls_over_a_connection() {
    let often = ["ok", "canceled", "exception", "timeout", "disconnected"];
    all(1_000..2_000, Place::Connection, &often);
}

#[test]
fn s8_random_calls_over_a_distance() {
    let often = ["ok", "canceled", "exception", "timeout", "disconnected"];
    all(2_000..3_000, Place::Distant, &often);
}
