//! One invocation: its open spans, as they were last told, and what is to be told.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use super::limits::TailLimits;
use super::queue::{Happened, Queue};
use crate::trace::{
    Attribute, Onset, SpanClose, SpanEvent, SpanId, SpanOpen, SpanRecord, SpanStatus, TailDetail,
    Timestamp, TraceId, Value,
};

/// How many closed spans are remembered for the sake of children that are opened later.
const MAX_CLOSED: usize = 1024;

pub(super) struct Invocation {
    pub(super) trace_id: TraceId,
    root: SpanId,
    open: HashMap<SpanId, Known>,
    closed: VecDeque<SpanId>,
    /// Its own span has closed: when and how.
    end: Option<(Timestamp, SpanClose)>,
    pub(super) queue: Queue,
    /// The outcome is in the queue, or beyond.
    pub(super) is_over: bool,
    /// Whoever sends, where that waits for more.
    pub(super) sender: Option<Waker>,
}

/// What has been told of an open span. Attributes keep their place, and events and links are only ever added.
#[derive(Default)]
struct Known {
    attributes: Vec<(Value, bool)>,
    events: usize,
    links: usize,
    status: SpanStatus,
}

impl Invocation {
    /// Begins with its own span.
    pub(super) fn begin(root: &SpanRecord, queue: Queue) -> Self {
        let mut invocation = Self {
            trace_id: root.trace_id(),
            root: root.span_id(),
            open: HashMap::new(),
            closed: VecDeque::new(),
            end: None,
            queue,
            is_over: false,
            sender: None,
        };
        invocation.queue.push_always(Happened {
            time: root.start(),
            span_id: root.span_id(),
            by_callee: false,
            detail: TailDetail::Onset(Onset {
                context: root.context().clone(),
                service: root.service().into(),
                channel: root.channel(),
                span: opened(root),
            }),
        });
        invocation.know(root);
        invocation
    }

    /// A span below its own is opened. Returns how much is lost, as do the others.
    pub(super) fn open(&mut self, span: &SpanRecord, limits: &TailLimits) -> usize {
        self.know(span);
        self.tell(
            span,
            span.start(),
            TailDetail::SpanOpen(opened(span)),
            limits,
        )
    }

    fn know(&mut self, span: &SpanRecord) {
        let attributes = span.attributes().iter();
        let known = Known {
            attributes: attributes
                .map(|attribute| (attribute.value.clone(), is_by_callee(span, attribute)))
                .collect(),
            links: span.links().len(),
            ..Known::default()
        };
        self.open.insert(span.span_id(), known);
    }

    /// A span has another name.
    pub(super) fn rename(
        &mut self,
        span: &SpanRecord,
        now: Timestamp,
        limits: &TailLimits,
    ) -> usize {
        let happened = Happened {
            time: now,
            span_id: span.span_id(),
            by_callee: span.is_named_by_callee(),
            detail: TailDetail::Rename(span.name().into()),
        };
        usize::from(!self.queue.push(happened, limits))
    }

    /// Something else about a span has changed.
    pub(super) fn update(
        &mut self,
        span: &SpanRecord,
        now: Timestamp,
        limits: &TailLimits,
    ) -> usize {
        let span_id = span.span_id();
        let Some(known) = self.open.get_mut(&span_id) else {
            return 0;
        };
        let mut lost = 0;
        let mut push = |time, by_callee, detail| {
            let happened = Happened {
                time,
                span_id,
                by_callee,
                detail,
            };
            lost += usize::from(!self.queue.push(happened, limits));
        };
        for (by_callee, list) in [false, true].into_iter().zip(known.new_attributes(span)) {
            if !list.is_empty() {
                push(now, by_callee, TailDetail::Attributes(list));
            }
        }
        for event in &span.events()[known.events.min(span.events().len())..] {
            let mut told = SpanEvent::new(event.name()).at(event.time());
            told.attributes = event.attributes().iter().cloned().collect();
            push(
                event.time(),
                event.is_by_callee(),
                TailDetail::SpanEvent(told),
            );
        }
        known.events = span.events().len();
        for link in &span.links()[known.links.min(span.links().len())..] {
            push(now, false, TailDetail::Link(link.context().clone()));
        }
        known.links = span.links().len();
        if known.status != *span.status() {
            known.status = span.status().clone();
            let status = TailDetail::Status(span.status().clone());
            push(now, span.is_status_by_callee(), status);
        }
        lost
    }

