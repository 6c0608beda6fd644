//! A soak: 1,000,000 calls through membranes, each way through, and what is alive does not grow.
//!
//! In a process of its own: the global allocator counts for all threads.

mod soak;

use capspan_testkit::memory::{COUNTING, Counting, alive};
use capspan_testkit::run::{run, until_idle};
use soak::{Kind, Place};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// Calls that reach an object, in all.
const CALLS: usize = 1_000_000;
/// In the first, tables grow to their final size; after that, nothing grows.
const ROUNDS: usize = 10;
/// How many calls of each kind reach an object in each place and round. Over a connection a call takes ten
/// times as long.
const SHARES: [(Place, usize); 7] = [
    (Place::InProcess, 3_600),
    (Place::Driven, 3_160),
    (Place::Observed, 2_760),
    (Place::ServerEnd, 120),
    (Place::ClientEnd, 120),
    (Place::ObservedServerEnd, 120),
    (Place::ObservedClientEnd, 120),
];

#[test]
fn a_million_calls_leave_nothing_behind() {
    // What the first of all leaves: thread-locals.
    let shortly = SHARES.map(|(place, _)| (place, 4));
    run(soak(&shortly, 1));
    let before = alive();
    let calls = run(soak(&SHARES, ROUNDS));
    let after = alive();
    assert_eq!(calls, CALLS);
    assert_eq!(after, before, "bytes alive when all are gone, and before");
}

/// Makes calls of each kind in all `places`; gives how many reached an object.
async fn soak(places: &[(Place, usize)], rounds: usize) -> usize {
    let settings: Vec<_> = places
        .iter()
        .map(|&(place, share)| (place.set_up(), share))
        .collect();
    // The bytes alive after each kind in each place. They go up and down by a few, as a connection keeps
    // what depends on its last message; so each is held against the same of the round before.
    let mut seen = vec![0; settings.len() * Kind::ALL.len()];
    let mut settled = 0;
    for round in 0..rounds {
        let mut seen = seen.iter_mut();
        for (setting, share) in &settings {
            for (kind, seen) in Kind::ALL.into_iter().zip(&mut seen) {
                setting.calls(kind, *share).await;
                until_idle().await;
                let before = std::mem::replace(seen, alive());
                if round > 1 {
                    let place = setting.place;
                    assert_eq!(
                        *seen, before,
                        "{place:?}, {kind:?}, round {round}: bytes alive"
                    );
                }
            }
        }
        if round == 0 {
            settled = alive();
        }
    }
    assert_eq!(
        alive(),
        settled,
        "bytes alive after all rounds, and after one"
    );
    let mut calls = 0;
    for (setting, _) in settings {
        calls += setting.end().await;
    }
    calls
}
