//! The callee's handle on the caller's span.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use capnp::capability::FromClientHook;

use super::answers::{Flushed, over};
use super::hook;
use super::in_process::InProcess;
use super::remote::Remote;
use crate::drive::Tasks;
use crate::error::Result;
use crate::outbox::Outbox;
use crate::pipeline_capnp::span_enricher;
use crate::trace::{EnrichStatus, SpanContext, SpanEvent, SpanStatus, SpanUpdate, Value};

/// Writes to the caller's span of an event, and reads nothing of it.
///
/// It never fails and never waits: where the caller's span is not observed, or over, or the event is over, or
/// the caller is gone, what is written goes nowhere. What is written before a call returns is on the caller's
/// span before the caller sees the return, also if it is a call of another event of the same caller's. Clones
/// write to the same span. Holding one keeps neither the span nor the session open.
///
/// The caller's limits and rules hold ([`SpanLimits`](crate::trace::SpanLimits),
/// [`EnrichRules`](crate::trace::EnrichRules)).
///
/// In process each change is written at once. Over a connection, what is written in one turn of the event
/// loop goes as one update when the turn ends, or before that: before a call of this or another event of the
/// connection returns, before the callee makes a call on a capability that came with one, before one that the
/// callee lets go is seen to be gone, before one of these events ends. 64 updates at most are on their way, unless they must go before such a message; what is
/// written meanwhile waits, merged, for room. What is beyond 1,024 attributes, events or links in one update
/// is left out; the caller's span counts how much ([`Dropped::unsent`](crate::trace::Dropped::unsent)). A
/// caller who leaves 1,024 updates unanswered gets no more, nor does one who has left 16,384 on one connection, in
/// all events.
///
/// ```
/// # use capspan::enrich::Enricher;
/// fn answer(caller: &Enricher) {
///     caller.set_name("GET /users/{id}");
///     caller.set_attribute("user.plan", "pro");
///     caller.add_event("cache miss");
/// }
/// # answer(&Enricher::none());
/// ```
#[derive(Clone, Default)]
pub struct Enricher {
    to: To,
    /// Of its event's connection.
    outbox: Option<Outbox>,
}

#[derive(Clone, Default)]
enum To {
    #[default]
    Nobody,
    /// In this process: plain calls.
    Span(Rc<InProcess>),
    Remote(Rc<Remote>),
}

impl Enricher {
    /// An enricher of no span.
    pub const fn none() -> Self {
        Self {
            to: To::Nobody,
            outbox: None,
        }
    }

    /// Writes by a capability that came from a caller; `tasks` send what is written. A service need not do
    /// that: it finds the enricher of its event in the [`EventContext`](crate::pipeline::EventContext). One that
    /// is made here sends at the end of a turn and when it is [flushed](Self::flush), and lets go of
    /// the caller when its last clone is dropped.
    pub fn from_capability(client: span_enricher::Client, tasks: &Tasks) -> Self {
        Self::of_event(Some(client), tasks, None)
    }

    /// That of an event, if its caller has sent one. What the event sends over the connection of `outbox`
    /// overtakes nothing that is in there, of this event or another.
    pub(crate) fn of_event(
        client: Option<span_enricher::Client>,
        tasks: &Tasks,
        outbox: Option<&Outbox>,
    ) -> Self {
        Self {
            to: client.map_or(To::Nobody, |client| To::new(client, tasks, outbox)),
            outbox: outbox.cloned(),
        }
    }

    /// Is there a span to write to, as far as is known here? If not, an update need not even be made.
    pub fn is_observed(&self) -> bool {
        match &self.to {
            To::Nobody => false,
            To::Span(span) => span.is_open(),
            To::Remote(remote) => remote.is_open(),
        }
    }

    /// Renames the span. The caller keeps the first name beside it.
    pub fn set_name(&self, name: impl Into<String>) {
        self.write(|| SpanUpdate::new().name(name));
    }

    /// Sets an attribute; a key that was set before by the callee gets the new value.
    pub fn set_attribute(&self, key: impl AsRef<str> + Into<String>, value: impl Into<Value>) {
        match &self.to {
            To::Span(span) => span.set_attribute(key.as_ref(), value.into()),
            _ => self.write(|| SpanUpdate::new().attribute(key, value)),
        }
    }

