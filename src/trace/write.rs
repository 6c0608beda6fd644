//! The one way onto a record: every limit and every right is checked here.

use std::borrow::Cow;

use super::attribute::{Attribute, Attributes, Value, footprint};
use super::context::SpanContext;
use super::dropped::count;
use super::limits::{SpanLimits, cut_text};
use super::record::{EventRecord, SpanRecord};
use super::status::SpanStatus;
use super::update::{SpanEvent, SpanUpdate};
use crate::clock::Timestamp;

/// What an event or a link counts towards the limit on bytes in all, beside what is in it.
const ENTRY: usize = 32;

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Whoever opened the span.
    Owner,
    /// The callee, who may not touch what is the owner's, unless the owner allows it.
    Callee {
        /// May it give new values to attributes that the owner has set?
        may_overwrite: bool,
    },
}

impl SpanRecord {
    /// Writes all of an update. Returns the name before, if it is another now.
    pub(super) fn apply(
        &mut self,
        update: &SpanUpdate,
        author: Author,
        now: Timestamp,
        limits: &SpanLimits,
    ) -> Option<Box<str>> {
        let previous = update
            .name
            .as_ref()
            .and_then(|name| self.rename(name, author, limits));
        for Attribute { key, value } in &update.attributes {
            self.set_attribute(key, Cow::Borrowed(value), author, limits);
        }
        for event in &update.events {
            self.add_event(event, author, now, limits);
        }
        if let Some(status) = &update.status {
            self.set_status(status, author, limits);
        }
        previous
    }

    /// Gives the span another name. Returns the one before, if it is another now.
    pub(super) fn rename(
        &mut self,
        name: &str,
        author: Author,
        limits: &SpanLimits,
    ) -> Option<Box<str>> {
        let cut = cut_text(name, limits.name_bytes);
        if cut.is_empty() {
            return None;
        }
        self.full_name_bytes = (cut.len() < name.len()).then_some(name.len());
        if self.full_name_bytes.is_some() {
            count(&mut self.dropped.cut_names);
        }
        if cut == &*self.name {
            return None;
        }
        self.named_by_callee = author != Author::Owner;
        let previous = std::mem::replace(&mut self.name, cut.into());
        self.original_name.get_or_insert_with(|| previous.clone());
        Some(previous)
    }

    /// Sets one attribute of the span.
    pub(super) fn set_attribute(
        &mut self,
        key: &str,
        value: Cow<'_, Value>,
        author: Author,
        limits: &SpanLimits,
    ) {
        if !self.may_use_key(key, author, limits) {
            return;
        }
        let known = self.attributes.get(key);
        let is_callees = self.set_by_callee.iter().any(|own| **own == *key);
        let is_protected = match author {
            Author::Owner => false,
            Author::Callee { may_overwrite } => known.is_some() && !is_callees && !may_overwrite,
        };
        if is_protected {
            return count(&mut self.dropped.protected_keys);
        }
        let freed = known.map_or(0, |known| footprint(key, known));
        if known.is_none() && self.attributes.len() >= limits.attributes {
            return count(&mut self.dropped.attributes);
        }
        let value = self.fit(value, limits);
        if !self.take_bytes(freed, footprint(key, &value), limits) {
            return count(&mut self.dropped.attributes);
        }
        self.attributes.insert(key, value);
        match author {
            Author::Owner if is_callees => self.set_by_callee.retain(|own| **own != *key),
            Author::Callee { .. } if !is_callees => self.set_by_callee.push(key.into()),
            _ => {}
        }
    }

    /// Adds an event; one without a time gets `now`.
    pub(super) fn add_event(
        &mut self,
        event: &SpanEvent,
        author: Author,
        now: Timestamp,
        limits: &SpanLimits,
    ) {
        let name = cut_text(&event.name, limits.name_bytes);
        if name.is_empty()
            || self.events.len() >= limits.events
            || !self.take_bytes(0, ENTRY + name.len(), limits)
        {
            return count(&mut self.dropped.events);
        }
        if name.len() < event.name.len() {
            count(&mut self.dropped.cut_names);
        }
        let mut attributes = Attributes::new();
        for Attribute { key, value } in &event.attributes {
            if !self.may_use_key(key, author, limits) {
                continue;
            }
            let known = attributes.get(key);
            let freed = known.map_or(0, |known| footprint(key, known));
            let is_full = known.is_none() && attributes.len() >= limits.event_attributes;
            let value = self.fit(Cow::Borrowed(value), limits);
            if is_full || !self.take_bytes(freed, footprint(key, &value), limits) {
                count(&mut self.dropped.event_attributes);
                continue;
            }
            attributes.insert(&**key, value);
        }
        self.events.push(EventRecord {
            name: name.into(),
            time: event.time.unwrap_or(now),
            attributes,
            by_callee: author != Author::Owner,
        });
    }

