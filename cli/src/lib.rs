//! The inside of the `capspan` tool. `capspan demo` runs a caller and a callee, lets them talk over
//! Cap'n Proto RPC, and prints what the two did as one trace. `capspan trace` shows what any services
//! have written of theirs.
//!
//! This is a library only so that its parts can be tested; its API is not for others to use. Without the feature `tool`
//! it has [`records`], [`trace_view`] and [`terminal`] alone, and compiles none of what the others need: so the fuzzer
//! gets at what reads strangers' bytes.
//!
//! - [`args`]: what the user can ask for
//! - [`demo`]: both processes of the demo
//! - [`input`]: the text to be analysed
//! - [`place`]: where caller and callee meet
//! - [`analysis`]: the service's work
//! - [`proxy`]: what stands before a service
//! - [`report`]: what the service found, for people
//! - [`trace`]: span records from a file, filtered, followed, as a page, for other tools
//! - [`records`]: span records as they are read
//! - [`trace_view`]: span records as a tree
//! - [`terminal`]: text that is safe to print and fits
//! - [`manual`]: completions and the manual's pages
//! - [`metrics`]: what is counted, as Prometheus reads it
//! - [`web`]: the server of the live page
//! - [`failure`]: how anything of this ends early

#![forbid(unsafe_code)]

#[cfg(feature = "tool")]
pub mod analysis;
#[cfg(feature = "tool")]
pub mod args;
#[cfg(feature = "tool")]
pub mod demo;
#[cfg(feature = "tool")]
pub mod failure;
#[cfg(feature = "tool")]
pub mod input;
#[cfg(feature = "tool")]
pub mod manual;
#[cfg(feature = "tool")]
pub mod metrics;
#[cfg(feature = "tool")]
pub mod place;
#[cfg(feature = "tool")]
pub mod proxy;
pub mod records;
#[cfg(feature = "tool")]
pub mod report;
pub mod terminal;
#[cfg(feature = "tool")]
pub mod trace;
pub mod trace_view;
#[cfg(feature = "tool")]
pub mod web;

/// What `schema/analysis.capnp` declares, as `capnpc` makes it.
#[cfg(feature = "tool")]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod analysis_capnp {
    include!(concat!(env!("OUT_DIR"), "/analysis_capnp.rs"));
}
