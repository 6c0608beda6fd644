//! How a call or an event ended, as attributes that are made once.

use std::rc::Rc;

use opentelemetry::{KeyValue, StringValue};

use super::alive::Side;
use super::instruments::{CAPNPROTO, ERROR_TYPE, OUTCOME, RPC_METHOD, RPC_SYSTEM_NAME, SIDE};
use crate::error;
use crate::trace::{Outcome, SpanRecord};

/// How something ended. There are few ways, whatever peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    outcome: Outcome,
    error_type: Option<&'static str>,
}

impl Ended {
    pub(super) fn of(span: &SpanRecord) -> Self {
        // Where nobody has said, nobody waited for it any more.
        let outcome = span.outcome().unwrap_or(Outcome::Canceled);
        let error_type = match outcome {
            Outcome::Ok | Outcome::Canceled => None,
            _ => Some(kind_of_error(span).unwrap_or(outcome.as_str())),
        };
        Self {
            outcome,
            error_type,
        }
    }

    pub(super) fn is_ok(self) -> bool {
        self.outcome == Outcome::Ok
    }
}

/// What its owner has written, if that is known. A callee might have written anything.
fn kind_of_error(span: &SpanRecord) -> Option<&'static str> {
    let said = span.attributes().get(ERROR_TYPE)?.as_text()?;
    let is_callees = span.set_by_callee().iter().any(|key| **key == *ERROR_TYPE);
    let mut known = error::kinds().chain(["panic"]);
    known.find(|kind| !is_callees && *kind == said)
}

/// The attributes of what ended, by how it did.
pub(super) struct Results {
    common: Vec<KeyValue>,
    /// The way in which the first one ended, as most do, stands first.
    known: Vec<(Ended, Rc<[KeyValue]>)>,
}

impl Results {
    /// Of the calls of a method.
    pub(super) fn of_method(name: impl Into<StringValue>) -> Self {
        Self::of(vec![
            KeyValue::new(RPC_METHOD, name.into()),
            KeyValue::new(RPC_SYSTEM_NAME, CAPNPROTO),
        ])
    }

    /// Of events.
    pub(super) fn of_events(side: Side) -> Self {
        Self::of(vec![KeyValue::new(SIDE, side.as_str())])
    }

    fn of(common: Vec<KeyValue>) -> Self {
        let known = Vec::new();
        Self { common, known }
    }

    /// The attributes of one that ended so.
    pub(super) fn attributes(&mut self, ended: Ended) -> Rc<[KeyValue]> {
        if let Some((_, attributes)) = self.known.iter().find(|(known, _)| *known == ended) {
            return attributes.clone();
        }
        let mut attributes = self.common.clone();
        attributes.push(KeyValue::new(OUTCOME, ended.outcome.as_str()));
        attributes.extend(ended.error_type.map(|kind| KeyValue::new(ERROR_TYPE, kind)));
        // In this order the SDK takes them as they are.
        attributes.sort_by(|a, b| a.key.cmp(&b.key));
        let attributes = Rc::<[KeyValue]>::from(attributes);
        self.known.push((ended, attributes.clone()));
        attributes
    }
}