    /// Adds a link to another span.
    pub(super) fn add_link(&mut self, link: SpanContext, limits: &SpanLimits) {
        let bytes = ENTRY + link.trace_state().as_str().len();
        if self.links.len() >= limits.links || !self.take_bytes(0, bytes, limits) {
            return count(&mut self.dropped.links);
        }
        self.links.push(link);
    }

    /// Sets the status, unless it is final already.
    pub(super) fn set_status(&mut self, status: &SpanStatus, author: Author, limits: &SpanLimits) {
        if !self.status.yields_to(status) {
            if self.status == SpanStatus::Ok && matches!(status, SpanStatus::Error(_)) {
                count(&mut self.dropped.refused);
            }
            return;
        }
        let mut message = match status {
            SpanStatus::Error(message) => cut_text(message, limits.value_bytes),
            SpanStatus::Unset | SpanStatus::Ok => "",
        };
        if !self.take_bytes(self.status.size(), message.len(), limits) {
            // That it failed is worth more than why.
            self.bytes -= self.status.size();
            message = "";
        }
        if message.len() < status.size() {
            count(&mut self.dropped.cut_values);
        }
        self.status = match status {
            SpanStatus::Error(_) => SpanStatus::error(message),
            other => other.clone(),
        };
        self.status_by_callee = author != Author::Owner;
    }

    fn may_use_key(&mut self, key: &str, author: Author, limits: &SpanLimits) -> bool {
        if !limits.is_key(key) {
            count(&mut self.dropped.invalid_keys);
            return false;
        }
        if author != Author::Owner && limits.is_reserved(key) {
            count(&mut self.dropped.reserved_keys);
            return false;
        }
        true
    }

    fn fit(&mut self, value: Cow<'_, Value>, limits: &SpanLimits) -> Value {
        match value.cut_to(limits.value_bytes) {
            Some(cut) => {
                count(&mut self.dropped.cut_values);
                cut
            }
            None => value.into_owned(),
        }
    }

