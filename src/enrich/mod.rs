//! The callee writes to the caller's span.
//!
//! The caller exports an enricher of its session span with the event; the callee gets it as an
//! [`Enricher`]. Within one process that is a plain call; over a connection it is a callback
//! capability, whose update is written before any later message on the connection is looked at. Either
//! way, what was enriched before a call returned is on the caller's span before the caller sees the
//! return (E2), and the enricher keeps neither span nor session open (E3).
//!
//! - [`Enricher`]: the callee's handle.
//! - [`export`]: the capability that the caller exports.
//! - `in_process`: an enricher of a span here; `remote`: one that lives in another process; `pending`: what
//!   is written and not yet sent; `answers`: who waits for what became of it.

mod answers;
mod handle;
mod hook;
mod in_process;
mod pending;
mod remote;

pub use handle::Enricher;
pub use hook::export;
pub(crate) use hook::export_also;
