//! How many events a peer may have at once.

use std::cell::Cell;
use std::rc::Rc;

use super::metadata::Metadata;
use crate::error::Result;
use crate::room::{Place, Room};

/// How many events the peer of one connection may have at once. What finds no room is answered with an error
/// ([`Error::is_overloaded`](crate::Error::is_overloaded)) and counted
/// ([`Callee::refused`](super::Callee::refused)).
///
/// ```
/// # use capspan::pipeline::EventLimits;
/// let limits = EventLimits::default().max_announced(64).max_open(100).max_kept_bytes(1 << 20);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    announced: usize,
    open: usize,
    kept_bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            announced: 1_024,
            open: 10_000,
            kept_bytes: 64 << 20,
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

    /// Bytes that are kept of all its events; default 64 MiB. These are the texts of their
    /// [metadata](super::Metadata), for as long as anything holds their [context](super::EventContext); the heads of
    /// their HTTP requests, until these are answered; and what has come of bodies and of tail events, and waits to be
    /// read. Where there is no room, an event is not announced, a request is refused, a body or a tail fails.
    #[must_use]
    pub fn max_kept_bytes(mut self, bytes: usize) -> Self {
        self.kept_bytes = bytes;
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
    /// What found no room among the bytes that are kept: metadata, heads, pieces of bodies, tail events.
    pub bytes: u64,
}

/// What has been refused so far. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Refusals {
    announced: Rc<Cell<u64>>,
    open: Rc<Cell<u64>>,
    bytes: Rc<Cell<u64>>,
}

impl Refusals {
    pub(super) fn counts(&self) -> RefusedEvents {
        RefusedEvents {
            announced: self.announced.get(),
            open: self.open.get(),
            bytes: self.bytes.get(),
        }
    }
}

/// What has travelled with an event, and the place that it takes.
pub(super) struct Received {
    pub(super) metadata: Metadata,
    place: Option<Place>,
}

impl Received {
    /// Where something else of the event is to have its place.
    pub(super) fn place(&self) -> Option<Place> {
        self.place.as_ref().map(Place::another)
    }
}

/// Room for the events of one peer. Without limits there is always some.
#[derive(Clone, Default)]
pub(super) struct Rooms(Option<Rc<OfAPeer>>);

struct OfAPeer {
    announced: Rc<Room>,
    open: Rc<Room>,
    bytes: Rc<Room>,
}

impl Rooms {
    pub(super) fn of_a_peer(limits: EventLimits, refusals: &Refusals) -> Self {
        let announced = "too many events are announced on this connection and not delivered";
        let open = "too many events are under way on this connection";
        let bytes = "too many bytes of events are kept on this connection";
        Self(Some(Rc::new(OfAPeer {
            announced: Room::new(announced, limits.announced, &refusals.announced),
            open: Room::new(open, limits.open, &refusals.open),
            bytes: Room::new(bytes, limits.kept_bytes, &refusals.bytes),
        })))
    }

    /// Takes the place of an event that is being announced.
    pub(super) fn announce(&self) -> Result<Option<Place>> {
        let rooms = self.0.as_ref();
        rooms.map(|rooms| rooms.announced.enter()).transpose()
    }

    /// Takes the place of an event that is being delivered.
    pub(super) fn open(&self) -> Result<Option<Place>> {
        let rooms = self.0.as_ref();
        rooms.map(|rooms| rooms.open.enter()).transpose()
    }

    /// Takes the place of what travels with an event.
    pub(super) fn keep(&self, metadata: Metadata) -> Result<Received> {
        let rooms = self.0.as_ref();
        let place = rooms.map(|rooms| rooms.bytes.enter_with(metadata.text_bytes()));
        Ok(Received {
            place: place.transpose()?,
            metadata,
        })
    }
}
