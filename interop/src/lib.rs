//! Programs in other languages, in the hands of a test.

mod collector;
pub mod cpp;
pub mod legal;
mod program;
mod tails;

use std::future::Future;
use std::time::Duration;

pub use collector::{Collector, Printed, PrintedPart};
pub use program::{Program, halves, python, tool};
pub use tails::Tails;

/// Runs a test on an event loop of its own, in real time: what it waits for is another process.
///
/// # Panics
///
/// Where the test does, or takes longer than `limit`: something is wrong then.
pub fn run(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(limit, test)
            .await
            .expect("the test waits for something that does not come");
    });
}
