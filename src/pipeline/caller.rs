//! The caller's side: starting events.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use ::http::StatusCode;
use capnp::capability::{Client, FromClientHook, RemotePromise};
use capnp::traits::Owned;
use futures::FutureExt;
use futures::future::{Abortable, Either, select};

use super::context::EventContext;
use super::events::{
    self, Alarm, CustomRequest, Description, EventKind, QueueMessage, QueueResult, RunResult,
    Scheduled, TailSender,
};
use super::http::{describe_refused, describe_request, describe_status};
use super::metadata::Metadata;
use crate::drive::Tasks;
use crate::enrich::{self, Enricher};
use crate::error::{Error, Result};
use crate::fetch::{self, Body, Exchange, Seen};
use crate::guard::{Connection, Ending};
use crate::pipeline_capnp::pipeline;
use crate::session::{
    self, Answered, CallSpans, Channels, Delivery, LiveEvents, Opened, Session, Setting, TimeLimits,
};
use crate::trace::{Clock, SpanBuilder, SpanKind, SpanParent};

/// A service on which events can be started.
#[derive(Clone)]
pub struct Pipeline {
    client: pipeline::Client,
    ending: Option<Ending>,
    call_spans: Option<CallSpans>,
    live: Option<LiveEvents>,
    tasks: Tasks,
}

/// An event that is being prepared: how it is called, whose child it is, what travels with it.
#[must_use = "nothing starts before the event is delivered"]
pub struct Event<'a> {
    pipeline: &'a Pipeline,
    name: &'a str,
    parents: Channels<SpanParent>,
    /// In place of one that it opens on the user channel.
    span: Option<SpanBuilder>,
    metadata: Metadata,
    limits: Option<TimeLimits>,
    /// Where to write what the callee writes to its span.
    also: Option<Enricher>,
}

impl Pipeline {
    /// A service in this process, or one of whose connection nothing is known.
    ///
    /// If the connection that `client` comes from is lost, sessions are seen to end only when the
    /// application lets go of them. Where there is a connection, use [`over`](Self::over), or say which by
    /// [`ending`](Self::ending).
    pub fn new(client: pipeline::Client, tasks: &Tasks) -> Self {
        Self {
            client,
            ending: None,
            call_spans: None,
            live: None,
            tasks: tasks.clone(),
        }
    }

    /// The service at the other end of `connection`, which serves a pipeline.
    pub fn over(connection: &Connection, tasks: &Tasks) -> Self {
        Self {
            client: connection.bootstrap(),
            ending: Some(connection.ending().clone()),
            call_spans: None,
            live: None,
            tasks: tasks.clone(),
        }
    }

    /// The end of the connection that it is reached by, where that is known: its events end then.
    #[must_use]
    pub fn ending(mut self, ending: &Ending) -> Self {
        self.ending = Some(ending.clone());
        self
    }

    /// Tells of the calls in sessions, and on what comes of custom events, as well; by default it does not.
    #[must_use]
    pub fn call_spans(mut self, calls: CallSpans) -> Self {
        self.call_spans = Some(calls);
        self
    }

    /// Lets its events be looked at while they are under way, on this side.
    #[must_use]
    pub fn live(mut self, live: &LiveEvents) -> Self {
        self.live = Some(live.clone());
        self
    }

    /// Prepares an event. Its span on this side is called `name`; on the user channel it is a child of
    /// the span that is current here ([`SpanParent::current`]), on the internal one it is not observed.
    pub fn event<'a>(&'a self, name: &'a str) -> Event<'a> {
        Event {
            pipeline: self,
            name,
            parents: Channels {
                internal: SpanParent::none(),
                user: SpanParent::current(),
            },
            span: None,
            metadata: Metadata::new(),
            limits: None,
            also: None,
        }
    }

    /// Fails where it is known that no event can reach the service, as the connection is lost.
    pub(super) fn check(&self) -> Result<()> {
        match self.ending.as_ref().and_then(Ending::reason) {
            Some(lost) => Err(lost.clone()),
            None => Ok(()),
        }
    }

    /// Opens a session in the span that is current here. See [`event`](Self::event) for more choice.
    pub fn open_session<C: FromClientHook>(&self, name: &str) -> Session<C> {
        self.event(name).open_session()
    }
}

