//! What a board says: plain data that goes to another thread.
//!
//! - `overview`: of all that it has seen.
//! - `session`: of one session.
//! - `limits`: of what was refused, and what it could not keep.

mod limits;
mod overview;
mod session;

pub(super) use limits::{Kept, LeftOut, Limits, RefusalRow};
pub(super) use overview::{MAX_SHOWN, MethodRow, OpenRow, Outcomes, Overview, RecentRow};
pub(super) use session::{
    CapabilityView, EventView, Introduced, LiveView, Said, SessionView, SpanView,
};

/// At most `max` bytes of `text`, cut at a character.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// How many bytes are kept of a name or a value.
pub(super) const TEXT_BYTES: usize = 256;
