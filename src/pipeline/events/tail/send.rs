//! The producer's side.

use std::fmt;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{AbortHandle, Abortable, LocalBoxFuture, Shared};

use crate::drive::Tasks;
use crate::error::{Error, Result};
use crate::session::{Delivery, OpenSpans};
use crate::tail_capnp::tail_stream;
use crate::trace::TailEvent;
use crate::wire;

/// How much is sent in one message, unless one tail event is larger.
const BATCH_EVENTS: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;

/// Sends tail events of one invocation to a receiver. The event of which this is the producer's side lasts
/// until [`end`](Self::end) has returned; dropping this before cancels it.
#[must_use = "dropping it cancels the event"]
pub struct TailSender {
    // First: what is dropped next may be the last that refers to the event.
    gives_up: GivesUp,
    stream: tail_stream::Client,
    /// How the event was answered.
    answered: Shared<LocalBoxFuture<'static, Result<()>>>,
    /// Tells the event that sending has ended.
    ending: Option<oneshot::Sender<()>>,
    sent: u64,
}

/// Cancels the event when it is dropped, unless that is done.
struct GivesUp {
    spans: OpenSpans,
    abort: Option<AbortHandle>,
}

impl Drop for GivesUp {
    fn drop(&mut self) {
        if let Some(abort) = &self.abort {
            self.spans.give_up();
            abort.abort();
        }
    }
}

impl TailSender {
    pub(in crate::pipeline) fn begin(delivery: Delivery, service: &str, tasks: &Tasks) -> Self {
        let mut request = delivery.dispatcher().tail_request();
        request.get().set_service(service);
        let sent = request.send();
        let stream = sent.pipeline.get_stream();
        let spans = delivery.spans();
        let answer = delivery.answer(sent.promise);
        let (answers, answered) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let (abort, aborts) = AbortHandle::new_pair();
        let work = async move {
            let (ongoing, result) = match answer.await {
                Ok(answered) => (Some(answered.keep()), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let _nobody_asks = answers.send(result);
            if let Some(ongoing) = ongoing
                && ended.await.is_ok()
            {
                let _is_over = ongoing.end(Ok(()));
            }
        };
        tasks.spawn(Abortable::new(work, aborts).map(drop));
        let answered = answered.map(|answered| {
            answered.unwrap_or_else(|_| Err(Error::canceled("the driver of tasks is gone")))
        });
        Self {
            gives_up: GivesUp {
                spans,
                abort: Some(abort),
            },
            stream,
            answered: answered.boxed_local().shared(),
            ending: Some(ending),
            sent: 0,
        }
    }

    /// Sends tail events, in their order; returns when the receiver can take more. It waits for as long as
    /// that does not read.
    ///
    /// Dropping the future may or may not send what is left.
    ///
    /// # Errors
    ///
    /// What the receiver's service has failed with; [`Error::is_unimplemented`], where it does not take tails;
    /// [`Error::is_disconnected`], where it reads no more, or the connection is lost. Nothing can be sent
    /// afterwards.
    pub async fn send(&mut self, events: &[TailEvent]) -> Result<()> {
        let mut rest = events;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_len(rest));
            let mut request = self.stream.events_request();
            // Not more than `BATCH_EVENTS`.
            let mut list = request.get().init_events(batch.len() as u32);
            for (index, event) in (0..).zip(batch) {
                wire::write_tail_event(event, list.reborrow().get(index));
            }
            let sent = request.send().await;
            if let Err(error) = sent {
                return Err(self.failed(error.into()).await);
            }
            rest = later;
            self.sent = self.sent.saturating_add(batch.len() as u64);
            self.gives_up.spans.with(|span| {
                span.set_attribute("capspan.tail.events", self.sent);
            });
        }
        Ok(())
    }

    /// Says that there is no more; returns when the receiver has dealt with all of it. Dropping the future
    /// before cancels the event. It fails as [`send`](Self::send) does.
    pub async fn end(mut self) -> Result<()> {
        let ended = self.stream.end_request().send().promise.await;
        if let Err(error) = ended {
            return Err(self.failed(error.into()).await);
        }
        let Self {
            stream,
            answered,
            ending,
            mut gives_up,
            ..
        } = self;
        drop(stream);
        if let Some(ending) = ending {
            let _answered_with_an_error = ending.send(());
        }
        let result = answered.await;
        gives_up.abort = None;
        result
    }

    /// Why nothing can be sent any more: where the event was refused, that is the reason. A receiver that
    /// has seen enough has not failed.
    async fn failed(&mut self, error: Error) -> Error {
        let answered = self.answered.clone().await;
        if let Some(ending) = self.ending.take() {
            if answered.is_ok() && !error.is_disconnected() {
                self.gives_up.spans.fail(&error);
            }
            let _answered_with_an_error = ending.send(());
            self.gives_up.abort = None;
        }
        answered.err().unwrap_or(error)
    }
}

/// How many go into one message: at least one.
fn batch_len(events: &[TailEvent]) -> usize {
    let mut bytes = 0;
    let fitting = events.iter().take(BATCH_EVENTS).take_while(|event| {
        bytes += event.size();
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1)
}

impl fmt::Debug for TailSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailSender")
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