    /// A span is closed, its own or one below. Afterwards it may be over.
    pub(super) fn close(&mut self, span: &SpanRecord, limits: &TailLimits) -> usize {
        let end = span.end().unwrap_or_default();
        // How it went is said with the end.
        let mut lost = self.update(span, end, limits);
        self.open.remove(&span.span_id());
        if span.span_id() == self.root {
            self.end = Some((end, closed(span)));
        } else {
            lost += self.tell(span, end, TailDetail::SpanClose(closed(span)), limits);
        }
        lost
    }

    /// Remembers that a span was of this invocation. Returns one that is forgotten.
    pub(super) fn remember(&mut self, span: SpanId) -> Option<SpanId> {
        self.closed.push_back(span);
        match self.closed.len() > MAX_CLOSED {
            true => self.closed.pop_front(),
            false => None,
        }
    }

    /// Has its own span closed?
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Is any span of it open?
    pub(super) fn has_open_spans(&self) -> bool {
        !self.open.is_empty()
    }

    /// It is over, the spans that are still open notwithstanding: says so. Returns all spans that are
    /// remembered, of which nothing is told any more.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = SpanId> + use<> {
        let open = std::mem::take(&mut self.open);
        if let Some((time, span)) = self.end.take() {
            self.queue.push_always(Happened {
                time,
                span_id: self.root,
                by_callee: false,
                detail: TailDetail::Outcome {
                    span,
                    open_spans: u32::try_from(open.len()).unwrap_or(u32::MAX),
                },
            });
        }
        self.is_over = true;
        let closed = std::mem::take(&mut self.closed);
        open.into_keys().chain(closed)
    }

    fn tell(
        &mut self,
        span: &SpanRecord,
        time: Timestamp,
        detail: TailDetail,
        limits: &TailLimits,
    ) -> usize {
        let happened = Happened {
            time,
            span_id: span.span_id(),
            by_callee: false,
            detail,
        };
        usize::from(!self.queue.push(happened, limits))
    }
}

impl Known {
    /// Attributes that are new, or have another value or author: the owner's, and the callee's.
    fn new_attributes(&mut self, span: &SpanRecord) -> [Vec<Attribute>; 2] {
        let mut new = [Vec::new(), Vec::new()];
        for (index, attribute) in span.attributes().iter().enumerate() {
            let value = &attribute.value;
            let by_callee = is_by_callee(span, attribute);
            match self.attributes.get_mut(index) {
                Some(known) if is_same(&known.0, value) && known.1 == by_callee => continue,
                Some(known) => *known = (value.clone(), by_callee),
                None => self.attributes.push((value.clone(), by_callee)),
            }
            new[usize::from(by_callee)].push(attribute.clone());
        }
        new
    }
}

fn is_by_callee(span: &SpanRecord, attribute: &Attribute) -> bool {
    span.set_by_callee().contains(&attribute.key)
}

/// Not a number is the same as itself here.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::FloatList(a), Value::FloatList(b)) => {
            let bits = |list: &[f64]| list.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            bits(a) == bits(b)
        }
        _ => a == b,
    }
}

fn opened(span: &SpanRecord) -> SpanOpen {
    SpanOpen {
        parent_span_id: span.parent_span_id(),
        kind: span.kind(),
        name: span.name().into(),
        attributes: span.attributes().iter().cloned().collect(),
        links: span
            .links()
            .iter()
            .map(|link| link.context().clone())
            .collect(),
    }
}

fn closed(span: &SpanRecord) -> SpanClose {
    let dropped = span.dropped().iter().filter(|(_, count)| *count > 0);
    SpanClose {
        outcome: span.outcome(),
        dropped: dropped.map(|(what, count)| (what.into(), count)).collect(),
    }
}
