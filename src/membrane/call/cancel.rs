//! What a call that is canceled lets go.
//!
//! A promise of `capnp-rpc` keeps the calls that wait for it in a queue, and has that queue borrowed while it
//! drops the parameters of one that is canceled. With them the last may go that keeps another call of the same
//! queue, which would be taken out in the middle of it: a panic, and any peer could bring it about. So what
//! is dropped with a call goes when the call is gone.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    /// What is to go, while a call is being canceled.
    static LEFT: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// Drops a call's promise, if it has not ended, and then what that has [left](leave).
#[inline]
pub(super) fn cancel<T>(promise: Option<T>) {
    if let Some(promise) = promise {
        cancel_all(promise);
    }
}

/// Drops what there is of a call, and then what that has [left](leave).
#[inline(never)]
pub(super) fn cancel_all<T>(call: T) {
    let is_first = LEFT.try_with(|left| {
        let mut left = left.borrow_mut();
        let is_first = left.is_none();
        left.get_or_insert_default();
        is_first
    });
    if !is_first.unwrap_or_default() {
        return drop(call);
    }
    let _over = Over;
    drop(call);
    loop {
        let left = LEFT.take().unwrap_or_default();
        if left.is_empty() {
            break;
        }
        LEFT.set(Some(Vec::new()));
        drop(left);
    }
}

/// Is a call being canceled?
pub(super) fn is_canceling() -> bool {
    LEFT.try_with(|left| left.borrow().is_some())
        .unwrap_or_default()
}

/// Drops `value` when the call that is being canceled is gone.
pub(super) fn leave(value: impl Any) {
    // What is not put there is dropped here, and not while that is borrowed.
    let mut value: Option<Box<dyn Any>> = Some(Box::new(value));
    let _thread_ends = LEFT.try_with(|left| {
        if let Some(left) = &mut *left.borrow_mut() {
            left.extend(value.take());
        }
    });
}

/// No call is being canceled any more, also after a panic.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        drop(LEFT.take());
    }
}
