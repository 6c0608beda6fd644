//! The one way onto a record: every limit and every right is checked here.

use std::borrow::Cow;
use std::rc::Rc;

use crate::clock::Timestamp;
use crate::trace::attribute::{Attribute, Attributes, Value, footprint};
use crate::trace::context::SpanContext;
use crate::trace::dropped::count;
use crate::trace::limits::{SpanLimits, cut_text};
use crate::trace::record::{Details, EventRecord, LinkRecord, SpanRecord};
use crate::trace::status::SpanStatus;
use crate::trace::update::{SpanEvent, SpanUpdate};

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

impl Author {
    fn is_callee(self) -> bool {
        self != Self::Owner
    }
}

/// What counts towards the limit on bytes in all, and how much of it is the callee's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    pub(super) all: usize,
    pub(super) callees: usize,
}

impl Bytes {
    pub(super) const NONE: Self = Self { all: 0, callees: 0 };

    fn of(is_callees: bool, bytes: usize) -> Self {
        Self {
            all: bytes,
            callees: if is_callees { bytes } else { 0 },
        }
    }

    /// With `added` in place of `freed`, which was counted before.
    fn replace(self, freed: Self, added: Self) -> Self {
        Self {
            all: self.all - freed.all + added.all,
            callees: self.callees - freed.callees + added.callees,
        }
    }
}

impl SpanRecord {
    /// Writes all of an update. Returns the name before, if it is another now.
    pub(super) fn apply(
        &mut self,
        update: &SpanUpdate,
        author: Author,
        now: Timestamp,
        limits: &SpanLimits,
    ) -> Option<Rc<str>> {
        let previous = update
            .name
            .as_ref()
            .and_then(|name| self.rename(name, author, limits));
        if update.is_more_than_a_name() {
            self.details_mut().apply(update, author, now, limits);
        }
        previous
    }

    /// Gives the span another name. Returns the one before, if it is another now.
    pub(super) fn rename(
        &mut self,
        name: &str,
        author: Author,
        limits: &SpanLimits,
    ) -> Option<Rc<str>> {
        let cut = cut_text(name, limits.name_bytes);
        if cut.is_empty() {
            return None;
        }
        let is_another = cut != &*self.name;
        let details = self.details_mut();
        details.full_name_bytes = (cut.len() < name.len()).then_some(name.len());
        if details.full_name_bytes.is_some() {
            count(&mut details.dropped.cut_names);
        }
        if !is_another {
            return None;
        }
        details.named_by_callee = author.is_callee();
        let previous = std::mem::replace(&mut self.name, cut.into());
        let details = self.details_mut();
        details
            .original_name
            .get_or_insert_with(|| previous.clone());
        Some(previous)
    }
}

impl Details {
    /// Writes all of an update but the name.
    fn apply(&mut self, update: &SpanUpdate, author: Author, now: Timestamp, limits: &SpanLimits) {
        for Attribute { key, value } in &update.attributes {
            self.set_attribute(key, Cow::Borrowed(value), author, limits);
        }
        for event in &update.events {
            self.add_event(event, author, now, limits);
        }
        for link in &update.links {
            self.add_link(link.clone(), author, limits);
        }
        if let Some(status) = &update.status {
            self.set_status(status, author, limits);
        }
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
        let is_callees = known.is_some() && self.set_by_callee.iter().any(|own| **own == *key);
        let is_protected = match author {
            Author::Owner => false,
            Author::Callee { may_overwrite } => known.is_some() && !is_callees && !may_overwrite,
        };
        if is_protected {
            return count(&mut self.dropped.protected_keys);
        }
        let freed = known.map_or(0, |known| footprint(key, known));
        let is_full = known.is_none() && self.attributes.len() >= limits.attributes;
        let is_half_full = author.is_callee()
            && !is_callees
            && self.set_by_callee.len() >= SpanLimits::callees_part(limits.attributes);
        if is_full || is_half_full {
            return count(&mut self.dropped.attributes);
        }
        let value = self.fit(value, limits);
        let freed = Bytes::of(is_callees, freed);
        let added = Bytes::of(author.is_callee(), footprint(key, &value));
        if !self.take_bytes(freed, added, limits) {
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
        let is_callees = author.is_callee();
        let bytes = |bytes| Bytes::of(is_callees, bytes);
        let is_half_full =
            is_callees && self.callee_events >= SpanLimits::callees_part(limits.events);
        if name.is_empty()
            || is_half_full
            || self.events.len() >= limits.events
            || !self.take_bytes(bytes(0), bytes(ENTRY + name.len()), limits)
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
            let added = bytes(footprint(key, &value));
            if is_full || !self.take_bytes(bytes(freed), added, limits) {
                count(&mut self.dropped.event_attributes);
                continue;
            }
            attributes.insert(&**key, value);
        }
        self.events.push(EventRecord {
            name: name.into(),
            time: event.time.unwrap_or(now),
            attributes,
            by_callee: is_callees,
        });
        self.callee_events += usize::from(is_callees);
    }

    /// Adds a link to another span.
    pub(super) fn add_link(&mut self, link: SpanContext, author: Author, limits: &SpanLimits) {
        let is_callees = author.is_callee();
        let bytes = Bytes::of(is_callees, ENTRY + link.trace_state().as_str().len());
        let is_half_full =
            is_callees && self.callee_links >= SpanLimits::callees_part(limits.links);
        if is_half_full
            || self.links.len() >= limits.links
            || !self.take_bytes(Bytes::NONE, bytes, limits)
        {
            return count(&mut self.dropped.links);
        }
        self.links.push(LinkRecord {
            context: link,
            by_callee: is_callees,
        });
        self.callee_links += usize::from(is_callees);
    }

    /// Sets the status, unless it is final for this author.
    pub(super) fn set_status(&mut self, status: &SpanStatus, author: Author, limits: &SpanLimits) {
        let is_owner = !author.is_callee();
        let is_own = self.status == SpanStatus::Unset || self.status_by_callee != is_owner;
        let is_said = self.status == *status && (is_own || !is_owner);
        if *status == SpanStatus::Unset || is_said {
            return;
        }
        let may_replace = match is_own {
            true => self.status.yields_to(status),
            false => is_owner,
        };
        if !may_replace {
            return count(&mut self.dropped.refused);
        }
        let mut message = match status {
            SpanStatus::Error(message) => cut_text(message, limits.value_bytes),
            SpanStatus::Unset | SpanStatus::Ok => "",
        };
        let freed = Bytes::of(self.status_by_callee, self.status.size());
        if !self.take_bytes(freed, Bytes::of(!is_owner, message.len()), limits) {
            // That it failed is worth more than why.
            self.bytes = self.bytes.replace(freed, Bytes::NONE);
            message = "";
        }
        if message.len() < status.size() {
            count(&mut self.dropped.cut_values);
        }
        self.status = match status {
            SpanStatus::Error(_) => SpanStatus::error(message),
            other => other.clone(),
        };
        self.status_by_callee = !is_owner;
    }

    fn may_use_key(&mut self, key: &str, author: Author, limits: &SpanLimits) -> bool {
        if !limits.is_key(key) {
            count(&mut self.dropped.invalid_keys);
            return false;
        }
        if author.is_callee() && limits.is_reserved(key) {
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

    /// Counts `added` in place of `freed`, which was counted before, if that fits.
    fn take_bytes(&mut self, freed: Bytes, added: Bytes, limits: &SpanLimits) -> bool {
        let bytes = self.bytes.replace(freed, added);
        let fits = bytes.all <= limits.total_bytes
            && bytes.callees <= SpanLimits::callees_part(limits.total_bytes);
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests;
