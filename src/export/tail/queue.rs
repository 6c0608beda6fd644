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

    /// Counts `added` in place of `freed`, which was counted before, so that nothing runs below zero.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Attribute, SpanClose};

    fn happened(detail: TailDetail) -> Option<Happened> {
        Some(Happened {
            time: Timestamp::default(),
            span_id: SpanId::from_u64(1)?,
            by_callee: false,
            detail,
        })
    }

    fn set(key: &str, length: usize) -> Happened {
        let attribute = Attribute::new(key, "x".repeat(length));
        happened(TailDetail::Attributes(vec![attribute])).unwrap()
    }

    fn close() -> Happened {
        happened(TailDetail::SpanClose(SpanClose::default())).unwrap()
    }

    fn numbers(batch: &[TailEvent]) -> Vec<u64> {
        batch.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn what_is_lost_leaves_its_number_out() {
        let mut queue = Queue::new(&Rc::default());
        let limits = TailLimits::default().max_events(2);
        assert!(queue.push(close(), &limits) && queue.push(close(), &limits));
        assert!(!queue.push(close(), &limits));
        queue.push_always(close());
        assert_eq!(numbers(&queue.take()), [0, 1, 3]);
        assert!(queue.push(close(), &limits));
        assert_eq!(numbers(&queue.take()), [4]);
        assert!(queue.take().is_empty());
    }

    #[test]
    fn attributes_go_together_until_they_are_sent_or_something_between_is_lost() {
        let mut queue = Queue::new(&Rc::default());
        let limits = TailLimits::default().max_events(1);
        for key in ["a", "b", "a"] {
            assert!(queue.push(set(key, 1), &limits));
        }
        assert!(!queue.push(close(), &limits));
        assert!(!queue.push(set("c", 1), &limits));
        let batch = queue.take();
        let TailDetail::Attributes(list) = &batch[0].detail else {
            panic!("{batch:?}");
        };
        assert_eq!((numbers(&batch), list.len()), (vec![0], 2));
        assert!(queue.push(set("a", 1), &limits));
        assert_eq!(numbers(&queue.take()), [3]);
    }

    #[test]
    fn bytes_are_counted_until_they_are_taken_or_dropped() {
        let total = Rc::new(Cell::new(0));
        let limits = TailLimits::default().max_total_bytes(10_000);
        let mut one = Queue::new(&total);
        let mut other = Queue::new(&total);
        assert!(one.push(set("a", 4000), &limits) && other.push(set("a", 4000), &limits));
        assert!(!one.push(set("b", 4000), &limits), "of all");
        assert!(one.push(set("a", 10), &limits), "there is room for that");
        assert_eq!(one.take().len(), 2);
        assert!(one.push(set("b", 4000), &limits));
        drop(one);
        assert_eq!(total.get(), other.bytes);
        drop(other);
        assert_eq!(total.get(), 0);
    }

    #[test]
    fn as_many_are_taken_as_go_into_one_message_and_at_least_one() {
        let mut queue = Queue::new(&Rc::default());
        for _ in 0..BATCH_EVENTS + 1 {
            queue.push_always(close());
        }
        let lens = [queue.take().len(), queue.take().len()];
        assert_eq!(lens, [BATCH_EVENTS, 1]);
        for _ in 0..3 {
            queue.push_always(set("a", BATCH_BYTES));
        }
        assert_eq!(queue.take().len(), 1);
    }
}
