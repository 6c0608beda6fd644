//! Calls on what stands for a promise, until they can be made.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::Promise;
use capnp::private::capability::{ParamsHook, ResultsHook};
use futures::channel::oneshot;

use super::stand_in::Standing;

/// A call that has not been made.
pub(super) struct Call {
    pub(super) interface_id: u64,
    pub(super) method_id: u16,
    pub(super) params: Box<dyn ParamsHook>,
    pub(super) results: Box<dyn ResultsHook>,
    /// Gets what it comes to when it is made.
    pub(super) begun: oneshot::Sender<Promise<(), Error>>,
    /// Who waits for it. Nobody does any more who has gone.
    waits: Weak<Waits>,
}

/// The calls that wait for one promise, in their order.
#[derive(Default)]
pub(super) struct Calls {
    by_number: RefCell<BTreeMap<u64, Call>>,
    next: Cell<u64>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.borrow().is_empty()
    }

    pub(super) fn pop(&self) -> Option<Call> {
        let first = self.by_number.borrow_mut().pop_first();
        first.map(|(_, call)| call)
    }

    /// All of them, to be dropped.
    pub(super) fn take(&self) -> Self {
        Self {
            by_number: RefCell::new(self.by_number.take()),
            next: Cell::default(),
        }
    }

    fn push(&self, call: Call) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.by_number.borrow_mut().insert(number, call);
        number
    }
}

/// That somebody waits for a call. Dropping it takes the call away.
pub(super) struct Waits {
    /// What it waits for, and its number there.
    at: RefCell<(Rc<Standing>, u64)>,
}

impl Waits {
    pub(super) fn standing(&self) -> Rc<Standing> {
        self.at.borrow().0.clone()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let (standing, number) = self.at.get_mut();
        let canceled = standing.calls.by_number.borrow_mut().remove(number);
        drop(canceled);
    }
}

impl Standing {
    /// Takes a call that waits.
    pub(super) fn push(
        self: &Rc<Self>,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> (Rc<Waits>, oneshot::Receiver<Promise<(), Error>>) {
        let (begun, begins) = oneshot::channel();
        let waits = Rc::new_cyclic(|waits| {
            let call = Call {
                interface_id,
                method_id,
                params,
                results,
                begun,
                waits: waits.clone(),
            };
            let at = (self.clone(), self.calls.push(call));
            Waits {
                at: RefCell::new(at),
            }
        });
        (waits, begins)
    }

    /// Takes a call that has waited elsewhere. It waits on as what it is: one within another, they would be as deep as
    /// a promise has had steps.
    pub(super) fn take_over(self: &Rc<Self>, call: Call) {
        if let Some(waits) = call.waits.upgrade() {
            let number = self.calls.push(call);
            let before = waits.at.replace((self.clone(), number));
            drop(before);
        }
    }
}
