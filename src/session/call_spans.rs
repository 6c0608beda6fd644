//! The calls of a session as spans.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::{Rc, Weak};

use capnp::traits::HasTypeId;

use super::channels::Channels;
use super::end::Exception;
use super::life::Life;
use super::side::{Side, What};
use crate::error::Error;
use crate::membrane::{self, CallWatch, Mark, Policy, Scope};
use crate::trace::{
    Outcome, SpanBuilder, SpanKind, SpanParent, SpanStatus, with_current_parent, with_current_span,
};

/// Tells of each call in a session, or on what comes of a custom event: a span from when it is sent, or has
/// arrived, until it has returned.
///
/// Each side tells its own: a call is a `CLIENT` span where it is made, a `SERVER` span where it is
/// answered. The parent is the span of the call that the called capability came with, in its results or in
/// its parameters, or else the event's span. So calls on what a call has returned are its children, those
/// that are pipelined on it too, and so are calls back on what was passed in it. A capability that came with
/// several calls belongs to the first of them.
///
/// While a service answers a call, its span is the current one
/// ([`SpanParent::current`](crate::trace::SpanParent::current)).
///
/// A call that fails marks its own span, with an `exception` event and `error.type`; it fails neither the
/// call that it is a child of nor the session. The outcome is that of the event where that has ended before
/// the call. One that is given up before it has returned, with all that is pipelined on it, is `canceled`.
///
/// Messages have no names: an interface whose names are not given here is told of by its id, as
/// `0xb3a2…/0`.
///
/// ```
/// # use capspan::session::CallSpans;
/// # use capspan_testkit::greeter_capnp::greeter;
/// let calls = CallSpans::new().interface::<greeter::Client>("Greeter", ["greet"]);
/// ```
#[derive(Clone, Default)]
pub struct CallSpans {
    /// In the order of the interfaces' ids: they are few, and looked up with each call.
    names: Rc<Vec<Interface>>,
}

/// An interface's id, and what its methods are called.
#[derive(Clone)]
struct Interface {
    id: u64,
    methods: Box<[Rc<str>]>,
}

impl CallSpans {
    /// Knows no names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows what an interface and its methods are called, in the order of their ordinals. A span of theirs
    /// is called `Interface/method`.
    #[must_use]
    pub fn interface<C: HasTypeId>(
        self,
        name: &str,
        methods: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        self.interface_by_id(C::TYPE_ID, name, methods)
    }

    /// The same by the id of the interface.
    #[must_use]
    pub fn interface_by_id(
        mut self,
        id: u64,
        name: &str,
        methods: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let methods = methods.into_iter();
        let names = methods.map(|method| format!("{name}/{}", method.as_ref()).into());
        let methods = names.collect();
        let all = Rc::make_mut(&mut self.names);
        match all.binary_search_by_key(&id, |interface| interface.id) {
            Ok(known) => all[known].methods = methods,
            Err(place) => all.insert(place, Interface { id, methods }),
        }
        self
    }

    /// What a span of this method's is called: `Interface/method`, or the ids where no name is known.
    pub fn method_name(&self, interface_id: u64, method_id: u16) -> Rc<str> {
        self.name(interface_id, method_id).into_owned()
    }

    fn name(&self, interface_id: u64, method_id: u16) -> Cow<'_, Rc<str>> {
        let found = self
            .names
            .binary_search_by_key(&interface_id, |interface| interface.id);
        let methods = found.ok().map(|place| &self.names[place].methods);
        match methods.and_then(|methods| methods.get(usize::from(method_id))) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("{interface_id:#x}/{method_id}").into()),
        }
    }

    /// What opens the spans of one event's calls, if anybody is told of them.
    pub(super) fn policy(&self, life: &Rc<Life>) -> Option<impl Policy + use<>> {
        life.parents().is_observed().then(|| Recorder {
            event: Rc::new(Recorded {
                calls: self.clone(),
                life: Rc::downgrade(life),
                side: life.side(),
                is_delivery_next: Cell::new(life.what() == What::Event),
            }),
        })
    }
}

/// Where the children of an event's span, or of a call's, stand; what work on its behalf runs in.
#[derive(Default)]
pub(crate) struct Parents {
    pub(crate) channels: Channels<SpanParent>,
}

impl Parents {
    pub(super) fn of(spans: &Channels<SpanBuilder>) -> Self {
        Self {
            channels: spans.as_ref().map(SpanBuilder::parent),
        }
    }

