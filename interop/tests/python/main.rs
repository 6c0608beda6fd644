//! A callee and a caller in Python, with schema/ alone between them and us: real programs, over a Unix socket.
//!
//! `.ci/interop` makes the virtual environment that they need, and runs these.

mod callee;
mod caller;
mod program;

use std::future::Future;
use std::time::Duration;

/// No test takes longer, unless something is wrong.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a test on an event loop of its own, in real time: what it waits for is another process.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(TIMEOUT, test)
            .await
            .expect("the test waits for something that does not come");
    });
}
