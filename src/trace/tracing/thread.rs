//! The spans of one thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::super::{SpanBuilder, SpanContext, SpanKind, SpanParent, SpanUpdate, Tracer, current};

/// One span of one subscriber's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::trace) struct Key {
    pub(super) layer: u64,
    pub(super) span: u64,
}

thread_local! {
    static THREAD: Thread = Thread::default();
}

#[derive(Default)]
struct Thread {
    /// For spans outside of all others, while somebody wants to see any.
    tracer: RefCell<Option<Tracer>>,
    /// Which guard has set it.
    turn: Cell<u64>,
    spans: RefCell<FxHashMap<Key, Rc<Open>>>,
    elsewhere: Arc<Elsewhere>,
    /// Whether an observer is being told, or `tracing` by one: what `tracing` tells then comes of that, and would go
    /// on for ever.
    is_telling: Cell<bool>,
}

struct Open {
    span: SpanBuilder,
    parent: SpanParent,
}

/// What other threads have closed of a thread's spans.
#[derive(Default)]
pub(super) struct Elsewhere {
    is_any: AtomicBool,
    closed: Mutex<Vec<Key>>,
}

impl Elsewhere {
    /// Another thread has closed this span.
    pub(super) fn close(&self, key: Key) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.push(key);
        self.is_any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Key> {
        if !self.is_any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_any.store(false, Ordering::Release);
        mem::take(&mut closed)
    }
}

/// Whose child a span is to be.
pub(super) enum Under {
    /// What is current.
    Current,
    /// Another span.
    Span(Key),
    /// It begins a trace.
    Nothing,
}

impl Tracer {
    /// Makes spans of `tracing`'s, of this thread and from now on, spans of ours, where its subscriber has a
    /// [`TracingLayer`](crate::trace::TracingLayer). Those outside of all others begin traces of this tracer;
    /// the others are told to the observer of the span they are in.
    ///
    /// It lasts until the guard is dropped; those that are open then are closed when `tracing` closes them. A
    /// second tracer on one thread takes the place of the first.
    pub fn observe_tracing(&self) -> TracingGuard {
        let turn = with(|thread| {
            thread.turn.set(thread.turn.get() + 1);
            drop(thread.tracer.replace(Some(self.clone())));
            thread.turn.get()
        });
        TracingGuard {
            turn: turn.unwrap_or_default(),
            _of_this_thread: PhantomData,
        }
    }
}

/// While it lives, spans of `tracing`'s of this thread are spans of ours; see [`Tracer::observe_tracing`].
#[must_use = "dropped, it ends at once"]
pub struct TracingGuard {
    turn: u64,
    _of_this_thread: PhantomData<Rc<()>>,
}

impl Drop for TracingGuard {
    fn drop(&mut self) {
        with(|thread| {
            if thread.turn.get() == self.turn {
                // In two steps, as what is dropped may be the last that holds an observer.
                let tracer = thread.tracer.take();
                drop(tracer);
            }
            thread.settle();
        });
    }
}

impl fmt::Debug for TracingGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingGuard").finish_non_exhaustive()
    }
}

/// A span is made, of which `said` tells more. Tells where it is ours, if it is.
pub(super) fn open(
    key: Key,
    under: Under,
    name: &str,
    said: impl FnOnce() -> SpanUpdate,
) -> Option<Arc<Elsewhere>> {
    with(|thread| {
        let tracer = thread.tracer.borrow().clone()?;
        thread.settle();
        let parent = match under {
            Under::Current => current::innermost(),
            Under::Span(parent) => thread.find(parent).map(|open| open.parent.clone()),
            Under::Nothing => None,
        };
        let parent = parent.unwrap_or_else(|| tracer.root());
        let opened = thread.tell(|| {
            let span = parent.start(name, SpanKind::Internal);
            if span.is_observed() {
                span.apply(&said());
            }
            let parent = span.parent();
            Rc::new(Open { span, parent })
        })?;
        let before = thread.spans.borrow_mut().insert(key, opened);
        drop(before);
        Some(thread.elsewhere.clone())
    })?
}

/// Are there spans of this thread?
pub(super) fn sees_any() -> bool {
    with(|thread| !thread.spans.borrow().is_empty()).unwrap_or_default()
}

/// More is said of a span.
pub(super) fn write(key: Key, write: impl FnOnce(&SpanBuilder)) {
    with(|thread| {
        if let Some(open) = thread.find(key)
            && open.span.is_observed()
        {
            thread.tell(|| write(&open.span));
        }
    });
}

/// The ids of a span.
pub(super) fn context(key: Key) -> Option<SpanContext> {
    with(|thread| thread.find(key)?.span.context())?
}

/// A span is entered.
pub(super) fn enter(key: Key) {
    with(|thread| {
        thread.settle();
        if let Some(open) = thread.find(key) {
            current::enter_tracing(key, open.parent.clone());
        }
    });
}

/// A span is left.
pub(super) fn exit(key: Key) {
    current::exit_tracing(key);
}

/// A span is closed. Was it of this thread?
pub(super) fn close(key: Key) -> bool {
    with(|thread| {
        thread.settle();
        thread.close(key)
    })
    .unwrap_or_default()
}

impl Thread {
    fn find(&self, key: Key) -> Option<Rc<Open>> {
        self.spans.borrow().get(&key).cloned()
    }

    fn close(&self, key: Key) -> bool {
        let closed = self.spans.borrow_mut().remove(&key);
        match closed {
            Some(open) => {
                let _telling = Telling::begin(&self.is_telling);
                open.span.end();
                true
            }
            None => false,
        }
    }

    /// Closes what other threads have closed.
    fn settle(&self) {
        for key in self.elsewhere.take() {
            self.close(key);
        }
    }

    /// Does what an observer is told of, unless one is being told.
    fn tell<T>(&self, tell: impl FnOnce() -> T) -> Option<T> {
        if self.is_telling.get() {
            return None;
        }
        let _telling = Telling::begin(&self.is_telling);
        Some(tell())
    }
}

struct Telling<'a> {
    is_telling: &'a Cell<bool>,
    before: bool,
}

impl<'a> Telling<'a> {
    fn begin(is_telling: &'a Cell<bool>) -> Self {
        Self {
            before: is_telling.replace(true),
            is_telling,
        }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.is_telling.set(self.before);
    }
}

/// While it lives, what `tracing` tells is what it was told by us, and no span of ours.
#[must_use = "dropped, it ends at once"]
pub(crate) struct TellingTracing {
    before: bool,
    _of_this_thread: PhantomData<Rc<()>>,
}

/// We begin to tell `tracing` of spans of ours.
pub(crate) fn tell_tracing() -> TellingTracing {
    TellingTracing {
        before: with(|thread| thread.is_telling.replace(true)).unwrap_or_default(),
        _of_this_thread: PhantomData,
    }
}

/// Does what is told to an observer just now come of what `tracing` tells, or was told by us?
pub(crate) fn is_telling_tracing() -> bool {
    with(|thread| thread.is_telling.get()).unwrap_or_default()
}

impl Drop for TellingTracing {
    fn drop(&mut self) {
        with(|thread| thread.is_telling.set(self.before));
    }
}

/// Nothing happens on a thread that is going away.
fn with<T>(f: impl FnOnce(&Thread) -> T) -> Option<T> {
    THREAD.try_with(f).ok()
}
