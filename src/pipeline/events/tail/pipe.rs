//! What is between the producer and the reader.

use std::collections::VecDeque;
use std::task::Waker;

use crate::error::{Error, Result};
use crate::room::Place;
use crate::tail_capnp::tail_event;
use crate::trace::{Dropped, TailEvent};
use crate::wire;

/// How many tail events are taken at once.
const MAX_EVENTS: u32 = 1024;

/// How much may wait to be read before whoever sends has to wait, in bytes.
pub(super) const ROOM: usize = 64 * 1024;

/// How much may wait to be read at all: a producer that waits never has so much. What it has sent and has
/// not come here yet, as `capnp-rpc` keeps it back while one call waits, is not counted.
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// How large one tail event may be, far above what a span has by default. A larger one is left out.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

type List<'a> = capnp::struct_list::Reader<'a, tail_event::Owned>;

/// Tail events that wait to be read, and how both ends stand.
#[derive(Default)]
pub(super) struct Pipe {
    pub(super) events: VecDeque<TailEvent>,
    pub(super) waiting: usize,
    /// Where what waits is counted together with others.
    pub(super) place: Option<Place>,
    pub(super) counts: Counts,
    pub(super) dropped: Dropped,
    pub(super) is_ended: bool,
    /// What the producer did wrong, or that it has left.
    pub(super) error: Option<Error>,
    pub(super) is_read: bool,
    /// How the service has ended.
    pub(super) done: Option<capnp::Result<()>>,
    pub(super) reader: Option<Waker>,
    pub(super) writers: Vec<Waker>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) lost: u64,
    /// The number that is to come.
    next: u64,
}

impl Counts {
    /// Numbers that come again, or go back, are the producer's affair.
    fn take(&mut self, sequence: u64) {
        self.received = self.received.saturating_add(1);
        if let Some(missing) = sequence.checked_sub(self.next) {
            self.lost = self.lost.saturating_add(missing);
            self.next = sequence.saturating_add(1);
        }
    }
}

impl Pipe {
    pub(super) fn take(&mut self, list: List<'_>) -> capnp::Result<()> {
        self.check_has_not_failed()?;
        self.check_is_open()?;
        if list.len() > MAX_EVENTS {
            self.fail(Error::limit(format!(
                "TailStream.events.events has {} elements; the limit is {MAX_EVENTS}",
                list.len()
            )))?;
        }
        for event in list {
            let Some(event) = wire::read_tail_event(event, &mut self.dropped) else {
                // What comes next tells that it is missing.
                continue;
            };
            let size = event.size();
            if size > MAX_EVENT_BYTES {
                continue;
            }
            if self.waiting + size > MAX_WAITING {
                self.fail(Error::overloaded(format!(
                    "more than {MAX_WAITING} bytes of tail events wait to be read, which is the limit; \
                     wait for each call to return"
                )))?;
            }
            if let Some(place) = &mut self.place
                && let Err(error) = place.add(size)
            {
                self.fail(error)?;
            }
            self.counts.take(event.sequence);
            self.waiting += size;
            self.events.push_back(event);
        }
        Ok(())
    }

    /// Somebody has read so much.
    pub(super) fn read(&mut self, size: usize) {
        self.waiting = self.waiting.saturating_sub(size);
        if let Some(place) = &mut self.place {
            place.give_back(size);
        }
    }

    pub(super) fn check_has_not_failed(&self) -> capnp::Result<()> {
        match &self.done {
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn check_is_open(&self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if !self.is_read {
            // As if it were gone: peers take that for no fault of theirs.
            return Err(Error::disconnected(
                "nobody reads these tail events any more",
            ));
        }
        match self.is_ended {
            true => Err(Error::malformed(
                "tail events after the end of their stream",
            )),
            false => Ok(()),
        }
    }

    /// Its reader is to know as well.
    fn fail(&mut self, error: Error) -> Result<()> {
        self.error = Some(error.clone());
        Err(error)
    }
}
