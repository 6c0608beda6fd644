//! Random legal exchanges with a callee and a caller in Python: each gives what it must, and none is refused.

use std::time::Duration;

use capspan_interop::{legal, python, run};

/// No test takes longer, unless something is wrong.
const LIMIT: Duration = Duration::from_secs(400);

/// How many exchanges either side makes.
const EXCHANGES: u64 = 100_000;

#[test]
fn h1_legal_exchanges_with_a_callee_in_python_are_not_refused() {
    run(LIMIT, async {
        legal::call(python("peer.py"), EXCHANGES).await;
    });
}

#[test]
fn h1_legal_exchanges_with_a_caller_in_python_are_not_refused() {
    run(LIMIT, async {
        legal::serve(python("peer.py"), EXCHANGES).await;
    });
}
