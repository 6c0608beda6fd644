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

/// The calls that wait for one promise, in their order. All of them may come to wait for another.
#[derive(Default)]
pub(super) struct Calls {
    by_number: RefCell<BTreeMap<i64, Call>>,
    /// All numbers so far are from `first` on, and below `last`. None is given twice: who has waited for a call that was
    /// made keeps its number, and takes away what is there.
    first: Cell<i64>,
    last: Cell<i64>,
    owner: RefCell<Weak<Standing>>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.borrow().is_empty()
    }

    pub(super) fn pop(&self) -> Option<Call> {
        let first = self.by_number.borrow_mut().pop_first();
        first.map(|(_, call)| call)
    }

    fn len(&self) -> usize {
        self.by_number.borrow().len()
    }

    fn insert_last(&self, call: Call) -> i64 {
        let number = self.last.get();
        self.last.set(number + 1);
        self.by_number.borrow_mut().insert(number, call);
        number
    }

    fn insert_first(&self, call: Call) -> i64 {
        let number = self.first.get() - 1;
        self.first.set(number);
        self.by_number.borrow_mut().insert(number, call);
        number
    }

    /// Moves a call here whose place this gives.
    fn adopt(self: &Rc<Self>, call: Call, insert: impl FnOnce(&Self, Call) -> i64) {
        // Who has gone takes its call along.
        if let Some(waits) = call.waits.upgrade() {
            let number = insert(self, call);
            let before = waits.at.replace((self.clone(), number));
            drop(before);
        }
    }
}

/// That somebody waits for a call. Dropping it takes the call away.
pub(super) struct Waits {
    /// The calls that it is among, and its number there.
    at: RefCell<(Rc<Calls>, i64)>,
    /// What was called: that leads to what the call waits for now.
    called: Rc<Standing>,
}

impl Waits {
    /// What it waits for.
    pub(super) fn standing(&self) -> Rc<Standing> {
        let owner = self.at.borrow().0.owner.borrow().upgrade();
        owner.unwrap_or_else(|| self.called.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let (calls, number) = self.at.get_mut();
        let canceled = calls.by_number.borrow_mut().remove(number);
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
        let calls = self.calls();
        calls.owner.replace(Rc::downgrade(self));
        let waits = Rc::new_cyclic(|waits| {
            let call = Call {
                interface_id,
                method_id,
                params,
                results,
                begun,
                waits: waits.clone(),
            };
            let number = calls.insert_last(call);
            Waits {
                at: RefCell::new((calls, number)),
                called: self.clone(),
            }
        });
        (waits, begins)
    }

    /// Takes all calls that have waited for `other`, after its own. They wait on as what they are: one within another,
    /// they would be as deep as a promise has had steps. The fewer ones are moved to the others: so that, however many
    /// steps there are, none is often.
    pub(super) fn take_over(self: &Rc<Self>, other: &Standing) {
        let (own, others) = (self.calls(), other.replace_calls(Rc::default()));
        if own.len() >= others.len() {
            while let Some(call) = others.pop() {
                own.adopt(call, Calls::insert_last);
            }
            return;
        }
        let last_of = |calls: &Calls| calls.by_number.borrow_mut().pop_last();
        while let Some((_, call)) = last_of(&own) {
            others.adopt(call, Calls::insert_first);
        }
        others.owner.replace(Rc::downgrade(self));
        let empty = self.replace_calls(others);
        drop(empty);
    }
}
