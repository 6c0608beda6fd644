//! Which span is whose, and whether it is what it must be.

use std::collections::HashMap;

use capspan::trace::{SpanKind, SpanRecord, SpanStatus, Value};

use super::ops::Route;
use super::orders::Parent;
use super::reference::{Event, Exists, Model, Side};
use super::seen::SeenSpan;
use super::spans::{REASON, Refused, Said, Text, WHY};

/// Whose a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// That of a vat in which its events are started.
    Request(u8),
    /// The caller's of an event, by the event's place.
    Caller(usize),
    /// The callee's.
    Callee(usize),
}

/// The places of spans in the order in which they were opened.
#[derive(Default)]
pub(super) struct Tree {
    places: HashMap<Whose, usize>,
    known: Vec<Option<Whose>>,
    /// Events that were over when they were looked at: all that can come of them is to be told of it again.
    over: Vec<bool>,
}

type Checked = Result<(), String>;

/// Is it the same, and if not, what of it is not?
fn same<T: PartialEq + std::fmt::Debug>(what: &str, must: T, is: T) -> Checked {
    match must == is {
        true => Ok(()),
        false => Err(format!("{what} must be {must:?}, and is {is:?}")),
    }
}

impl Tree {
    /// Holds all spans against the model.
    pub(super) fn check(&mut self, model: &Model, spans: &[SeenSpan]) -> Checked {
        let unknown = self.find(model, spans)?;
        let may_be_unknown = model.events.iter().filter(|event| {
            let exists = event.callee.exists == Exists::Maybe && event.callee.is_observed;
            exists && !event.caller.is_observed
        });
        if unknown > may_be_unknown.count() {
            return Err(format!("{unknown} spans are nobody's"));
        }
        self.over.resize(model.events.len(), false);
        for span in spans {
            let is_once = span.opened == 1 && span.closed < 2 && span.astray == 0;
            if !is_once {
                let (opened, closed, astray) = (span.opened, span.closed, span.astray);
                return Err(format!(
                    "opened {opened} times, closed {closed}, {astray} changes when it was not open: {:?}",
                    span.record
                ));
            }
        }
        for (at, event) in model.events.iter().enumerate() {
            if self.over[at] {
                continue;
            }
            let route = &model.layout.routes[event.route];
            let say = |side, what| format!("the {side}'s span of e{}: {what}", event.number);
            self.check_caller(spans, at, event, route)
                .map_err(|what| say("caller", what))?;
            self.check_callee(spans, at, event, route)
                .map_err(|what| say("callee", what))?;
            self.over[at] = event.callee.end.is_some()
                && (event.caller.end.is_some() || !event.caller.is_observed);
        }
        Ok(())
    }

    /// Finds out whose spans are. Gives how many are nobody's.
    fn find(&mut self, model: &Model, spans: &[SeenSpan]) -> Result<usize, String> {
        self.known.resize(spans.len(), None);
        for (at, span) in spans.iter().enumerate() {
            if self.known[at].is_some() {
                continue;
            }
            let Some(whose) = self.whose(model, spans, &span.record) else {
                continue;
            };
            self.known[at] = Some(whose);
            if self.places.insert(whose, at).is_some() {
                return Err(format!("{whose:?} has two spans"));
            }
        }
        let unknown = self.known.iter().filter(|whose| whose.is_none());
        Ok(unknown.count())
    }

    fn whose(&self, model: &Model, spans: &[SeenSpan], span: &SpanRecord) -> Option<Whose> {
        let name = first_name(span);
        let event = |number: &str| model.event_of_number(number.parse().ok()?);
        match span.kind() {
            SpanKind::Internal => Some(Whose::Request(span.service().parse().ok()?)),
            SpanKind::Client => event(name.strip_prefix('e')?).map(Whose::Caller),
            SpanKind::Server => {
                let attributes = span.attributes();
                let told = match attributes.get("event").or(attributes.get("faas.cron")) {
                    Some(told) => event(&shown(told)),
                    None => name.strip_prefix('c').and_then(event),
                };
                let link = span.links().first().map(|link| link.context().span_id());
                let caller = || {
                    let caller = span.parent_span_id().or(link)?;
                    let place = spans
                        .iter()
                        .position(|its| its.record.span_id() == caller)?;
                    match self.known[place]? {
                        Whose::Caller(event) => Some(event),
                        _ => None,
                    }
                };
                told.or_else(caller).map(Whose::Callee)
            }
        }
    }

