//! What a collector is to be told of a span: read from its record, by what `docs/export.md` says.

use std::collections::BTreeMap;

use capspan::trace::{
    Attributes, Channel, LateUpdate, LinkRecord, Outcome, SpanContext, SpanEvent, SpanKind,
    SpanParent, SpanRecord, SpanRole, SpanStatus, SpanUpdate, TraceState, Value,
};

/// Attributes: each key, and its value. To be compared as `Debug` shows them: a NaN is the same as itself there.
pub type Said = BTreeMap<String, Value>;

/// A span in OTLP's terms.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Exported {
    pub service: String,
    pub trace_id: String,
    pub span_id: String,
    /// Empty without a parent.
    pub parent: String,
    pub has_remote_parent: bool,
    pub flags: u8,
    pub trace_state: String,
    pub name: String,
    pub kind: &'static str,
    pub start: u64,
    pub end: u64,
    pub status: &'static str,
    pub message: String,
    pub attributes: Said,
    pub events: Vec<ExportedEvent>,
    pub links: Vec<ExportedLink>,
    /// Attributes, events, links.
    pub dropped: [u32; 3],
}

/// An event in OTLP's terms.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ExportedEvent {
    pub name: String,
    pub time: u64,
    pub attributes: Said,
}

/// A link in OTLP's terms.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ExportedLink {
    pub trace_id: String,
    pub span_id: String,
    pub trace_state: String,
    pub flags: u8,
    pub attributes: Said,
}

/// As it is to be compared.
pub fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:#?}")
}

fn said(attributes: &Attributes) -> Said {
    let attributes = attributes.iter();
    attributes
        .map(|attribute| (attribute.key.to_string(), attribute.value.clone()))
        .collect()
}

impl From<&SpanRecord> for Exported {
    fn from(span: &SpanRecord) -> Self {
        let mut attributes = said(span.attributes());
        let mut say = |key: &str, value: Value| attributes.insert(key.to_owned(), value);
        if let Some(outcome) = span.outcome() {
            say("capspan.outcome", outcome.as_str().into());
        }
        if span.channel() == Channel::Internal {
            say("capspan.channel", "internal".into());
        }
        if let Some(name) = span.original_name() {
            say("capspan.original_name", name.into());
        }
        if let Some(bytes) = span.full_name_bytes() {
            say("capspan.full_name_bytes", bytes.into());
        }
        if span.is_named_by_callee() {
            say("capspan.named_by_callee", true.into());
        }
        if span.is_status_by_callee() {
            say("capspan.status_by_callee", true.into());
        }
        if !span.set_by_callee().is_empty() {
            say(
                "capspan.set_by_callee",
                Value::TextList(span.set_by_callee().to_vec()),
            );
        }
        let dropped = span.dropped();
        for (key, count) in [
            ("event_attributes", dropped.event_attributes),
            ("cut_names", dropped.cut_names),
            ("cut_values", dropped.cut_values),
            ("invalid_keys", dropped.invalid_keys),
            ("reserved_keys", dropped.reserved_keys),
            ("protected_keys", dropped.protected_keys),
            ("not_allowed", dropped.not_allowed),
            ("redacted", dropped.redacted),
            ("unsent", dropped.unsent),
            ("late_updates", dropped.late_updates),
            ("refused", dropped.refused),
        ] {
            if count > 0 {
                say(&format!("capspan.dropped.{key}"), count.into());
            }
        }
        // What the owner has said itself stays.
        let mut say_new = |key: &str, value: &str| {
            attributes
                .entry(key.to_owned())
                .or_insert_with(|| value.into());
        };
        if span.role() == SpanRole::Call {
            say_new("rpc.system.name", "capnproto");
            say_new("rpc.method", span.original_name().unwrap_or(span.name()));
        }
        let is_error = matches!(span.status(), SpanStatus::Error(_));
        match span.outcome() {
            None | Some(Outcome::Ok) if is_error => say_new("error.type", "_OTHER"),
            None | Some(Outcome::Ok) => {}
            Some(Outcome::Canceled) if !is_error => {}
            Some(outcome) => say_new("error.type", outcome.as_str()),
        }
        let context = span.context();
        Self {
            service: span.service().to_owned(),
            trace_id: span.trace_id().to_string(),
            span_id: span.span_id().to_string(),
            parent: span
                .parent_span_id()
                .map_or(String::new(), |id| id.to_string()),
            has_remote_parent: span.has_remote_parent(),
            flags: flags(context),
            trace_state: context.trace_state().to_string(),
            name: span.name().to_owned(),
            kind: span.kind().as_str(),
            start: span.start().unix_nanos(),
            end: span.end().expect("it has ended").unix_nanos(),
            status: match span.status() {
                SpanStatus::Unset => "UNSET",
                SpanStatus::Ok => "OK",
                SpanStatus::Error(_) => "ERROR",
            },
            message: match span.status() {
                SpanStatus::Error(message) => message.to_string(),
                _ => String::new(),
            },
            attributes,
            events: span.events().iter().map(event).collect(),
            links: span.links().iter().map(link).collect(),
            dropped: [dropped.attributes, dropped.events, dropped.links],
        }
    }
}

