//! Looks at what callees write, before it is written.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::attribute::Value;
use super::dropped::count;

/// Looks at what callees want written on spans, and may replace it or leave it out.
///
/// # Contract
///
/// *What it sees.* All that the [rules](super::EnrichRules) allow, as it came: limits cut afterwards, so that
/// nothing hides behind a cut. Attributes under keys that are empty, too long or reserved it does not see;
/// they are refused. Links it does not see; they have no text but a trace state.
///
/// *Where it runs.* Synchronously, where the update arrives: it must not call, send or drop a capability, and
/// must not block.
///
/// *Reentrancy.* It may write on spans as their owner. Enriching one, as a callee does, under the same rules
/// is refused while it looks: [`Overloaded`](super::EnrichStatus::Overloaded).
///
/// *Panics.* What it panics at is left out, and counted as redacted.
///
/// ```
/// # use capspan::trace::{EnrichRules, Redaction, Redactor, Value};
/// struct NoSecrets;
///
/// impl Redactor for NoSecrets {
///     fn value(&self, _event: Option<&str>, key: &str, _value: &Value) -> Redaction<Value> {
///         match key {
///             "password" => Redaction::Drop,
///             "user.email" => Redaction::Replace("…".into()),
///             _ => Redaction::Keep,
///         }
///     }
/// }
///
/// let rules = EnrichRules::default().redact(NoSecrets);
/// ```
pub trait Redactor {
    /// The value of an attribute of the span, or of the `event` of this name.
    fn value(&self, event: Option<&str>, key: &str, value: &Value) -> Redaction<Value> {
        let _ = (event, key, value);
        Redaction::Keep
    }

    /// A name or a message. Without its name an event is left out, without its message an error stays one.
    fn text(&self, what: Text, text: &str) -> Redaction<String> {
        let _ = (what, text);
        Redaction::Keep
    }
}

/// What becomes of something that a callee wants written. What is not kept is counted in
/// [`Dropped::redacted`](super::Dropped::redacted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redaction<T> {
    /// It is written as it is.
    Keep,
    /// This is written in its place.
    Replace(T),
    /// It is left out.
    Drop,
}

/// What a text of a callee's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Text {
    /// The new name of the span.
    Name,
    /// The name of an event.
    EventName,
    /// Why the status is an error.
    StatusMessage,
}

/// A redactor, and whether it is looking at something.
pub(super) struct Redacting {
    redactor: Box<dyn Redactor>,
    is_looking: Cell<bool>,
}

/// While the redactor looks at one update.
pub(super) struct Turn<'a>(&'a Redacting);

impl Redacting {
    pub(super) fn new(redactor: impl Redactor + 'static) -> Self {
        Self {
            redactor: Box::new(redactor),
            is_looking: Cell::new(false),
        }
    }

    /// `None` where it is looking at another.
    pub(super) fn begin(&self) -> Option<Turn<'_>> {
        (!self.is_looking.replace(true)).then(|| Turn(self))
    }
}

impl Turn<'_> {
    pub(super) fn value(
        &self,
        event: Option<&str>,
        key: &str,
        value: &Value,
        redacted: &mut u32,
    ) -> Option<Value> {
        let verdict = guarded(|| self.0.redactor.value(event, key, value));
        verdict.apply(|| value.clone(), redacted)
    }

    pub(super) fn text(&self, what: Text, text: &str, redacted: &mut u32) -> Option<Box<str>> {
        let verdict = guarded(|| self.0.redactor.text(what, text));
        verdict.apply(|| text.into(), redacted).map(Into::into)
    }
}

impl<T> Redaction<T> {
    fn apply(self, keep: impl FnOnce() -> T, redacted: &mut u32) -> Option<T> {
        let left = match self {
            Self::Keep => return Some(keep()),
            Self::Replace(other) => Some(other),
            Self::Drop => None,
        };
        count(redacted);
        left
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_looking.set(false);
    }
}

/// A redactor that panics leaves out: it must take neither the connection with it nor the owner's work.
fn guarded<T>(look: impl FnOnce() -> Redaction<T>) -> Redaction<T> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
        // What it panicked with may panic as well, in its drop.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
        Redaction::Drop
    })
}
