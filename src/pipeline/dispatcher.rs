//! Takes exactly one event.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::{Rc, Weak};

use capnp::capability::FromClientHook;
use capnp::private::capability::{ParamsHook, ResultsHook};
use capnp::traits::HasTypeId;

use super::callee::Shared;
use super::context::EventContext;
use super::events::{self, CustomEvent, Description, EventKind, QueueBatch, Scheduled};
use super::handler::{Handler, guarded};
use super::limits::{Received, Rooms};
use super::service::Service;
use crate::enrich::Enricher;
use crate::error::{Error, Result};
use crate::guard::{Ending, OnEnd, Registration};
use crate::pipeline_capnp::event_dispatcher::{self, open_session_results};
use crate::room::Place;
use crate::session::{CalleeSession, OneCall, Opening};
use crate::trace::{Outcome, SpanStatus};

/// What `startEvent` announced.
pub(super) struct Started {
    received: Rc<Received>,
    enricher: Enricher,
    /// Until it has been delivered.
    _cut: Option<CutAtEnd>,
    _place: Option<Place>,
}

/// Lets go of a caller when its connection ends, until this is dropped: the enricher that it has sent may keep the
/// event's dispatcher.
struct CutAtEnd {
    _registration: Registration,
    _enricher: Rc<ToCut>,
}

struct ToCut(Enricher);

pub(super) struct Dispatcher<S> {
    shared: Rc<Shared<S>>,
    ending: Option<Ending>,
    rooms: Rooms,
    /// Taken by the event.
    started: RefCell<Option<Started>>,
    /// Why there was no room for it.
    refused: RefCell<Option<Error>>,
}

impl Started {
    pub(super) fn new(
        received: Received,
        enricher: Enricher,
        ending: Option<&Ending>,
        place: Option<Place>,
    ) -> Self {
        // Who has sent none has nothing to be let go of.
        let ending = ending.filter(|_| enricher.is_observed());
        let cut = ending.map(|ending| CutAtEnd::new(&enricher, ending));
        Self {
            received: Rc::new(received),
            enricher,
            _cut: cut,
            _place: place,
        }
    }

    /// From now on the event has its own place, and cuts its caller.
    fn delivered(self) -> (Rc<Received>, Enricher) {
        (self.received, self.enricher)
    }
}

impl CutAtEnd {
    fn new(enricher: &Enricher, ending: &Ending) -> Self {
        let enricher = Rc::new(ToCut(enricher.clone()));
        if ending.reason().is_some() {
            enricher.0.cut();
        }
        let watcher: Weak<dyn OnEnd> = Rc::<ToCut>::downgrade(&enricher);
        Self {
            _registration: ending.register(watcher),
            _enricher: enricher,
        }
    }
}

impl OnEnd for ToCut {
    fn connection_ended(&self, _reason: &Error) {
        self.0.cut();
    }
}

impl<S> Dispatcher<S> {
    pub(super) fn new(
        shared: Rc<Shared<S>>,
        ending: Option<Ending>,
        rooms: Rooms,
        started: Started,
    ) -> Self {
        Self {
            shared,
            ending,
            rooms,
            started: RefCell::new(Some(started)),
            refused: RefCell::default(),
        }
    }

    /// The event, and its place among those that are under way.
    fn take(&self) -> capnp::Result<(Started, Option<Place>)> {
        let started = self.started.take().ok_or_else(|| {
            capnp::Error::failed(
                "this dispatcher has delivered its event; start another one with startEvent".into(),
            )
        })?;
        match self.shared.running.admit().and_then(|()| self.rooms.open()) {
            Ok(place) => Ok((started, place)),
            Err(error) => {
                // There may be room later.
                self.started.replace(Some(started));
                self.refused.replace(Some(error.clone()));
                Err(error.into())
            }
        }
    }

    /// What is told of an event. One that can't be read is told of by its kind; its handler says what is
    /// wrong with it.
    fn describe(
        &self,
        kind: EventKind,
        describe: impl FnOnce() -> Result<Description>,
    ) -> Description
    where
        S: Service,
    {
        let described = match self.shared.is_observed() {
            true => describe().ok(),
            false => None,
        };
        described.unwrap_or_else(|| Description::of_kind(kind))
    }

