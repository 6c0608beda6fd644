//! What is written, and not yet sent.

use crate::trace::SpanUpdate;
use crate::wire;

/// With how many bytes an update is sent in the middle of a turn.
const ENOUGH_BYTES: usize = 64 * 1024;

/// No more elements of a kind would be sent.
const MAX_ELEMENTS: usize = wire::MAX_ELEMENTS as usize;

/// What was written since something was sent, merged.
#[derive(Default)]
pub(super) struct Pending {
    update: SpanUpdate,
    /// At most: what is written over still counts.
    bytes: usize,
    /// How much was left out, and the caller does not know of it.
    unsent: u32,
}

impl Pending {
    /// Is there nothing to send?
    pub(super) fn is_empty(&self) -> bool {
        self.update.is_empty()
    }

    /// Is there nothing to say, not even that something was left out?
    pub(super) fn is_told(&self) -> bool {
        self.is_empty() && self.unsent == 0
    }

    /// Would it be better to send what there is before `more` is added?
    pub(super) fn is_too_much_with(&self, more: &SpanUpdate) -> bool {
        let lengths = lengths(&self.update).into_iter().zip(lengths(more));
        let mut sums = lengths.map(|(length, more)| length + more);
        sums.any(|length| length > MAX_ELEMENTS)
            || self.bytes + wire::size_of_update(more) > ENOUGH_BYTES
    }

    /// Adds an update; what is beyond the limits is left out.
    pub(super) fn add(&mut self, more: SpanUpdate) {
        self.bytes += wire::size_of_update(&more);
        let update = &mut self.update;
        update.merge(more);
        let beyond = lengths(update).map(|length| length.saturating_sub(MAX_ELEMENTS));
        update.attributes.truncate(MAX_ELEMENTS);
        update.events.truncate(MAX_ELEMENTS);
        update.links.truncate(MAX_ELEMENTS);
        beyond
            .into_iter()
            .for_each(|many| self.leave_out(count(many)));
    }

    /// Counts what is left out.
    pub(super) fn leave_out(&mut self, many: u32) {
        self.unsent = self.unsent.saturating_add(many);
    }

    /// What is to be sent, and how much was left out.
    pub(super) fn into_parts(self) -> (SpanUpdate, u32) {
        (self.update, self.unsent)
    }

    /// How many things an update says.
    pub(super) fn parts_of(update: &SpanUpdate) -> u32 {
        let others = u32::from(update.name.is_some()) + u32::from(update.status.is_some());
        let parts = lengths(update).into_iter().map(count);
        parts.fold(others, u32::saturating_add)
    }
}

fn lengths(update: &SpanUpdate) -> [usize; 3] {
    [
        update.attributes.len(),
        update.events.len(),
        update.links.len(),
    ]
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}
