//! Who is told of spans.

use std::rc::Rc;

use super::late::LateUpdate;
use super::record::SpanRecord;

/// Is told of the spans of a tracer: opened once, changed any number of times, closed once.
///
/// # Contract
///
/// *Order.* For one span: `opened`, then `renamed` and `updated` as they happen, then `closed`,
/// after which nothing follows but `late`. Spans interleave freely, and a child may be opened after its
/// parent was closed.
///
/// *Where it runs.* Synchronously, within the call that made the change. That may be a drop, and
/// `capnp-rpc` may have its own tables borrowed meanwhile. So an observer
/// - must not call, send or drop a capability: `capnp-rpc` would panic;
/// - must not block, for it holds up the whole event loop;
/// - must not panic, for a panic in a drop during a panic ends the process.
///
/// *Reentrancy.* It may open, change and close other spans; it is then told of these in turn, so
/// it must hold no borrow of its own while it does. A change to the very span that it is being
/// told of is refused and counted in [`Dropped::refused`](super::Dropped::refused); ending that
/// span takes effect when it returns.
///
/// What takes long, as an export over the network does, belongs on a queue: copy what is needed
/// of the record, and return.
///
/// ```
/// # use capspan::trace::{Observer, SpanKind, SpanRecord, Tracer};
/// # use std::{cell::Cell, rc::Rc};
/// #[derive(Default)]
/// struct Count(Cell<u32>);
///
/// impl Observer for Count {
///     fn closed(&self, _: &SpanRecord) {
///         self.0.set(self.0.get() + 1);
///     }
/// }
///
/// let count = Rc::new(Count::default());
/// let tracer = Tracer::new(count.clone());
/// tracer.root().start("work", SpanKind::Internal).end();
/// assert_eq!(count.0.get(), 1);
/// ```
pub trait Observer {
    /// A span was opened.
    fn opened(&self, span: &SpanRecord) {
        let _ = span;
    }

    /// A span got another name; `previous` is the one that it had.
    fn renamed(&self, span: &SpanRecord, previous: &str) {
        let _ = (span, previous);
    }

    /// Something else about an open span changed, or was refused and counted. What was written
    /// together is told once.
    fn updated(&self, span: &SpanRecord) {
        let _ = span;
    }

    /// A span ended. Its record will not change any more.
    fn closed(&self, span: &SpanRecord) {
        let _ = span;
    }

    /// A callee wrote on a span after its end: only where the [rules](super::EnrichRules::keep_late) keep
    /// that, and at most 16 times for one span; what comes then is only
    /// [counted](super::Tracer::late_updates).
    fn late(&self, update: &LateUpdate) {
        let _ = update;
    }
}

/// Looks away. A tracer that need not be observed at all is cheaper:
/// [`Tracer::unobserved`](super::Tracer::unobserved).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopObserver;

impl Observer for NoopObserver {}

impl<O: Observer + ?Sized> Observer for Rc<O> {
    fn opened(&self, span: &SpanRecord) {
        (**self).opened(span);
    }

    fn renamed(&self, span: &SpanRecord, previous: &str) {
        (**self).renamed(span, previous);
    }

    fn updated(&self, span: &SpanRecord) {
        (**self).updated(span);
    }

    fn closed(&self, span: &SpanRecord) {
        (**self).closed(span);
    }

    fn late(&self, update: &LateUpdate) {
        (**self).late(update);
    }
}

/// Both are told, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn opened(&self, span: &SpanRecord) {
        self.0.opened(span);
        self.1.opened(span);
    }

    fn renamed(&self, span: &SpanRecord, previous: &str) {
        self.0.renamed(span, previous);
        self.1.renamed(span, previous);
    }

    fn updated(&self, span: &SpanRecord) {
        self.0.updated(span);
        self.1.updated(span);
    }

    fn closed(&self, span: &SpanRecord) {
        self.0.closed(span);
        self.1.closed(span);
    }

    fn late(&self, update: &LateUpdate) {
        self.0.late(update);
        self.1.late(update);
    }
}
