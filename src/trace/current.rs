//! The span in which the code runs just now, by thread.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::parent::SpanParent;

thread_local! {
    static CURRENT: RefCell<SpanParent> = const { RefCell::new(SpanParent::none()) };
}

impl SpanParent {
    /// The parent that is current on this thread, as set by [`with_current`] or
    /// [`InSpan::in_span`]; [`none`](Self::none) outside of these.
    pub fn current() -> Self {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .unwrap_or_default()
    }
}

/// Runs `run` with `parent` as the current one. Afterwards, also by a panic, the one before is
/// current again.
///
/// ```
/// # use capspan::trace::{SpanKind, SpanParent, Tracer, with_current};
/// # let span = Tracer::unobserved().root().start("request", SpanKind::Server);
/// with_current(span.parent(), || {
///     SpanParent::current().start("a part of it", SpanKind::Internal).end();
/// });
/// ```
pub fn with_current<T>(mut parent: SpanParent, run: impl FnOnce() -> T) -> T {
    let _guard = Entered::enter(&mut parent);
    run()
}

/// Sets the current span parent for a future.
pub trait InSpan: Future + Sized {
    /// A future that does what this one does, with `parent` as the current one during each poll.
    ///
    /// Between polls, and while the future is dropped, it is not current: nothing leaks into
    /// other futures on the thread.
    fn in_span(self, parent: SpanParent) -> WithSpan<Self> {
        WithSpan {
            future: self,
            parent,
        }
    }
}

impl<F: Future> InSpan for F {}

pin_project! {
    /// A future with a current span parent of its own; see [`InSpan::in_span`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WithSpan<F> {
        #[pin]
        future: F,
        parent: SpanParent,
    }
}

impl<F: Future> Future for WithSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _guard = Entered::enter(this.parent);
        this.future.poll(context)
    }
}

/// While it lives, what was in the slot is current, and what was current is in the slot.
struct Entered<'a> {
    slot: &'a mut SpanParent,
}

impl<'a> Entered<'a> {
    fn enter(slot: &'a mut SpanParent) -> Self {
        swap(slot);
        Self { slot }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        swap(self.slot);
    }
}

/// Nothing is dropped while the thread's slot is borrowed, so no foreign code can find it so.
fn swap(slot: &mut SpanParent) {
    // On a thread that is going away there is no current parent any more.
    let _ = CURRENT.try_with(|current| mem::swap(&mut *current.borrow_mut(), slot));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{SpanId, SpanKind};
    use futures::FutureExt;
    use futures::future::{join, pending};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::pin::pin;

    fn current() -> Option<SpanId> {
        SpanParent::current()
            .context()
            .map(|context| context.span_id())
    }

    #[test]
    fn outside_of_everything_there_is_none() {
        assert!(!SpanParent::current().is_observed());
    }

    #[test]
    fn nested_parents_come_back() {
        let (tracer, ..) = observed();
        let outer = tracer.root().start("outer", SpanKind::Internal);
        let inner = outer.parent().start("inner", SpanKind::Internal);
        let id = |span: &crate::trace::SpanBuilder| span.context().map(|context| context.span_id());
        with_current(outer.parent(), || {
            assert_eq!(current(), id(&outer));
            with_current(inner.parent(), || assert_eq!(current(), id(&inner)));
            with_current(SpanParent::none(), || assert_eq!(current(), None));
            assert_eq!(current(), id(&outer));
        });
        assert_eq!(current(), None);
    }

    #[test]
    fn a_panic_restores_the_one_before() {
        let (tracer, ..) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        let run =
            AssertUnwindSafe(|| with_current(span.parent(), || resume_unwind(Box::new("oh"))));
        assert!(catch_unwind(run).is_err());
        assert_eq!(current(), None);
        let panics = async { resume_unwind(Box::new("oh")) }.in_span(span.parent());
        assert!(
            AssertUnwindSafe(panics.map(|(): ()| ()))
                .catch_unwind()
                .now_or_never()
                .unwrap()
                .is_err()
        );
        assert_eq!(current(), None);
    }

    #[test]
    fn futures_that_take_turns_each_see_their_own() {
        let (tracer, ..) = observed();
        let spans = ["a", "b"].map(|name| tracer.root().start(name, SpanKind::Internal));
        let [a, b] = spans.each_ref().map(|span| {
            let wanted = span.context().map(|context| context.span_id());
            async move {
                for _ in 0..3 {
                    assert_eq!(current(), wanted);
                    yield_once().await;
                }
            }
            .in_span(span.parent())
        });
        futures::executor::block_on(join(a, b));
        assert_eq!(current(), None);
    }

    #[test]
    fn a_waiting_future_leaves_nothing_behind() {
        let (tracer, ..) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        let mut waiting = pin!(pending::<()>().in_span(span.parent()));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(current(), None);
    }

    async fn yield_once() {
        let mut yielded = false;
        futures::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
