//! What a tail tells, done again from the beginning, gives the very spans of which it tells.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use capspan::export::Tail;
use capspan::pipeline::{EventContext, Scheduled};
use capspan::trace::{
    Attribute, Attributes, MemoryObserver, Outcome, SpanBuilder, SpanClose, SpanContext, SpanEvent,
    SpanId, SpanKind, SpanLimits, SpanOpen, SpanRecord, SpanStatus, SpanUpdate, TailDetail,
    TailEvent, Tracer, Value,
};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Place, at};

use super::setting::{Does, producing, receiving};

/// How many invocations there are, and how much happens in each.
const RUNS: u64 = 100;
const STEPS: u32 = 60;

/// A span as the receiver knows it.
#[derive(Debug, Default, PartialEq)]
struct Span {
    parent: Option<SpanId>,
    kind: SpanKind,
    name: Box<str>,
    attributes: Attributes,
    /// Keys of attributes that are the callee's.
    by_callee: Vec<Box<str>>,
    events: Vec<(SpanEvent, bool)>,
    links: Vec<SpanContext>,
    status: SpanStatus,
    end: Option<SpanClose>,
}

impl Span {
    fn opened(from: SpanOpen) -> Self {
        let mut span = Self {
            parent: from.parent_span_id,
            kind: from.kind,
            name: from.name,
            links: from.links,
            ..Self::default()
        };
        span.set(from.attributes, false);
        span
    }

    fn set(&mut self, attributes: Vec<Attribute>, by_callee: bool) {
        for Attribute { key, value } in attributes {
            self.by_callee.retain(|known| *known != key);
            if by_callee {
                self.by_callee.push(key.clone());
            }
            self.attributes.insert(key, value);
        }
        self.by_callee.sort();
    }

    fn take(&mut self, detail: TailDetail, by_callee: bool) {
        assert!(self.end.is_none(), "after its end: {detail:?}");
        match detail {
            TailDetail::Attributes(list) => self.set(list, by_callee),
            TailDetail::Rename(name) => self.name = name,
            TailDetail::SpanEvent(event) => self.events.push((event, by_callee)),
            TailDetail::Link(link) => self.links.push(link),
            TailDetail::Status(status) => self.status = status,
            TailDetail::SpanClose(span) | TailDetail::Outcome { span, .. } => self.end = Some(span),
            other => panic!("opened twice: {other:?}"),
        }
    }

    /// The same of what the producer knows.
    fn of(record: &SpanRecord) -> Self {
        let mut by_callee = record.set_by_callee().to_vec();
        by_callee.sort();
        let events = record.events().iter().map(|event| {
            let mut told = SpanEvent::new(event.name()).at(event.time());
            told.attributes = event.attributes().iter().cloned().collect();
            (told, event.is_by_callee())
        });
        let dropped = record.dropped().iter().filter(|(_, count)| *count > 0);
        Self {
            parent: record.parent_span_id(),
            kind: record.kind(),
            name: record.name().into(),
            attributes: record.attributes().clone(),
            by_callee,
            events: events.collect(),
            links: record
                .links()
                .iter()
                .map(|link| link.context().clone())
                .collect(),
            status: record.status().clone(),
            end: Some(SpanClose {
                outcome: record.outcome(),
                dropped: dropped.map(|(what, count)| (what.into(), count)).collect(),
            }),
        }
    }
}

fn replay(events: &[TailEvent]) -> HashMap<SpanId, Span> {
    let mut spans = HashMap::new();
    for event in events.iter().cloned() {
        match event.detail {
            TailDetail::Onset(onset) => {
                assert_eq!(onset.context.span_id(), event.span_id);
                spans.insert(event.span_id, Span::opened(onset.span));
            }
            TailDetail::SpanOpen(span) => {
                spans.insert(event.span_id, Span::opened(span));
            }
            detail => {
                let span = spans.get_mut(&event.span_id).expect("it was opened");
                span.take(detail, event.by_callee);
            }
        }
    }
    spans
}

