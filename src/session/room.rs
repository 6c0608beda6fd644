//! How many of something there may be at once.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::{Error, Result};

/// Room for a number of things of one kind, or for a size that they have together.
pub(crate) struct Room {
    /// What there is room for, as an error names it.
    what: &'static str,
    max: usize,
    taken: Cell<usize>,
    refused: Rc<Cell<u64>>,
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    room: Rc<Room>,
    size: usize,
}

impl Room {
    /// Room for `max`; what finds none is counted in `refused`.
    pub(crate) fn new(what: &'static str, max: usize, refused: &Rc<Cell<u64>>) -> Rc<Self> {
        Rc::new(Self {
            what,
            max,
            taken: Cell::new(0),
            refused: refused.clone(),
        })
    }

    /// Takes a place; fails where none is left ([`Error::is_overloaded`]).
    pub(crate) fn enter(self: &Rc<Self>) -> Result<Place> {
        self.enter_with(1)
    }

    /// Takes a place of `size`; fails where less is left ([`Error::is_overloaded`]).
    pub(crate) fn enter_with(self: &Rc<Self>, size: usize) -> Result<Place> {
        if size > self.max - self.taken.get() {
            self.refused.set(self.refused.get().saturating_add(1));
            let Self { what, max, .. } = &**self;
            return Err(Error::overloaded(format!("{what}; the limit is {max}")));
        }
        self.taken.set(self.taken.get() + size);
        Ok(Place {
            room: self.clone(),
            size,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &self.room.taken;
        taken.set(taken.get() - self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let refused = Rc::default();
        let room = Room::new("two are there", 2, &refused);
        let first = room.enter().ok();
        let _second = room.enter().ok();
        let error = room.enter().err().unwrap();
        assert!(error.is_overloaded());
        assert_eq!(error.reason(), "two are there; the limit is 2");
        drop(first);
        assert!(room.enter().is_ok());
        assert_eq!(refused.get(), 1);
    }

    #[test]
    fn a_place_takes_its_size() {
        let refused = Rc::default();
        let room = Room::new("ten bytes are there", 10, &refused);
        let first = room.enter_with(8).ok();
        assert!(room.enter_with(3).is_err() && room.enter_with(usize::MAX).is_err());
        let _second = room.enter_with(2).ok().unwrap();
        assert!(room.enter_with(0).is_ok() && room.enter_with(1).is_err());
        drop(first);
        assert!(room.enter_with(8).is_ok());
        assert_eq!(refused.get(), 3);
    }
}
