//! A span as it is to be: plain lists, all sums counted anew each time.

use capspan::trace::{
    Attribute, Attributes, Dropped, SpanContext, SpanEvent, SpanLimits, SpanRecord, SpanStatus,
    SpanUpdate, Value,
};

use super::rules::{Admitted, Rules};

/// Such as small inputs break.
const NAME: usize = 5;
const ATTRIBUTES: usize = 5;
const EVENTS: usize = 5;
const EVENT_ATTRIBUTES: usize = 2;
const LINKS: usize = 3;
pub(super) const KEY: usize = 9;
const VALUE: usize = 9;
const TOTAL: usize = 500;

/// The limits of the model, for a tracer.
pub(super) fn limits() -> SpanLimits {
    SpanLimits::default()
        .max_name_bytes(NAME)
        .max_attributes(ATTRIBUTES)
        .max_events(EVENTS)
        .max_event_attributes(EVENT_ATTRIBUTES)
        .max_links(LINKS)
        .max_key_bytes(KEY)
        .max_value_bytes(VALUE)
        .max_total_bytes(TOTAL)
}

/// One span, and who wrote what on it: `true` is the callee.
#[derive(Clone, Default)]
pub(super) struct Model {
    name: String,
    first_name: Option<String>,
    named_by_callee: bool,
    attributes: Vec<(String, Value, bool)>,
    events: Vec<Event>,
    links: Vec<(SpanContext, bool)>,
    status: (SpanStatus, bool),
    pub(super) dropped: Dropped,
}

#[derive(Clone)]
struct Event {
    name: String,
    time: u64,
    attributes: Vec<(String, Value)>,
    by_callee: bool,
}

impl Model {
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    pub(super) fn by_owner(&mut self, update: &SpanUpdate, now: u64) {
        self.write(update, false, true, now);
    }

    /// What the callee writes, through the rules. Gives how often the redactor tried to write itself.
    pub(super) fn by_callee(
        &mut self,
        update: &SpanUpdate,
        rules: &Rules,
        may_overwrite: bool,
        now: u64,
    ) -> u32 {
        let mut admitted = Admitted::default();
        rules.admit(update, &mut admitted);
        self.dropped.not_allowed += admitted.not_allowed;
        self.dropped.redacted += admitted.redacted;
        self.write(&admitted.update, true, may_overwrite, now);
        admitted.tried
    }

    fn write(&mut self, update: &SpanUpdate, by_callee: bool, may_overwrite: bool, now: u64) {
        if let Some(name) = update.name.as_deref().filter(|name| !name.is_empty()) {
            let cut = cut(name, NAME);
            self.dropped.cut_names += u32::from(cut != name);
            if cut != self.name {
                let before = std::mem::replace(&mut self.name, cut.into());
                self.first_name.get_or_insert(before);
                self.named_by_callee = by_callee;
            }
        }
        for attribute in &update.attributes {
            self.attribute(attribute, by_callee, may_overwrite);
        }
        for event in &update.events {
            self.event(event, by_callee, now);
        }
        for link in &update.links {
            let callees = self.links.iter().filter(|link| link.1).count();
            let mut with = self.clone();
            with.links.push((link.clone(), by_callee));
            if self.links.len() == LINKS || by_callee && callees == LINKS / 2 || !with.fits() {
                self.dropped.links += 1;
            } else {
                *self = with;
            }
        }
        if let Some(status) = &update.status {
            self.status(status, by_callee);
        }
    }

    fn attribute(&mut self, attribute: &Attribute, by_callee: bool, may_overwrite: bool) {
        let Attribute { key, value } = attribute;
        if !self.is_key(key, by_callee) {
            return;
        }
        let place = self.attributes.iter().position(|known| *known.0 == **key);
        let is_callees = place.is_some_and(|place| self.attributes[place].2);
        if by_callee && place.is_some() && !is_callees && !may_overwrite {
            self.dropped.protected_keys += 1;
            return;
        }
        let callees = self.attributes.iter().filter(|known| known.2).count();
        let is_full = place.is_none() && self.attributes.len() == ATTRIBUTES;
        if is_full || by_callee && !is_callees && callees == ATTRIBUTES / 2 {
            self.dropped.attributes += 1;
            return;
        }
        let entry = (key.to_string(), self.fitting(value), by_callee);
        let mut with = self.clone();
        match place {
            Some(place) => with.attributes[place] = entry,
            None => with.attributes.push(entry),
        }
        if with.fits() {
            *self = with;
        } else {
            self.dropped.attributes += 1;
        }
    }

