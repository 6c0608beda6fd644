//! What the soak is made of: where a membrane stands, and the kinds of calls.
//!
//! - [`place`]: where it stands, and what is switched on.
//! - [`kind`]: one call of each kind, or as few as it takes.

mod kind;
mod place;

pub(crate) use kind::Kind;
pub(crate) use place::Place;
