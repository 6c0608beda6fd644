//! What the objects of one side were called with, whatever time anything took.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What each object of a [`Vat`](super::Vat) was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<String, Calls>);

/// What one was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Calls {
    /// Of the methods to which the order matters: as they came.
    in_order: Vec<String>,
    /// Of the others: how often.
    others: BTreeMap<String, usize>,
}

/// Who listens. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Listener(Rc<RefCell<Told>>);

impl Listener {
    pub(super) fn told(&self) -> Told {
        self.0.borrow().clone()
    }

    pub(super) fn in_order(&self, object: String, call: String) {
        let Told(objects) = &mut *self.0.borrow_mut();
        objects.entry(object).or_default().in_order.push(call);
    }

    pub(super) fn once_more(&self, object: String, call: String) {
        let Told(objects) = &mut *self.0.borrow_mut();
        let calls = objects.entry(object).or_default();
        *calls.others.entry(call).or_default() += 1;
    }
}
