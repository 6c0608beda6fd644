//! One client, one service, and the relay between them, all in memory.

use std::ops::Range;

mod differential;
mod kills;
mod legal;
mod setting;

/// The usual seeds, or those that `CAPSPAN_SEQUENCES` says, as `FIRST..LAST`.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(chosen) = std::env::var("CAPSPAN_SEQUENCES") else {
        return usual;
    };
    let chosen = chosen.split_once("..");
    let chosen = chosen.and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    chosen.expect("CAPSPAN_SEQUENCES is FIRST..LAST")
}
