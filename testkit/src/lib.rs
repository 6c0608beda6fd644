//! What capspan's tests, benches and fuzz targets share.
//!
//! - [`wire_peer`]: a raw peer, which says any message of `rpc.capnp`.
//! - [`world`]: the objects of a service, counted, with a gate that holds answers back.
//! - [`link`]: connections in memory: at once, with latency in paused time, to be cut.
//! - [`cut`]: connections in memory that are cut at a byte.
//! - [`abuse`]: hostile callers and callees.
//! - [`collector`]: a collector of OpenTelemetry's that does as it is told.
//! - [`crowd`]: hostile peers by the thousand.
//! - [`chaos`]: a caller and a callee over such a connection.
//! - [`random`]: numbers that look random and are the same everywhere.
//! - [`random_calls`]: random calls in a session, and what is to be true at its end.
//! - [`rpc_wire`]: a hostile peer of a connection.
//! - [`run`]: a test on its own event loop, which fails where it would wait for ever.
//! - [`membrane`]: what the tests of the membrane are made of.
//! - [`enrichment`]: random enrichment of a span, against a model.
//! - [`exchange`]: what benches measure, with and without a membrane.
//! - [`exported`]: what a collector is to be told of a span; random spans.
//! - [`legal`]: random legal exchanges with a peer in any language.
//! - [`memory`]: how much a piece of work allocates.
//! - [`service`]: a caller and a callee, in one process or over a connection.
//! - [`session_model`]: a plain model of events and their spans, and random operations on both.
//! - [`story`]: what an observer was told, to be compared.
//! - [`taker`]: a caller that takes updates and answers as it is told to.

pub mod abuse;
pub mod calls;
pub mod chaos;
pub mod collector;
pub mod crowd;
pub mod cut;
pub mod enrichment;
pub mod exchange;
pub mod exported;
pub mod legal;
pub mod link;
pub mod membrane;
pub mod memory;
pub mod random;
pub mod random_calls;
pub mod rpc_wire;
pub mod run;
pub mod service;
pub mod session_model;
pub mod story;
pub mod taker;
pub mod wire_peer;
pub mod world;

/// What `schema/testkit.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod testkit_capnp {
    include!(concat!(env!("OUT_DIR"), "/testkit_capnp.rs"));
}

/// What `schema/greeter.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod greeter_capnp {
    include!(concat!(env!("OUT_DIR"), "/greeter_capnp.rs"));
}

/// What `schema/probe.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod probe_capnp {
    include!(concat!(env!("OUT_DIR"), "/probe_capnp.rs"));
}

/// What `schema/legal.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod legal_capnp {
    include!(concat!(env!("OUT_DIR"), "/legal_capnp.rs"));
}
