//! Who waits for something that happens once.

use std::cell::RefCell;
use std::task::Waker;

use slab::Slab;

/// Those who wait. Each has a place, which it leaves when it waits no more: else one who asks again and
/// again, and never stays, would leave a waker behind each time.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    wakers: RefCell<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    /// Mostly there is one at most, who has place zero.
    first: Option<Waker>,
    /// The others; their places are one more than their keys.
    more: Slab<Waker>,
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
        let _old = self.wakers.borrow_mut().put(place, waker);
    }

    /// Nobody waits in `place` any more.
    pub(crate) fn leave(&self, place: Option<usize>) {
        let gone = place.and_then(|place| self.wakers.borrow_mut().take(place));
        drop(gone);
    }

    /// It has happened: whoever comes from now on is not to wait.
    pub(crate) fn wake(&self) {
        let Wakers { first, more } = self.wakers.take();
        for waker in first
            .into_iter()
            .chain(more.into_iter().map(|(_, waker)| waker))
        {
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

impl Wakers {
    /// Gives back who was there, to be dropped where nothing is borrowed.
    fn put(&mut self, place: &mut Option<usize>, waker: Waker) -> Option<Waker> {
        let known = match *place {
            Some(0) => self.first.as_mut(),
            Some(place) => self.more.get_mut(place - 1),
            None => None,
        };
        if let Some(known) = known {
            return Some(std::mem::replace(known, waker));
        }
        if self.first.is_none() {
            *place = Some(0);
            return self.first.replace(waker);
        }
        *place = Some(self.more.insert(waker) + 1);
        None
    }

    fn take(&mut self, place: usize) -> Option<Waker> {
        match place.checked_sub(1) {
            None => self.first.take(),
            Some(key) => self.more.try_remove(key),
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
