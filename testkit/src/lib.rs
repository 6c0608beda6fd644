//! What the tests, benches, examples and fuzz targets of `capspan` share.
//!
//! - [`World`] and its [`probe`](testkit_capnp::probe)s: objects that do what they are told, and a
//!   count of those alive.
//! - [`bundle`]: a message with a capability in every place that can hold one.
//! - [`link`]: two parties and what lies between them, with latency and cuts.
//! - [`events`]: an event loop whose time stands still.
//! - [`cap_walk`](cap_walk()): a property of the membrane that must hold for every message.
//! - [`raw`]: objects below the level of a schema, and hooks that misbehave.
//! - [`scene`]: one membrane, wherever it may stand.
//!
//! A program that counts allocations takes the crate `allocation-counter` itself: whoever links it has
//! its allocator, and timings should not.

pub mod bundle;
mod cap_walk;
pub mod events;
pub mod link;
pub mod raw;
pub mod scene;
mod server;

pub use cap_walk::cap_walk;
pub use events::{idle, run};
pub use link::{Connected, Link, connect};
pub use server::{Gate, World};

/// What `schema/testkit.capnp` declares, as `capnpc` makes it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod testkit_capnp {
    include!(concat!(env!("OUT_DIR"), "/testkit_capnp.rs"));
}
