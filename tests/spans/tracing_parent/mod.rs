//! Spans of the `tracing` crate as spans and parents.

mod current;
mod sessions;
mod setting;
mod spans;
mod threads;
