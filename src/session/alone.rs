//! A session around a capability that is given out by hand.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use capnp::capability::FromClientHook;

use super::call_spans::CallSpans;
use super::channels::Channels;
use super::end::SessionEnd;
use super::life::Life;
use super::limits::TimeLimits;
use super::live::LiveEvents;
use super::setting::Setting;
use super::side::{Side, What};
use crate::drive::Tasks;
use crate::guard::Ending;
use crate::membrane::{Limits, Policy};
use crate::trace::{Outcome, SpanBuilder, SpanKind, SpanParent, SpanUpdate};

/// Makes a session of a capability for which nobody has started an event: the bootstrap capability of a
/// connection, for instance. Whoever gets the capability knows nothing of it.
///
/// ```
/// # use capspan::guard::Ending;
/// # use capspan::session::{CallSpans, SessionBuilder};
/// # use capspan::trace::Tracer;
/// # use capspan_testkit::greeter_capnp::greeter;
/// # fn example(tracer: Tracer, greeter: greeter::Client, ending: &Ending, tasks: &capspan::Tasks) {
/// let (for_the_peer, session) = SessionBuilder::new(tasks)
///     .parent(tracer.root())
///     .call_spans(CallSpans::new())
///     .ending(ending)
///     .begin("connection", greeter);
/// # let _: greeter::Client = for_the_peer;
/// # }
/// ```
#[must_use = "it begins nothing by itself"]
pub struct SessionBuilder {
    parents: Channels<SpanParent>,
    call_spans: Option<CallSpans>,
    time_limits: Option<TimeLimits>,
    limits: Option<Limits>,
    policy: Option<Rc<dyn Policy>>,
    ending: Option<Ending>,
    live: Option<LiveEvents>,
    tasks: Tasks,
}

/// A session that was made of a capability. Holding it keeps nothing open, and dropping it ends nothing.
#[derive(Clone)]
pub struct SessionAlone {
    life: Rc<Life>,
}

impl SessionBuilder {
    /// A session that is not observed, with no limits.
    pub fn new(tasks: &Tasks) -> Self {
        Self {
            parents: Channels::default(),
            call_spans: None,
            time_limits: None,
            limits: None,
            policy: None,
            ending: None,
            live: None,
            tasks: tasks.clone(),
        }
    }

    /// Makes its span on the user channel a child of `parent`.
    pub fn parent(mut self, parent: SpanParent) -> Self {
        self.parents.user = parent;
        self
    }

    /// The same on the internal channel.
    pub fn internal_parent(mut self, parent: SpanParent) -> Self {
        self.parents.internal = parent;
        self
    }

    /// Tells of the calls in it as well.
    pub fn call_spans(mut self, calls: CallSpans) -> Self {
        self.call_spans = Some(calls);
        self
    }

    /// How long it may last.
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.time_limits = Some(limits);
        self
    }

    /// How much may pass through its membrane at once.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// What may pass through its membrane.
    pub fn policy(mut self, policy: Rc<dyn Policy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The connection of who gets the capability, whose end is the session's. Where the peer has closed it,
    /// and no call was in flight, the outcome is [`Ok`](Outcome::Ok): of what a client holds at its end it
    /// seldom lets go one by one.
    pub fn ending(mut self, ending: &Ending) -> Self {
        self.ending = Some(ending.clone());
        self
    }

    /// Where it is to be seen as long as it lasts.
    pub fn live(mut self, live: &LiveEvents) -> Self {
        self.live = Some(live.clone());
        self
    }

    /// Begins it, with an open span called `name` on each channel. It lasts until nothing refers any more to
    /// the capability that this gives, nor to anything that came of it, in either direction.
    pub fn begin<C: FromClientHook>(self, name: &str, inside: C) -> (C, SessionAlone) {
        let parents = self.parents.as_ref();
        let spans = parents.map(|parent| parent.start_event(name, SpanKind::Server));
        let Channels { internal, user } = &self.parents;
        let clock = [user, internal]
            .into_iter()
            .find_map(|parent| parent.tracer().clock());
        let setting = Setting {
            clock,
            call_spans: self.call_spans.as_ref(),
            limits: self.time_limits.as_ref(),
            policy: self.policy.clone(),
            membrane_limits: self.limits,
            live: self.live.as_ref(),
            ..Setting::new(self.ending.as_ref(), &self.tasks)
        };
        let enricher = setting.no_enricher();
        let life = Life::begin(What::Connection, Side::Callee, spans, enricher, &setting);
        let outside = setting.membrane(&life).export(inside);
        (outside, SessionAlone { life })
    }
}

impl SessionAlone {
    /// How many calls are in flight in it, in either direction.
    pub fn calls(&self) -> usize {
        self.life.membrane().map_or(0, |membrane| membrane.calls())
    }

    /// How it ended; `None` while it goes on.
    pub fn end(&self) -> Option<SessionEnd> {
        self.life.end().cloned()
    }

    /// Waits for its end. Dropping the future changes nothing.
    pub fn ended(&self) -> impl Future<Output = SessionEnd> + use<> {
        let life = self.life.clone();
        async move { life.ended().await }
    }

    /// Starts children of its span, on each channel; after its end as well.
    pub fn parents(&self) -> &Channels<SpanParent> {
        &self.life.parents().channels
    }

    /// Writes to its span, on the user channel. Does nothing after its end.
    pub fn update(&self, update: &SpanUpdate) {
        self.write(|spans| &spans.user, update);
    }

    /// The same on the internal channel.
    pub fn update_internal(&self, update: &SpanUpdate) {
        self.write(|spans| &spans.internal, update);
    }

    fn write(&self, of: impl Fn(&Channels<SpanBuilder>) -> &SpanBuilder, update: &SpanUpdate) {
        self.life.with_spans(|spans| {
            of(spans).apply(update);
        });
    }

    /// Ends it before its time: its capabilities are revoked, and its spans say `outcome`, and why. Does
    /// nothing after the end.
    ///
    /// What is revoked is dropped here: not to be called within a drop.
    pub fn abort(&self, outcome: Outcome, reason: &str) {
        self.life.abort(SessionEnd::new(outcome, Some(reason)));
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("parents", &self.parents)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionAlone")
            .field("end", &self.life.end())
            .finish_non_exhaustive()
    }
}
