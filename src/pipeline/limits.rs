//! How many events a peer may have at once.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::Result;
use crate::session::{Place, Room};

/// How many events the peer of one connection may have at once. What finds no room is answered with an error
/// ([`Error::is_overloaded`](crate::Error::is_overloaded)) and counted
/// ([`Callee::refused`](super::Callee::refused)).
///
/// ```
/// # use capspan::pipeline::EventLimits;
/// let limits = EventLimits::default().max_announced(64).max_open(100);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    announced: usize,
    open: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            announced: 1_024,
            open: 10_000,
        }
    }
}

impl EventLimits {
    /// Events that `startEvent` has announced and that have not been delivered; default 1,024. More are not
    /// announced, and nobody is told of them.
    #[must_use]
    pub fn max_announced(mut self, count: usize) -> Self {
        self.announced = count;
        self
    }

    /// Events that have been delivered and are not over, sessions among them; default 10,000. More are not
    /// delivered: such a dispatcher may deliver its event later, and if it never does, its span has the
    /// outcome `overloaded`.
    #[must_use]
    pub fn max_open(mut self, count: usize) -> Self {
        self.open = count;
        self
    }
}

/// How many events were refused, of all peers. See [`EventLimits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedEvents {
    /// Those that were not announced.
    pub announced: u64,
    /// Attempts to deliver those that were announced.
    pub open: u64,
}

/// What has been refused so far. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Refusals {
    announced: Rc<Cell<u64>>,
    open: Rc<Cell<u64>>,
}

impl Refusals {
    pub(super) fn counts(&self) -> RefusedEvents {
        RefusedEvents {
            announced: self.announced.get(),
            open: self.open.get(),
        }
    }
}

/// Room for the events of one peer. Without limits there is always some.
#[derive(Clone, Default)]
pub(super) struct Rooms(Option<[Rc<Room>; 2]>);

impl Rooms {
    pub(super) fn of_a_peer(limits: EventLimits, refusals: &Refusals) -> Self {
        let announced = "too many events are announced on this connection and not delivered";
        let open = "too many events are under way on this connection";
        Self(Some([
            Room::new(announced, limits.announced, &refusals.announced),
            Room::new(open, limits.open, &refusals.open),
        ]))
    }

    /// Takes the place of an event that is being announced.
    pub(super) fn announce(&self) -> Result<Option<Place>> {
        let room = self.0.as_ref().map(|[announced, _]| announced);
        room.map(Room::enter).transpose()
    }

    /// Takes the place of an event that is being delivered.
    pub(super) fn open(&self) -> Result<Option<Place>> {
        let room = self.0.as_ref().map(|[_, open]| open);
        room.map(Room::enter).transpose()
    }
}
