//! The span in which the code runs just now, by task.
//!
//! Each thread has a stack of what was entered and not left yet; the last one is current. A future enters
//! anew whenever it is polled, so what is current follows the task and not the thread.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::open::OpenSpan;
use super::parent::SpanParent;
use super::span::SpanBuilder;

thread_local! {
    static ENTERED: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

struct Entry {
    what: What,
    by: By,
}

/// What is entered.
enum What {
    /// The parent of spans of which nobody is told.
    Nothing,
    Parent(SpanParent),
    /// A span that is open meanwhile: its parent is made where it is asked for.
    Span(Rc<OpenSpan>),
}

/// Who entered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// [`with_current`], or a future's poll: left in the reverse order.
    Scope,
    /// A span of `tracing`'s, which its user may leave whenever he likes.
    #[cfg(feature = "tracing")]
    Tracing(super::tracing::Key),
}

impl SpanParent {
    /// The parent that is current here: the one that was entered last, by [`with_current`], by
    /// [`InSpan::in_span`], or with [`TracingLayer`](super::TracingLayer) by a span of `tracing`'s;
    /// [`none`](Self::none) outside of these.
    ///
    /// It is what `Pipeline::event` makes events children of. Where this does not fit, every place that
    /// takes a span parent takes any other, too.
    pub fn current() -> Self {
        innermost().unwrap_or_default()
    }
}

/// What was entered last; `None` outside of everything.
pub(super) fn innermost() -> Option<SpanParent> {
    let innermost = ENTERED.try_with(|entered| {
        let entered = entered.borrow();
        entered.last().map(|entry| match &entry.what {
            What::Nothing => SpanParent::none(),
            What::Parent(parent) => parent.clone(),
            What::Span(span) => span.parent(),
        })
    });
    // On a thread that is going away there is nothing any more.
    innermost.ok().flatten()
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
pub fn with_current<T>(parent: SpanParent, run: impl FnOnce() -> T) -> T {
    within(What::Parent(parent), run)
}

/// The same with a parent that is cloned only where it is observed.
pub(crate) fn with_current_parent<T>(parent: &SpanParent, run: impl FnOnce() -> T) -> T {
    let what = match parent.is_observed() {
        true => What::Parent(parent.clone()),
        false => What::Nothing,
    };
    within(what, run)
}

/// The same with the parent that `span` is.
pub(crate) fn with_current_span<T>(span: &SpanBuilder, run: impl FnOnce() -> T) -> T {
    let what = match span.open_span() {
        Some(span) => What::Span(span.clone()),
        None => What::Nothing,
    };
    within(what, run)
}

#[inline]
fn within<T>(what: What, run: impl FnOnce() -> T) -> T {
    enter(what, By::Scope);
    let _guard = Leave;
    run()
}

/// Sets the current span parent for a future.
///
/// It is current for all that the future itself does, however often it waits. A task that it spawns is no part
/// of it and has none, unless it is given one:
///
/// ```
/// use capspan::trace::{InSpan, SpanKind, SpanParent};
/// # use capspan::trace::{MemoryObserver, Tracer};
///
/// async fn look_up() {
///     tokio::task::yield_now().await;
///     SpanParent::current().start("look up", SpanKind::Internal).end();
/// }
///
/// # capspan_testkit::run::run(async {
/// # let spans = MemoryObserver::new();
/// # let tracer = Tracer::new(spans.clone());
/// let request = tracer.root().start("request", SpanKind::Server);
/// let handler = async {
///     look_up().await;
///     tokio::task::spawn_local(look_up()); // in no span
///     tokio::task::spawn_local(look_up().in_span(SpanParent::current()));
/// };
/// handler.in_span(request.parent()).await;
/// # capspan_testkit::run::until_idle().await;
/// # let all = spans.closed();
/// # assert_eq!(all.iter().filter(|span| span.name() == "look up").count(), 2);
/// # });
/// ```
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

/// While it lives, what was in the slot is current; then it is in the slot again.
struct Entered<'a> {
    slot: &'a mut SpanParent,
}

impl<'a> Entered<'a> {
    fn enter(slot: &'a mut SpanParent) -> Self {
        enter(What::Parent(mem::take(slot)), By::Scope);
        Self { slot }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(What::Parent(parent)) = leave() {
            *self.slot = parent;
        }
    }
}

/// Leaves what was entered when this is dropped.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        drop(leave());
    }
}

fn enter(what: What, by: By) {
    let _thread_ends = ENTERED.try_with(|entered| entered.borrow_mut().push(Entry { what, by }));
}

/// Leaves the innermost scope. What was entered within and not left goes as well: outside it means nothing.
fn leave() -> Option<What> {
    loop {
        // Each is dropped when the stack is no longer borrowed: it may be the last that holds an observer.
        let left = ENTERED.try_with(|entered| entered.borrow_mut().pop());
        let left = left.ok().flatten()?;
        if left.by == By::Scope {
            return Some(left.what);
        }
    }
}

/// A span of `tracing`'s is entered.
#[cfg(feature = "tracing")]
pub(super) fn enter_tracing(key: super::tracing::Key, parent: SpanParent) {
    enter(What::Parent(parent), By::Tracing(key));
}

/// A span of `tracing`'s is left; its innermost use, if there are several.
#[cfg(feature = "tracing")]
pub(super) fn exit_tracing(key: super::tracing::Key) {
    let left = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let own = entered
            .iter()
            .rposition(|entry| entry.by == By::Tracing(key))?;
        Some(entered.remove(own))
    });
    drop(left);
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