    /// Delivers an event that is one call. It goes to its handler through the event's membrane, as it is.
    async fn run(
        &self,
        described: Description,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> capnp::Result<()>
    where
        S: Service,
    {
        let (started, place) = self.take()?;
        let (received, enricher) = started.delivered();
        let shared = &self.shared;
        let spans = shared.open_spans(&received.metadata.parents, &described.name);
        for span in spans.iter().filter(|span| span.is_observed()) {
            described.write(span);
        }
        let setting = shared.setting(described.kind, self.ending.as_ref());
        let (run, membrane) = OneCall::begin(spans, enricher, &setting);
        run.life().occupy(place);
        let event = EventContext::new(received, run.life());
        let handler = Handler::new(shared.service.clone(), event, run.life(), &shared.tasks);
        let handler: event_dispatcher::Client = membrane.export_server(handler);
        drop(membrane);
        let call = handler.into_client_hook().call(
            event_dispatcher::Client::TYPE_ID,
            described.kind.method(),
            params,
            results,
        );
        run.answer(call).await
    }
}

impl<S> Drop for Dispatcher<S> {
    /// An event that was announced and never delivered is told of, too.
    fn drop(&mut self) {
        let Some(started) = self.started.take() else {
            return;
        };
        let Started {
            received, enricher, ..
        } = started;
        self.shared.tasks.drop_later(enricher);
        if !self.shared.is_observed() {
            return;
        }
        let lost = self.ending.as_ref().and_then(Ending::reason);
        let refused = self.refused.take();
        let (outcome, reason) = match (lost, &refused) {
            (Some(lost), _) => (Outcome::Disconnected, Some(lost)),
            (None, Some(refused)) => (Outcome::Overloaded, Some(refused)),
            (None, None) => (Outcome::Canceled, None),
        };
        let status = reason.map(|reason| SpanStatus::error(reason.reason()));
        let spans = self.shared.open_spans(&received.metadata.parents, "event");
        for span in spans.iter() {
            span.conclude(outcome, status.clone(), None);
        }
    }
}

impl<S: Service> Dispatcher<S> {
    /// Delivers an event as a session.
    async fn open(&self) -> capnp::Result<CalleeSession> {
        let (started, place) = self.take()?;
        let (received, enricher) = started.delivered();
        let spans = self
            .shared
            .open_spans(&received.metadata.parents, &self.shared.session_name);
        let setting = self
            .shared
            .setting(EventKind::Session, self.ending.as_ref());
        let opening = Opening::begin(spans, enricher, &setting);
        opening.life().occupy(place);
        let event = EventContext::new(received, opening.life());
        let parent = event.parent().clone();
        let service = self.shared.service.clone();
        let life = opening.life();
        let answer = {
            // Pinned here: the service's future may be large, and is not to be moved about.
            let work = pin!(guarded(life, parent, async {
                service.open_session(event).await
            }));
            life.unless_over(work).await
        };
        opening.answered(answer, &setting)
    }
}

impl<S: Service> event_dispatcher::Server for Dispatcher<S> {
    async fn open_session(
        self: Rc<Self>,
        _params: event_dispatcher::OpenSessionParams,
        mut results: event_dispatcher::OpenSessionResults,
    ) -> capnp::Result<()> {
        match self.open().await {
            Ok(session) => {
                write(session, results.get());
                Ok(())
            }
            Err(error) => {
                // In process, what was pipelined would be told that something was canceled, and not why.
                write(CalleeSession::broken(&error), results.get());
                results.set_pipeline()?;
                Err(error)
            }
        }
    }

    async fn scheduled(
        self: Rc<Self>,
        params: event_dispatcher::ScheduledParams,
        results: event_dispatcher::ScheduledResults,
    ) -> capnp::Result<()> {
        let described = self.describe(EventKind::Scheduled, || {
            Ok(Scheduled::read(params.get()?.get_event()?)?.describe())
        });
        self.run(described, params.hook, results.hook).await
    }

    async fn alarm(
        self: Rc<Self>,
        params: event_dispatcher::AlarmParams,
        results: event_dispatcher::AlarmResults,
    ) -> capnp::Result<()> {
        let described = self.describe(EventKind::Alarm, || {
            Ok(events::Alarm::read(params.get()?.get_event()?).describe())
        });
        self.run(described, params.hook, results.hook).await
    }

    async fn queue(
        self: Rc<Self>,
        params: event_dispatcher::QueueParams,
        results: event_dispatcher::QueueResults,
    ) -> capnp::Result<()> {
        let described = self.describe(EventKind::Queue, || {
            QueueBatch::describe(params.get()?.get_batch()?)
        });
        self.run(described, params.hook, results.hook).await
    }

    async fn custom(
        self: Rc<Self>,
        params: event_dispatcher::CustomParams,
        results: event_dispatcher::CustomResults,
    ) -> capnp::Result<()> {
        let described = self.describe(EventKind::Custom, || CustomEvent::describe(params.get()?));
        self.run(described, params.hook, results.hook).await
    }

    async fn fetch(
        self: Rc<Self>,
        params: event_dispatcher::FetchParams,
        results: event_dispatcher::FetchResults,
    ) -> capnp::Result<()> {
        let described = Description::of_kind(EventKind::Fetch);
        self.run(described, params.hook, results.hook).await
    }

    async fn tail(
        self: Rc<Self>,
        params: event_dispatcher::TailParams,
        results: event_dispatcher::TailResults,
    ) -> capnp::Result<()> {
        let described = self.describe(EventKind::Tail, || {
            events::tail::read_description(params.get()?)
        });
        self.run(described, params.hook, results.hook).await
    }
}

/// Writes the session first: where all is released together, as it is when the call is canceled while
/// its answer is on its way, the callee is to learn of the cancellation first.
fn write(opened: CalleeSession, mut results: open_session_results::Builder<'_>) {
    let CalleeSession { top_level, session } = opened;
    results.set_session(session);
    results.init_top_level().set_as_capability(top_level.hook);
}