    /// Counts `added` in place of `freed` bytes, which were counted before, if that fits.
    fn take_bytes(&mut self, freed: usize, added: usize, limits: &SpanLimits) -> bool {
        let bytes = self.bytes - freed + added;
        let fits = bytes <= limits.total_bytes || added <= freed;
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{Dropped, SpanBuilder, SpanKind};

    /// The record of a span with these limits after `act`.
    fn limited(limits: SpanLimits, act: impl FnOnce(&SpanBuilder)) -> SpanRecord {
        let (tracer, spans, _) = observed();
        let span = tracer
            .with_limits(limits)
            .root()
            .start("span", SpanKind::Internal);
        act(&span);
        drop(span);
        spans.closed().remove(0)
    }

    fn dropped(set: impl FnOnce(&mut Dropped)) -> Dropped {
        let mut dropped = Dropped::default();
        set(&mut dropped);
        dropped
    }

    #[test]
    fn e6_a_name_is_cut_at_a_character_and_its_length_kept() {
        let span = limited(SpanLimits::default(), |span| {
            span.set_name(format!("a{}", "é".repeat(200)));
        });
        assert_eq!(
            (span.name().len(), span.full_name_bytes()),
            (255, Some(401))
        );
        assert_eq!(*span.dropped(), dropped(|d| d.cut_names = 1));
    }

    #[test]
    fn e6_attributes_beyond_128_are_dropped_but_known_keys_still_change() {
        let span = limited(SpanLimits::default(), |span| {
            for i in 0..130 {
                span.set_attribute(format!("k{i}"), 0);
            }
            span.set_attribute("k127", 1);
        });
        assert_eq!(span.attributes().len(), 128);
        assert_eq!(span.attributes().get("k127"), Some(&Value::Int(1)));
        assert_eq!(*span.dropped(), dropped(|d| d.attributes = 2));
    }

    #[test]
    fn e6_keys_that_are_empty_or_too_long_are_refused() {
        let span = limited(SpanLimits::default(), |span| {
            span.set_attribute("", 1)
                .set_attribute("k".repeat(257), 1)
                .set_attribute("k".repeat(256), 1);
        });
        assert_eq!(span.attributes().len(), 1);
        assert_eq!(*span.dropped(), dropped(|d| d.invalid_keys = 2));
    }

    #[test]
    fn e6_values_are_cut_to_4_kib() {
        let span = limited(SpanLimits::default(), |span| {
            span.set_attribute("text", "x".repeat(5000))
                .set_attribute("list", vec![1_i64; 600]);
            span.set_attribute("fits", "x".repeat(4096));
        });
        assert_eq!(span.attributes().get("text").map(Value::size), Some(4096));
        assert_eq!(
            span.attributes().get("list"),
            Some(&Value::IntList(vec![1; 512]))
        );
        assert_eq!(*span.dropped(), dropped(|d| d.cut_values = 2));
    }

    #[test]
    fn e6_a_span_holds_64_kib_in_all() {
        let span = limited(SpanLimits::default(), |span| {
            for i in 0..20 {
                span.set_attribute(format!("k{i}"), "x".repeat(4096));
            }
        });
        assert_eq!(span.attributes().len(), 15);
        assert!(span.bytes <= 64 * 1024);
        assert_eq!(*span.dropped(), dropped(|d| d.attributes = 5));
    }

    #[test]
    fn e6_bytes_of_a_value_that_is_replaced_are_free_again() {
        let limits = SpanLimits::default().max_total_bytes(100);
        let span = limited(limits, |span| {
            span.set_attribute("k", "x".repeat(60));
            span.set_attribute("k", "y".repeat(67));
            span.set_attribute("k", "z".repeat(68));
        });
        assert_eq!(
            span.attributes().get("k"),
            Some(&Value::from("y".repeat(67)))
        );
        assert_eq!(span.bytes, 100);
        assert_eq!(*span.dropped(), dropped(|d| d.attributes = 1));
    }

    #[test]
    fn e6_a_flood_of_empty_texts_counts() {
        let span = limited(SpanLimits::default(), |span| {
            for i in 0..128 {
                span.set_attribute(format!("k{i}"), vec![""; 1000]);
            }
        });
        assert_eq!(span.attributes().len(), 3);
        assert_eq!(span.dropped().attributes, 125);
    }

    #[test]
    fn e6_events_beyond_128_and_without_a_name_are_dropped() {
        let span = limited(SpanLimits::default(), |span| {
            span.add_event("");
            for _ in 0..130 {
                span.add_event("e");
            }
        });
        assert_eq!(span.events().len(), 128);
        assert_eq!(*span.dropped(), dropped(|d| d.events = 3));
    }

    #[test]
    fn e6_an_event_has_limits_of_its_own() {
        let limits = SpanLimits::default()
            .max_event_attributes(2)
            .max_value_bytes(3)
            .max_name_bytes(4);
        let span = limited(limits, |span| {
            let mut event = SpanEvent::new("event")
                .attribute("a", "12345")
                .attribute("", 1);
            event = event.attribute("b", 1).attribute("c", 1);
            event.attributes.push(Attribute::new("b", 2));
            span.add_event(event);
        });
        let event = &span.events()[0];
        assert_eq!(event.name(), "even");
        assert_eq!(event.attributes().get("a"), Some(&Value::from("123")));
        assert_eq!(event.attributes().get("b"), Some(&Value::Int(2)));
        let counts = dropped(|d| {
            (
                d.event_attributes,
                d.cut_names,
                d.cut_values,
                d.invalid_keys,
            ) = (1, 1, 1, 1);
        });
        assert_eq!(*span.dropped(), counts);
    }

    #[test]
    fn e6_links_beyond_the_limit_are_dropped() {
        let span = limited(SpanLimits::default().max_links(1), |span| {
            let link = span.context().unwrap();
            span.add_link(link.clone()).add_link(link);
        });
        assert_eq!(span.links().len(), 1);
        assert_eq!(*span.dropped(), dropped(|d| d.links = 1));
    }

    #[test]
    fn e6_a_callee_has_the_same_limits() {
        let span = limited(SpanLimits::default(), |span| {
            let mut update = SpanUpdate::new().name("n".repeat(300)).attribute("", 1);
            for i in 0..200 {
                update = update.attribute(format!("k{i}"), i).event("e");
            }
            span.downgrade().enrich(&update);
        });
        assert_eq!((span.attributes().len(), span.events().len()), (128, 128));
        let counts = dropped(|d| {
            (d.attributes, d.events, d.cut_names, d.invalid_keys) = (72, 72, 1, 1);
        });
        assert_eq!(*span.dropped(), counts);
    }

    #[test]
    fn a_status_of_ok_is_final() {
        let span = limited(SpanLimits::default(), |span| {
            span.set_status(SpanStatus::error("first"));
            span.set_status(SpanStatus::Ok);
            span.set_status(SpanStatus::error("second"))
                .set_status(SpanStatus::Unset);
        });
        assert_eq!(*span.status(), SpanStatus::Ok);
        assert_eq!(*span.dropped(), dropped(|d| d.refused = 1));
    }

    #[test]
    fn a_message_that_does_not_fit_does_not_hide_the_error() {
        let limits = SpanLimits::default().max_total_bytes(4).max_value_bytes(6);
        let span = limited(limits, |span| {
            span.set_status(SpanStatus::error("abcd"));
            span.set_status(SpanStatus::error("0123456789"));
        });
        assert_eq!(*span.status(), SpanStatus::error(""));
        assert_eq!((span.bytes, span.dropped().cut_values), (0, 1));
    }
}
