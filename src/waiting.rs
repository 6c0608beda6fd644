//! Who waits for something that happens once.

use std::cell::RefCell;
use std::task::Waker;

use crate::slots::Slots;

/// Those who wait. Each has a place, which it leaves when it waits no more: else one who asks again and
/// again, and never stays, would leave a waker behind each time.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    wakers: RefCell<Slots<Waker>>,
}

/// One who may be waiting, for as long as it lives.
pub(crate) struct Waiter<'a> {
    waiting: &'a Waiting,
    place: Option<usize>,
}

impl Waiting {
    /// Lets `waker` be told, in the place of who had `place` before.
    pub(crate) fn wait(&self, place: &mut Option<usize>, waker: &Waker) {
        let waker = waker.clone();
        let _old = {
            let mut wakers = self.wakers.borrow_mut();
            match place.and_then(|place| wakers.get_mut(place)) {
                Some(old) => Some(std::mem::replace(old, waker)),
                None => {
                    *place = Some(wakers.insert(waker));
                    None
                }
            }
        };
    }

    /// Nobody waits in `place` any more.
    pub(crate) fn leave(&self, place: Option<usize>) {
        let gone = place.and_then(|place| self.wakers.borrow_mut().remove(place));
        drop(gone);
    }

    /// It has happened: whoever comes from now on is not to wait.
    pub(crate) fn wake(&self) {
        if self.wakers.borrow().is_empty() {
            return;
        }
        for waker in self.wakers.take().into_values() {
            waker.wake();
        }
    }

    pub(crate) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            waiting: self,
            place: None,
        }
    }
}

impl Waiter<'_> {
    /// Lets `waker` be told.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        self.waiting.wait(&mut self.place, waker);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiting.leave(self.place);
    }
}
