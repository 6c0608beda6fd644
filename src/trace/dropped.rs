//! What was cut from a span or refused, counted.

/// How much was cut from a span or refused, by what. Counters stop at their largest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Attributes of the span beyond its limits in number or bytes in all, or that could not be read: text
    /// that is no UTF-8, an unknown kind of value.
    pub attributes: u32,
    /// Events beyond the limits, or without a name that can be read.
    pub events: u32,
    /// Attributes of events beyond the limits, or that could not be read.
    pub event_attributes: u32,
    /// Links beyond the limits, or without ids that can be read.
    pub links: u32,
    /// Names, of the span or its events, that were cut; names of the span that could not be read, and were
    /// left as they were.
    pub cut_names: u32,
    /// Values, or messages of a status, that were cut; messages that could not be read, and are empty.
    pub cut_values: u32,
    /// Attributes whose key is empty or too long.
    pub invalid_keys: u32,
    /// A callee's attributes under a reserved prefix.
    pub reserved_keys: u32,
    /// A callee's attributes that the owner had set.
    pub protected_keys: u32,
    /// What the [rules](super::EnrichRules) for callees do not allow: attributes of the span and of events,
    /// names, events, links, status.
    pub not_allowed: u32,
    /// What a [redactor](super::Redactor) has replaced or left out.
    pub redacted: u32,
    /// What a callee says that it had to leave out: it had more to write than it could send.
    pub unsent: u32,
    /// Changes after the end. An observer is told of the end before any of these.
    pub late_updates: u32,
    /// Other changes refused: a status after the same author's final `Ok`, a callee's where the owner has
    /// set one, or whatever an observer tried while it was being told of this very span.
    pub refused: u32,
}

impl Dropped {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        attributes: 0,
        events: 0,
        event_attributes: 0,
        links: 0,
        cut_names: 0,
        cut_values: 0,
        invalid_keys: 0,
        reserved_keys: 0,
        protected_keys: 0,
        not_allowed: 0,
        redacted: 0,
        unsent: 0,
        late_updates: 0,
        refused: 0,
    };

    /// Was nothing cut or refused?
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Counts all of `more` as well.
    pub(super) fn add(&mut self, more: &Self) {
        let Self {
            attributes,
            events,
            event_attributes,
            links,
            cut_names,
            cut_values,
            invalid_keys,
            reserved_keys,
            protected_keys,
            not_allowed,
            redacted,
            unsent,
            late_updates,
            refused,
        } = more;
        for (counter, more) in [
            (&mut self.attributes, attributes),
            (&mut self.events, events),
            (&mut self.event_attributes, event_attributes),
            (&mut self.links, links),
            (&mut self.cut_names, cut_names),
            (&mut self.cut_values, cut_values),
            (&mut self.invalid_keys, invalid_keys),
            (&mut self.reserved_keys, reserved_keys),
            (&mut self.protected_keys, protected_keys),
            (&mut self.not_allowed, not_allowed),
            (&mut self.redacted, redacted),
            (&mut self.unsent, unsent),
            (&mut self.late_updates, late_updates),
            (&mut self.refused, refused),
        ] {
            *counter = counter.saturating_add(*more);
        }
    }

    /// Each counter with its name in JSON, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> + use<> {
        [
            ("attributes", self.attributes),
            ("events", self.events),
            ("eventAttributes", self.event_attributes),
            ("links", self.links),
            ("cutNames", self.cut_names),
            ("cutValues", self.cut_values),
            ("invalidKeys", self.invalid_keys),
            ("reservedKeys", self.reserved_keys),
            ("protectedKeys", self.protected_keys),
            ("notAllowed", self.not_allowed),
            ("redacted", self.redacted),
            ("unsent", self.unsent),
            ("lateUpdates", self.late_updates),
            ("refused", self.refused),
        ]
        .into_iter()
    }
}

/// Counts one more.
pub(super) fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
