//! A peer that says what no peer should, mixed with what all peers say: H1, H2, H3. A failure names its seed and the
//! messages. The fuzz target `rpc_wire` does the same with whatever a fuzzer comes up with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use capspan::guard::Breach;
use capspan_testkit::memory::{self, COUNTING, Counting};
use capspan_testkit::rpc_wire::{Report, STEPS, Script, run, run_and_tell};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// As long as a run may take on a machine that has other things to do: it takes less than a millisecond.
const HANGS: Duration = Duration::from_secs(60);

/// The seed that is under way.
static RUNNING: AtomicU64 = AtomicU64::new(0);

/// Bytes that look random and are the same everywhere (splitmix64).
fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = (0..size.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.take(size).collect()
}

/// A script of at most so many steps. Every fourth breaks no rule.
fn script(seed: u64) -> Script {
    let steps = 1 + seed as usize * 7 % STEPS;
    let mut bytes = bytes(seed, Script::size(steps));
    if seed.is_multiple_of(4) {
        bytes[0] = Script::without_faults(bytes[0]);
    }
    Script::decode(&bytes).expect("there is a first byte")
}

/// The seeds of a test; others where `CAPSPAN_SEQUENCES` says so, as `FIRST..LAST`.
fn chosen_seeds() -> Option<Range<u64>> {
    let chosen = std::env::var("CAPSPAN_SEQUENCES").ok()?;
    let chosen = chosen.split_once("..");
    let chosen = chosen.and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    Some(chosen.expect("CAPSPAN_SEQUENCES is FIRST..LAST"))
}

fn fails(script: &Script) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(script))).is_err()
}

/// What was sent until it failed, each way.
fn messages(script: &Script) -> String {
    let messages = RefCell::new(String::new());
    let log = |message: String| *messages.borrow_mut() += &format!("\n{message}");
    let _it_fails = catch_unwind(AssertUnwindSafe(|| run_and_tell(script, Some(&log))));
    messages.take()
}

/// Runs the script of a seed; what it has kept of the memory.
fn run_one(seed: u64) -> (Report, isize) {
    let script = script(seed);
    let before = memory::alive();
    match catch_unwind(AssertUnwindSafe(|| run(&script))) {
        Ok(report) => {
            let of_report = report.abort.as_ref().map_or(0, String::capacity)
                + report.refused.capacity() * size_of::<(Breach, u64)>();
            let kept = memory::alive() as isize - (before + of_report) as isize;
            (report, kept)
        }
        Err(_) => {
            let messages = messages(&script.shrink(fails));
            let again = format!("CAPSPAN_SEQUENCES={seed}..{}", seed + 1);
            panic!("{again}, made short:{messages}");
        }
    }
}

/// All seeds on a thread of its own: else one that goes round for ever would say nothing.
fn all(seeds: Range<u64>) {
    let (over, is_over) = channel::<()>();
    let runs = std::thread::spawn(move || {
        let (mut sent, mut received) = (0, 0);
        let mut refused = BTreeMap::<&str, u64>::new();
        // Whatever is made once and kept is made before anything is counted.
        run_one(seeds.start);
        for seed in seeds {
            RUNNING.store(seed, Ordering::Relaxed);
            let (report, kept) = run_one(seed);
            // All threads are counted, and the one that waits for this makes something when it begins to. A run
            // that leaks does so each time.
            let kept = if kept == 0 { 0 } else { run_one(seed).1 };
            assert_eq!(kept, 0, "seed {seed} leaks {kept} bytes");
            sent += report.sent;
            received += report.received;
            for (breach, count) in report.refused {
                *refused.entry(breach.name()).or_default() += count;
            }
        }
        drop(over);
        (sent, received, refused)
    });
    let mut last = None;
    while let Err(RecvTimeoutError::Timeout) = is_over.recv_timeout(HANGS) {
        let running = Some(RUNNING.load(Ordering::Relaxed));
        assert_ne!(running, last, "this seed never ends");
        last = running;
    }
    let (sent, received, refused) = runs.join().expect("a run failed");
    println!("{sent} messages sent, {received} received; refused: {refused:?}");
    // Enough of each that what is tested is there.
    if chosen_seeds().is_none() {
        assert!(sent > 100_000 && received > 100_000);
        for breach in OFTEN {
            assert!(refused.get(breach.name()) > Some(&20), "{breach}");
        }
    }
}

/// What such a peer is often refused for.
const OFTEN: [Breach; 12] = [
    Breach::Malformed,
    Breach::QuestionInUse,
    Breach::UnknownExport,
    Breach::ReturnNotOpen,
    Breach::FinishNotOpen,
    Breach::ReleaseBelowZero,
    Breach::ResolveNotOpen,
    Breach::Disembargo,
    Breach::Unimplemented,
    Breach::ThirdParty,
    Breach::OnRefused,
    Breach::CapabilitiesInMessage,
];

#[test]
fn h1_whatever_a_peer_says_nothing_is_left_and_nobody_else_is_harmed() {
    all(chosen_seeds().unwrap_or(0..20_000));
}
