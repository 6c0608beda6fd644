//! Membranes, session spans and enrichment for services that talk Cap'n Proto RPC.

#![forbid(unsafe_code)]

mod clock;
mod drive;
pub mod enrich;
mod error;
pub mod guard;
pub mod membrane;
pub mod pipeline;
pub mod session;
pub mod trace;
pub mod wire;

pub use drive::{Driver, Tasks};
pub use error::{Error, Result};

/// What `schema/trace.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod trace_capnp {
    include!(concat!(env!("OUT_DIR"), "/trace_capnp.rs"));
}

/// What `schema/pipeline.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod pipeline_capnp {
    include!(concat!(env!("OUT_DIR"), "/pipeline_capnp.rs"));
}
