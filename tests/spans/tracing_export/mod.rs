//! Our spans as spans of the `tracing` crate.

mod both_ways;
mod fields;
mod place;
mod setting;
