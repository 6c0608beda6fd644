//! The inside of the `capspan` tool. `capspan demo` runs a caller and a callee, lets them talk over
//! Cap'n Proto RPC, and prints what the two did as one trace. `capspan trace` shows what any services
//! have written of theirs.
//!
//! This is a library only so that its parts can be tested; its API is not for others to use.
//!
//! - [`args`]: what the user can ask for
//! - [`demo`]: both processes of the demo
//! - [`input`]: the text to be analysed
//! - [`place`]: where caller and callee meet
//! - [`analysis`]: the service's work
//! - [`proxy`]: what stands before a service
//! - [`report`]: what the service found, for people
//! - [`trace`]: span records from a file, filtered, followed, as a page, for other tools
//! - [`trace_view`]: span records as a tree
//! - [`terminal`]: text that is safe to print and fits
//! - [`manual`]: completions and the manual's pages
//! - [`failure`]: how anything of this ends early

#![forbid(unsafe_code)]

pub mod analysis;
pub mod args;
pub mod demo;
pub mod failure;
pub mod input;
pub mod manual;
pub mod place;
pub mod proxy;
pub mod report;
pub mod terminal;
pub mod trace;
pub mod trace_view;

/// What `schema/analysis.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod analysis_capnp {
    include!(concat!(env!("OUT_DIR"), "/analysis_capnp.rs"));
}
