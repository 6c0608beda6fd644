//! One session, with random calls on its capabilities, and what is to be true at its end, however it came.
//!
//! - [`plan`]: what is done, read from bytes.
//! - `application`: a caller that does it.
//! - `spans`: what must be true of the spans.
//! - [`mod@check`]: does what a plan says, and sees that nothing is left.
//! - [`mod@shrink`]: makes a failing plan short.

mod application;
pub mod check;
pub mod plan;
pub mod shrink;
mod spans;

pub use check::check;
pub use plan::{End, Fate, Limits, Op, Plan, Step};
pub use shrink::shrink;
