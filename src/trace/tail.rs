//! What happens in an invocation, one thing at a time.

use super::attribute::{Attribute, footprint};
use super::context::SpanContext;
use super::ids::SpanId;
use super::outcome::Outcome;
use super::record::{Channel, SpanKind};
use super::status::SpanStatus;
use super::update::SpanEvent;
use crate::clock::Timestamp;

/// What a tail event takes in memory beside what is in it.
const ENTRY: usize = size_of::<TailEvent>();

/// One thing that happened in an invocation: an event that a service takes, its span, and the spans below
/// it in the same process. The first is [`TailDetail::Onset`], the last [`TailDetail::Outcome`].
#[derive(Clone, Debug, PartialEq)]
pub struct TailEvent {
    /// Numbers what happened in the invocation, from zero. What is left out was lost.
    pub sequence: u64,
    /// When it happened, by the producer's clock.
    pub time: Timestamp,
    /// The span of which it is told. All of an invocation are in the trace of its onset.
    pub span_id: SpanId,
    /// Did a callee write it, by its enricher?
    pub by_callee: bool,
    /// What it is.
    pub detail: TailDetail,
}

/// What a [`TailEvent`] tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TailDetail {
    /// The invocation begins.
    Onset(Onset),
    /// A span below the invocation's is opened.
    SpanOpen(SpanOpen),
    /// Attributes are set; a key that the span has already gets the new value.
    Attributes(Vec<Attribute>),
    /// The span gets another name.
    Rename(Box<str>),
    /// Something happened at one moment of the span, which is the tail event's.
    SpanEvent(SpanEvent),
    /// The span has to do with another one.
    Link(SpanContext),
    /// Something is said about how the work went.
    Status(SpanStatus),
    /// A span below the invocation's is closed.
    SpanClose(SpanClose),
    /// The invocation is over.
    Outcome {
        /// Its span has closed so.
        span: SpanClose,
        /// How many spans below it are still open. Nothing more is told of them.
        open_spans: u32,
    },
}

/// How an invocation begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Onset {
    /// The invocation's span.
    pub context: SpanContext,
    /// Which service, or process, it is an invocation of; may be empty.
    pub service: Box<str>,
    /// Who is to see it.
    pub channel: Channel,
    /// The invocation's span. Its parent is the caller's, if there is one.
    pub span: SpanOpen,
}

/// How a span begins. What has been said about it until the tail event was sent is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanOpen {
    /// `None`: it has no parent.
    pub parent_span_id: Option<SpanId>,
    /// On which side of a call it stands.
    pub kind: SpanKind,
    /// What it is called.
    pub name: Box<str>,
    /// What is said about it; a key may stand more than once, and the last one counts.
    pub attributes: Vec<Attribute>,
    /// Other spans that it has to do with.
    pub links: Vec<SpanContext>,
}

/// How a span ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanClose {
    /// How it ended, where that has been said.
    pub outcome: Option<Outcome>,
    /// What was cut from the span or refused, with its name as in [`Dropped::iter`](super::Dropped::iter).
    pub dropped: Vec<(Box<str>, u32)>,
}

impl TailEvent {
    /// About what it takes in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        ENTRY
            + match &self.detail {
                TailDetail::Onset(onset) => {
                    onset.service.len() + context(&onset.context) + open(&onset.span)
                }
                TailDetail::SpanOpen(span) => open(span),
                TailDetail::Attributes(list) => attributes_size(list),
                TailDetail::Rename(name) => name.len(),
                TailDetail::SpanEvent(event) => {
                    event.name.len() + attributes_size(&event.attributes)
                }
                TailDetail::Link(link) => context(link),
                TailDetail::Status(status) => status.size(),
                TailDetail::SpanClose(span) | TailDetail::Outcome { span, .. } => close(span),
            }
    }
}

fn open(span: &SpanOpen) -> usize {
    let links: usize = span.links.iter().map(context).sum();
    span.name.len() + attributes_size(&span.attributes) + links
}

fn close(span: &SpanClose) -> usize {
    let counts = span.dropped.iter();
    counts
        .map(|(what, _)| what.len() + size_of::<(Box<str>, u32)>())
        .sum()
}

/// About what attributes take in memory, in bytes.
pub(crate) fn attributes_size(list: &[Attribute]) -> usize {
    let sizes = list.iter();
    sizes
        .map(|attribute| footprint(&attribute.key, &attribute.value))
        .sum()
}

fn context(context: &SpanContext) -> usize {
    size_of::<SpanContext>() + context.trace_state().as_str().len()
}
