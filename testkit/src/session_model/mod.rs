//! A plain model of events and their spans, and random operations that hold the real ones against it.
//!
//! - [`ops`]: what can be done, read from bytes, so that fuzzing and seeded tests share it.
//! - `choose`, `orders`: what that means where it is done.
//! - `graph`: who refers to whom.
//! - `spans`: what a span says, and what becomes of what is written to it.
//! - `reference`, `apply`, `turn`, `limits`: the model: what an operation changes, what goes on by itself, and what
//!   time or a callee ends.
//! - `stage`, `routes`, `wire`, `timer`, `seen`, `system`: the same with real services, over real connections.
//! - `tree`: which span is whose, and whether it is what it must be.
//! - [`mod@check`]: does one operation after the other in both, and compares.
//! - [`mod@shrink`]: makes a failing sequence short.

mod apply;
pub mod check;
mod choose;
mod graph;
mod limits;
pub mod ops;
mod orders;
mod reference;
mod routes;
mod seen;
pub mod shrink;
mod spans;
mod stage;
mod system;
mod timer;
mod tree;
mod turn;
mod wire;

pub use check::{Fault, Tally, check};
pub use ops::{Layout, Limits, Op, Route, Sequence, Stage, Step};
pub use shrink::{fails, shrink};
