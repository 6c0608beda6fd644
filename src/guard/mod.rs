//! Between a transport and `capnp-rpc`: what of a peer's messages gets through, and how a connection ends.
//!
//! `capnp-rpc` trusts its peer. One message can make it panic, or go round for ever; a capability that is kept
//! keeps what served the connection; nothing is ever too much for it. So each message is judged before it
//! gets there, by a ledger of both sides' calls and capabilities: what no correct peer sends ends the
//! connection, and what is too much is answered as such.
//!
//! - [`Connection`]: one guarded connection, from the application's side; [`ConnectionDriver`]: what runs it.
//! - [`Guarded`]: the guard alone, before any `RpcSystem`.
//! - [`GuardOptions`], [`GuardLimits`], [`Budget`]: how much a peer may have, alone and with others.
//! - [`Guard`], [`Breach`], [`Usage`]: what it has, and what it was refused; [`GuardObserver`] is told, and
//!   `TracingObserver`, by the feature `tracing`, tells on.
//! - [`Ending`]: the end of a connection, known to all who have part in it, with the reason. `capnp-rpc` itself
//!   just drops everything, which looks like a graceful end.

mod bootstrap;
mod breach;
mod budget;
mod bytes;
mod connection;
mod ending;
mod handle;
mod incoming;
mod limits;
mod lost;
mod network;
mod observer;
mod options;
mod outgoing;
mod over;
mod pace;
mod parts;
mod reading;
mod reason;
mod relay;
mod rules;
mod source;
mod stand_in;
mod stream;
#[cfg(feature = "tracing")]
mod tracing;
mod turns;
mod waiting_calls;
mod waker;
mod way;
mod writing;

#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;
pub use breach::Breach;
pub use budget::Budget;
pub use bytes::Counted;
pub use connection::{Connection, ConnectionDriver};
pub use ending::Ending;
pub(crate) use ending::{OnEnd, Registration};
pub use handle::{Guard, Usage};
pub use limits::GuardLimits;
pub use network::Guarded;
pub use observer::{GuardObserver, Refusal};
pub use options::GuardOptions;
