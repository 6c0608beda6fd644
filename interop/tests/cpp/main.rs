//! A callee and a caller in C++, with the Cap'n Proto of Debian, against ours: random legal exchanges, each of which
//! gives what it must, and none of which is refused; and its tail calls. A real program, over a Unix socket.
//!
//! It is built here: that takes `capnp` and `c++`. `.ci/interop` runs these.

mod build;
mod gate;
mod tails;

use std::time::Duration;

use capspan_interop::{legal, run};
use tokio::process::Command;

/// No test takes longer, unless something is wrong.
const LIMIT: Duration = Duration::from_secs(400);

/// How many exchanges either side makes.
const EXCHANGES: u64 = 100_000;

#[test]
fn h1_legal_exchanges_with_a_callee_in_cpp_are_not_refused() {
    run(LIMIT, async {
        let tails = legal::call(Command::new(build::peer()), EXCHANGES).await;
        assert!(tails > 0, "no tail calls");
    });
}

#[test]
fn h1_legal_exchanges_with_a_caller_in_cpp_are_not_refused() {
    run(LIMIT, async {
        let tails = legal::serve(Command::new(build::peer()), EXCHANGES).await;
        assert!(tails > 0, "no tail calls");
    });
}
