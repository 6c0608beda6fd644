//! Span records as JSON lines: from text that is all there by [`read`], from bytes as they come by a [`Reader`].

mod lines;
mod reader;
mod span;

pub use lines::{Line, Lines, MAX_LINE};
pub use reader::Reader;
pub use span::{BadLine, End, Event, LateUpdate, Link, Record, Span, Status, read, read_line};
