//! What callees may write on the spans of a tracer.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use super::attribute::Attribute;
use super::dropped::{Dropped, count};
use super::limits::SpanLimits;
use super::redactor::{Redacting, Redactor, Text, Turn};
use super::status::SpanStatus;
use super::update::{SpanEvent, SpanUpdate};

/// What callees may write on the spans of a tracer, on which the owner may write all. By default that is
/// everything but [reserved keys](SpanLimits::is_reserved) and keys that the owner has set.
///
/// What is not allowed is left out and counted in [`Dropped::not_allowed`]; the rest of the update is
/// written, within the [limits](SpanLimits).
///
/// ```
/// # use capspan::trace::{EnrichRules, MemoryObserver, SpanKind, SpanUpdate, Tracer};
/// let spans = MemoryObserver::new();
/// let rules = EnrichRules::default().allow_keys(["db.", "cache.hit"]).allow_name(false);
/// let tracer = Tracer::new(spans.clone()).with_enrich_rules(rules);
/// let span = tracer.root().start("call", SpanKind::Client);
/// let update = SpanUpdate::new().name("mine").attribute("db.rows", 3).attribute("cache.hits", 1);
/// span.downgrade().enrich(&update);
/// drop(span);
///
/// let span = &spans.closed()[0];
/// assert_eq!((span.name(), span.set_by_callee()), ("call", &["db.rows".into()][..]));
/// assert_eq!(span.dropped().not_allowed, 2);
/// ```
#[derive(Clone)]
pub struct EnrichRules {
    /// `None`: all.
    keys: Option<Rc<[Pattern]>>,
    names: bool,
    statuses: bool,
    events: bool,
    links: bool,
    overwrites: bool,
    keeps_late: bool,
    redacting: Option<Rc<Redacting>>,
}

#[derive(Debug)]
enum Pattern {
    Key(Box<str>),
    Prefix(Box<str>),
}

impl Default for EnrichRules {
    fn default() -> Self {
        Self {
            keys: None,
            names: true,
            statuses: true,
            events: true,
            links: true,
            overwrites: false,
            keeps_late: false,
            redacting: None,
        }
    }
}

impl EnrichRules {
    /// Which keys attributes may have, on the span and in events. A pattern that ends with `.` stands for
    /// all keys that begin with it, one that ends with `*` for all that begin with what is before the star,
    /// any other for itself. Without any, no attribute may be set. Reserved keys stay the owner's.
    #[must_use]
    pub fn allow_keys(mut self, patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let patterns = patterns.into_iter();
        self.keys = Some(patterns.map(|text| Pattern::new(text.as_ref())).collect());
        self
    }

    /// May the span be renamed? By default it may.
    #[must_use]
    pub fn allow_name(mut self, allow: bool) -> Self {
        self.names = allow;
        self
    }

    /// May a status be set where the owner has set none? By default it may.
    #[must_use]
    pub fn allow_status(mut self, allow: bool) -> Self {
        self.statuses = allow;
        self
    }

    /// May events be added? By default they may.
    #[must_use]
    pub fn allow_events(mut self, allow: bool) -> Self {
        self.events = allow;
        self
    }

    /// May links be added? By default they may.
    #[must_use]
    pub fn allow_links(mut self, allow: bool) -> Self {
        self.links = allow;
        self
    }

    /// May attributes that the owner has set get new values? By default not. A span can
    /// [decide otherwise](super::SpanBuilder::allow_callee_overwrite).
    #[must_use]
    pub fn allow_overwrite(mut self, allow: bool) -> Self {
        self.overwrites = allow;
        self
    }

    /// What is written after the end of a span is refused to the callee. Is it told to the observer all the
    /// same, by [`Observer::late`](super::Observer::late)? By default not.
    ///
    /// Handles on a span then hold its tracer, with the observer and the redactor, though not the span. So
    /// neither of these two may keep such a handle: they would keep themselves.
    #[must_use]
    pub fn keep_late(mut self, keep: bool) -> Self {
        self.keeps_late = keep;
        self
    }

    /// Lets `redactor` look at all that is allowed, before it is cut to the limits and written.
    #[must_use]
    pub fn redact(mut self, redactor: impl Redactor + 'static) -> Self {
        self.redacting = Some(Rc::new(Redacting::new(redactor)));
        self
    }

    pub(super) fn allows_overwrite(&self) -> bool {
        self.overwrites
    }

    pub(super) fn keeps_late(&self) -> bool {
        self.keeps_late
    }

    /// Is nothing left out or changed?
    pub(super) fn allow_all(&self) -> bool {
        let may_add = self.events && self.links;
        self.keys.is_none() && self.redacting.is_none() && self.names && self.statuses && may_add
    }