    fn span<'a>(&self, spans: &'a [SeenSpan], whose: Whose) -> Option<&'a SeenSpan> {
        self.places.get(&whose).map(|at| &spans[*at])
    }

    fn check_caller(&self, spans: &[SeenSpan], at: usize, event: &Event, route: &Route) -> Checked {
        let span = self.span(spans, Whose::Caller(at));
        if !event.caller.is_observed {
            return same("its being there", false, span.is_some());
        }
        let span = span.ok_or("it must be there")?;
        let parent = match event.parent {
            Parent::Nobody => return Err("it has no parent in the model".into()),
            Parent::Request => Whose::Request(route.from),
            Parent::Event(event) => Whose::Callee(event),
        };
        let parent = self.span(spans, parent).ok_or("its parent must be there")?;
        same(
            "its parent",
            Some(parent.record.span_id()),
            span.record.parent_span_id(),
        )?;
        same(
            "its trace",
            parent.record.trace_id(),
            span.record.trace_id(),
        )?;
        same("a parent elsewhere", false, span.record.has_remote_parent())?;
        same("its kind", SpanKind::Client, span.record.kind())?;
        same(
            "its service",
            &*route.from.to_string(),
            span.record.service(),
        )?;
        check_side(&event.caller, span)
    }

    fn check_callee(&self, spans: &[SeenSpan], at: usize, event: &Event, route: &Route) -> Checked {
        let span = self.span(spans, Whose::Callee(at));
        let must = event.callee.is_observed && event.callee.exists != Exists::NotYet;
        let Some(span) = span else {
            return match must && event.callee.exists == Exists::Yes {
                true => Err("it must be there".into()),
                false => Ok(()),
            };
        };
        same("its being there", must, true)?;
        let record = &span.record;
        let caller = self.span(spans, Whose::Caller(at));
        let caller = caller.map(|caller| &caller.record);
        let parent = caller.filter(|_| route.joins_trace);
        let link = caller.filter(|_| !route.joins_trace);
        same(
            "its parent",
            parent.map(|it| it.span_id()),
            record.parent_span_id(),
        )?;
        same(
            "a parent elsewhere",
            parent.is_some(),
            record.has_remote_parent(),
        )?;
        if let Some(parent) = parent {
            same("its trace", parent.trace_id(), record.trace_id())?;
        }
        let links: Vec<_> = record
            .links()
            .iter()
            .map(|it| it.context().span_id())
            .collect();
        let must: Vec<_> = link.iter().map(|it| it.span_id()).collect();
        same("its links", must, links)?;
        same("its kind", SpanKind::Server, record.kind())?;
        same("its service", &*route.to.to_string(), record.service())?;
        check_side(&event.callee, span)
    }
}

fn first_name(span: &SpanRecord) -> &str {
    span.original_name().unwrap_or(span.name())
}

fn check_side(side: &Side, span: &SeenSpan) -> Checked {
    let record = &span.record;
    same(
        "how often it closed",
        u32::from(side.end.is_some()),
        span.closed,
    )?;
    let (start, end) = (record.start().unix_nanos(), record.end());
    let within = |what, (first, last): (u64, u64), is| match (first..=last).contains(&is) {
        true => Ok(()),
        false => Err(format!("{what} must be in {first}..={last}, and is {is}")),
    };
    within("its start", side.started, start)?;
    let mut ended = None;
    if let Some(ends) = &side.end {
        let outcome = record.outcome().ok_or("it must have an outcome")?;
        if !ends.contains(&outcome) {
            return Err(format!(
                "it must have ended with {ends:?}, not {outcome:?}, {:?}",
                record.status()
            ));
        }
        within("its end", side.ended, end.unwrap_or_default().unix_nanos())?;
        ended = Some(outcome);
    }
    if side.exists == Exists::Maybe {
        // How far it came is not known.
        return Ok(());
    }
    let says = says(record);
    let texts: Vec<Text> = side
        .texts
        .iter()
        .map(|text| {
            let mut text = text.clone();
            if let Some(outcome) = ended {
                text.close(outcome);
            }
            text
        })
        .collect();
    match texts.contains(&says) {
        true => Ok(()),
        false => Err(format!("it must say {texts:?}, and says {says:?}")),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

/// What a span says.
fn says(span: &SpanRecord) -> Text {
    let by_callee = span.set_by_callee();
    let attributes = span.attributes().iter().map(|attribute| {
        let is_callees = by_callee.contains(&attribute.key);
        let value = match &*attribute.key {
            REASON => WHY.to_owned(),
            _ => shown(&attribute.value),
        };
        (attribute.key.to_string(), value, is_callees)
    });
    let events = span.events().iter();
    let status = match span.status() {
        SpanStatus::Unset => Said::Nothing,
        SpanStatus::Ok => Said::Ok,
        SpanStatus::Error(_) => Said::Error,
    };
    let dropped = span.dropped();
    Text {
        name: span.name().to_owned(),
        original_name: span.original_name().map(str::to_owned),
        named_by_callee: span.is_named_by_callee(),
        attributes: attributes.collect(),
        events: events
            .map(|event| (event.name().to_owned(), event.is_by_callee()))
            .collect(),
        status: (status, span.is_status_by_callee()),
        refused: Refused {
            attributes: dropped.attributes,
            events: dropped.events,
            cut_names: dropped.cut_names,
            invalid_keys: dropped.invalid_keys,
            reserved_keys: dropped.reserved_keys,
            protected_keys: dropped.protected_keys,
            refused: dropped.refused,
        },
    }
}
