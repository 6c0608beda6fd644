//! Calls by method: how many there were, how they ended, how long they took.

use std::collections::HashMap;
use std::rc::Rc;

use hdrhistogram::Histogram;

use crate::page::view::{MethodRow, TEXT_BYTES, cut};
use crate::trace::{Outcome, SpanKind, SpanRecord};

/// How many methods are told apart. Peers may call what does not exist: so those of which no call has ever gone well make
/// room for others.
const MAX_METHODS: usize = 256;

/// What the calls of all further ones are called together.
const OTHERS: &str = "other methods";

/// The longest latency that is told apart from longer ones, in microseconds: an hour.
const MAX_MICROS: u64 = 3_600_000_000;

/// Two digits: latencies are right to a hundredth.
const DIGITS: u8 = 2;

pub(super) struct Methods {
    /// By the first name of their calls. Peers choose ids, and so names: no fast hash.
    by_name: HashMap<Rc<str>, Sides>,
    count: usize,
    others: Sides,
    others_count: u64,
}

/// The calls of a method that are made here, and those that are answered.
struct Sides {
    name: Rc<str>,
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

impl Default for Methods {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            count: 0,
            others: Sides::new(OTHERS),
            others_count: 0,
        }
    }
}

impl Methods {
    /// A call has begun. Gives its method's name.
    pub(super) fn begun(&mut self, span: &SpanRecord) -> Rc<str> {
        let (text, kind) = (cut(span.name(), TEXT_BYTES), span.kind());
        let is_known = |sides: &Sides| sides.has(kind);
        if self.count >= MAX_METHODS && !self.by_name.get(text).is_some_and(is_known) {
            self.make_room();
        }
        let has_room = self.count < MAX_METHODS;
        if has_room && !self.by_name.contains_key(text) {
            let sides = Sides::new(text);
            self.by_name.insert(sides.name.clone(), sides);
        }
        let sides = self.by_name.get_mut(text);
        let name = sides.as_ref().map(|sides| sides.name.clone());
        match sides.map(|sides| sides.of(kind)) {
            Some(Some(calls)) => calls.begun += 1,
            Some(place @ None) if has_room => {
                self.count += 1;
                place.insert(Box::default()).begun += 1;
            }
            Some(None) | None => {
                self.others_count += 1;
                self.others.of(kind).get_or_insert_default().begun += 1;
            }
        }
        name.unwrap_or_else(|| text.into())
    }

    /// Counts the calls of a method with the others', if none of its calls is under way or has gone well.
    fn make_room(&mut self) {
        let useless = self.by_name.values().find(|sides| sides.is_useless());
        let name = useless.map(|sides| sides.name.clone());
        let Some(sides) = name.and_then(|name| self.by_name.remove(&name)) else {
            return;
        };
        for (calls, others) in [
            (sides.made, &mut self.others.made),
            (sides.answered, &mut self.others.answered),
        ] {
            if let Some(calls) = calls {
                self.count -= 1;
                self.others_count += calls.begun;
                others.get_or_insert_default().add(&calls);
            }
        }
    }

    /// One has ended.
    pub(super) fn ended(&mut self, span: &SpanRecord) {
        let name = span.original_name().unwrap_or(span.name());
        let name = cut(name, TEXT_BYTES);
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
        let all = self.by_name.values().chain([&self.others]);
        all.flat_map(Sides::rows).collect()
    }
}

impl Calls {
    fn is_useless(&self) -> bool {
        // More may have ended than begun here: those that were counted with the others when they began.
        self.ok == 0 && self.begun <= self.failed + self.canceled
    }

    fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.ok += other.ok;
        self.failed += other.failed;
        self.canceled += other.canceled;
        match (&mut self.latency, &other.latency) {
            (Some(all), Some(more)) => {
                // Both have the same bounds: it can't fail.
                let _same_bounds = all.add(more);
            }
            (none @ None, Some(more)) => *none = Some(more.clone()),
            (_, None) => {}
        }
    }
}

impl Sides {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            made: None,
            answered: None,
        }
    }

    fn of(&mut self, kind: SpanKind) -> &mut Option<Box<Calls>> {
        match kind {
            SpanKind::Server => &mut self.answered,
            SpanKind::Client | SpanKind::Internal => &mut self.made,
        }
    }

    fn has(&self, kind: SpanKind) -> bool {
        match kind {
            SpanKind::Server => self.answered.is_some(),
            SpanKind::Client | SpanKind::Internal => self.made.is_some(),
        }
    }

    fn is_useless(&self) -> bool {
        let mut calls = self.made.iter().chain(&self.answered);
        calls.all(|calls| calls.is_useless())
    }

    fn rows(&self) -> impl Iterator<Item = MethodRow> {
        let sides = [
            (SpanKind::Server, &self.answered),
            (SpanKind::Client, &self.made),
        ];
        sides.into_iter().filter_map(move |(side, calls)| {
            let calls = calls.as_ref()?;
            Some(MethodRow {
                name: self.name.to_string(),
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
