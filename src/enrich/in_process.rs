//! An enricher of a span in this process.

use std::cell::Cell;
use std::rc::Rc;

use super::answers::{Worst, over};
use super::handle::Enricher;
use crate::error::Result;
use crate::trace::{Dropped, EnrichStatus, SpanUpdate, Value, WeakSpan};

/// One callee's, who writes at once. Others may have their own of the same span.
pub(super) struct InProcess {
    span: WeakSpan,
    /// What is written there as well.
    also: Option<Enricher>,
    /// Has a callee got it?
    is_taken: Cell<bool>,
    is_cut: Cell<bool>,
    worst: Cell<Worst>,
}

impl InProcess {
    pub(super) fn new(span: WeakSpan, also: Option<Enricher>) -> Self {
        Self {
            span,
            also,
            is_taken: Cell::new(false),
            is_cut: Cell::new(false),
            worst: Cell::new(Worst::new()),
        }
    }

    /// Writes what has come from a callee, and counts what could not be read of it.
    pub(super) fn received(&self, update: SpanUpdate, dropped: &Dropped) -> EnrichStatus {
        let status = self.span.enrich_received(&update, dropped);
        // A chain is as long as those like who start events on behalf of others: it must take no stack.
        let mut also = self.also.as_ref();
        while let Some(enricher) = also {
            let Some(next) = enricher.in_process() else {
                enricher.update(update);
                break;
            };
            if next.is_cut.get() {
                break;
            }
            next.note(next.span.enrich_received(&update, &Dropped::default()));
            also = next.also.as_ref();
        }
        status
    }

    /// One callee's own: mostly there is but one, and this is it.
    pub(super) fn take(self: &Rc<Self>) -> Rc<Self> {
        match self.is_taken.replace(true) {
            false => self.clone(),
            true => Rc::new(Self::new(self.span.clone(), self.also.clone())),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_cut.get() && self.span.is_open()
    }

    pub(super) fn update(&self, update: impl FnOnce() -> SpanUpdate) {
        if !self.is_cut.get() {
            self.note(self.received(update(), &Dropped::default()));
        }
    }

    pub(super) fn set_attribute(&self, key: &str, value: Value) {
        if self.also.is_some() {
            self.update(|| SpanUpdate::new().attribute(key, value));
        } else if !self.is_cut.get() {
            self.note(self.span.set_attribute(key, value));
        }
    }

    pub(super) fn flush(&self) -> Result<EnrichStatus> {
        let mut worst = self.worst.get();
        let status = worst.take();
        self.worst.set(worst);
        match status {
            EnrichStatus::Applied | EnrichStatus::Overloaded if self.is_cut.get() => Err(over()),
            status => Ok(status),
        }
    }

    /// Nothing is written any more.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
    }

    fn note(&self, status: EnrichStatus) {
        if status != EnrichStatus::Applied {
            let mut worst = self.worst.get();
            worst.note(status);
            self.worst.set(worst);
        }
    }
}

impl Drop for InProcess {
    /// Lets go of a chain one by one.
    fn drop(&mut self) {
        let mut also = self.also.take();
        while let Some(enricher) = also {
            let last = enricher.into_in_process().and_then(Rc::into_inner);
            also = last.and_then(|mut last| last.also.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::drive::Tasks;
    use crate::enrich::{Enricher, export_also};
    use crate::trace::{MemoryObserver, SpanKind, Tracer};

    /// An event on behalf of another, which is on behalf of another: as long as whoever starts them likes.
    #[test]
    fn a_chain_takes_no_stack_to_write_to_or_to_let_go() {
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone());
        let (tasks, _driver) = Tasks::new();
        let span = tracer.root().start("first", SpanKind::Client);
        let mut chain = Enricher::none();
        for _ in 0..100_000 {
            let exported = export_also(span.downgrade(), Some(chain));
            chain = Enricher::from_capability(exported, &tasks);
        }
        chain.set_attribute("key", 1);
        chain.set_name("last");
        assert_eq!(spans.open()[0].name(), "last");
        drop(chain);
    }
}
