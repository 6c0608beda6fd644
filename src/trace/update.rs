//! What somebody wants written on a span.

use super::attribute::{Attribute, Value, upsert};
use super::context::SpanContext;
use super::status::SpanStatus;
use crate::clock::Timestamp;

/// Something that happened at one moment of a span.
///
/// ```
/// # use capspan::trace::SpanEvent;
/// let event = SpanEvent::new("retry").attribute("attempt", 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// What happened. Without a name the event is refused.
    pub name: Box<str>,
    /// When; `None`: when it is written on the span. Kept as it is said, also where it lies outside of the
    /// span's own time.
    pub time: Option<Timestamp>,
    /// What else there is to say.
    pub attributes: Vec<Attribute>,
}

impl SpanEvent {
    /// An event of the moment at which it is written on the span.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into().into_boxed_str(),
            time: None,
            attributes: Vec::new(),
        }
    }

    /// The same, at `time`.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// The same with one more attribute; a key set before gets the new value.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        upsert(&mut self.attributes, key.into(), value.into());
        self
    }
}

impl From<&str> for SpanEvent {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for SpanEvent {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// Changes to a span, to be written together. Everything in it is optional.
///
/// ```
/// # use capspan::trace::{SpanStatus, SpanUpdate};
/// let update = SpanUpdate::new()
///     .name("GET /users/{id}")
///     .attribute("user.plan", "pro")
///     .event("cache miss")
///     .status(SpanStatus::Ok);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanUpdate {
    /// The new name; `None` or empty: the name stays.
    pub name: Option<Box<str>>,
    /// Set one after the other; a key that the span has already gets the new value.
    pub attributes: Vec<Attribute>,
    /// Added one after the other.
    pub events: Vec<SpanEvent>,
    /// Other spans that it has to do with; added one after the other.
    pub links: Vec<SpanContext>,
    /// The new status; `None` or [`SpanStatus::Unset`]: the status stays.
    pub status: Option<SpanStatus>,
}

impl SpanUpdate {
    /// Changes nothing yet.
    pub const fn new() -> Self {
        Self {
            name: None,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: None,
        }
    }

    /// Renames the span.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Sets an attribute; a key set before gets the new value.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        upsert(&mut self.attributes, key.into(), value.into());
        self
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: impl Into<SpanEvent>) -> Self {
        self.events.push(event.into());
        self
    }

    /// Adds a link to another span.
    #[must_use]
    pub fn link(mut self, link: SpanContext) -> Self {
        self.links.push(link);
        self
    }

    /// Sets the status.
    #[must_use]
    pub fn status(mut self, status: SpanStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Does it change nothing?
    pub fn is_empty(&self) -> bool {
        self.name.as_ref().is_none_or(|name| name.is_empty()) && !self.is_more_than_a_name()
    }

    /// Does it change anything but the name?
    pub(super) fn is_more_than_a_name(&self) -> bool {
        !(self.attributes.is_empty()
            && self.events.is_empty()
            && self.links.is_empty()
            && self
                .status
                .as_ref()
                .is_none_or(|status| *status == SpanStatus::Unset))
    }

    /// Takes up what `later` changes: applied at once, the whole leaves a span as the two do one
    /// after the other.
    pub fn merge(&mut self, later: Self) {
        if let Some(name) = later.name.filter(|name| !name.is_empty()) {
            self.name = Some(name);
        }
        for attribute in later.attributes {
            upsert(&mut self.attributes, attribute.key, attribute.value);
        }
        self.events.extend(later.events);
        self.links.extend(later.links);
        if let Some(status) = later.status.filter(|status| *status != SpanStatus::Unset)
            && self
                .status
                .as_ref()
                .is_none_or(|earlier| earlier.yields_to(&status))
        {
            self.status = Some(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_is_empty() {
        assert!(SpanUpdate::new().is_empty());
        assert!(
            SpanUpdate::new()
                .name("")
                .status(SpanStatus::Unset)
                .is_empty()
        );
        assert!(!SpanUpdate::new().name("x").is_empty());
        assert!(!SpanUpdate::new().attribute("k", 1).is_empty());
        assert!(!SpanUpdate::new().event("e").is_empty());
        assert!(!SpanUpdate::new().status(SpanStatus::Ok).is_empty());
    }

    #[test]
    fn the_later_update_wins() {
        let mut update = SpanUpdate::new().name("a").attribute("k", 1).event("first");
        update.merge(
            SpanUpdate::new()
                .name("b")
                .attribute("k", 2)
                .attribute("l", 3)
                .event("second"),
        );
        assert_eq!(update.name.as_deref(), Some("b"));
        assert_eq!(
            update.attributes,
            [Attribute::new("k", 2), Attribute::new("l", 3)]
        );
        let events: Vec<_> = update.events.iter().map(|event| &*event.name).collect();
        assert_eq!(events, ["first", "second"]);
    }

    #[test]
    fn what_the_later_update_leaves_out_stays() {
        let mut update = SpanUpdate::new().name("a").status(SpanStatus::error("x"));
        let before = update.clone();
        update.merge(SpanUpdate::new().name("").status(SpanStatus::Unset));
        assert_eq!(update, before);
    }

    #[test]
    fn a_merged_ok_is_final() {
        let mut update = SpanUpdate::new().status(SpanStatus::Ok);
        update.merge(SpanUpdate::new().status(SpanStatus::error("x")));
        assert_eq!(update.status, Some(SpanStatus::Ok));
    }
}
