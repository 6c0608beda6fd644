//! The rules for callees as they are to be, and a redactor that does as the text says.

use std::cell::RefCell;
use std::rc::Rc;

use capspan::trace::{
    Attribute, EnrichRules, EnrichStatus, Redaction, Redactor, SpanEvent, SpanStatus, SpanUpdate,
    Text, Value, WeakSpan,
};

use super::model::limits;

/// What a callee may.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules {
    pub(super) some_keys: bool,
    pub(super) no_name: bool,
    pub(super) no_status: bool,
    pub(super) no_events: bool,
    pub(super) no_links: bool,
    pub(super) overwrite: bool,
    pub(super) keep_late: bool,
    pub(super) redact: bool,
}

/// What is left of an update.
#[derive(Default)]
pub(super) struct Admitted {
    pub(super) update: SpanUpdate,
    pub(super) not_allowed: u32,
    pub(super) redacted: u32,
    /// How often the redactor tried to enrich.
    pub(super) tried: u32,
}

impl Rules {
    /// One bit for each.
    pub(super) fn from_bits(bits: u8) -> Self {
        let bit = |index: u8| bits & (1 << index) != 0;
        Self {
            some_keys: bit(0),
            no_name: bit(1),
            no_status: bit(2),
            no_events: bit(3),
            no_links: bit(4),
            overwrite: bit(5),
            keep_late: bit(6),
            redact: bit(7),
        }
    }

    /// The same for a tracer. The redactor tries to enrich the span in `tries`.
    pub(super) fn to_enrich_rules(self, tries: &Rc<RefCell<WeakSpan>>) -> EnrichRules {
        let mut rules = EnrichRules::default()
            .allow_name(!self.no_name)
            .allow_status(!self.no_status)
            .allow_events(!self.no_events)
            .allow_links(!self.no_links)
            .allow_overwrite(self.overwrite)
            .keep_late(self.keep_late);
        if self.some_keys {
            rules = rules.allow_keys(["a", "b.", "R*", "capspan.*"]);
        }
        if self.redact {
            rules = rules.redact(Obeys(tries.clone()));
        }
        rules
    }

    pub(super) fn admit(&self, update: &SpanUpdate, admitted: &mut Admitted) {
        if let Some(name) = update.name.as_deref().filter(|name| !name.is_empty()) {
            if self.no_name {
                admitted.not_allowed += 1;
            } else {
                admitted.update.name = self.text(name, admitted).map(Into::into);
            }
        }
        for attribute in &update.attributes {
            if let Some(attribute) = self.attribute(attribute, admitted) {
                admitted.update.attributes.push(attribute);
            }
        }
        for event in &update.events {
            if self.no_events {
                admitted.not_allowed += 1;
            } else if let Some(name) = self.text(&event.name, admitted) {
                let mut left = SpanEvent::new(name);
                left.time = event.time;
                for attribute in &event.attributes {
                    left.attributes.extend(self.attribute(attribute, admitted));
                }
                admitted.update.events.push(left);
            }
        }
        if self.no_links {
            admitted.not_allowed += u32::try_from(update.links.len()).expect("a few");
        } else {
            admitted.update.links.clone_from(&update.links);
        }
        match &update.status {
            None | Some(SpanStatus::Unset) => {}
            Some(_) if self.no_status => admitted.not_allowed += 1,
            Some(SpanStatus::Ok) => admitted.update.status = Some(SpanStatus::Ok),
            Some(SpanStatus::Error(message)) => {
                let message = self.text(message, admitted).unwrap_or_default();
                admitted.update.status = Some(SpanStatus::error(message));
            }
        }
    }

    fn attribute(&self, attribute: &Attribute, admitted: &mut Admitted) -> Option<Attribute> {
        let Attribute { key, value } = attribute;
        // The span refuses it.
        if key.is_empty() || key.len() > super::model::KEY || limits().is_reserved(key) {
            return Some(attribute.clone());
        }
        let is_allowed = **key == *"a" || key.starts_with("b.") || key.starts_with('R');
        if self.some_keys && !is_allowed {
            admitted.not_allowed += 1;
            return None;
        }
        let Value::Text(text) = value else {
            return Some(attribute.clone());
        };
        let text = self.text(text, admitted)?;
        Some(Attribute::new(key.to_string(), text))
    }

    fn text(&self, text: &str, admitted: &mut Admitted) -> Option<String> {
        match text.chars().next() {
            Some('D') if self.redact => {
                admitted.redacted += 1;
                None
            }
            Some('R') if self.redact => {
                admitted.redacted += 1;
                Some("replaced".into())
            }
            Some('E') if self.redact => {
                admitted.tried += 1;
                Some(text.into())
            }
            _ => Some(text.into()),
        }
    }
}

/// Drops what begins with `D`, replaces what begins with `R`, and enriches where something begins with `E`.
struct Obeys(Rc<RefCell<WeakSpan>>);

impl Obeys {
    fn obey<T: From<String>>(&self, text: &str) -> Redaction<T> {
        match text.chars().next() {
            Some('D') => Redaction::Drop,
            Some('R') => Redaction::Replace(T::from("replaced".to_owned())),
            Some('E') => {
                let span = self.0.borrow().clone();
                let status = span.enrich(&SpanUpdate::new().name("mine"));
                assert_ne!(status, EnrichStatus::Applied);
                Redaction::Keep
            }
            _ => Redaction::Keep,
        }
    }
}

impl Redactor for Obeys {
    fn value(&self, _event: Option<&str>, _key: &str, value: &Value) -> Redaction<Value> {
        match value {
            Value::Text(text) => self.obey(text),
            _ => Redaction::Keep,
        }
    }

    fn text(&self, _what: Text, text: &str) -> Redaction<String> {
        self.obey(text)
    }
}
