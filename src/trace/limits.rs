//! How much one span may hold. What goes beyond is cut or dropped, and counted.

/// The limits of each span of a tracer. What they cut or refuse is counted in
/// [`Dropped`](super::Dropped).
///
/// They hold for the span's owner and for a callee who enriches it alike; only the reserved keys
/// are the owner's to set. So that a callee can't crowd out the owner, what is the callee's may take
/// half of [`max_attributes`](Self::max_attributes), of [`max_events`](Self::max_events), of
/// [`max_links`](Self::max_links) and of [`max_total_bytes`](Self::max_total_bytes), rounded down; the
/// owner may take all that is left. What else a callee may write is said by [`EnrichRules`](super::EnrichRules).
///
/// ```
/// # use capspan::trace::SpanLimits;
/// let limits = SpanLimits::default().max_attributes(16).max_value_bytes(256);
/// ```
#[derive(Clone, Debug)]
pub struct SpanLimits {
    pub(super) name_bytes: usize,
    pub(super) attributes: usize,
    pub(super) events: usize,
    pub(super) event_attributes: usize,
    pub(super) links: usize,
    pub(super) key_bytes: usize,
    pub(super) value_bytes: usize,
    pub(super) total_bytes: usize,
    pub(super) reserved: Vec<Box<str>>,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            name_bytes: 256,
            attributes: 128,
            events: 128,
            event_attributes: 128,
            links: 128,
            key_bytes: 256,
            value_bytes: 4 * 1024,
            total_bytes: 64 * 1024,
            reserved: Self::RESERVED_PREFIXES.map(Into::into).into(),
        }
    }
}

impl SpanLimits {
    /// What a callee's keys must not begin with, unless
    /// [`reserved_prefixes`](Self::reserved_prefixes) says otherwise.
    pub const RESERVED_PREFIXES: [&'static str; 3] = ["capspan.", "service.", "telemetry."];

    /// Bytes of a span's or event's name; default 256. A longer one is cut at a character
    /// boundary; of a span's the length is kept.
    #[must_use]
    pub fn max_name_bytes(mut self, bytes: usize) -> Self {
        self.name_bytes = bytes;
        self
    }

    /// Attributes of a span; default 128. More are dropped.
    #[must_use]
    pub fn max_attributes(mut self, count: usize) -> Self {
        self.attributes = count;
        self
    }

    /// Events of a span; default 128. More are dropped.
    #[must_use]
    pub fn max_events(mut self, count: usize) -> Self {
        self.events = count;
        self
    }

    /// Attributes of one event; default 128. More are dropped.
    #[must_use]
    pub fn max_event_attributes(mut self, count: usize) -> Self {
        self.event_attributes = count;
        self
    }

    /// Links of a span; default 128. More are dropped.
    #[must_use]
    pub fn max_links(mut self, count: usize) -> Self {
        self.links = count;
        self
    }

    /// Bytes of an attribute's key; default 256. An attribute with a longer one is dropped: cut,
    /// it might be another's.
    #[must_use]
    pub fn max_key_bytes(mut self, bytes: usize) -> Self {
        self.key_bytes = bytes;
        self
    }

    /// Bytes of an attribute's value, or of the message of a status; default 4 KiB. A longer text
    /// is cut at a character boundary, a longer list to the elements that fit.
    #[must_use]
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.value_bytes = bytes;
        self
    }

    /// Bytes of all attributes, events, links and the status of a span; default 64 KiB. Each
    /// attribute, event and link counts 32 bytes more than what is in it, each text in a list 16.
    /// What does not fit is dropped.
    #[must_use]
    pub fn max_total_bytes(mut self, bytes: usize) -> Self {
        self.total_bytes = bytes;
        self
    }

    /// What a callee's keys must not begin with, in place of
    /// [`RESERVED_PREFIXES`](Self::RESERVED_PREFIXES).
    #[must_use]
    pub fn reserved_prefixes(
        mut self,
        prefixes: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Self {
        self.reserved = prefixes.into_iter().map(Into::into).collect();
        self
    }

    /// Does `key` begin with a prefix that is the owner's?
    pub fn is_reserved(&self, key: &str) -> bool {
        self.reserved
            .iter()
            .any(|prefix| key.starts_with(&**prefix))
    }

    /// How much of a limit a callee may take.
    pub(super) fn callees_part(limit: usize) -> usize {
        limit / 2
    }

    /// Can `key` be one of an attribute?
    pub(super) fn is_key(&self, key: &str) -> bool {
        (1..=self.key_bytes).contains(&key.len())
    }
}

/// As much of `text` as fits into `max` bytes without breaking a character.
pub(super) fn cut_text(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character_boundary() {
        assert_eq!(cut_text("aé", 0), "");
        assert_eq!(cut_text("aé", 2), "a");
        assert_eq!(cut_text("aé", 3), "aé");
        assert_eq!(cut_text("aé", 99), "aé");
        assert_eq!(cut_text("🦀", 3), "");
    }

    #[test]
    fn keys_below_a_reserved_prefix_are_reserved() {
        let limits = SpanLimits::default();
        for key in [
            "capspan.outcome",
            "service.name",
            "telemetry.sdk.name",
            "capspan.",
        ] {
            assert!(limits.is_reserved(key), "{key}");
        }
        for key in ["capspan", "services.x", "my.service.name", ""] {
            assert!(!limits.is_reserved(key), "{key}");
        }
    }

    #[test]
    fn reserved_prefixes_can_be_chosen() {
        let limits = SpanLimits::default().reserved_prefixes(["billing."]);
        assert!(limits.is_reserved("billing.plan"));
        assert!(!limits.is_reserved("service.name"));
    }
}
