//! The events that are under way, for who wants to look at them while they are.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use super::call_spans::Parents;
use super::channels::Channels;
use super::end::SessionEnd;
use super::life::Life;
use super::side::{Side, What};
use crate::membrane::{IntroducedBy, Mark, Wrapped};
use crate::slots::Slots;
#[cfg(feature = "page")]
use crate::trace::SpanId;
use crate::trace::{Outcome, SpanContext, SpanKind, SpanParent, Timestamp};

/// The events of one thread that are under way: on the caller's side those of a
/// [`Pipeline`](crate::pipeline::Pipeline::live), on the callee's those of a
/// [`Callee`](crate::pipeline::Callee::live), and [sessions](super::SessionBuilder::live) without either.
/// Clones are handles to the same ones. It keeps none of them.
///
/// What is asked of it is answered on its thread: another thread has to send for it.
///
/// For it, the events' membranes are [inspected](crate::membrane::Builder::inspected), which costs an
/// allocation for each capability that crosses.
#[derive(Clone, Default)]
pub struct LiveEvents {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    lives: RefCell<Slots<Weak<Life>>>,
    begun: Cell<u64>,
    /// What these are a part of.
    whole: Option<LiveEvents>,
}

/// An event that is under way, or was just now. It keeps nothing open.
#[derive(Clone)]
pub struct LiveEvent {
    life: Weak<Life>,
}

/// A capability that has crossed between the two sides of an event, and is held by one of them.
#[derive(Clone, Debug)]
pub struct LiveCapability {
    wrapped: Wrapped,
    introduced_in: Option<SpanContext>,
    is_ours: bool,
}

/// An event's place among those that are under way. It leaves when this is dropped.
pub(super) struct LivePlace {
    inner: Rc<Inner>,
    place: usize,
    _in_whole: Option<Box<LivePlace>>,
}

impl LiveEvents {
    /// None as yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part of these, such as the events of one connection. What is under way in it is among these as well.
    pub fn part(&self) -> Self {
        Self {
            inner: Rc::new(Inner {
                whole: Some(self.clone()),
                ..Inner::default()
            }),
        }
    }

    /// Those that are under way now, in no order.
    pub fn events(&self) -> Vec<LiveEvent> {
        let mut lives = self.inner.lives.borrow_mut();
        let lives = lives.iter_mut();
        lives.map(|life| LiveEvent { life: life.clone() }).collect()
    }

    /// How many are under way now.
    pub fn len(&self) -> usize {
        self.inner.lives.borrow_mut().iter_mut().count()
    }

    /// Is none under way?
    pub fn is_empty(&self) -> bool {
        self.inner.lives.borrow().is_empty()
    }

    /// How many have begun so far.
    pub fn begun(&self) -> u64 {
        self.inner.begun.get()
    }

    pub(super) fn enter(&self, life: &Rc<Life>) -> LivePlace {
        let Inner { begun, whole, .. } = &*self.inner;
        begun.set(begun.get().saturating_add(1));
        LivePlace {
            inner: self.inner.clone(),
            place: self.inner.lives.borrow_mut().insert(Rc::downgrade(life)),
            _in_whole: whole.as_ref().map(|whole| Box::new(whole.enter(life))),
        }
    }
}

impl Drop for LivePlace {
    fn drop(&mut self) {
        let gone = self.inner.lives.borrow_mut().remove(self.place);
        drop(gone);
    }
}

impl LiveEvent {
    /// The ids of its spans on this side; `None` on a channel that is not observed.
    pub fn contexts(&self) -> Channels<Option<SpanContext>> {
        let parents = self.life.upgrade().map(|life| {
            let parents = &life.parents().channels;
            parents.as_ref().map(SpanParent::context)
        });
        parents.unwrap_or_default()
    }

    /// The ids of these spans alone, the user's first.
    #[cfg(feature = "page")]
    pub(crate) fn span_ids(&self) -> [Option<SpanId>; 2] {
        let life = self.life.upgrade();
        life.map_or([None, None], |life| {
            let Channels { internal, user } = &life.parents().channels;
            [user.span_id(), internal.span_id()]
        })
    }

    /// Which side of it this is: [`SpanKind::Client`] or [`SpanKind::Server`]; `None` when it is gone.
    pub fn side(&self) -> Option<SpanKind> {
        self.life.upgrade().map(|life| match life.side() {
            Side::Caller => SpanKind::Client,
            Side::Callee => SpanKind::Server,
        })
    }

