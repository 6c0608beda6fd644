//! HTTP requests as events, by `schema/capnp/compat/http-over-capnp.capnp`.
//!
//! Requests and responses are those of the crate [`http`](https://docs.rs/http); a [`Body`] is a stream of
//! bytes, with back-pressure in both directions.
//!
//! - [`Body`]: what a request or a response brings.
//! - `head`, `headers`: all but the body, on the wire.
//! - `pipe`, `writer`, `substream`: a body that comes in. `pump`: a body that goes out.
//! - `caller`, `callee`: one request, on either side.

mod body;
mod callee;
mod caller;
mod head;
mod headers;
mod pipe;
mod pump;
mod substream;
mod writer;

pub use body::Body;
pub(crate) use callee::{Received, Responding};
pub(crate) use caller::{Exchange, Seen};
pub(crate) use head::check;
pub(crate) use pump::Stopped;
