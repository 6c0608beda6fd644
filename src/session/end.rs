//! How an event ended, and what is written about that on its spans.

use std::any::Any;

use crate::error::Error;
use crate::trace::{Outcome, SpanBuilder, SpanEvent, SpanStatus, SpanUpdate, Timestamp};

/// Bytes of a reason. It may come from a peer, and is cut at a character boundary.
const MAX_REASON_BYTES: usize = 4096;

/// Why a span ended that is no error, and so has no status that says it.
const REASON: &str = "capspan.reason";

// As in https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/.
const ERROR_TYPE: &str = "error.type";
const EXCEPTION: &str = "exception";
const EXCEPTION_TYPE: &str = "exception.type";
const EXCEPTION_MESSAGE: &str = "exception.message";

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    outcome: Outcome,
    reason: Option<Box<str>>,
}

impl SessionEnd {
    pub(crate) fn new(outcome: Outcome, reason: Option<&str>) -> Self {
        let reason = reason.filter(|reason| !reason.is_empty());
        Self {
            outcome,
            reason: reason
                .map(|reason| reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].into()),
        }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why, for people, in at most 4 KiB; `None` where there is nothing to say.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The reason, or else the word for how it ended.
    pub(super) fn text(&self) -> &str {
        self.reason().unwrap_or(self.outcome.as_str())
    }

    /// Closes a span, at the time that is known. By OpenTelemetry's rules a success has no status, and who
    /// no longer wants something has not failed either.
    pub(super) fn close(&self, span: &SpanBuilder, has_exception: bool, at: Option<Timestamp>) {
        let is_error = !matches!(self.outcome, Outcome::Ok | Outcome::Canceled);
        if is_error && !has_exception {
            span.set_attribute(ERROR_TYPE, self.outcome.as_str());
        }
        if !is_error && let Some(reason) = self.reason() {
            span.set_attribute(REASON, reason);
        }
        let status = is_error.then(|| SpanStatus::error(self.text()));
        span.conclude(self.outcome, status, at);
    }
}

/// What an event's handler, or its background work, failed with.
pub(crate) struct Exception<'a> {
    kind: &'a str,
    message: &'a str,
}

impl<'a> Exception<'a> {
    pub(super) fn of(error: &'a Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.reason(),
        }
    }

    /// What a panic says is for this side alone.
    pub(crate) fn of_panic(panic: &'a (dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self {
            kind: "panic",
            message: text.unwrap_or("the service panicked"),
        }
    }

    /// As it is written on a span.
    pub(super) fn update(&self) -> SpanUpdate {
        let event = SpanEvent::new(EXCEPTION)
            .attribute(EXCEPTION_TYPE, self.kind)
            .attribute(EXCEPTION_MESSAGE, self.message);
        SpanUpdate::new()
            .attribute(ERROR_TYPE, self.kind)
            .event(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let long = "ä".repeat(3000);
        let end = SessionEnd::new(Outcome::Exception, Some(&long));
        assert_eq!(end.reason().map(str::len), Some(4096));
        let odd = format!("x{long}");
        let end = SessionEnd::new(Outcome::Exception, Some(&odd));
        assert_eq!(end.reason().map(str::len), Some(4095));
        assert_eq!(SessionEnd::new(Outcome::Ok, Some("")).reason(), None);
    }

    #[test]
    fn a_panic_says_what_it_was_given_if_that_is_text() {
        let panics: [(Box<dyn Any + Send>, &str); 3] = [
            (Box::new("a literal"), "a literal"),
            (Box::new("a text".to_owned()), "a text"),
            (Box::new(7), "the service panicked"),
        ];
        for (panic, message) in &panics {
            let exception = Exception::of_panic(&**panic);
            assert_eq!((exception.kind, exception.message), ("panic", *message));
        }
    }
}
