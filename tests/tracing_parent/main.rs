//! Spans of the `tracing` crate as spans and parents.
#![cfg(feature = "tracing")]

mod current;
mod sessions;
mod setting;
mod spans;
mod threads;