    /// Is it a session, and not an event of another kind?
    pub fn is_session(&self) -> bool {
        let life = self.life.upgrade();
        life.is_some_and(|life| life.what() != What::Event)
    }

    /// The capabilities that have crossed and are held, in the order in which they did.
    ///
    /// One that was introduced long ago, and has had few calls, may have been forgotten by who holds it: it
    /// keeps the event open all the same.
    pub fn capabilities(&self) -> Vec<LiveCapability> {
        let Some(life) = self.life.upgrade() else {
            return Vec::new();
        };
        let side = life.side();
        let marked = life.membrane().map(|membrane| membrane.marked());
        let marked = marked.unwrap_or_default().into_iter();
        let mut capabilities: Vec<_> = marked
            .map(|(wrapped, mark)| LiveCapability {
                wrapped,
                introduced_in: span_of(mark.as_ref()),
                is_ours: side.answers(wrapped.is_inbound()),
            })
            .collect();
        capabilities.sort_by_key(LiveCapability::number);
        capabilities
    }

    /// How many capabilities have crossed and are held: those of this side's, held by the other, or those of
    /// the other's. It takes less time than to [look at](Self::capabilities) each.
    pub fn count_capabilities(&self, is_ours: bool) -> usize {
        let Some(life) = self.life.upgrade() else {
            return 0;
        };
        let is_inbound = is_ours == life.side().answers(true);
        let membrane = life.membrane();
        membrane.map_or(0, |membrane| membrane.count_wrapped(is_inbound))
    }

    /// How many calls are in flight in it, in either direction.
    pub fn calls(&self) -> usize {
        let life = self.life.upgrade();
        let membrane = life.and_then(|life| life.membrane());
        membrane.map_or(0, |membrane| membrane.calls())
    }

    /// How much [background work](crate::pipeline::EventContext::wait_until) goes on in it.
    pub fn background_work(&self) -> usize {
        self.life.upgrade().map_or(0, |life| life.works.get())
    }

    /// How it has ended, if it has.
    pub fn end(&self) -> Option<SessionEnd> {
        self.life.upgrade()?.end().cloned()
    }

    /// Ends it before its time: all of its capabilities are revoked, with `reason`, and so is its outcome.
    /// `false` where it is over.
    ///
    /// What is revoked is dropped here: not to be called within a drop.
    pub fn revoke(&self, reason: &str) -> bool {
        let Some(life) = self.life.upgrade().filter(|life| life.end().is_none()) else {
            return false;
        };
        life.abort(SessionEnd::new(Outcome::Revoked, Some(reason)));
        true
    }
}

/// The span of the call that a capability came with, on the user channel.
fn span_of(mark: Option<&Mark>) -> Option<SpanContext> {
    let parents = mark?.downcast_ref::<Parents>()?;
    let Channels { internal, user } = &parents.channels;
    user.context().or_else(|| internal.context())
}

impl LiveCapability {
    /// Tells it apart from all others of its event, from 1 in the order in which they crossed.
    pub fn number(&self) -> u64 {
        self.wrapped.number()
    }

    /// Is it this side's, and held by the other?
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// The call in which it crossed, or the promise that it was; `None` for an event's first.
    pub fn introduced_by(&self) -> Option<IntroducedBy> {
        self.wrapped.introduced_by()
    }

    /// The span of that call, where calls have [spans](super::CallSpans).
    pub fn introduced_in(&self) -> Option<&SpanContext> {
        self.introduced_in.as_ref()
    }

    /// When it crossed; `None` where the event is not observed.
    pub fn since(&self) -> Option<Timestamp> {
        self.wrapped.since()
    }

    /// How many calls were made on it.
    pub fn calls(&self) -> u64 {
        self.wrapped.calls()
    }

    /// The interface and the method of the last of them.
    pub fn last_call(&self) -> Option<(u64, u16)> {
        self.wrapped.last_call()
    }
}

impl fmt::Debug for LiveEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveEvents")
            .field("len", &self.len())
            .field("begun", &self.begun())
            .finish()
    }
}

impl fmt::Debug for LiveEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveEvent")
            .field("side", &self.side())
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}
