//! How much is alive, counted by each thread for itself and added up when somebody asks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::instruments::{OWNER, SIDE};
use crate::trace::SpanKind;

/// Which side of an event, or of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Client, Self::Server];

    /// Of a span. One that is neither calls nobody from elsewhere: it is the beginning of an event.
    pub(super) fn of(kind: SpanKind) -> Self {
        match kind {
            SpanKind::Server => Self::Server,
            SpanKind::Client | SpanKind::Internal => Self::Client,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What one writer has seen to be alive. Only its own thread writes, so that nobody waits for anybody.
#[derive(Debug, Default)]
pub(super) struct Alive {
    pub(super) calls: BySide,
    pub(super) events: BySide,
    pub(super) our_capabilities: BySide,
    pub(super) their_capabilities: BySide,
}

/// A count for each side. Threads see it a little later, which is soon enough.
#[derive(Debug, Default)]
pub(super) struct BySide([AtomicI64; 2]);

impl BySide {
    pub(super) fn add(&self, side: Side, more: i64) {
        self.0[side as usize].fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, side: Side, count: i64) {
        self.0[side as usize].store(count, Ordering::Relaxed);
    }

    fn get(&self, side: Side) -> i64 {
        self.0[side as usize].load(Ordering::Relaxed)
    }
}

/// Those who count. Who is gone counts nothing any more.
#[derive(Debug, Default)]
pub(super) struct Threads {
    writers: Mutex<Vec<Weak<Alive>>>,
}

impl Threads {
    /// One more.
    pub(super) fn enter(&self) -> Arc<Alive> {
        let alive = Arc::<Alive>::default();
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|writer| writer.strong_count() > 0);
        writers.push(Arc::downgrade(&alive));
        alive
    }

    fn sum(&self, of: impl Fn(&Alive) -> i64) -> i64 {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = writers.iter().filter_map(Weak::upgrade);
        alive.map(|alive| of(&alive)).sum()
    }

    /// Makes the instruments that show it.
    pub(super) fn observe(self: &Arc<Self>, meter: &Meter) {
        let by_side = |name, unit, description, of: fn(&Alive) -> &BySide| {
            let (threads, attributes) = (self.clone(), Side::ALL.map(|side| (side, of_side(side))));
            let _for_the_meter = meter
                .i64_observable_up_down_counter(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |instrument| {
                    for (side, attributes) in &attributes {
                        let count = threads.sum(|alive| of(alive).get(*side));
                        instrument.observe(count, std::slice::from_ref(attributes));
                    }
                })
                .build();
        };
        by_side(
            "capspan.event.active",
            "{event}",
            "Sessions, and events of other kinds, that are under way.",
            |alive| &alive.events,
        );
        by_side(
            "capspan.call.active",
            "{call}",
            "Calls in flight.",
            |alive| &alive.calls,
        );
        let (threads, attributes) = (self.clone(), Side::ALL.map(|side| (side, of_owners(side))));
        let _for_the_meter = meter
            .i64_observable_up_down_counter("capspan.capability.active")
            .with_unit("{capability}")
            .with_description(
                "Capabilities that have crossed between the sides of an event, and are held.",
            )
            .with_callback(move |instrument| {
                for (side, [ours, theirs]) in &attributes {
                    let count = threads.sum(|alive| alive.our_capabilities.get(*side));
                    instrument.observe(count, ours);
                    let count = threads.sum(|alive| alive.their_capabilities.get(*side));
                    instrument.observe(count, theirs);
                }
            })
            .build();
    }
}

fn of_side(side: Side) -> KeyValue {
    KeyValue::new(SIDE, side.as_str())
}

fn of_owners(side: Side) -> [[KeyValue; 2]; 2] {
    ["this_side", "other_side"].map(|owner| [KeyValue::new(OWNER, owner), of_side(side)])
}
