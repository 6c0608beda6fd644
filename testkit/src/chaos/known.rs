//! An observer that notes whether the connection was known to be over when a span was closed.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use capspan::guard::Ending;
use capspan::trace::{MemoryObserver, Observer, SpanRecord};

/// Tells all to an observer that remembers it, and notes of each span that closes whether its side knew
/// already that the connection is over.
#[derive(Clone)]
pub(super) struct Known {
    spans: MemoryObserver,
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    ending: OnceCell<Ending>,
    closed: RefCell<Vec<(SpanRecord, bool)>>,
}

impl Known {
    pub(super) fn of(spans: &MemoryObserver) -> Self {
        Self {
            spans: spans.clone(),
            inner: Rc::default(),
        }
    }

    /// The end of the side's connection. To be set once.
    pub(super) fn set_ending(&self, ending: &Ending) {
        let _only_once = self.inner.ending.set(ending.clone());
    }

    /// Is the connection known to be over?
    pub(super) fn is_over(&self) -> bool {
        let ending = self.inner.ending.get();
        ending.is_some_and(|ending| ending.reason().is_some())
    }

    /// What has been closed, and whether the connection was known to be over then.
    pub(super) fn closed(&self) -> Vec<(SpanRecord, bool)> {
        self.inner.closed.borrow().clone()
    }
}

impl Observer for Known {
    fn opened(&self, span: &SpanRecord) {
        self.spans.opened(span);
    }

    fn renamed(&self, span: &SpanRecord, previous: &str) {
        self.spans.renamed(span, previous);
    }

    fn updated(&self, span: &SpanRecord) {
        self.spans.updated(span);
    }

    fn closed(&self, span: &SpanRecord) {
        Observer::closed(&self.spans, span);
        // A panic in a call drops others before the connection is known to be over.
        let was_over = self.is_over() || std::thread::panicking();
        let closed = (span.clone(), was_over);
        self.inner.closed.borrow_mut().push(closed);
    }
}
