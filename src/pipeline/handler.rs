//! Hands an event that is one call to its service, from within the event's membrane.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures::FutureExt;

use super::context::EventContext;
use super::events::{self, Alarm, CustomEvent, QueueBatch, RunResult, Scheduled};
use super::http::HttpServer;
use super::service::Service;
use crate::drive::Tasks;
use crate::pipeline_capnp::event_dispatcher;
use crate::session::{Exception, Life, SessionEnd};
use crate::trace::{InSpan, Outcome, SpanParent};

/// Gets the one call of an event.
pub(super) struct Handler<S> {
    service: Rc<S>,
    event: EventContext,
    life: Rc<Life>,
    tasks: Tasks,
}

impl<S: Service> Handler<S> {
    pub(super) fn new(service: Rc<S>, event: EventContext, life: &Rc<Life>, tasks: &Tasks) -> Self {
        Self {
            service,
            event,
            life: life.clone(),
            tasks: tasks.clone(),
        }
    }

    async fn guarded<T, F>(&self, work: impl FnOnce(Rc<S>, EventContext) -> F) -> capnp::Result<T>
    where
        F: Future<Output = capnp::Result<T>>,
    {
        let (service, event) = (self.service.clone(), self.event.clone());
        let parent = event.parent().clone();
        guarded(&self.life, parent, async { work(service, event).await }).await
    }

    /// A run that says that it failed is an event that has.
    fn note(&self, result: &RunResult) {
        if let Some(reason) = result.failure() {
            self.life
                .will_end(SessionEnd::new(Outcome::Exception, Some(reason)));
        }
    }
}

/// Runs what a service does, within the span of its event. That it panics is a failure as any other: else
/// it would take the connection with it, or in process all events.
pub(super) async fn guarded<T>(
    life: &Life,
    parent: SpanParent,
    work: impl Future<Output = capnp::Result<T>>,
) -> capnp::Result<T> {
    let work = AssertUnwindSafe(work.in_span(parent)).catch_unwind();
    work.await.unwrap_or_else(|panic| {
        life.note_exception(&Exception::of_panic(&*panic));
        Err(capnp::Error::failed("the service panicked".into()))
    })
}

impl<S: Service> event_dispatcher::Server for Handler<S> {
    async fn scheduled(
        self: Rc<Self>,
        params: event_dispatcher::ScheduledParams,
        mut results: event_dispatcher::ScheduledResults,
    ) -> capnp::Result<()> {
        let run = Scheduled::read(params.get()?.get_event()?)?;
        drop(params);
        let result = self.guarded(|service, event| service.scheduled(run, event));
        let result = result.await?;
        self.note(&result);
        result.write(results.get().init_result());
        Ok(())
    }

    async fn alarm(
        self: Rc<Self>,
        params: event_dispatcher::AlarmParams,
        mut results: event_dispatcher::AlarmResults,
    ) -> capnp::Result<()> {
        let alarm = Alarm::read(params.get()?.get_event()?);
        drop(params);
        let result = self.guarded(|service, event| service.alarm(alarm, event));
        let result = result.await?;
        self.note(&result);
        result.write(results.get().init_result());
        Ok(())
    }

    async fn queue(
        self: Rc<Self>,
        params: event_dispatcher::QueueParams,
        mut results: event_dispatcher::QueueResults,
    ) -> capnp::Result<()> {
        let batch = QueueBatch::receive(params)?;
        let result = self.guarded(|service, event| service.queue(batch, event));
        result.await?.write(results.get().init_result());
        Ok(())
    }

    async fn custom(
        self: Rc<Self>,
        params: event_dispatcher::CustomParams,
        results: event_dispatcher::CustomResults,
    ) -> capnp::Result<()> {
        let (custom, gone) = CustomEvent::receive(params, results)?;
        self.guarded(|service, event| service.custom(custom, event))
            .await?;
        // Not before: what a service writes to the caller's span until then is to be there first, and a
        // caller that gives up meanwhile has canceled.
        let _nothing_is_sent = gone.await;
        Ok(())
    }

    async fn fetch(
        self: Rc<Self>,
        _params: event_dispatcher::FetchParams,
        mut results: event_dispatcher::FetchResults,
    ) -> capnp::Result<()> {
        let (service, event) = (self.service.clone(), self.event.clone());
        let server = HttpServer::new(service, event, self.life.clone());
        results.get().set_http(capnp_rpc::new_client(server));
        Ok(())
    }

    async fn tail(
        self: Rc<Self>,
        params: event_dispatcher::TailParams,
        mut results: event_dispatcher::TailResults,
    ) -> capnp::Result<()> {
        let (tail, receiving) = events::tail::receive(params.get()?, self.event.place())?;
        drop(params);
        let (service, event) = (self.service.clone(), self.event.clone());
        let parent = event.parent().clone();
        let life = self.life.clone();
        let work =
            async move { guarded(&life, parent, async { service.tail(tail, event).await }).await };
        let stream = receiving.begin(work, &self.life, &self.tasks).await?;
        results.get().set_stream(stream);
        Ok(())
    }
}
