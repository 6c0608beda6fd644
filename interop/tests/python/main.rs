//! A callee and a caller in Python, with schema/ alone between them and us: real programs, over a Unix socket. And
//! random legal exchanges with both. And our metrics, as Prometheus' client for Python reads them.
//!
//! `.ci/interop` makes the virtual environment that they need, and runs these.

mod callee;
mod caller;
mod legal;
mod metrics;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use capspan_interop::Program;

/// Runs a test. None takes longer, unless something is wrong.
fn run(test: impl Future<Output = ()>) {
    capspan_interop::run(Duration::from_secs(30), test);
}

/// Starts `interop/python/NAME`, which is told of a socket.
fn start(name: &str, socket: &Path) -> Program {
    let mut command = capspan_interop::python(name);
    command.arg(socket);
    Program::start(command)
}
