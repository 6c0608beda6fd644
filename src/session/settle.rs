//! The calls that open a session, until they are answered.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::capability::{Client, RemotePromise, Response};

use super::life::Life;
use super::limits::{Active, Activity};
use super::side::CalleesPart;
use crate::error::Error;
use crate::pipeline_capnp::{event_dispatcher, pipeline};
use crate::trace::Outcome;

type Started = pipeline::start_event_results::Owned;
type Opened = event_dispatcher::open_session_results::Owned;

/// Waits until the session is open, or over before that. What the application holds of it has resolved
/// then, and what the answers hold is let go.
///
/// A pipelined capability stays unresolved for ever if its call's pipeline is dropped before it is
/// answered; and a call that is finished before its return keeps its slot. So the calls are waited for,
/// whatever the application does with what came of them. Unless the session ends before its time, when
/// all of its capabilities are revoked: then what is not delivered yet is not to be delivered any more.
pub(crate) struct Settle {
    start: Option<RemotePromise<Started>>,
    open: Option<RemotePromise<Opened>>,
    answer: Option<Response<Opened>>,
    error: Option<capnp::Error>,
    /// Where the session is observed on this side, or has limits.
    life: Option<Rc<Life>>,
    _active: Option<Active>,
}

impl Settle {
    pub(crate) fn new(
        start: RemotePromise<Started>,
        open: RemotePromise<Opened>,
        life: Option<Rc<Life>>,
    ) -> Self {
        if let Some(life) = &life {
            // It is about to be polled anyway.
            life.begin_settling(Waker::noop());
        }
        Self {
            start: Some(start),
            open: Some(open),
            answer: None,
            error: None,
            _active: life
                .as_ref()
                .and_then(|life| life.activity())
                .map(Activity::begin),
            life,
        }
    }

    /// Whether the session is over before its time; if not, it will be told.
    fn is_over(&self, cx: &mut Context<'_>) -> bool {
        let Some(life) = &self.life else { return false };
        match life.end() {
            // All that the application had of it is gone, which is its right. It goes on over there.
            Some(end) => end.outcome() != Outcome::Ok,
            None => {
                life.begin_settling(cx.waker());
                false
            }
        }
    }

    fn settled(&mut self) {
        if let Some(answer) = self.answer.take() {
            let results = answer.get();
            let top_level = results
                .clone()
                .and_then(|results| results.get_top_level().get_as_capability::<Client>());
            if let Err(error) = &top_level {
                let error = format!("the callee gave no top-level capability: {}", error.extra);
                self.error.get_or_insert(capnp::Error::failed(error));
            }
            // Last, as it would be a cancellation if it went before the capabilities.
            let session = results.map(|results| results.get_session());
            drop((top_level, answer));
            drop(session);
        }
        if let Some(life) = &self.life {
            if let Some(error) = self.error.take() {
                life.fail(&Error::from(error));
            }
            life.end_settling();
        }
    }
}

impl Future for Settle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Also with the answer there, as long as the start has not returned: it holds the session.
        if (this.open.is_some() || this.answer.is_some()) && this.is_over(cx) {
            this.open = None;
            this.answer = None;
        }
        if let Some(start) = &mut this.start
            && let Poll::Ready(started) = Pin::new(&mut start.promise).poll(cx)
        {
            this.start = None;
            // Where that is so, it is why the session could not be delivered. The other error may have
            // come before.
            this.error = started.err().or(this.error.take());
        }
        if let Some(open) = &mut this.open
            && let Poll::Ready(opened) = Pin::new(&mut open.promise).poll(cx)
        {
            this.open = None;
            match opened {
                Ok(answer) => {
                    this.answer = Some(answer);
                    if let Some(life) = &this.life {
                        life.set_callee(CalleesPart::Open);
                    }
                }
                Err(error) => this.error = this.error.take().or(Some(error)),
            }
        }
        if this.start.is_some() || this.open.is_some() {
            if let Some(life) = &this.life {
                life.conclude_if_complete();
            }
            return Poll::Pending;
        }
        this.settled();
        Poll::Ready(())
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            life.end_settling();
        }
    }
}
