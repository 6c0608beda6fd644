//! Wakers that are kept for later.

use std::cell::RefCell;
use std::task::Waker;

/// Keeps a waker, if it is another one.
pub(super) fn keep(place: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut place = place.borrow_mut();
    if !place.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
        let old = place.replace(waker.clone());
        drop(place);
        drop(old);
    }
}