    /// What may be written of `update`; the rest is counted. `None`: it comes from the redactor, while that
    /// looks at another.
    pub(super) fn admit<'a>(
        &self,
        update: &'a SpanUpdate,
        limits: &SpanLimits,
        dropped: &mut Dropped,
    ) -> Option<Cow<'a, SpanUpdate>> {
        if self.allow_all() {
            return Some(Cow::Borrowed(update));
        }
        let turn = match &self.redacting {
            Some(redacting) => Some(redacting.begin()?),
            None => None,
        };
        let admission = Admission {
            rules: self,
            limits,
            turn,
        };
        Some(Cow::Owned(admission.admit(update, dropped)))
    }

    fn allows_key(&self, key: &str) -> bool {
        let Some(patterns) = &self.keys else {
            return true;
        };
        patterns.iter().any(|pattern| match pattern {
            Pattern::Key(allowed) => **allowed == *key,
            Pattern::Prefix(prefix) => key.starts_with(&**prefix),
        })
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None if text.ends_with('.') => Self::Prefix(text.into()),
            None => Self::Key(text.into()),
        }
    }
}

/// One update, on its way through the rules.
struct Admission<'a> {
    rules: &'a EnrichRules,
    limits: &'a SpanLimits,
    turn: Option<Turn<'a>>,
}

impl Admission<'_> {
    fn admit(&self, update: &SpanUpdate, dropped: &mut Dropped) -> SpanUpdate {
        let rules = self.rules;
        let mut admitted = SpanUpdate::new();
        if let Some(name) = update.name.as_deref().filter(|name| !name.is_empty())
            && allowed(rules.names, 1, dropped)
        {
            admitted.name = self.text(Text::Name, name, dropped);
        }
        let attributes = update.attributes.iter();
        admitted.attributes = attributes
            .filter_map(|attribute| self.attribute(None, attribute, dropped))
            .collect();
        if allowed(rules.events, update.events.len(), dropped) {
            let events = update.events.iter();
            admitted.events = events
                .filter_map(|event| self.event(event, dropped))
                .collect();
        }
        if allowed(rules.links, update.links.len(), dropped) {
            admitted.links.clone_from(&update.links);
        }
        match &update.status {
            None | Some(SpanStatus::Unset) => {}
            Some(_) if !allowed(rules.statuses, 1, dropped) => {}
            Some(SpanStatus::Ok) => admitted.status = Some(SpanStatus::Ok),
            // That it failed is worth more than why.
            Some(SpanStatus::Error(message)) => {
                let message = self.text(Text::StatusMessage, message, dropped);
                admitted.status = Some(SpanStatus::Error(message.unwrap_or_default()));
            }
        }
        admitted
    }

    fn event(&self, event: &SpanEvent, dropped: &mut Dropped) -> Option<SpanEvent> {
        let name = self.text(Text::EventName, &event.name, dropped)?;
        let attributes = event.attributes.iter();
        let attributes = attributes
            .filter_map(|attribute| self.attribute(Some(&event.name), attribute, dropped))
            .collect();
        Some(SpanEvent {
            name,
            time: event.time,
            attributes,
        })
    }

    fn attribute(
        &self,
        event: Option<&str>,
        attribute: &Attribute,
        dropped: &mut Dropped,
    ) -> Option<Attribute> {
        let Attribute { key, value } = attribute;
        if !self.limits.is_key(key) || self.limits.is_reserved(key) {
            // Refused, and counted, where it would be written.
            return Some(attribute.clone());
        }
        if !allowed(self.rules.allows_key(key), 1, dropped) {
            return None;
        }
        let value = match &self.turn {
            Some(turn) => turn.value(event, key, value, &mut dropped.redacted)?,
            None => value.clone(),
        };
        let key = key.clone();
        Some(Attribute { key, value })
    }

    fn text(&self, what: Text, text: &str, dropped: &mut Dropped) -> Option<Box<str>> {
        match &self.turn {
            Some(turn) if !text.is_empty() => turn.text(what, text, &mut dropped.redacted),
            _ => Some(text.into()),
        }
    }
}

/// Counts as many as are not.
fn allowed(allowed: bool, many: usize, dropped: &mut Dropped) -> bool {
    if !allowed {
        (0..many).for_each(|_| count(&mut dropped.not_allowed));
    }
    allowed
}

impl fmt::Debug for EnrichRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrichRules")
            .field("keys", &self.keys)
            .field("names", &self.names)
            .field("statuses", &self.statuses)
            .field("events", &self.events)
            .field("links", &self.links)
            .field("overwrites", &self.overwrites)
            .field("keeps_late", &self.keeps_late)
            .field("redacts", &self.redacting.is_some())
            .finish()
    }
}