/// Numbers that follow from a seed.
struct Random(Cell<u64>);

impl Random {
    fn below(&self, end: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 11) % end
    }

    fn value(&self) -> Value {
        match self.below(4) {
            0 => Value::Int(self.below(3) as i64),
            1 => Value::Text("x".repeat(self.below(40) as usize).into()),
            2 => Value::Bool(self.below(2) == 0),
            _ => Value::IntList(vec![1; self.below(9) as usize]),
        }
    }

    fn update(&self) -> SpanUpdate {
        let mut update = SpanUpdate::new();
        for _ in 0..self.below(3) {
            update = update.attribute(format!("k{}", self.below(6)), self.value());
        }
        match self.below(4) {
            0 => update.name(format!("name {}", self.below(3))),
            1 => update.event(SpanEvent::new("happened").attribute("k", self.value())),
            2 => update.status(SpanStatus::error(format!("{}", self.below(3)))),
            _ => update,
        }
    }
}

async fn does_anything(event: EventContext, random: Random) -> capnp::Result<()> {
    let mut spans: Vec<SpanBuilder> = Vec::new();
    for _ in 0..STEPS {
        let chosen = random.below(spans.len() as u64 + 1) as usize;
        let Some(span) = spans.get(chosen) else {
            match random.below(2) {
                0 => event.update(&random.update()),
                _ => spans.push(event.parent().start("child", SpanKind::Client)),
            }
            continue;
        };
        match random.below(8) {
            0 => spans.push(span.parent().start("child", SpanKind::Internal)),
            1 => drop(spans.swap_remove(chosen)),
            2 => drop(span.set_attribute(format!("k{}", random.below(6)), random.value())),
            3 => drop(
                span.add_link(
                    event
                        .parent()
                        .start("linked", SpanKind::Internal)
                        .context()
                        .unwrap(),
                ),
            ),
            4 => drop(span.set_outcome(Outcome::ALL[random.below(7) as usize])),
            5 => drop(span.apply(&random.update())),
            6 => until_idle().await,
            _ => drop(span.downgrade().enrich(&random.update())),
        }
    }
    Ok(())
}

#[test]
fn what_is_told_done_again_gives_the_same_spans() {
    at([Place::InProcess, Place::Connection], async |place| {
        let (receiver, log, _gate) = receiving(place, Does::Reads);
        let tail = Tail::new(receiver.pipeline.clone(), &receiver.tasks);
        let spans = MemoryObserver::new();
        let limits = SpanLimits::default().max_attributes(5).max_events(4);
        let limits = limits.max_links(2).max_value_bytes(30);
        let tracer = Tracer::new((spans.clone(), tail.clone())).with_limits(limits);
        let seed = Rc::new(Cell::new(0));
        let producer = producing(tracer, move |event| {
            seed.set(seed.get() + 1);
            does_anything(event, Random(Cell::new(seed.get())))
        });
        for run in 0..RUNS {
            spans.clear();
            let event = producer.pipeline.event("run");
            event.scheduled(&Scheduled::new()).await.unwrap();
            producer.settle().await;
            let closed = spans.closed();
            assert!(spans.open().is_empty());
            log.with(run as usize, |seen| {
                assert!(seen.is_whole() && seen.end == Some(Ok(())), "run {run}");
                assert!(matches!(
                    seen.last(),
                    TailDetail::Outcome { open_spans: 0, .. }
                ));
                let told = replay(&seen.events);
                assert_eq!(told.len(), closed.len(), "run {run}");
                for record in &closed {
                    assert_eq!(told[&record.span_id()], Span::of(record), "run {run}");
                }
            });
        }
        assert_eq!(tail.counts().lost_events, 0);
        producer.finish().await;
        drop(tail);
        receiver.finish().await;
    });
}
