//! Takes exactly one event.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures::FutureExt;

use super::callee::{Service, Shared};
use super::context::EventContext;
use super::metadata::Metadata;
use crate::enrich::Enricher;
use crate::guard::Ending;
use crate::pipeline_capnp::event_dispatcher::{self, open_session_results};
use crate::session::{CalleeSession, Opening};
use crate::trace::InSpan;

/// What `startEvent` announced.
pub(super) struct Started {
    pub(super) metadata: Metadata,
    pub(super) enricher: Enricher,
}

pub(super) struct Dispatcher<S> {
    shared: Rc<Shared<S>>,
    ending: Option<Ending>,
    /// Taken by the event.
    started: RefCell<Option<Started>>,
}

impl<S> Dispatcher<S> {
    pub(super) fn new(shared: Rc<Shared<S>>, ending: Option<Ending>, started: Started) -> Self {
        Self {
            shared,
            ending,
            started: RefCell::new(Some(started)),
        }
    }

    fn take(&self) -> Result<Started, capnp::Error> {
        self.started.take().ok_or_else(|| {
            capnp::Error::failed(
                "this dispatcher has delivered its event; start another one with startEvent".into(),
            )
        })
    }
}

impl<S: Service> event_dispatcher::Server for Dispatcher<S> {
    async fn open_session(
        self: Rc<Self>,
        _params: event_dispatcher::OpenSessionParams,
        mut results: event_dispatcher::OpenSessionResults,
    ) -> Result<(), capnp::Error> {
        let Started { metadata, enricher } = self.take()?;
        let spans = self.shared.open_spans(&metadata.parents);
        let opening = Opening::begin(spans, enricher, self.ending.as_ref(), &self.shared.tasks);
        let event = EventContext::new(metadata, opening.life());
        let parent = event.parent().clone();
        let service = self.shared.service.clone();
        let answer = AssertUnwindSafe(async { service.open_session(event).await }.in_span(parent))
            .catch_unwind()
            .await
            // As any other failure: else it takes the connection with it, or in process all sessions.
            .unwrap_or_else(|_panic| Err(capnp::Error::failed("the service panicked".into())));
        match opening.answered(answer, self.shared.clock()) {
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
}

/// Writes the session first: where all is released together, as it is when the call is canceled while
/// its answer is on its way, the callee is to learn of the cancellation first.
fn write(opened: CalleeSession, mut results: open_session_results::Builder<'_>) {
    let CalleeSession { top_level, session } = opened;
    results.set_session(session);
    results.init_top_level().set_as_capability(top_level.hook);
}
