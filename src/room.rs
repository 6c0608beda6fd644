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

/// A place that is taken, until it is dropped. It may become larger, and smaller.
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

impl Place {
    /// One of no size, in the same room.
    pub(crate) fn another(&self) -> Self {
        Self {
            room: self.room.clone(),
            size: 0,
        }
    }

    /// Takes so much more; fails where less is left ([`Error::is_overloaded`]).
    pub(crate) fn add(&mut self, size: usize) -> Result<()> {
        let mut more = self.room.enter_with(size)?;
        self.size += std::mem::take(&mut more.size);
        Ok(())
    }

    /// Gives back so much of it, or all.
    pub(crate) fn give_back(&mut self, size: usize) {
        let less = size.min(self.size);
        self.size -= less;
        self.room.taken.set(self.room.taken.get() - less);
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
    fn a_place_grows_and_shrinks() {
        let refused = Rc::default();
        let room = Room::new("ten bytes are there", 10, &refused);
        let mut first = room.enter_with(4).ok().unwrap();
        let mut other = first.another();
        assert!(other.add(7).is_err() && other.add(6).is_ok() && first.add(1).is_err());
        first.give_back(3);
        assert!(other.add(3).is_ok() && other.add(1).is_err());
        first.give_back(usize::MAX);
        assert!(other.add(1).is_ok() && other.add(1).is_err());
        drop((first, other));
        assert!(room.enter_with(10).is_ok());
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
