//! Observers that send what they are told somewhere else.
//!
//! - [`Tail`]: each invocation of a service, while it goes on, to another service.

mod tail;

pub use tail::{Tail, TailCounts, TailLimits};
