//! What the tests of the membrane are made of.
//!
//! - [`World`] and its [`probe`](crate::probe_capnp::probe)s: objects that do what they are told, and a
//!   count of those alive.
//! - [`bundle`]: a message with a capability in every place that can hold one.
//! - [`scene`]: one membrane, wherever it may stand, and somebody on each side.
//! - [`scenario`]: a table of what crosses, where, and what is done to it.
//! - [`link`]: two parties and what lies between them: latency, cuts and stalls, in one direction too.
//! - [`events`]: an event loop whose time stands still.
//! - [`cap_table`](mod@cap_table): a property of the membrane that must hold for every message.
//! - [`model`]: random operations on real membranes, held against a plain model.
//! - [`raw`]: objects below the level of a schema, and hooks that misbehave.

pub mod bundle;
pub mod cap_table;
pub mod events;
mod gate;
pub mod link;
pub mod model;
pub mod raw;
pub mod scenario;
pub mod scene;
mod server;

pub use events::{idle, run};
pub use gate::Gate;
pub use link::{Connected, Link, connect};
pub use server::World;
