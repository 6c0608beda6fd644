//! Which spans belong to which invocation.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::invocation::Invocation;
use super::limits::{TailCounts, TailLimits, count};
use super::queue::Queue;
use crate::trace::{SpanId, SpanKind, SpanRecord, TailDetail, TailEvent, Timestamp, TraceId};

/// All that are being told.
#[derive(Default)]
pub(super) struct Invocations {
    pub(super) limits: TailLimits,
    pub(super) counts: TailCounts,
    all: Slab<Invocation>,
    /// Whose a span is, for open ones and for some that have closed.
    owners: HashMap<(TraceId, SpanId), usize>,
    /// Whose span has closed, while spans below it are open; the oldest first.
    lingering: VecDeque<usize>,
    bytes: Rc<Cell<usize>>,
}

/// Whoever is to be woken, when nothing is borrowed any more.
pub(super) type Wakes = Vec<Waker>;

impl Invocations {
    /// A span was opened. If it begins an invocation, that is to be sent.
    pub(super) fn opened(&mut self, span: &SpanRecord) -> (Option<usize>, Wakes) {
        let mut wakes = Wakes::new();
        let is_from_outside = span.parent_span_id().is_none() || span.has_remote_parent();
        if is_from_outside && span.kind() == SpanKind::Server {
            return (self.begin(span, &mut wakes), wakes);
        }
        let parent = span.parent_span_id();
        let owner = parent.and_then(|parent| self.owners.get(&(span.trace_id(), parent)).copied());
        if let Some(owner) = owner
            && let Some(invocation) = self.all.get_mut(owner)
        {
            self.owners.insert(key(span), owner);
            let lost = invocation.open(span, &self.limits);
            self.told(owner, lost, &mut wakes);
        }
        (None, wakes)
    }

    fn begin(&mut self, span: &SpanRecord, wakes: &mut Wakes) -> Option<usize> {
        while self.is_half_full()
            && let Some(oldest) = self.lingering.pop_front()
        {
            self.finish(oldest, wakes);
        }
        if self.all.len() >= self.limits.invocations {
            count(&mut self.counts.lost_invocations, 1);
            return None;
        }
        let queue = Queue::new(&self.bytes);
        let index = self.all.insert(Invocation::begin(span, queue));
        self.owners.insert(key(span), index);
        count(&mut self.counts.invocations, 1);
        Some(index)
    }

    /// A span was renamed.
    pub(super) fn renamed(&mut self, span: &SpanRecord, now: Timestamp) -> Wakes {
        self.with(span, |invocation, limits| {
            invocation.rename(span, now, limits)
        })
    }

    /// A span was changed.
    pub(super) fn updated(&mut self, span: &SpanRecord, now: Timestamp) -> Wakes {
        self.with(span, |invocation, limits| {
            invocation.update(span, now, limits)
        })
    }

    /// A span was closed.
    pub(super) fn closed(&mut self, span: &SpanRecord) -> Wakes {
        let mut wakes = self.with(span, |invocation, limits| invocation.close(span, limits));
        let Some((owner, invocation)) = self.owner(span) else {
            return wakes;
        };
        let forgotten = invocation.remember(span.span_id());
        let (has_ended, has_open_spans) = (invocation.has_ended(), invocation.has_open_spans());
        if let Some(forgotten) = forgotten {
            self.owners.remove(&(span.trace_id(), forgotten));
        }
        if !has_ended {
            return wakes;
        }
        if has_open_spans && !self.is_half_full() {
            if !self.lingering.contains(&owner) {
                self.lingering.push_back(owner);
            }
            return wakes;
        }
        self.lingering.retain(|lingering| *lingering != owner);
        self.finish(owner, &mut wakes);
        wakes
    }

    /// What it is of; `None` where it is not to be sent: a tail is not told by a tail, without end.
    pub(super) fn service(&self, index: usize) -> Option<Box<str>> {
        let first = self.all.get(index)?.queue.first()?;
        let TailDetail::Onset(onset) = &first.detail else {
            return None;
        };
        let mut attributes = onset.span.attributes.iter();
        let is_tail = attributes.any(|attribute| {
            &*attribute.key == "capspan.event.kind" && attribute.value.as_text() == Some("tail")
        });
        (!is_tail).then(|| onset.service.clone())
    }

    /// What is to be sent next; nothing after the outcome.
    pub(super) fn poll(&mut self, index: usize, cx: &Context<'_>) -> Poll<Vec<TailEvent>> {
        let Some(invocation) = self.all.get_mut(index) else {
            return Poll::Ready(Vec::new());
        };
        if invocation.queue.len() > 0 || invocation.is_over {
            return Poll::Ready(invocation.queue.take());
        }
        invocation.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Nothing more is sent of it.
    pub(super) fn remove(&mut self, index: usize) -> Option<Invocation> {
        let mut invocation = self.all.try_remove(index)?;
        self.lingering.retain(|lingering| *lingering != index);
        for span in invocation.finish() {
            self.owners.remove(&(invocation.trace_id, span));
        }
        Some(invocation)
    }

    fn finish(&mut self, index: usize, wakes: &mut Wakes) {
        if let Some(invocation) = self.all.get_mut(index) {
            for span in invocation.finish() {
                self.owners.remove(&(invocation.trace_id, span));
            }
        }
        self.told(index, 0, wakes);
    }

    fn with(
        &mut self,
        span: &SpanRecord,
        tell: impl FnOnce(&mut Invocation, &TailLimits) -> usize,
    ) -> Wakes {
        let mut wakes = Wakes::new();
        let Some(owner) = self.owners.get(&key(span)).copied() else {
            return wakes;
        };
        if let Some(invocation) = self.all.get_mut(owner) {
            let lost = tell(invocation, &self.limits);
            self.told(owner, lost, &mut wakes);
        }
        wakes
    }

    fn told(&mut self, index: usize, lost: usize, wakes: &mut Wakes) {
        count(&mut self.counts.lost_events, lost);
        if let Some(invocation) = self.all.get_mut(index) {
            wakes.extend(invocation.sender.take());
        }
    }

    fn owner(&mut self, span: &SpanRecord) -> Option<(usize, &mut Invocation)> {
        let owner = *self.owners.get(&key(span))?;
        Some((owner, self.all.get_mut(owner)?))
    }

    fn is_half_full(&self) -> bool {
        self.all.len() > self.limits.invocations / 2
    }
}

fn key(span: &SpanRecord) -> (TraceId, SpanId) {
    (span.trace_id(), span.span_id())
}
