//! Text for a terminal. Much of it comes from peers that nobody trusts, so whatever becomes part of
//! a [`Line`] is escaped, and no line is wider than it may be.

mod escape;
pub mod ink;
mod line;
#[cfg(feature = "tool")]
mod stdout;
mod style;
mod units;

pub use escape::escape;
pub use line::Line;
pub use style::{MAX_WIDTH, MIN_WIDTH, Style};
pub use units::{count, duration, offset};
