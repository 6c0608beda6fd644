//! What `tracing` tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::fields;
use super::thread::{self, Elsewhere, Key, Under};

static LAYERS: AtomicU64 = AtomicU64::new(0);

/// A layer of a `tracing` subscriber that makes `tracing`'s spans spans of ours, where
/// [`Tracer::observe_tracing`](crate::trace::Tracer::observe_tracing) has said so for the thread. So
/// a session that is opened in one, also after an await, is its child:
///
/// ```
/// use capspan::trace::{MemoryObserver, SpanKind, SpanParent, Tracer, TracingLayer};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// #[tracing::instrument]
/// async fn handle(user: u32) {
///     tokio::task::yield_now().await;
///     // As Pipeline::event does.
///     SpanParent::current().start("ask", SpanKind::Client).end();
/// }
///
/// let subscriber = tracing_subscriber::registry().with(TracingLayer::new());
/// tracing::subscriber::set_global_default(subscriber)?; // once a process
///
/// let spans = MemoryObserver::new();
/// let tracer = Tracer::new(spans.clone());
/// let _observing = tracer.observe_tracing(); // on each thread with an event loop
/// # futures::executor::block_on(
/// handle(7)
/// # );
/// # ;
///
/// let [ask, handle] = &spans.closed()[..] else { panic!() };
/// assert_eq!(ask.parent_span_id(), Some(handle.span_id()));
/// assert_eq!(handle.attributes().get("user"), Some(&7.into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A span of `tracing`'s is opened as an internal one when it is made, and closed when `tracing` closes it.
/// Its fields become attributes, events within it events, and what it follows from links, all of it within the
/// tracer's limits. Of `tracing`'s spans and [`with_current`](crate::trace::with_current) or
/// [`in_span`](crate::trace::InSpan::in_span), whichever was entered last counts, for what is current and for
/// whose child a new span of `tracing`'s is. So within a service's handler they are in the trace of its event.
/// Those in a span that is not observed are not observed either. One whose parent was named and is not seen begins
/// a trace.
///
/// A span belongs to the thread on which it was made. Entered on another, it is not seen there; what is said of it
/// there is lost; closed there, it closes here, when this thread next has to do with `tracing`. An
/// observer had better not use `tracing` itself on such a thread: it would be told of that as well.
///
/// Each span has its cost. What is not to be seen by this layer is kept from it by a filter of its own
/// (`with_filter`).
#[derive(Debug)]
pub struct TracingLayer {
    /// Ids of spans are unique in one subscriber only.
    number: u64,
}

impl TracingLayer {
    /// A layer for one subscriber.
    pub fn new() -> Self {
        Self {
            number: LAYERS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn key(&self, id: &Id) -> Key {
        Key {
            layer: self.number,
            span: id.into_u64(),
        }
    }
}

impl Default for TracingLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a span is ours.
struct Home(Arc<Elsewhere>);

impl<S> Layer<S> for TracingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let under = match attributes.parent() {
            Some(parent) => Under::Span(self.key(parent)),
            None if attributes.is_root() => Under::Nothing,
            None => Under::Current,
        };
        let name = attributes.metadata().name();
        let said = || fields::update(|visit| attributes.record(visit));
        let home = thread::open(self.key(id), under, name, said);
        if let (Some(home), Some(span)) = (home, context.span(id)) {
            span.extensions_mut().replace(Home(home));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _context: Context<'_, S>) {
        thread::write(self.key(id), |span| {
            span.apply(&fields::update(|visit| values.record(visit)));
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _context: Context<'_, S>) {
        let followed = thread::context(self.key(follows));
        thread::write(self.key(id), |span| {
            if let Some(followed) = followed {
                span.add_link(followed);
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if thread::sees_any()
            && let Some(span) = context.event_span(event)
        {
            thread::write(self.key(&span.id()), |span| {
                span.add_event(fields::event(event));
            });
        }
    }

    fn on_enter(&self, id: &Id, _context: Context<'_, S>) {
        thread::enter(self.key(id));
    }

    fn on_exit(&self, id: &Id, _context: Context<'_, S>) {
        thread::exit(self.key(id));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let key = self.key(&id);
        if thread::close(key) {
            return;
        }
        if let Some(span) = context.span(&id)
            && let Some(Home(home)) = span.extensions().get()
        {
            home.close(key);
        }
    }
}
