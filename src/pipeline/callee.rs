//! The callee's side: serving events.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};

use super::EventKind;
use super::dispatcher::{Dispatcher, Started};
use super::limits::{EventLimits, Refusals, RefusedEvents, Rooms};
use super::metadata::Metadata;
use super::service::Service;
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::guard::Ending;
use crate::outbox::Outbox;
use crate::pipeline_capnp::{event_dispatcher, pipeline};
use crate::session::{
    CallSpans, Channels, Drain, LiveEvents, MAX_BACKGROUND_WORK, Running, Setting, TimeLimits,
};
use crate::trace::{Channel, SpanBuilder, SpanContext, SpanKind, Tracer};

/// Serves a [`Service`]: opens its events' spans, and closes them.
///
/// Clones are of the same callee: [`drain`](Self::drain) drains all.
pub struct Callee<S> {
    shared: Rc<Shared<S>>,
}

pub(super) struct Shared<S> {
    pub(super) service: Rc<S>,
    tracers: Channels<Tracer>,
    joins_trace: bool,
    pub(super) session_name: Box<str>,
    call_spans: Option<CallSpans>,
    live: Option<LiveEvents>,
    limits: Option<TimeLimits>,
    max_works: usize,
    pub(super) running: Rc<Running>,
    pub(super) tasks: Tasks,
    event_limits: EventLimits,
    refusals: Refusals,
}

impl<S: Service> Callee<S> {
    /// Serves `service`, unobserved as yet.
    pub fn new(service: S, tasks: &Tasks) -> Self {
        Self {
            shared: Rc::new(Shared {
                service: Rc::new(service),
                tracers: Channels {
                    internal: Tracer::unobserved(),
                    user: Tracer::unobserved(),
                },
                joins_trace: true,
                session_name: "session".into(),
                call_spans: None,
                live: None,
                limits: None,
                max_works: MAX_BACKGROUND_WORK,
                running: Rc::default(),
                tasks: tasks.clone(),
                event_limits: EventLimits::default(),
                refusals: Refusals::default(),
            }),
        }
    }

    /// Lets `tracer` open the events' spans on the user channel.
    #[must_use]
    pub fn tracer(self, tracer: Tracer) -> Self {
        self.with(|shared| shared.tracers.user = tracer.with_channel(Channel::User))
    }

    /// Lets `tracer` open the events' spans on the internal channel.
    #[must_use]
    pub fn internal_tracer(self, tracer: Tracer) -> Self {
        self.with(|shared| shared.tracers.internal = tracer.with_channel(Channel::Internal))
    }

    /// Whether events join the caller's trace, as they do by default. If not, each begins a trace of its
    /// own that links to the caller's: for callers that are not trusted.
    #[must_use]
    pub fn propagation(self, joins_trace: bool) -> Self {
        self.with(|shared| shared.joins_trace = joins_trace)
    }

    /// What a session's span is called; "session" by default.
    #[must_use]
    pub fn session_name(self, name: &str) -> Self {
        self.with(|shared| shared.session_name = name.into())
    }

    /// Tells of the calls in sessions, and on what comes of custom events, as well; by default it does not.
    #[must_use]
    pub fn call_spans(self, calls: CallSpans) -> Self {
        self.with(|shared| shared.call_spans = Some(calls))
    }

    /// Lets its events be looked at while they are under way, on this side.
    #[must_use]
    pub fn live(self, live: &LiveEvents) -> Self {
        self.with(|shared| shared.live = Some(live.clone()))
    }

    /// How many events each peer may have at once. Callers in this process may have as many as they like.
    #[must_use]
    pub fn event_limits(self, limits: EventLimits) -> Self {
        self.with(|shared| shared.event_limits = limits)
    }

    /// What its limits have refused so far.
    pub fn refused(&self) -> RefusedEvents {
        self.shared.refusals.counts()
    }

    /// How long each event may last; by default as long as it likes.
    #[must_use]
    pub fn time_limits(self, limits: TimeLimits) -> Self {
        self.with(|shared| shared.limits = Some(limits))
    }

