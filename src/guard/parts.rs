//! What is left of a hook that stands for something, when nobody has it any more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::stand_in::Hook;
use super::waiting_calls::Calls;
use super::way::Way;

/// What one had.
pub(super) struct Parts {
    _hook: Hook,
    _way: Option<Way>,
    _calls: Rc<Calls>,
}

thread_local! {
    /// What is to be dropped after what is being dropped.
    static LEFT: RefCell<Vec<Parts>> = const { RefCell::new(Vec::new()) };
    static IS_DROPPING: Cell<bool> = const { Cell::new(false) };
}

impl Parts {
    pub(super) fn new(hook: Hook, way: Option<Way>, calls: Rc<Calls>) -> Self {
        Self {
            _hook: hook,
            _way: way,
            _calls: calls,
        }
    }

    /// Drops it, and what goes with it afterwards: of those that stand for each other there may be more than a stack
    /// has room for.
    pub(super) fn let_go(self) {
        struct Dropping;
        impl Drop for Dropping {
            fn drop(&mut self) {
                IS_DROPPING.set(false);
            }
        }
        let mut next = Some(self);
        if IS_DROPPING.replace(true) {
            // Where a thread ends there may be no place for it any more: it is dropped at once.
            let _is_left = LEFT.try_with(|left| left.borrow_mut().extend(next.take()));
            return;
        }
        let _until_the_end = Dropping;
        while let Some(parts) = next {
            drop(parts);
            next = LEFT.try_with(|left| left.borrow_mut().pop()).ok().flatten();
        }
    }
}
