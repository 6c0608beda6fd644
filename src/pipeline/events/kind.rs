//! Which kinds of events there are, and what their spans say of them.

use std::fmt;

use crate::error::Error;
use crate::trace::{SpanBuilder, Value};

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// An RPC session.
    Session,
    /// A run at a time that was set beforehand.
    Scheduled,
    /// A run that the service itself asked for.
    Alarm,
    /// Messages of a queue.
    Queue,
    /// What caller and callee have agreed upon.
    Custom,
    /// An HTTP request.
    Fetch,
    /// What happens in an invocation of another service.
    Tail,
}

impl EventKind {
    /// Its name, in lower case: `session`, `scheduled`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Scheduled => "scheduled",
            Self::Alarm => "alarm",
            Self::Queue => "queue",
            Self::Custom => "custom",
            Self::Fetch => "fetch",
            Self::Tail => "tail",
        }
    }

    /// What has it begun, in the words of OpenTelemetry's conventions for functions.
    const fn trigger(self) -> &'static str {
        match self {
            Self::Scheduled | Self::Alarm => "timer",
            Self::Queue => "pubsub",
            Self::Fetch => "http",
            Self::Session | Self::Custom | Self::Tail => "other",
        }
    }

    /// Are the calls in it told of? Those of an HTTP request only bring its parts.
    pub(in crate::pipeline) const fn has_call_spans(self) -> bool {
        matches!(self, Self::Session | Self::Custom)
    }

    /// The number of its method on a dispatcher, in `schema/pipeline.capnp`.
    pub(in crate::pipeline) const fn method(self) -> u16 {
        match self {
            Self::Session => 0,
            Self::Scheduled => 1,
            Self::Alarm => 2,
            Self::Queue => 3,
            Self::Custom => 4,
            Self::Fetch => 5,
            Self::Tail => 6,
        }
    }

    /// What a service says that does not serve it.
    pub(in crate::pipeline) fn unimplemented(self) -> Error {
        Error::unimplemented(format!("this service serves no {self} events"))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the spans of an event say of it, on either side.
pub(in crate::pipeline) struct Description {
    pub(in crate::pipeline) kind: EventKind,
    /// What the callee's span is called.
    pub(in crate::pipeline) name: String,
    attributes: Vec<(&'static str, Value)>,
}

impl Description {
    pub(super) fn new(kind: EventKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            attributes: vec![
                ("capspan.event.kind", kind.as_str().into()),
                ("faas.trigger", kind.trigger().into()),
            ],
        }
    }

    /// What can be said of an event that can't be read.
    pub(in crate::pipeline) fn of_kind(kind: EventKind) -> Self {
        Self::new(kind, kind.as_str())
    }

    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// Writes what is told of it on its span.
    pub(in crate::pipeline) fn write(&self, span: &SpanBuilder) {
        for (key, value) in &self.attributes {
            span.set_attribute(key, value.clone());
        }
    }
}