/// The attributes of the log record of a late update that are neither lists nor counts.
pub fn said_late(late: &LateUpdate) -> Said {
    let mut attributes = said(late.attributes());
    if let Some(name) = late.name() {
        attributes.insert("capspan.name".to_owned(), name.into());
    }
    if let SpanStatus::Error(message) = late.status() {
        attributes.insert("capspan.status".to_owned(), "error".into());
        attributes.insert("capspan.status_message".to_owned(), (&**message).into());
    }
    attributes
}

fn flags(context: &SpanContext) -> u8 {
    context.flags().unwrap_or_default().to_u8()
}

fn by_callee(mut attributes: Said, is: bool) -> Said {
    if is {
        attributes.insert("capspan.by_callee".to_owned(), true.into());
    }
    attributes
}

fn event(event: &capspan::trace::EventRecord) -> ExportedEvent {
    ExportedEvent {
        name: event.name().to_owned(),
        time: event.time().unix_nanos(),
        attributes: by_callee(said(event.attributes()), event.is_by_callee()),
    }
}

fn link(link: &LinkRecord) -> ExportedLink {
    ExportedLink {
        trace_id: link.trace_id().to_string(),
        span_id: link.span_id().to_string(),
        trace_state: link.context().trace_state().to_string(),
        flags: flags(link.context()),
        attributes: by_callee(Said::new(), link.is_by_callee()),
    }
}

/// Random numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The first of those of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// Any number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.any() % count as u64) as usize
    }

    /// One time in `count`.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = ["", "a", "GET", "größer", "a, b", "x=1", "(y)", "🦀 crab"];
        let text = TEXTS[self.below(TEXTS.len())];
        text.repeat(1 + self.below(3))
    }

    fn name(&mut self) -> String {
        format!("name {} {}", self.below(10), self.text())
    }

    fn key(&mut self) -> String {
        const KEYS: [&str; 6] = [
            "rows",
            "user.plan",
            "http.route",
            "x",
            "error.type",
            "größe",
        ];
        format!(
            "{}{}",
            KEYS[self.below(KEYS.len())],
            ["", ".a", ".b"][self.below(3)]
        )
    }

    fn value(&mut self) -> Value {
        let count = self.below(4);
        match self.below(8) {
            0 => self.text().into(),
            1 => self.one_in(2).into(),
            2 => self.any().cast_signed().into(),
            3 => Value::Float([0.5, -1.25, f64::NAN, f64::INFINITY, 1e300][self.below(5)]),
            4 => (0..count).map(|_| self.text()).collect::<Vec<_>>().into(),
            5 => (0..count)
                .map(|_| self.one_in(2))
                .collect::<Vec<_>>()
                .into(),
            6 => (0..count)
                .map(|_| self.any().cast_signed())
                .collect::<Vec<_>>()
                .into(),
            _ => (0..count)
                .map(|number| number as f64 / 4.0)
                .collect::<Vec<_>>()
                .into(),
        }
    }

    fn event(&mut self) -> SpanEvent {
        let mut event = SpanEvent::new(self.name());
        for _ in 0..self.below(3) {
            event = event.attribute(self.key(), self.value());
        }
        event
    }

    fn link(&mut self, parent: &SpanParent) -> SpanContext {
        let states: [TraceState; 3] = ["", "rojo=1", "rojo=00f067aa0ba902b7,fw529a3039@dt=x y"]
            .map(|state| state.parse().unwrap_or_default());
        let span = parent.start("linked", SpanKind::Internal);
        let context = span.context().expect("it is observed");
        context.with_trace_state(states[self.below(states.len())].clone())
    }

    fn update(&mut self, parent: &SpanParent) -> SpanUpdate {
        let mut update = SpanUpdate::new();
        for _ in 0..self.below(4) {
            update = match self.below(5) {
                0 => update.name(self.name()),
                1 => update.event(self.event()),
                2 => update.link(self.link(parent)),
                3 if self.one_in(4) => update.status(SpanStatus::error(self.text())),
                3 if self.one_in(4) => update.status(SpanStatus::Ok),
                _ => update.attribute(self.key(), self.value()),
            };
        }
        update
    }

    /// A span below `parent` that has ended, with what its owner and a callee wrote; those below it, which may
    /// end after it; and what the callee wrote afterwards.
    pub fn span(&mut self, parent: &SpanParent, depth: usize) {
        let kind = [SpanKind::Client, SpanKind::Server, SpanKind::Internal][self.below(3)];
        let span = parent.start(self.name(), kind);
        let callee = span.downgrade();
        for _ in 0..self.below(4) {
            span.apply(&self.update(parent));
            callee.enrich(&self.update(parent));
        }
        if depth > 0 {
            for _ in 0..self.below(3) {
                self.span(&span.parent(), depth - 1);
            }
        }
        if self.one_in(2) {
            span.set_outcome(Outcome::ALL[self.below(Outcome::ALL.len())]);
        }
        span.end();
        if self.one_in(3) {
            callee.enrich(&self.update(parent));
        }
    }
}
