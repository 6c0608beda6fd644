//! Pages, written on the server.
//!
//! - `markup`: what makes sure that nothing of a peer's is ever taken for markup.
//! - `layout`: what all pages have; `parts`: what several have.
//! - `overview`, `session`, `capabilities`, `waterfall`, `limits`: the pages.
//! - `axis`: where a time lies in a waterfall; `words`: times and numbers for people.

mod axis;
mod capabilities;
mod layout;
mod limits;
mod markup;
mod overview;
mod parts;
mod recent;
mod session;
mod waterfall;
mod words;

pub(super) use layout::{nothing, token};
pub(super) use limits::limits;
pub(super) use overview::overview;
pub(super) use session::session;
