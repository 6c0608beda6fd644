//! One span of `tracing`'s, and what it has been told.

use std::cell::RefCell;
use std::rc::Rc;

use tracing::Span;
use tracing_core::dispatcher;
use tracing_core::span::Id;

use super::super::semantics;
use super::callsites;
use crate::trace::{Attribute, EventRecord, LinkRecord, SpanRecord, SpanStatus};

/// A span that is enabled.
pub(super) struct Seen {
    span: Span,
    /// Borrowed only while no code but ours runs.
    told: RefCell<Told>,
}

/// What has been told of a record. Events and links are only ever added to.
#[derive(Default)]
struct Told {
    attributes: Vec<Attribute>,
    events: usize,
    links: usize,
    status: SpanStatus,
}

/// What has not been told yet.
struct News<'a> {
    attributes: Vec<&'a Attribute>,
    events: &'a [EventRecord],
    links: &'a [LinkRecord],
    status: Option<&'a SpanStatus>,
}

impl Seen {
    /// Makes a span, within `above`; `None` if it is not enabled.
    pub(super) fn open(record: &SpanRecord, above: Option<&Self>) -> Option<Rc<Self>> {
        let span = match above {
            Some(above) => above.within(|parent| callsites::span(record, Some(parent)))?,
            None => callsites::span(record, None),
        };
        (!span.is_disabled()).then(|| {
            Rc::new(Self {
                span,
                told: RefCell::default(),
            })
        })
    }

    /// The span.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Does something with the span's id where that means the span: with the subscriber that it is of, which need
    /// not be the current one.
    fn within<T>(&self, f: impl FnOnce(Id) -> T) -> Option<T> {
        self.span
            .with_subscriber(|(id, dispatch)| dispatcher::with_default(dispatch, || f(id.clone())))
    }

    /// The span has another name.
    pub(super) fn rename(&self, record: &SpanRecord, previous: &str) {
        self.span.record("otel.name", record.name());
        if record.original_name() == Some(previous) {
            self.span.record("capspan.original_name", previous);
        }
        self.within(|id| callsites::renamed(id, record.name(), previous));
    }

    /// Tells what is new on the record.
    pub(super) fn tell(&self, record: &SpanRecord) {
        let Some(news) = self.told.borrow_mut().news(record) else {
            return;
        };
        if let Some((code, message)) = news.status.and_then(callsites::status) {
            self.span.record("otel.status_code", code);
            if let Some(message) = message {
                self.span.record("otel.status_description", message);
            }
        }
        self.within(|id| {
            if !news.attributes.is_empty() {
                callsites::attributes(id.clone(), news.attributes.iter().copied());
            }
            for event in news.events {
                callsites::happened(id.clone(), event);
            }
            for link in news.links {
                callsites::link(id.clone(), link);
            }
        });
    }

    /// Tells how it ended.
    pub(super) fn end(&self, record: &SpanRecord) {
        let outcome = record.outcome();
        if let Some(outcome) = outcome {
            self.span.record("capspan.outcome", outcome.as_str());
        }
        let said = record.attributes().get(semantics::ERROR_TYPE);
        let said = said.and_then(|value| value.as_text());
        let is_error = matches!(record.status(), SpanStatus::Error(_));
        if let Some(kind) = said.or(semantics::error_type(outcome, is_error)) {
            self.span.record(semantics::ERROR_TYPE, kind);
        }
    }

    /// Lets go of the span.
    pub(super) fn close(self: Rc<Self>) {
        // What `tracing-opentelemetry` takes for the end: when a span was last left.
        self.span.in_scope(|| ());
        // A registry lets go of a span's parent in what is the current subscriber then.
        let subscriber = self.span.with_subscriber(|(_, dispatch)| dispatch.clone());
        if let Some(subscriber) = subscriber {
            dispatcher::with_default(&subscriber, || drop(self));
        }
    }
}

impl Told {
    /// What is new; it counts as told from now on.
    fn news<'a>(&mut self, record: &'a SpanRecord) -> Option<News<'a>> {
        // A key stays in its place, also with another value.
        let known = &self.attributes;
        let attributes = record.attributes().iter().enumerate();
        let attributes = attributes.filter(|(place, now)| known.get(*place) != Some(now));
        let attributes: Vec<_> = attributes.map(|(_, attribute)| attribute).collect();
        let news = News {
            events: record.events().get(self.events..).unwrap_or_default(),
            links: record.links().get(self.links..).unwrap_or_default(),
            status: (self.status != *record.status()).then_some(record.status()),
            attributes,
        };
        if news.is_empty() {
            return None;
        }
        if !news.attributes.is_empty() {
            self.attributes = record.attributes().iter().cloned().collect();
        }
        self.events = record.events().len();
        self.links = record.links().len();
        self.status = record.status().clone();
        Some(news)
    }
}

impl News<'_> {
    fn is_empty(&self) -> bool {
        let said = self.attributes.len() + self.events.len() + self.links.len();
        said == 0 && self.status.is_none()
    }
}
