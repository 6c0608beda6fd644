//! Spans of the `tracing` crate as spans and parents.

mod current;
mod sessions;
pub(crate) mod setting;
mod spans;
mod threads;
