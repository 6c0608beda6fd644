//! What is alive in a membrane, for who asked for it to be noted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Direction;
use crate::clock::Timestamp;

/// A wrapper that is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped {
    is_inbound: bool,
    introduced_by: Option<IntroducedBy>,
    since: Option<Timestamp>,
    calls: u64,
}

/// The call in which a capability crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntroducedBy {
    /// The id of the interface.
    pub interface_id: u64,
    /// The ordinal of the method.
    pub method_id: u16,
    /// Was it in its results? If not, in its parameters.
    pub in_results: bool,
}

impl Wrapped {
    /// Does it stand outside for something inside? If not, it is the other way round.
    pub fn is_inbound(&self) -> bool {
        self.is_inbound
    }

    /// The call in which it crossed first, or the promise that it was; `None` where that was exported or
    /// imported by hand.
    pub fn introduced_by(&self) -> Option<IntroducedBy> {
        self.introduced_by
    }

    /// When it crossed; `None` where the membrane has no clock. What is old and has few calls may have
    /// been forgotten by somebody.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// How many calls were made on it.
    pub fn calls(&self) -> u64 {
        self.calls
    }
}

/// What a policy remembers a call by, and finds again in calls on what that call introduced. It is dropped
/// with the last of them, where tables of `capnp-rpc` may be borrowed: it must not hold capabilities.
pub type Mark = Rc<dyn Any>;

/// The call in which a capability crossed, and what a policy remembers it by.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) by: IntroducedBy,
    pub(super) mark: Option<Mark>,
}

/// What a membrane notes while it is inspected.
#[derive(Default)]
pub(super) struct Inspection {
    /// The call whose message is crossing.
    current: RefCell<Option<Origin>>,
}

/// While it lives, what crosses is introduced by a call.
pub(super) struct Introducing<'a> {
    inspection: &'a Inspection,
    before: Option<Origin>,
}

/// What is noted of one wrapper.
pub(super) struct Record {
    origin: Option<Origin>,
    since: Option<Timestamp>,
    calls: Cell<u64>,
}

impl Inspection {
    pub(super) fn introducing(&self, by: Origin) -> Introducing<'_> {
        Introducing {
            inspection: self,
            before: self.current.replace(Some(by)),
        }
    }

    pub(super) fn record(&self, since: Option<Timestamp>) -> Record {
        Record {
            origin: self.current.borrow().clone(),
            since,
            calls: Cell::new(0),
        }
    }
}

impl Drop for Introducing<'_> {
    fn drop(&mut self) {
        self.inspection.current.replace(self.before.take());
    }
}

impl Record {
    pub(super) fn count_call(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    pub(super) fn wrapped(&self, direction: Direction) -> Wrapped {
        Wrapped {
            is_inbound: direction == Direction::Inbound,
            introduced_by: self.origin.as_ref().map(|origin| origin.by),
            since: self.since,
            calls: self.calls.get(),
        }
    }
}
