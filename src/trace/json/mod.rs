//! Span records as JSON.
//!
//! - [`JsonLines`]: an observer that writes one line for each span.
//! - [`to_json`]: one span as a value.
//!
//! Both write `object`'s view of a record, member by member. So the order is that of the code, and not
//! that of a map: `serde_json` keeps the order of a map only by a feature which, once it is on, is on for
//! everybody else in the program, too.

mod lines;
mod object;

pub use lines::JsonLines;
pub use object::to_json;
