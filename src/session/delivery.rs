//! An event that is one call, on the caller's side.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use capnp::capability::{Promise, RemotePromise, Response};
use capnp::traits::{Owned, Pipelined};
use futures::future::select;

use super::channels::Channels;
use super::end::SessionEnd;
use super::life::Life;
use super::setting::Setting;
use super::side::{Side, What};
use crate::drive::Tasks;
use crate::error::{Error, Result};
use crate::guard::Ending;
use crate::pipeline_capnp::{event_dispatcher, pipeline};
use crate::trace::{Outcome, SpanBuilder};

type Started = RemotePromise<pipeline::start_event_results::Owned>;

/// An event that is on its way. Dropping it cancels the event, unless that has been answered.
pub(crate) struct Delivery {
    /// Taken when it is answered.
    start: Option<Started>,
    dispatcher: event_dispatcher::Client,
    /// Until it has been answered.
    life: Option<Rc<Life>>,
    ending: Option<Ending>,
    tasks: Tasks,
}

impl Delivery {
    /// Begins the caller's side.
    pub(crate) fn begin(
        start: Started,
        spans: Channels<SpanBuilder>,
        setting: &Setting<'_>,
    ) -> Self {
        // Also where nobody sees it: what the application gets then is safe to use, whatever the peer does,
        // and ends with the event.
        let life = Life::begin(
            What::Event,
            Side::Caller,
            spans,
            setting.no_enricher(),
            setting,
        );
        let membrane = setting.membrane(&life);
        Self {
            dispatcher: membrane.export(start.pipeline.get_dispatcher()),
            start: Some(start),
            life: Some(life),
            ending: setting.ending.cloned(),
            tasks: setting.tasks.clone(),
        }
    }

    /// Its open spans, for as long as they are.
    pub(crate) fn spans(&self) -> OpenSpans {
        OpenSpans(self.life.clone())
    }

    /// What the event is delivered through.
    pub(crate) fn dispatcher(&self) -> &event_dispatcher::Client {
        &self.dispatcher
    }

    /// The call that delivers it has been sent.
    pub(crate) fn answer<T: Owned>(self, call: Promise<Response<T>, capnp::Error>) -> Answer<T> {
        Answer {
            delivery: self,
            call,
            start_error: None,
        }
    }

    /// It has been answered. From now on it lasts as long as something refers to it.
    fn answered(&mut self) -> Option<Rc<Life>> {
        self.let_go_of_start();
        self.life.take()
    }

    /// What is pipelined on a call needs that call until it is answered, or never will be.
    fn let_go_of_start(&mut self) {
        if let Some(mut start) = self.start.take() {
            let ending = self.ending.clone();
            self.tasks.spawn(async move {
                let stopped = async {
                    match ending {
                        Some(ending) => ending.stopped().await,
                        None => pending().await,
                    }
                };
                let _whichever_is_first = select(&mut start.promise, pin!(stopped)).await;
            });
        }
    }
}

impl Drop for Delivery {
    /// What is to be done comes later, as tables of `capnp-rpc` may be borrowed.
    fn drop(&mut self) {
        self.let_go_of_start();
        if let Some(life) = self.life.take() {
            self.tasks.drop_later(Cancel(life));
        }
    }
}

/// Why an event is canceled whose handle was dropped.
const GIVEN_UP: &str = "the caller dropped it";

struct Cancel(Rc<Life>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0
            .abort(SessionEnd::new(Outcome::Canceled, Some(GIVEN_UP)));
    }
}

/// The spans of an event, for as long as they are open.
pub(crate) struct OpenSpans(Option<Rc<Life>>);

impl OpenSpans {
    /// Does something with each that is observed.
    pub(crate) fn with(&self, f: impl Fn(&SpanBuilder)) {
        if let Some(life) = &self.0 {
            life.with_spans(|spans| {
                let observed = spans.iter().filter(|span| span.is_observed());
                observed.for_each(&f);
            });
        }
    }

    /// The event has failed after it was answered.
    pub(crate) fn fail(&self, error: &Error) {
        if let Some(life) = &self.0 {
            life.fail(error);
        }
    }

    /// The caller drops what may be the last that refers to the event, before it is done.
    pub(crate) fn give_up(&self) {
        if let Some(life) = &self.0 {
            life.will_end(SessionEnd::new(Outcome::Canceled, Some(GIVEN_UP)));
        }
    }
}

/// An event that has been answered, and that goes on. Dropping it cancels the event.
pub(crate) struct Ongoing {
    life: Option<Rc<Life>>,
    tasks: Tasks,
}

impl Ongoing {
    /// It has done its work, or failed.
    pub(crate) fn end<T>(mut self, result: Result<T>) -> Result<T> {
        if let Some(life) = self.life.take()
            && let Err(error) = &result
        {
            life.fail(error);
        }
        result
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if let Some(life) = self.life.take() {
            self.tasks.drop_later(Cancel(life));
        }
    }
}

/// Waits for the answer to an event.
pub(crate) struct Answer<T: Owned> {
    // Before the call, whose drop looks like an event that is complete.
    delivery: Delivery,
    call: Promise<Response<T>, capnp::Error>,
    /// Why it could not even be started.
    start_error: Option<capnp::Error>,
}

/// The answer to an event, which lasts at least as long as this.
pub(crate) struct Answered<T: Owned> {
    response: Response<T>,
    life: Option<Rc<Life>>,
    tasks: Tasks,
}

impl<T: Owned> Answered<T> {
    pub(crate) fn response(&self) -> &Response<T> {
        &self.response
    }

    /// What the answer says. One that can't be read is an event that has failed.
    pub(crate) fn read<R>(&self, read: impl FnOnce(T::Reader<'_>) -> Result<R>) -> Result<R>
    where
        T: Pipelined,
    {
        let content = self.response.get().map_err(Error::from);
        content.and_then(read).inspect_err(|error| {
            if let Some(life) = &self.life {
                life.fail(error);
            }
        })
    }

    /// The answer is not all of it: it goes on.
    pub(crate) fn keep(self) -> Ongoing {
        Ongoing {
            life: self.life,
            tasks: self.tasks,
        }
    }

    /// The service says that it has failed: so ends the event, when it is complete.
    pub(crate) fn fail(&self, reason: &str) {
        if let Some(life) = &self.life {
            life.will_end(SessionEnd::new(Outcome::Exception, Some(reason)));
        }
    }
}

impl<T: Owned> Answer<T> {
    /// It has failed before it was answered.
    pub(crate) fn fail(&mut self, error: &Error) {
        if let Some(life) = self.delivery.answered() {
            life.fail(error);
        }
    }
}

impl<T: Owned> Future for Answer<T> {
    type Output = Result<Answered<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(start) = &mut this.delivery.start
            && let Poll::Ready(started) = Pin::new(&mut start.promise).poll(cx)
        {
            this.delivery.start = None;
            this.start_error = started.err();
        }
        match ready!(Pin::new(&mut this.call).poll(cx)) {
            Ok(response) => Poll::Ready(Ok(Answered {
                response,
                life: this.delivery.answered(),
                tasks: this.delivery.tasks.clone(),
            })),
            Err(error) => {
                // Where the event could not even be started, that is why.
                let error = Error::from(this.start_error.take().unwrap_or(error));
                let error = match &this.delivery.life {
                    Some(life) => life.lost_or(error),
                    None => error,
                };
                this.fail(&error);
                Poll::Ready(Err(error))
            }
        }
    }
}
