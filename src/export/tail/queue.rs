//! What waits to be sent, of one invocation.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::limits::TailLimits;
use crate::trace::{SpanId, TailDetail, TailEvent, Timestamp, attributes_size};

/// How much is taken at once.
const BATCH_EVENTS: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;

/// A bounded queue, which numbers what goes in.
pub(super) struct Queue {
    events: VecDeque<TailEvent>,
    bytes: usize,
    /// Of all queues.
    total_bytes: Rc<Cell<usize>>,
    next: u64,
}

/// What happened, not numbered yet.
pub(super) struct Happened {
    pub(super) time: Timestamp,
    pub(super) span_id: SpanId,
    pub(super) by_callee: bool,
    pub(super) detail: TailDetail,
}

impl Queue {
    pub(super) fn new(total_bytes: &Rc<Cell<usize>>) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            total_bytes: total_bytes.clone(),
            next: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The next one to be sent.
    pub(super) fn first(&self) -> Option<&TailEvent> {
        self.events.front()
    }

    /// Adds one; false where there is no room, and it is lost.
    pub(super) fn push(&mut self, happened: Happened, limits: &TailLimits) -> bool {
        let Some(happened) = self.merge(happened, limits) else {
            return true;
        };
        let event = self.number(happened);
        let fits = self.events.len() < limits.events && self.has_room(event.size(), limits);
        if fits {
            self.add(event);
        }
        fits
    }

    /// Adds one that is never lost.
    pub(super) fn push_always(&mut self, happened: Happened) {
        let event = self.number(happened);
        self.add(event);
    }

    /// Those that go next, in one message.
    pub(super) fn take(&mut self) -> Vec<TailEvent> {
        let mut bytes = 0;
        let fitting = self.events.iter().take(BATCH_EVENTS).take_while(|event| {
            bytes += event.size();
            bytes <= BATCH_BYTES
        });
        // At least one, if there is any.
        let len = fitting.count().max(1).min(self.events.len());
        let batch: Vec<_> = self.events.drain(..len).collect();
        self.count(batch.iter().map(TailEvent::size).sum(), 0);
        batch
    }

    /// Attributes go with what was last said of the same span, if that has not been sent: with its opening,
    /// or with attributes of the same author.
    fn merge(&mut self, happened: Happened, limits: &TailLimits) -> Option<Happened> {
        let TailDetail::Attributes(more) = happened.detail else {
            return Some(happened);
        };
        let again = |more| Happened {
            detail: TailDetail::Attributes(more),
            ..happened
        };
        // What they would take alone is more than what they add.
        let has_room = self.has_room(attributes_size(&more), limits);
        let last = self.events.back_mut().filter(|last| {
            has_room
                // None between the two was lost.
                && last.sequence.checked_add(1) == Some(self.next)
                && last.span_id == happened.span_id
                && last.by_callee == happened.by_callee
        });
        let Some(last) = last else {
            return Some(again(more));
        };
        let before = last.size();
        let list = match &mut last.detail {
            TailDetail::Onset(onset) => &mut onset.span.attributes,
            TailDetail::SpanOpen(span) => &mut span.attributes,
            TailDetail::Attributes(list) => list,
            _ => return Some(again(more)),
        };
        for attribute in more {
            match list.iter_mut().find(|known| known.key == attribute.key) {
                Some(known) => known.value = attribute.value,
                None => list.push(attribute),
            }
        }
        let after = last.size();
        self.count(before, after);
        None
    }

    fn number(&mut self, happened: Happened) -> TailEvent {
        let sequence = self.next;
        self.next = self.next.saturating_add(1);
        TailEvent {
            sequence,
            time: happened.time,
            span_id: happened.span_id,
            by_callee: happened.by_callee,
            detail: happened.detail,
        }
    }

    fn has_room(&self, size: usize, limits: &TailLimits) -> bool {
        self.bytes.saturating_add(size) <= limits.bytes
            && self.total_bytes.get().saturating_add(size) <= limits.total_bytes
    }

    fn add(&mut self, event: TailEvent) {
        self.count(0, event.size());
        self.events.push_back(event);
    }

    /// Counts `added` in place of `freed`, which was counted before.
    fn count(&mut self, freed: usize, added: usize) {
        self.bytes = self.bytes - freed + added;
        self.total_bytes.set(self.total_bytes.get() - freed + added);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.count(self.bytes, 0);
    }
}
