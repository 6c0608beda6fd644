//! What is alive in a membrane, for who asked for it to be noted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Direction;
use super::call::Pipelined;
use super::policy::CallWatch;
use crate::clock::Timestamp;

/// A wrapper that is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped {
    number: u64,
    is_inbound: bool,
    introduced_by: Option<IntroducedBy>,
    since: Option<Timestamp>,
    calls: u64,
    last_call: Option<(u64, u16)>,
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
    /// Tells it apart from all others that the membrane has had, from 1 in the order in which they crossed.
    pub fn number(&self) -> u64 {
        self.number
    }

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

    /// The interface and the method of the last of them: nothing else tells what kind of capability it is.
    pub fn last_call(&self) -> Option<(u64, u16)> {
        self.last_call
    }
}

/// What a policy remembers a call by, and finds again in calls on what that call introduced. It is dropped
/// with the last of them, where tables of `capnp-rpc` may be borrowed: it must not hold capabilities.
pub type Mark = Rc<dyn Any>;

/// The call in which a capability crosses, and who knows what a policy remembers it by.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) by: IntroducedBy,
    pub(super) marked: Marked,
}

/// Who knows the mark of a call.
#[derive(Clone)]
pub(super) enum Marked {
    Not,
    /// To be asked where something crosses: most calls introduce nothing.
    By(Rc<dyn CallWatch>),
    With(Mark),
}

impl Origin {
    fn mark(self) -> Option<Mark> {
        match self.marked {
            Marked::Not => None,
            Marked::By(watch) => watch.mark(),
            Marked::With(mark) => Some(mark),
        }
    }
}

/// What a membrane notes while it is inspected.
#[derive(Default)]
pub(super) struct Inspection {
    /// The call whose message is crossing.
    current: RefCell<Option<Origin>>,
    /// The number of the last wrapper.
    last_number: Cell<u64>,
}

/// While it lives, what crosses is introduced by a call.
pub(super) struct Introducing<'a> {
    inspection: &'a Inspection,
    before: Option<Origin>,
}

/// What is noted of one wrapper.
pub(super) struct Record {
    number: u64,
    introduced_by: Option<IntroducedBy>,
    mark: Option<Mark>,
    since: Option<Timestamp>,
    calls: Cell<u64>,
    last_call: Cell<Option<(u64, u16)>>,
    /// The call that it is pipelined on, where that is to be kept.
    call: Cell<Option<Pipelined>>,
}

impl Inspection {
    pub(super) fn introducing(&self, by: Origin) -> Introducing<'_> {
        Introducing {
            inspection: self,
            before: self.current.replace(Some(by)),
        }
    }

    /// What is to be noted of a wrapper that comes to be now. It may run a policy's code.
    pub(super) fn record(&self, since: Option<Timestamp>) -> Record {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let origin = self.current.borrow().clone();
        Record {
            number,
            introduced_by: origin.as_ref().map(|origin| origin.by),
            mark: origin.and_then(Origin::mark),
            since,
            calls: Cell::new(0),
            last_call: Cell::new(None),
            call: Cell::new(None),
        }
    }
}

impl Drop for Introducing<'_> {
    fn drop(&mut self) {
        self.inspection.current.replace(self.before.take());
    }
}

impl Record {
    pub(super) fn count_call(&self, method: (u64, u16)) {
        self.calls.set(self.calls.get() + 1);
        self.last_call.set(Some(method));
    }

    /// Keeps a call.
    pub(super) fn keep(&self, call: Pipelined) {
        self.call.set(Some(call));
    }

    /// The last call that it was to keep; it may have ended.
    pub(super) fn kept(&self) -> Option<Pipelined> {
        self.call.get()
    }

    pub(super) fn introduced_by(&self) -> Option<IntroducedBy> {
        self.introduced_by
    }

    pub(super) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// That what the wrapper resolves to has the same origin.
    pub(super) fn origin(&self) -> Option<Origin> {
        Some(Origin {
            by: self.introduced_by?,
            marked: self.mark.clone().map_or(Marked::Not, Marked::With),
        })
    }

    pub(super) fn wrapped(&self, direction: Direction) -> Wrapped {
        Wrapped {
            number: self.number,
            is_inbound: direction == Direction::Inbound,
            introduced_by: self.introduced_by,
            since: self.since,
            calls: self.calls.get(),
            last_call: self.last_call.get(),
        }
    }
}
