//! Between a transport and `capnp-rpc`: when and why a connection ends.
//!
//! When a connection breaks, `capnp-rpc` just drops everything, which looks like a graceful end. So a
//! thin wrapper of its network notes the end *before* `capnp-rpc` sees it, and tells whoever asked to be
//! told: every session then closes as `disconnected`, at once, on both sides.
//!
//! - [`Connection`]: one connection, from the application's side; [`ConnectionDriver`]: what runs it.
//! - [`Ending`]: the end of a connection, known to all who have part in it.

mod connection;
mod ending;
mod network;

pub use connection::{Connection, ConnectionDriver};
pub use ending::Ending;
pub(crate) use ending::{OnEnd, Registration};
