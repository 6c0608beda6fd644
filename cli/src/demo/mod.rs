//! `capspan demo`: a caller and a callee in two processes, and what they did as one trace.
//!
//! The caller listens, starts this program a second time as the callee, and opens a session with
//! it. The callee analyses a text and hands the results out through a cursor; it writes to the
//! caller's span as well as to spans of its own. At the end the caller puts the span records of both
//! processes together.
//!
//! What each file has to say, in the order in which it happens:
//!
//! - `caller`: the whole run, as the caller's process sees it
//! - `child`: the callee's process, in the caller's hands
//! - `meeting`: how the two find each other, and nobody else gets in between
//! - `session`: what the caller says to the callee
//! - `callee`, `service`: the callee's process, and what it does in it
//! - `collector`: where the spans of either go as well, if they are to
//! - `records`, `screen`: the span records of both, and all else that is printed

mod callee;
mod caller;
mod child;
mod collector;
mod meeting;
mod records;
mod screen;
mod service;
mod session;

pub use callee::run as run_callee;
pub use caller::run;

use std::future::Future;

use tokio::task::LocalSet;

use crate::failure::Failure;

/// Runs one process's event loop. Whatever was spawned on it is dropped when `work` is done.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::told(format!("event loop: {error}")))?;
    LocalSet::new().block_on(&runtime, work)
}