    fn is_observed(&self) -> bool {
        self.channels.iter().any(SpanParent::is_observed)
    }
}

impl Scope for Parents {
    fn enter(&self, work: &mut dyn FnMut()) {
        with_current_parent(&self.channels.user, work);
    }
}

/// What the spans of one event's calls have in common.
struct Recorded {
    calls: CallSpans,
    /// It holds the membrane, weakly, that holds this.
    life: Weak<Life>,
    side: Side,
    /// Is the next call the one that delivers the event? Its span is the event's.
    is_delivery_next: Cell<bool>,
}

struct Recorder {
    event: Rc<Recorded>,
}

impl Policy for Recorder {
    fn call_begins(&self, call: &membrane::Call<'_>) -> Option<Rc<dyn CallWatch>> {
        let event = &self.event;
        if event.is_delivery_next.replace(false) {
            return None;
        }
        // There as long as its membrane is.
        let life = event.life.upgrade()?;
        let origin = call.mark().and_then(|mark| mark.downcast_ref::<Parents>());
        let is_answered_here = event.side.answers(call.is_inbound());
        let kind = match is_answered_here {
            true => SpanKind::Server,
            false => SpanKind::Client,
        };
        let name = event.calls.name(call.interface_id(), call.method_id());
        let channels = &origin.unwrap_or(life.parents()).channels;
        let spans = channels
            .as_ref()
            .map(|parent| parent.start_call(&name, kind));
        Some(Rc::new(CallSpan {
            spans,
            is_answered_here,
            event: event.clone(),
            mark: OnceCell::new(),
        }))
    }
}

/// A call under way.
struct CallSpan {
    spans: Channels<SpanBuilder>,
    is_answered_here: bool,
    event: Rc<Recorded>,
    /// Of what it introduces, if anything: they do not keep the spans.
    mark: OnceCell<Rc<Parents>>,
}

impl CallSpan {
    fn conclude(&self, outcome: Outcome, status: Option<&SpanStatus>) {
        for span in self.spans.iter() {
            span.conclude(outcome, status.cloned(), None);
        }
    }

    /// How the event ended, if it has.
    fn event_end(&self) -> Option<Outcome> {
        let life = self.event.life.upgrade()?;
        life.end().map(super::SessionEnd::outcome)
    }

    fn failed(&self, error: &capnp::Error) {
        let error = Error::from(error.clone());
        let outcome = match (self.event_end(), self.event.life.upgrade()) {
            (Some(end), _) if end != Outcome::Ok => end,
            (_, Some(life)) => life.outcome_of(&error),
            _ => Outcome::Exception,
        };
        if outcome == Outcome::Canceled {
            return self.conclude(outcome, None);
        }
        let update = Exception::of(&error).update();
        for span in self.spans.iter() {
            span.apply(&update);
        }
        self.conclude(outcome, Some(&SpanStatus::error(error.reason())));
    }
}

impl CallWatch for CallSpan {
    fn ended(&self, result: Result<(), &capnp::Error>) {
        match result {
            Ok(()) => self.conclude(Outcome::Ok, None),
            Err(error) => self.failed(error),
        }
    }

    fn canceled(&self) {
        let end = self.event_end().filter(|end| *end != Outcome::Ok);
        self.conclude(end.unwrap_or(Outcome::Canceled), None);
    }

    fn mark(&self) -> Option<Mark> {
        let mark = self.mark.get_or_init(|| Rc::new(Parents::of(&self.spans)));
        Some(mark.clone())
    }

    fn scope(self: Rc<Self>) -> Option<Rc<dyn Scope>> {
        match self.is_answered_here {
            true => Some(self),
            false => None,
        }
    }
}

impl Scope for CallSpan {
    fn enter(&self, work: &mut dyn FnMut()) {
        with_current_span(&self.spans.user, work);
    }
}

impl fmt::Debug for CallSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSpans")
            .field("interfaces", &self.names.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_told_of_by_its_id() {
        let calls = CallSpans::new().interface_by_id(0xab, "Greeter", ["greet", "leave"]);
        assert_eq!(&**calls.name(0xab, 1), "Greeter/leave");
        assert_eq!(&**calls.name(0xab, 2), "0xab/2");
        assert_eq!(&*calls.method_name(0xcd, 0), "0xcd/0");
    }
}