    /// Adds an event.
    pub fn add_event(&self, event: impl Into<SpanEvent>) {
        self.write(|| SpanUpdate::new().event(event));
    }

    /// Adds a link to another span that it has to do with.
    pub fn add_link(&self, link: SpanContext) {
        self.write(|| SpanUpdate::new().link(link));
    }

    /// Says how the work went, unless the caller has said so itself: the caller has the last word.
    pub fn set_status(&self, status: SpanStatus) {
        self.write(|| SpanUpdate::new().status(status));
    }

    /// Writes several changes together.
    pub fn update(&self, update: SpanUpdate) {
        self.write(|| update);
    }

    /// Waits until what was written before, on any clone, has been answered, and says what became of it: the
    /// worst of it, if it was several updates. In process that is known at once.
    ///
    /// [`Applied`](EnrichStatus::Applied): it is on the span, within its limits and rules.
    /// [`SpanEnded`](EnrichStatus::SpanEnded): some of it came after the end of the span, or there is no span
    /// that anybody observes. [`Overloaded`](EnrichStatus::Overloaded): the caller refused some of it; this is
    /// said once.
    ///
    /// It need not be polled to have an effect; dropping it leaves what was written alone. It holds neither
    /// the connection nor the event, and no call needs to wait for it.
    ///
    /// # Errors
    /// What became of it is not known: ended, if the event is over; disconnected, if the connection was lost, or
    /// the [`Driver`](crate::Driver) is gone; overloaded, if the caller was given up; or with what the
    /// caller failed.
    pub fn flush(&self) -> impl Future<Output = Result<EnrichStatus>> + use<> {
        let flushed = match &self.to {
            To::Nobody => Flushed::Known(Ok(EnrichStatus::SpanEnded)),
            To::Span(span) => Flushed::Known(span.flush()),
            To::Remote(remote) => remote.flush(),
        };
        async {
            match flushed {
                Flushed::Known(result) => result,
                // Never in silence: an update on its way holds the enricher, which tells.
                Flushed::Waiting(told) => told.await.unwrap_or_else(|_| Err(over())),
            }
        }
    }

    /// What it writes to, if that is a span in this process.
    pub(super) fn in_process(&self) -> Option<&InProcess> {
        match &self.to {
            To::Span(span) => Some(span),
            To::Nobody | To::Remote(_) => None,
        }
    }

    /// The same, of one that is not needed any more.
    pub(super) fn into_in_process(self) -> Option<Rc<InProcess>> {
        match self.to {
            To::Span(span) => Some(span),
            To::Nobody | To::Remote(_) => None,
        }
    }

    fn write(&self, update: impl FnOnce() -> SpanUpdate) {
        match &self.to {
            To::Nobody => {}
            To::Span(span) => span.update(update),
            To::Remote(remote) => remote.update(update()),
        }
    }

    /// Sends what is written and not yet sent, to this event and others of its connection: to be done before
    /// anything is sent that must not overtake it.
    pub(crate) fn send_pending(&self) {
        if let To::Remote(remote) = &self.to {
            remote.send_all();
        }
        if let Some(outbox) = &self.outbox {
            outbox.send_all();
        }
    }

    /// Lets go of the caller once what was written is sent: what is written from now on goes nowhere.
    pub(crate) fn cut(&self) {
        self.send_pending();
        match &self.to {
            To::Nobody => {}
            To::Span(span) => span.cut(),
            To::Remote(remote) => remote.close(Err(over())),
        }
    }
}

impl To {
    fn new(client: span_enricher::Client, tasks: &Tasks, outbox: Option<&Outbox>) -> Self {
        let mut client = client.into_client_hook();
        // Settled by whoever made it; a few hops are for those who passed it on.
        for _ in 0..8 {
            match client.get_resolved() {
                Some(resolved) => client = resolved,
                None => break,
            }
        }
        match hook::in_process(&*client) {
            Some(span) => Self::Span(span),
            None => {
                let client = FromClientHook::new(client);
                Self::Remote(Rc::new(Remote::new(client, tasks, outbox)))
            }
        }
    }
}

impl fmt::Debug for Enricher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enricher")
            .field("is_observed", &self.is_observed())
            .finish_non_exhaustive()
    }
}
