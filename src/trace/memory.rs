//! An observer that remembers all, for tests.

use std::cell::RefCell;
use std::rc::Rc;

use super::ids::SpanId;
use super::late::LateUpdate;
use super::observer::Observer;
use super::open_spans::OpenSpans;
use super::record::SpanRecord;

/// What an observer was told, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// The span was opened.
    Opened(SpanId),
    /// The span got another name.
    Renamed {
        /// The span.
        span: SpanId,
        /// The name before.
        previous: Box<str>,
        /// The name now.
        name: Box<str>,
    },
    /// Something else changed.
    Updated(SpanId),
    /// The span ended.
    Closed(SpanId),
    /// The callee wrote on it after that.
    Late(SpanId),
}

/// Remembers every span that it is told of, without end: for tests. A clone is a handle to the
/// same memory.
///
/// ```
/// # use capspan::trace::{MemoryObserver, SpanKind, Tracer};
/// let spans = MemoryObserver::new();
/// let tracer = Tracer::new(spans.clone());
/// let span = tracer.root().start("work", SpanKind::Internal);
/// assert_eq!(spans.open().len(), 1);
/// drop(span);
/// assert!(spans.open().is_empty());
/// assert!(spans.named("work").unwrap().end().is_some());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryObserver {
    /// Borrowed only in the methods below, in which no foreign code runs.
    memory: Rc<RefCell<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    open: OpenSpans,
    closed: Vec<SpanRecord>,
    late: Vec<LateUpdate>,
    log: Vec<Noticed>,
}

impl MemoryObserver {
    /// An observer that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The spans that have been closed, in the order of their ends.
    pub fn closed(&self) -> Vec<SpanRecord> {
        self.memory.borrow().closed.clone()
    }

    /// The spans that are open, as they are now, in the order of their beginnings.
    pub fn open(&self) -> Vec<SpanRecord> {
        self.memory
            .borrow()
            .open
            .in_order()
            .into_iter()
            .cloned()
            .collect()
    }

    /// The first span of this name, among the closed ones, then among the open ones.
    pub fn named(&self, name: &str) -> Option<SpanRecord> {
        let memory = self.memory.borrow();
        memory
            .closed
            .iter()
            .chain(memory.open.in_order())
            .find(|span| span.name() == name)
            .cloned()
    }

    /// How often a span of this id was opened: once, if all is well.
    pub fn opened_count(&self, span: SpanId) -> usize {
        self.count(&Noticed::Opened(span))
    }

    /// How often a span of this id was closed: once at most, if all is well.
    pub fn closed_count(&self, span: SpanId) -> usize {
        self.count(&Noticed::Closed(span))
    }

    /// What callees wrote after the end of a span, in order.
    pub fn late(&self) -> Vec<LateUpdate> {
        self.memory.borrow().late.clone()
    }

    /// All that it was told, in order.
    pub fn log(&self) -> Vec<Noticed> {
        self.memory.borrow().log.clone()
    }

    /// Forgets all but the spans that are open.
    pub fn clear(&self) {
        let mut memory = self.memory.borrow_mut();
        memory.closed.clear();
        memory.late.clear();
        memory.log.clear();
    }

    fn count(&self, notice: &Noticed) -> usize {
        self.memory
            .borrow()
            .log
            .iter()
            .filter(|known| *known == notice)
            .count()
    }
}

impl Observer for MemoryObserver {
    fn opened(&self, span: &SpanRecord) {
        let mut memory = self.memory.borrow_mut();
        memory.open.keep(span);
        memory.log.push(Noticed::Opened(span.span_id()));
    }

    fn renamed(&self, span: &SpanRecord, previous: &str) {
        let mut memory = self.memory.borrow_mut();
        memory.open.keep(span);
        memory.log.push(Noticed::Renamed {
            span: span.span_id(),
            previous: previous.into(),
            name: span.name().into(),
        });
    }

    fn updated(&self, span: &SpanRecord) {
        let mut memory = self.memory.borrow_mut();
        memory.open.keep(span);
        memory.log.push(Noticed::Updated(span.span_id()));
    }

    fn closed(&self, span: &SpanRecord) {
        let mut memory = self.memory.borrow_mut();
        memory.open.remove(span);
        memory.closed.push(span.clone());
        memory.log.push(Noticed::Closed(span.span_id()));
    }

    fn late(&self, update: &LateUpdate) {
        let mut memory = self.memory.borrow_mut();
        memory.late.push(update.clone());
        memory.log.push(Noticed::Late(update.span_id()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::SpanKind;
    use crate::trace::tracer::tests::observed;

    #[test]
    fn open_spans_are_shown_as_they_are_now_in_order() {
        let (tracer, spans, _) = observed();
        let opened: Vec<_> = ["a", "b", "c"]
            .map(|name| tracer.root().start(name, SpanKind::Internal))
            .into();
        opened[1].set_name("B");
        let open = spans.open();
        let names: Vec<_> = open.iter().map(SpanRecord::name).collect();
        assert_eq!(names, ["a", "B", "c"]);
    }

    #[test]
    fn the_log_tells_all_in_order() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("a", SpanKind::Internal);
        let id = span.context().unwrap().span_id();
        span.set_attribute("k", 1);
        drop(span);
        let wanted = [
            Noticed::Opened(id),
            Noticed::Updated(id),
            Noticed::Closed(id),
        ];
        assert_eq!(spans.log(), wanted);
        assert_eq!((spans.opened_count(id), spans.closed_count(id)), (1, 1));
    }

    #[test]
    fn what_is_forgotten_is_not_what_is_open() {
        let (tracer, spans, _) = observed();
        drop(tracer.root().start("a", SpanKind::Internal));
        let _open = tracer.root().start("b", SpanKind::Internal);
        spans.clear();
        assert!(spans.named("a").is_none() && spans.log().is_empty());
        assert!(spans.named("b").is_some());
    }
}