    fn event(&mut self, event: &SpanEvent, by_callee: bool, now: u64) {
        let name = cut(&event.name, NAME);
        let callees = self.events.iter().filter(|event| event.by_callee).count();
        let is_full = self.events.len() == EVENTS || by_callee && callees == EVENTS / 2;
        let mut with = self.clone();
        with.events.push(Event {
            name: name.into(),
            time: event.time.map_or(now, |time| time.unix_nanos()),
            attributes: Vec::new(),
            by_callee,
        });
        if name.is_empty() || is_full || !with.fits() {
            self.dropped.events += 1;
            return;
        }
        *self = with;
        self.dropped.cut_names += u32::from(name.len() < event.name.len());
        let last = self.events.len() - 1;
        for Attribute { key, value } in &event.attributes {
            if !self.is_key(key, by_callee) {
                continue;
            }
            let value = self.fitting(value);
            let mut with = self.clone();
            let attributes = &mut with.events[last].attributes;
            match attributes.iter().position(|known| *known.0 == **key) {
                Some(place) => attributes[place].1 = value,
                None => attributes.push((key.to_string(), value)),
            }
            if attributes.len() <= EVENT_ATTRIBUTES && with.fits() {
                *self = with;
            } else {
                self.dropped.event_attributes += 1;
            }
        }
    }

    fn status(&mut self, status: &SpanStatus, by_callee: bool) {
        let (known, is_callees) = &self.status;
        let is_own = *known == SpanStatus::Unset || *is_callees == by_callee;
        if *status == SpanStatus::Unset || status == known && (is_own || by_callee) {
            return;
        }
        let may_replace = match is_own {
            true => *known != SpanStatus::Ok,
            false => !by_callee,
        };
        if !may_replace {
            self.dropped.refused += 1;
            return;
        }
        let SpanStatus::Error(message) = status else {
            self.status = (status.clone(), by_callee);
            return;
        };
        let mut with = self.clone();
        with.status = (SpanStatus::error(cut(message, VALUE)), by_callee);
        if !with.fits() {
            with.status = (SpanStatus::error(""), by_callee);
        }
        *self = with;
        let kept = matches!(&self.status.0, SpanStatus::Error(kept) if kept == message);
        self.dropped.cut_values += u32::from(!kept);
    }

    fn is_key(&mut self, key: &str, by_callee: bool) -> bool {
        let is_reserved = ["capspan.", "service.", "telemetry."]
            .iter()
            .any(|prefix| key.starts_with(prefix));
        let is_key = (1..=KEY).contains(&key.len());
        self.dropped.invalid_keys += u32::from(!is_key);
        self.dropped.reserved_keys += u32::from(is_key && by_callee && is_reserved);
        is_key && !(by_callee && is_reserved)
    }

    fn fitting(&mut self, value: &Value) -> Value {
        let fitting = match value.clone() {
            Value::Text(text) => Value::from(cut(&text, VALUE)),
            Value::TextList(mut list) => {
                let size =
                    |list: &[Box<str>]| list.iter().map(|text| text.len().max(1)).sum::<usize>();
                while size(&list) > VALUE {
                    list.pop();
                }
                Value::TextList(list)
            }
            Value::BoolList(mut list) => {
                list.truncate(VALUE);
                Value::BoolList(list)
            }
            Value::IntList(mut list) => {
                list.truncate(VALUE / 8);
                Value::IntList(list)
            }
            Value::FloatList(mut list) => {
                list.truncate(VALUE / 8);
                Value::FloatList(list)
            }
            one => one,
        };
        self.dropped.cut_values += u32::from(fitting.size() < value.size());
        fitting
    }

