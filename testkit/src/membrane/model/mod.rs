//! A plain model of membranes, and random operations that hold the real ones against it.
//!
//! - [`ops`]: what can be done, read from bytes, so that fuzzing and seeded tests share it.
//! - [`graph`]: who refers to whom: objects, promises, wrappers, calls, and what of it is alive.
//! - [`mod@reference`]: the model: what each side holds, and what comes of an operation.
//! - `methods`: what comes of a call in the model.
//! - [`turn`]: what goes on by itself in the model, after an operation.
//! - [`system`]: the same with real objects and real membranes.
//! - [`calls`]: what one calls a real object for.
//! - `edge`: what is between two vats for real.
//! - [`mod@check`]: does one after the other in both, and compares after each.
//! - [`mod@shrink`]: makes a failing sequence short.

pub mod calls;
pub mod check;
mod edge;
pub mod graph;
mod methods;
pub mod ops;
pub mod reference;
pub mod shrink;
pub mod system;
pub mod turn;

pub use check::{Fault, check, check_with};
pub use ops::{Kind, Layout, Op, Sequence, Stage};
pub use reference::Lie;
pub use shrink::{fails, shrink};