impl Event<'_> {
    /// Makes the event's span on the user channel a child of another one than the current. One that was
    /// given by [`span`](Self::span) stays where it is.
    pub fn parent(mut self, parent: SpanParent) -> Self {
        if self.span.is_none() {
            self.parents.user = parent;
        }
        self
    }

    /// Makes `span`, an open one of the user channel, the event's own there, in place of one that would be
    /// opened below it. It keeps its name and its parent; from here on its end and its outcome are the
    /// event's, and the callee may write to it.
    ///
    /// If the event is not delivered, the span ends with it.
    pub fn span(mut self, span: SpanBuilder) -> Self {
        span.become_event();
        self.parents.user = span.parent();
        self.span = Some(span);
        self
    }

    /// Makes the event observed on the internal channel as well, as a child of `parent`.
    pub fn internal_parent(mut self, parent: SpanParent) -> Self {
        self.parents.internal = parent;
        self
    }

    /// What else travels with it.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Hands on the baggage that came with `event`, in place of what [`metadata`](Self::metadata) said
    /// before. Of what came, only the members that can be read go on.
    pub fn baggage_of(mut self, event: &EventContext) -> Self {
        let baggage = event.metadata().baggage_list();
        self.metadata = self.metadata.with_baggage_list(&baggage);
        self
    }

    /// Starts it on behalf of `event`, for who stands between a caller and a callee: below that one's spans,
    /// with all that travelled with it; and what the callee writes to its caller's span is written on the
    /// span of `event`'s caller as well, as far as it gets.
    pub fn on_behalf_of(mut self, event: &EventContext) -> Self {
        self.parents = event.parents().clone();
        self.metadata = event.metadata().clone();
        self.also = Some(event.enricher().clone()).filter(Enricher::is_observed);
        self
    }

    /// How long it may last on this side, as seen from here; by default as long as it likes.
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Delivers it as an RPC session.
    ///
    /// It does not wait: all calls that this takes leave together, and with them whatever is called on
    /// the session's top-level capability. A failure is seen by those calls, on the session's span, and
    /// by [`SessionHandle::done`](crate::session::SessionHandle::done).
    pub fn open_session<C: FromClientHook>(mut self) -> Session<C> {
        let (start, spans, clock) = self.start(None);
        let dispatcher = start.pipeline.get_dispatcher();
        let open = dispatcher.open_session_request().send();
        let opened = Opened {
            top_level: Client::new(open.pipeline.get_top_level().as_cap()),
            session: open.pipeline.get_session(),
            start,
            open,
        };
        let setting = self.setting(EventKind::Session, clock);
        session::open(opened, spans, &setting)
    }

    /// Delivers it as a run at a time that was set beforehand; gives what became of it.
    ///
    /// Over a connection it is sent before this returns; in process its service runs within the future.
    /// Dropping that before it is ready cancels the event. It fails where the service does, or serves no
    /// such events ([`Error::is_unimplemented`](crate::Error::is_unimplemented)), or where the connection is
    /// lost. The span has its outcome in the next turn of the [`Driver`](crate::Driver) at the earliest, which
    /// may be after the future has given its result.
    pub fn scheduled(self, run: &Scheduled) -> impl Future<Output = Result<RunResult>> + use<> {
        let delivery = self.deliver(EventKind::Scheduled, || run.describe());
        let mut request = delivery.dispatcher().scheduled_request();
        run.write(request.get().init_event());
        let answer = delivery.answer(request.send().promise);
        async move {
            let answered = answer.await?;
            let result = answered.read(|results| RunResult::read(results.get_result()?))?;
            note_failure(&answered, &result);
            Ok(result)
        }
    }

    /// Delivers it as a run that the service itself asked for; gives what became of it. As
    /// [`scheduled`](Self::scheduled) otherwise.
    pub fn alarm(self, alarm: &Alarm) -> impl Future<Output = Result<RunResult>> + use<> {
        let delivery = self.deliver(EventKind::Alarm, || alarm.describe());
        let mut request = delivery.dispatcher().alarm_request();
        alarm.write(request.get().init_event());
        let answer = delivery.answer(request.send().promise);
        async move {
            let answered = answer.await?;
            let result = answered.read(|results| RunResult::read(results.get_result()?))?;
            note_failure(&answered, &result);
            Ok(result)
        }
    }

    /// Delivers messages of a queue; gives which have been dealt with. As [`scheduled`](Self::scheduled)
    /// otherwise.
    ///
    /// # Errors
    ///
    /// More than 10,000 messages, or 32 MiB of them, or a name of more than 1 KiB
    /// ([`Error::is_limit`](crate::Error::is_limit)): then nothing is sent.
    pub fn queue(
        self,
        queue: &str,
        messages: &[QueueMessage<'_>],
    ) -> Result<impl Future<Output = Result<QueueResult>> + use<>> {
        events::queue::check(queue, messages)?;
        let delivery = self.deliver(EventKind::Queue, || {
            events::queue::describe(queue, messages.len())
        });
        let mut request = delivery.dispatcher().queue_request();
        events::queue::write(queue, messages, request.get().init_batch());
        let answer = delivery.answer(request.send().promise);
        let count = messages.len();
        Ok(async move {
            let answered = answer.await?;
            answered.read(|results| QueueResult::read(results.get_result()?, count))
        })
    }

    /// Prepares to deliver something that caller and callee have agreed upon, and call `name`.
    ///
    /// # Errors
    ///
    /// A name that is empty ([`Error::is_invalid`](crate::Error::is_invalid)) or has more than 256 bytes
    /// ([`Error::is_limit`](crate::Error::is_limit)).
    pub fn custom(self, name: &str) -> Result<CustomRequest> {
        let name = events::custom::check_name(name)?;
        let delivery = self.deliver(EventKind::Custom, || events::custom::describe(name));
        Ok(CustomRequest::new(delivery, name))
    }

    /// Delivers it as what happens in an invocation of `service`, which is sent through what this returns.
    /// A service whose tracer has a tail sends its invocations by itself.
    ///
    /// # Errors
    ///
    /// A name of more than 1 KiB ([`Error::is_limit`](crate::Error::is_limit)).
    pub fn tail(self, service: &str) -> Result<TailSender> {
        events::tail::check_service(service)?;
        let tasks = self.pipeline.tasks.clone();
        let delivery = self.deliver(EventKind::Tail, || events::tail::describe(service));
        Ok(TailSender::begin(delivery, service, &tasks))
    }

    /// Delivers it as an HTTP request; gives the response, whose body may still be on its way.
    ///
    /// Over a connection it is sent before this returns, and its body after that. The event lasts until the
    /// response has been sent, and the service has returned; what it has not read of the request's body then
    /// is given up.
    ///
    /// Dropping the future before it is ready, or the response before the end of its body, gives up the
    /// request. A response that has been read to its end, or has no body, gives up what is left of the
    /// request's body when it is dropped: a service that has then not returned within one round trip is
    /// canceled. So hold a response that came early for as long as the upload is to go on. Where nothing is
    /// left to be sent, the event waits for the service.
    ///
    /// Of a body that is being received, 64 KiB may wait to be read before its sender has to wait; of a sender
    /// that does not wait, 16 MiB: then the body fails ([`Error::is_overloaded`](crate::Error::is_overloaded)),
    /// and the attribute `capspan.body.refused_writes` of the span counts the writes that were refused. A
    /// sender that lets go of a response, or of its body, without having ended it is an error here within one
    /// round trip; one that keeps it, and sends no more, is waited for until the disconnect.
    ///
    /// It fails, and its span gets its outcome, as with [`scheduled`](Self::scheduled).
    ///
    /// # Errors
    ///
    /// A URL of more than 32 KiB, more than 512 headers or 64 KiB of them
    /// ([`Error::is_limit`](crate::Error::is_limit)); a method that `schema/` has not, a header that is no
    /// UTF-8 text, a body of something that is said to have nothing
    /// ([`Error::is_invalid`](crate::Error::is_invalid)): then nothing is sent.
    pub fn fetch(
        self,
        request: ::http::Request<Body>,
    ) -> Result<impl Future<Output = Result<::http::Response<Body>>> + use<>> {
        fetch::check(&request)?;
        let tasks = self.pipeline.tasks.clone();
        let delivery = self.deliver(EventKind::Fetch, || Description::of_kind(EventKind::Fetch));
        let spans = delivery.spans();
        spans.with(|span| describe_request(&request, span));
        let sent = delivery.dispatcher().fetch_request().send();
        let is_error = |status: &StatusCode| status.is_client_error() || status.is_server_error();
        let Exchange {
            response,
            work,
            end,
            aborts,
        } = Exchange::begin(&sent.pipeline.get_http(), request, move |seen| match seen {
            Seen::Status(status) => spans.with(|span| describe_status(status, is_error, span)),
            Seen::Refused(count) => spans.with(|span| describe_refused(count, span)),
        })?;
        let answer = delivery.answer(sent.promise);
        let work = async move {
            // What the body does is the application's.
            let mut work = AssertUnwindSafe(work).catch_unwind().map(|result| {
                let panicked = |_| Err(Error::failed("the request's body panicked"));
                result.unwrap_or_else(panicked)
            });
            // After the work, so dropped before it: else it would look like an event that is complete.
            let mut answer = answer;
            let (answered, worked) = match select(&mut answer, &mut work).await {
                Either::Left((answered, _)) => (answered?, None),
                Either::Right((Ok(()), answer)) => (answer.await?, Some(Ok(()))),
                Either::Right((Err(error), answer)) => {
                    answer.fail(&error);
                    return Err(error);
                }
            };
            let ongoing = answered.keep();
            let result = match worked {
                Some(result) => result,
                None => (&mut work).await,
            };
            ongoing.end(result)
        };
        let work = work.map(|result| {
            let _nobody_asks = end.send(result);
        });
        tasks.spawn(Abortable::new(work, aborts).map(drop));
        Ok(response)
    }

    /// Starts an event that is one call.
    fn deliver(mut self, kind: EventKind, describe: impl FnOnce() -> Description) -> Delivery {
        let is_observed = self.parents.iter().any(SpanParent::is_observed);
        let (start, spans, clock) = self.start(is_observed.then(describe).as_ref());
        Delivery::begin(start, spans, &self.setting(kind, clock))
    }

    /// What its part on this side is made with.
    fn setting(&self, kind: EventKind, clock: Option<Rc<dyn Clock>>) -> Setting<'_> {
        let Pipeline {
            ending,
            call_spans,
            live,
            tasks,
            ..
        } = self.pipeline;
        Setting {
            clock,
            call_spans: call_spans.as_ref().filter(|_| kind.has_call_spans()),
            limits: self.limits.as_ref(),
            live: live.as_ref(),
            ..Setting::new(ending.as_ref(), tasks)
        }
    }

    /// Opens its spans, and announces it.
    fn start(&mut self, described: Option<&Description>) -> Announced {
        let open = |parent: &SpanParent| parent.start_event(self.name, SpanKind::Client);
        let Channels { internal, user } = &self.parents;
        let clock = [user, internal]
            .into_iter()
            .find_map(|parent| parent.tracer().clock());
        let spans = Channels {
            internal: open(internal),
            user: self.span.take().unwrap_or_else(|| open(user)),
        };
        if let Some(described) = described {
            for span in spans.iter().filter(|span| span.is_observed()) {
                described.write(span);
            }
        }
        self.metadata.start_time = spans.iter().rev().find_map(SpanBuilder::start_time);
        self.metadata.parents = spans.as_ref().map(SpanBuilder::context);

        let mut request = self.pipeline.client.start_event_request();
        // With nothing to say the parameters are not even begun.
        if self.metadata != Metadata::default() {
            self.metadata.write(request.get().init_metadata());
        }
        if spans.user.is_observed() || self.also.is_some() {
            let enricher = enrich::export_also(spans.user.downgrade(), self.also.take());
            request.get().set_enricher(enricher);
        }
        (request.send(), spans, clock)
    }
}

/// A run that says that it failed is an event that has.
fn note_failure<T: Owned>(answered: &Answered<T>, result: &RunResult) {
    if let Some(reason) = result.failure() {
        answered.fail(reason);
    }
}

/// An event that is announced, its spans, and what tells the time.
type Announced = (
    RemotePromise<pipeline::start_event_results::Owned>,
    Channels<SpanBuilder>,
    Option<Rc<dyn Clock>>,
);

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name)
            .field("parents", &self.parents)
            .field("span", &self.span)
            .field("metadata", &self.metadata)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
