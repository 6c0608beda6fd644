//! What a board keeps.

use std::cell::RefCell;
use std::rc::Rc;

use super::methods::Methods;
use super::refusals::Refusals;
use super::sessions::Sessions;
use crate::session::{CallSpans, LiveEvents};
use crate::trace::{Clock, SystemClock, Timestamp};

/// What a board keeps. Nothing is borrowed while other code than the board's runs.
pub(in crate::page) struct State {
    pub(super) sessions: RefCell<Sessions>,
    pub(super) methods: RefCell<Methods>,
    pub(super) refusals: RefCell<Refusals>,
    pub(super) live: LiveEvents,
    names: RefCell<CallSpans>,
    clock: RefCell<Rc<dyn Clock>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            sessions: RefCell::default(),
            methods: RefCell::default(),
            refusals: RefCell::default(),
            live: LiveEvents::new(),
            names: RefCell::default(),
            clock: RefCell::new(Rc::new(SystemClock::new())),
        }
    }
}

impl State {
    pub(super) fn set_names(&self, names: CallSpans) {
        let _old = self.names.replace(names);
    }

    pub(super) fn set_clock(&self, clock: Rc<dyn Clock>) {
        let _old = self.clock.replace(clock);
    }

    pub(super) fn now(&self) -> Timestamp {
        let clock = self.clock.borrow().clone();
        clock.now()
    }

    /// What a method is called, or its ids.
    pub(super) fn method_name(&self, (interface_id, method_id): (u64, u16)) -> String {
        let names = self.names.borrow();
        names.method_name(interface_id, method_id).as_ref().into()
    }
}
