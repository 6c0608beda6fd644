//! A callee and a caller in C++, with the Cap'n Proto of Debian, against ours: random legal exchanges, each of which
//! gives what it must, and none of which is refused. A real program, over a Unix socket.
//!
//! It is built here: that takes `capnp` and `c++`. `.ci/interop` runs these.

mod build;

use std::time::Duration;

use capspan_interop::{legal, run};
use tokio::process::Command;

/// No test takes longer, unless something is wrong.
const LIMIT: Duration = Duration::from_secs(400);

/// How many exchanges either side makes.
const EXCHANGES: u64 = 100_000;

#[test]
fn h1_legal_exchanges_with_a_callee_in_cpp_are_not_refused() {
    run(LIMIT, legal::call(Command::new(build::peer()), EXCHANGES));
}

#[test]
fn h1_legal_exchanges_with_a_caller_in_cpp_are_not_refused() {
    run(LIMIT, legal::serve(Command::new(build::peer()), EXCHANGES));
}
