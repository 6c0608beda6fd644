//! Operations whose choices are made: what both the model and the real thing do.

use super::ops::Limits;
use super::spans::{What, Writing};

/// What a service's handler of an event, or an object that is called, does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// It keeps the capability that it is given; a handler has a new object keep it.
    pub(super) keeps: bool,
    /// It calls the capability that it is given.
    pub(super) calls_back: bool,
    /// It waits until it is let go on.
    pub(super) waits: bool,
    /// Before it returns it writes to the caller's span of an event.
    pub(super) writes: Option<(usize, Writing)>,
    pub(super) fails: bool,
    pub(super) gives: Gives,
}

/// What is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Nothing,
    New,
    /// What the object keeps.
    Kept,
    /// What it was given.
    Given,
}

impl Order {
    /// Does nothing but return a new object.
    pub(super) const NEW: Self = Self {
        keeps: false,
        calls_back: false,
        waits: false,
        writes: None,
        fails: false,
        gives: Gives::New,
    };

    /// Is it all the same to the rest of the world whether it is done?
    pub(super) fn is_pure(&self) -> bool {
        let gives = matches!(self.gives, Gives::Nothing | Gives::New);
        gives && !self.keeps && !self.calls_back && self.writes.is_none()
    }
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Session,
    Scheduled,
    Custom,
}

/// Whose child an event's span is on the caller's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// It is not observed.
    Nobody,
    /// A span of the caller's vat.
    Request,
    /// The callee's span of another event.
    Event(usize),
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// After so many pieces in either direction.
    Wire([usize; 2]),
    CallersDriver,
    CalleesDriver,
}

/// An operation. Capabilities, requests and responses are told by their places among those that are held,
/// events by their places among all that were started, calls and those who wait by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Todo {
    Start {
        route: usize,
        kind: Kind,
        parent: Parent,
        cap: Option<usize>,
        order: Order,
        /// Is the response held as it is?
        holds: bool,
        /// The caller's.
        limits: Limits,
    },
    Call {
        to: usize,
        cap: Option<usize>,
        order: Order,
        holds: bool,
    },
    Prepare {
        to: usize,
    },
    Copy {
        cap: usize,
    },
    Drop {
        cap: usize,
    },
    DiscardRequest {
        request: usize,
    },
    DiscardResponse {
        response: usize,
    },
    Take {
        response: usize,
    },
    Cancel {
        number: u32,
    },
    DropHandle {
        event: usize,
    },
    Detach {
        event: usize,
    },
    Done {
        event: usize,
    },
    Release {
        number: u32,
    },
    Write {
        event: usize,
        writing: Writing,
    },
    Own {
        event: usize,
        writing: Writing,
        is_caller: bool,
    },
    Forget {
        object: u32,
    },
    Cut {
        route: usize,
        how: How,
    },
    Connect {
        route: usize,
    },
    Pass {
        ticks: u64,
    },
    Drain {
        route: usize,
    },
}

impl Writing {
    pub(super) fn choose(choice: u8, number: i64) -> Self {
        Self {
            what: What::choose(choice),
            number,
        }
    }
}
