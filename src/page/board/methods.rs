//! Calls by method: how many there were, how they ended, how long they took.

use std::collections::HashMap;
use std::rc::Rc;

use hdrhistogram::Histogram;

use crate::page::view::MethodRow;
use crate::trace::{Outcome, SpanKind, SpanRecord};

/// How many methods are told apart. Peers may call what does not exist.
const MAX_METHODS: usize = 256;

/// What the calls of all further ones are called together.
const OTHERS: &str = "other methods";

/// The longest latency that is told apart from longer ones, in microseconds: an hour.
const MAX_MICROS: u64 = 3_600_000_000;

/// Two digits: latencies are right to a hundredth.
const DIGITS: u8 = 2;

#[derive(Default)]
pub(super) struct Methods {
    /// By the first name of their calls, for those that are made here and those that are answered. Peers
    /// choose ids, and so names: no fast hash.
    by_name: HashMap<Rc<str>, Sides>,
    count: usize,
    others: Sides,
    others_count: u64,
}

#[derive(Default)]
struct Sides {
    made: Option<Box<Calls>>,
    answered: Option<Box<Calls>>,
}

#[derive(Default)]
struct Calls {
    begun: u64,
    ok: u64,
    failed: u64,
    canceled: u64,
    latency: Option<Histogram<u32>>,
}

impl Methods {
    /// A call has begun. Gives its method's name.
    pub(super) fn begun(&mut self, span: &SpanRecord) -> Rc<str> {
        let name: Rc<str> = match self.by_name.get_key_value(span.name()) {
            Some((name, _)) => name.clone(),
            None => span.name().into(),
        };
        let is_full = self.count >= MAX_METHODS;
        let known = match self.by_name.get_mut(&name) {
            Some(sides) => Some(sides.of(span.kind())),
            None if is_full => None,
            None => Some(
                self.by_name
                    .entry(name.clone())
                    .or_default()
                    .of(span.kind()),
            ),
        };
        match known {
            Some(place @ None) if !is_full => {
                self.count += 1;
                place.insert(Box::default()).begun += 1;
            }
            Some(Some(calls)) => calls.begun += 1,
            Some(None) | None => {
                self.others_count += 1;
                let others = self.others.of(span.kind());
                others.get_or_insert_default().begun += 1;
            }
        }
        name
    }

    /// One has ended.
    pub(super) fn ended(&mut self, span: &SpanRecord) {
        let name = span.original_name().unwrap_or(span.name());
        let known = self
            .by_name
            .get_mut(name)
            .map(|sides| sides.of(span.kind()));
        let calls = match known {
            Some(Some(calls)) => calls,
            _ => match self.others.of(span.kind()) {
                Some(calls) => calls,
                None => return,
            },
        };
        match span.outcome() {
            Some(Outcome::Ok) => calls.ok += 1,
            Some(Outcome::Canceled) => {
                calls.canceled += 1;
                return;
            }
            _ => calls.failed += 1,
        }
        let took = span.end().map(|end| end.duration_since(span.start()));
        let micros = took.and_then(|took| u64::try_from(took.as_micros()).ok());
        if calls.latency.is_none() {
            // The bounds are those that the histogram asks for: it can't fail.
            calls.latency = Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok();
        }
        if let (Some(latency), Some(micros)) = (&mut calls.latency, micros) {
            latency.saturating_record(micros.max(1));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many calls were counted together.
    pub(super) fn others_count(&self) -> u64 {
        self.others_count
    }

    pub(super) fn rows(&self) -> Vec<MethodRow> {
        let named = self.by_name.iter().map(|(name, sides)| (&**name, sides));
        let all = named.chain([(OTHERS, &self.others)]);
        all.flat_map(|(name, sides)| sides.rows(name)).collect()
    }
}

impl Sides {
    fn of(&mut self, kind: SpanKind) -> &mut Option<Box<Calls>> {
        match kind {
            SpanKind::Server => &mut self.answered,
            SpanKind::Client | SpanKind::Internal => &mut self.made,
        }
    }

    fn rows(&self, name: &str) -> impl Iterator<Item = MethodRow> {
        let sides = [
            (SpanKind::Server, &self.answered),
            (SpanKind::Client, &self.made),
        ];
        sides.into_iter().filter_map(move |(side, calls)| {
            let calls = calls.as_ref()?;
            Some(MethodRow {
                name: name.into(),
                side,
                begun: calls.begun,
                ok: calls.ok,
                failed: calls.failed,
                canceled: calls.canceled,
                latency: calls.latency.clone(),
            })
        })
    }
}
