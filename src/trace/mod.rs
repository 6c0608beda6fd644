//! Spans: what is known of a piece of work while it goes on, and who is told.
//!
//! A service that calls others wants one story of each piece of work, told by all who had a part
//! in it. A span is one part: it has a name, a beginning and an end, and a parent, in this process
//! or another. The call path only writes a plain [`SpanRecord`]; what becomes of it is the
//! [`Observer`]'s business, so that exporters stay out of the way.
//!
//! - [`Tracer`]: where spans begin; holds the observer, the clock, the source of ids, the limits.
//! - [`SpanParent`]: can start children, and nothing else. It is what code is handed that works on
//!   behalf of a span; [`SpanParent::current`] is the one in which the code runs just now.
//! - [`SpanBuilder`]: an open span in the hands of its owner.
//! - [`WeakSpan`]: the same span in the hands of the callee, who adds to it by [`SpanUpdate`]s
//!   and reads nothing; [`EnrichRules`] say what, a [`Redactor`] looks at it.
//! - [`SpanContext`]: which span somebody is in, on its way to another process.
//! - [`Baggage`]: what the first service of a trace wants the others to know.
//! - [`TailEvent`]: one thing that happened in an invocation, to be told elsewhere.
//! - [`MemoryObserver`] for tests, [`JsonLines`] for files and pipes.
//! - [`TracingLayer`]: makes spans of the `tracing` crate spans of ours (feature `tracing`).
//!
//! Nothing here is thread-safe, and nothing needs to be: each thread has a tracer of its own.

mod attribute;
mod baggage;
mod context;
mod current;
mod dropped;
mod ids;
#[cfg(feature = "json")]
mod json;
mod late;
mod limits;
mod memory;
mod observer;
mod open;
mod open_spans;
mod outcome;
mod parent;
mod record;
mod redactor;
mod rules;
mod span;
mod status;
mod tail;
mod trace_state;
mod tracer;
#[cfg(feature = "tracing")]
mod tracing;
mod update;
mod weak;
mod write;

#[cfg(feature = "tracing")]
pub use self::tracing::{TracingGuard, TracingLayer};
#[cfg(feature = "tracing")]
pub(crate) use self::tracing::{is_telling_tracing, tell_tracing};
#[cfg(feature = "fast-clock")]
pub use crate::clock::FastClock;
pub use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use attribute::{Attribute, Attributes, Value};
pub use baggage::Baggage;
pub use context::{SpanContext, TraceFlags};
pub use current::{InSpan, WithSpan, with_current};
pub(crate) use current::{with_current_parent, with_current_span};
pub use dropped::Dropped;
pub use ids::{IdGenerator, RandomIds, SequentialIds, SpanId, TraceId};
#[cfg(feature = "json")]
pub use json::{JsonLines, to_json};
pub use late::LateUpdate;
pub use limits::SpanLimits;
pub use memory::{MemoryObserver, Noticed};
pub use observer::{NoopObserver, Observer};
pub use outcome::Outcome;
pub use parent::SpanParent;
pub use record::{Channel, EventRecord, LinkRecord, SpanKind, SpanRecord, SpanRole};
pub use redactor::{Redaction, Redactor, Text};
pub use rules::EnrichRules;
pub use span::SpanBuilder;
pub use status::SpanStatus;
pub(crate) use tail::attributes_size;
pub use tail::{Onset, SpanClose, SpanOpen, TailDetail, TailEvent};
pub use trace_state::TraceState;
pub use tracer::Tracer;
pub use update::{SpanEvent, SpanUpdate};
pub use weak::{EnrichStatus, WeakSpan};