    fn fits(&self) -> bool {
        self.bytes(|_| true) <= TOTAL && self.bytes(|by_callee| by_callee) <= TOTAL / 2
    }

    fn bytes(&self, whose: impl Fn(bool) -> bool) -> usize {
        let attributes = self.attributes.iter().filter(|known| whose(known.2));
        let attributes = attributes.map(|known| footprint(&known.0, &known.1));
        let events = self.events.iter().filter(|event| whose(event.by_callee));
        let events = events.map(|event| {
            let attributes = event.attributes.iter();
            let attributes = attributes.map(|known| footprint(&known.0, &known.1));
            32 + event.name.len() + attributes.sum::<usize>()
        });
        let links = self.links.iter().filter(|link| whose(link.1));
        let links = links.map(|link| 32 + link.0.trace_state().as_str().len());
        let status = match &self.status {
            (SpanStatus::Error(message), by_callee) if whose(*by_callee) => message.len(),
            _ => 0,
        };
        attributes.chain(events).chain(links).sum::<usize>() + status
    }

    /// Is `span` as it is to be, but for what was counted?
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub(super) fn compare(&self, span: &SpanRecord) {
        assert_eq!(span.name(), self.name);
        assert_eq!(span.original_name(), self.first_name.as_deref());
        assert_eq!(span.is_named_by_callee(), self.named_by_callee);
        let callees = self.attributes.iter().filter(|known| known.2);
        assert_eq!(span.set_by_callee().len(), callees.clone().count());
        let marked = span.set_by_callee();
        for (key, ..) in callees {
            assert!(marked.iter().any(|marked| **marked == **key), "{key}");
        }
        let attributes = self.attributes.iter().map(|known| (&*known.0, &known.1));
        same(span.attributes(), attributes);
        assert_eq!(span.events().len(), self.events.len());
        for (is, wanted) in span.events().iter().zip(&self.events) {
            let seen = (is.name(), is.time().unix_nanos(), is.is_by_callee());
            assert_eq!(seen, (&*wanted.name, wanted.time, wanted.by_callee));
            let attributes = wanted.attributes.iter().map(|known| (&*known.0, &known.1));
            same(is.attributes(), attributes);
        }
        let links = span.links().iter();
        let links: Vec<_> = links
            .map(|link| (link.context().clone(), link.is_by_callee()))
            .collect();
        assert_eq!(links, self.links);
        let by_callee = self.status.1 && self.status.0 != SpanStatus::Unset;
        let status = (span.status().clone(), span.is_status_by_callee());
        assert_eq!(status, (self.status.0.clone(), by_callee));
    }

    /// The same of what came late.
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub(super) fn compare_late(&self, late: &capspan::trace::LateUpdate) {
        let name = (!self.name.is_empty()).then_some(&*self.name);
        assert_eq!(late.name(), name);
        let attributes = self.attributes.iter().map(|known| (&*known.0, &known.1));
        same(late.attributes(), attributes);
        let events: Vec<_> = late.events().iter().map(|event| event.name()).collect();
        let wanted: Vec<_> = self.events.iter().map(|event| &*event.name).collect();
        assert_eq!(events, wanted);
        assert_eq!(late.links().len(), self.links.len());
        assert_eq!(*late.status(), self.status.0);
        assert_eq!(*late.dropped(), self.dropped);
    }
}

/// As text, for NaN equals nothing.
fn same<'a>(is: &Attributes, wanted: impl Iterator<Item = (&'a str, &'a Value)>) {
    let is = is
        .iter()
        .map(|attribute| (&*attribute.key, &attribute.value));
    assert_eq!(
        format!("{:?}", is.collect::<Vec<_>>()),
        format!("{:?}", wanted.collect::<Vec<_>>())
    );
}

/// As the documentation of `SpanLimits` has it.
fn footprint(key: &str, value: &Value) -> usize {
    let texts = match value {
        Value::TextList(list) => list.len() * 16,
        _ => 0,
    };
    32 + key.len() + value.size() + texts
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
