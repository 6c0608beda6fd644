//! How many of something there may be at once.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::{Error, Result};

/// Room for a number of things of one kind.
pub(crate) struct Room {
    /// What there is room for, as an error names it.
    what: &'static str,
    max: usize,
    taken: Cell<usize>,
    refused: Rc<Cell<u64>>,
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place(Rc<Room>);

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
        if self.taken.get() >= self.max {
            self.refused.set(self.refused.get().saturating_add(1));
            let Self { what, max, .. } = &**self;
            return Err(Error::overloaded(format!("{what}; the limit is {max}")));
        }
        self.taken.set(self.taken.get() + 1);
        Ok(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
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
}
