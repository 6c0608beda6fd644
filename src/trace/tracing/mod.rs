//! Spans of the `tracing` crate as spans of ours (feature `tracing`).
//!
//! A subscriber of `tracing`'s belongs to all threads, a [`Tracer`](super::Tracer) to one. So there are two
//! parts: a [`TracingLayer`] in the subscriber, which knows nothing, and for each event loop that is to be
//! seen [`Tracer::observe_tracing`](super::Tracer::observe_tracing) on its thread.
//!
//! - `layer`: what `tracing` tells.
//! - `thread`: the spans of one thread.
//! - `fields`: what is said of a span or event.

mod fields;
mod layer;
mod thread;

pub use layer::TracingLayer;
pub(super) use thread::Key;
pub use thread::TracingGuard;
pub(crate) use thread::{is_telling_tracing, tell_tracing};