    /// How many pieces of background work ([`EventContext::wait_until`](super::EventContext::wait_until)) an
    /// event may have at once; 1,024 by default.
    #[must_use]
    pub fn max_background_work(self, max: usize) -> Self {
        self.with(|shared| shared.max_works = max)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared<S>)) -> Self {
        // Shared only by pipelines and clones that were made before, which stay as they are.
        change(Rc::make_mut(&mut self.shared));
        self
    }

    /// A pipeline for callers in this process.
    pub fn pipeline(&self) -> pipeline::Client {
        self.pipeline_of(None)
    }

    /// A pipeline for the peer of one connection, whose end ends its sessions: the bootstrap capability
    /// for [`Connection::serve`](crate::guard::Connection::serve).
    pub fn bootstrap(&self, ending: &Ending) -> Client {
        Client::new(self.pipeline_of(Some(ending)).into_client_hook())
    }

    /// Ends it gracefully. From this call on no event is taken, on any of its pipelines: what is announced, or
    /// was and is delivered now, is refused with an error that says so
    /// ([`Error::is_overloaded`](crate::Error::is_overloaded): the same may succeed elsewhere). Events that are running
    /// go on, their background work with them. Those that are left at the `deadline` are ended: their
    /// capabilities are revoked, and so is their outcome. The future is ready when none is left.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use capspan::pipeline::{Callee, Service};
    /// # async fn example<S: Service>(callee: Callee<S>) {
    /// let drained = callee.drain(tokio::time::sleep(Duration::from_secs(30))).await;
    /// eprintln!("{} events finished, {} were cut", drained.finished, drained.cut);
    /// # }
    /// ```
    ///
    /// What peers are told of it goes out when their connections are polled next: give them a moment before
    /// cutting those. Dropping the future cuts nothing, and the callee still takes no events; drain it again
    /// to set another deadline.
    pub fn drain(&self, deadline: impl Future<Output = ()> + 'static) -> Drain {
        self.shared.running.drain(deadline)
    }

    fn pipeline_of(&self, ending: Option<&Ending>) -> pipeline::Client {
        capnp_rpc::new_client(PipelineServer {
            shared: self.shared.clone(),
            ending: ending.cloned(),
            outbox: ending.map(Ending::outbox).cloned().unwrap_or_default(),
            rooms: match ending {
                Some(_) => {
                    let Shared {
                        event_limits,
                        refusals,
                        ..
                    } = &*self.shared;
                    Rooms::of_a_peer(*event_limits, refusals)
                }
                None => Rooms::default(),
            },
        })
    }
}

impl<S> Shared<S> {
    /// Is anybody told of events?
    pub(super) fn is_observed(&self) -> bool {
        self.tracers.iter().any(Tracer::is_observed)
    }

    /// Opens the spans of an event that is delivered now.
    pub(super) fn open_spans(
        &self,
        parents: &Channels<Option<SpanContext>>,
        name: &str,
    ) -> Channels<SpanBuilder> {
        self.tracers
            .as_ref()
            .zip(parents.as_ref())
            .map(|(tracer, caller)| {
                let parent = match caller {
                    Some(caller) if self.joins_trace => tracer.child_of(caller.clone()),
                    Some(caller) => tracer.linked_to(caller.clone()),
                    None => tracer.root(),
                };
                parent.start_event(name, SpanKind::Server)
            })
    }

    /// What its side of an event of this kind is made with.
    pub(super) fn setting<'a>(
        &'a self,
        kind: EventKind,
        ending: Option<&'a Ending>,
    ) -> Setting<'a> {
        let Channels { internal, user } = &self.tracers;
        Setting {
            clock: user.clock().or_else(|| internal.clock()),
            call_spans: self.call_spans.as_ref().filter(|_| kind.has_call_spans()),
            limits: self.limits.as_ref(),
            max_works: self.max_works,
            running: Some(&self.running),
            live: self.live.as_ref(),
            ..Setting::new(ending, &self.tasks)
        }
    }
}

impl<S> Clone for Callee<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            tracers: self.tracers.clone(),
            joins_trace: self.joins_trace,
            session_name: self.session_name.clone(),
            call_spans: self.call_spans.clone(),
            live: self.live.clone(),
            limits: self.limits.clone(),
            max_works: self.max_works,
            running: self.running.clone(),
            tasks: self.tasks.clone(),
            event_limits: self.event_limits,
            refusals: self.refusals.clone(),
        }
    }
}

/// Serves one connection, or this process. It holds nothing of any event.
struct PipelineServer<S> {
    shared: Rc<Shared<S>>,
    ending: Option<Ending>,
    outbox: Outbox,
    rooms: Rooms,
}

impl<S: Service> pipeline::Server for PipelineServer<S> {
    async fn start_event(
        self: Rc<Self>,
        params: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> Result<(), capnp::Error> {
        if let Err(error) = self.shared.running.admit() {
            let error = capnp::Error::from(error);
            // In process, what was pipelined would be told that something was canceled, and not why.
            let broken = capnp_rpc::new_broken_cap(error.clone());
            results
                .get()
                .set_dispatcher(FromClientHook::new(broken.hook));
            results.set_pipeline()?;
            return Err(error);
        }
        let place = self.rooms.announce()?;
        let params = params.get()?;
        let received = self.rooms.keep(Metadata::read(params.get_metadata()?)?)?;
        let enricher = params.get_enricher().ok();
        let enricher = enricher.filter(|_| params.has_enricher());
        let enricher = Enricher::of_event(enricher, &self.shared.tasks, Some(&self.outbox));
        let dispatcher: event_dispatcher::Client = capnp_rpc::new_client(Dispatcher::new(
            self.shared.clone(),
            self.ending.clone(),
            self.rooms.clone(),
            Started::new(received, enricher, self.ending.as_ref(), place),
        ));
        results.get().set_dispatcher(dispatcher);
        Ok(())
    }
}

impl<S> fmt::Debug for Callee<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callee")
            .field("tracers", &self.shared.tracers)
            .field("joins_trace", &self.shared.joins_trace)
            .finish_non_exhaustive()
    }
}
