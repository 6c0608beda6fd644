//! An HTTP request as an event, on the callee's side.

use std::cell::Cell;
use std::rc::Rc;

use http::StatusCode;

use super::context::EventContext;
use super::handler::guarded;
use super::service::Service;
use crate::fetch::{Responding, Stopped};
use crate::http_over_capnp_capnp::http_service;
use crate::session::{Life, SessionEnd};
use crate::trace::{Outcome, SpanBuilder, SpanStatus};

/// Takes the one request of an event.
pub(super) struct HttpServer<S> {
    service: Rc<S>,
    event: EventContext,
    life: Rc<Life>,
    is_taken: Cell<bool>,
}

impl<S: Service> HttpServer<S> {
    pub(super) fn new(service: Rc<S>, event: EventContext, life: Rc<Life>) -> Self {
        Self {
            service,
            event,
            life,
            is_taken: Cell::new(false),
        }
    }

    async fn answer(
        &self,
        params: http_service::RequestParams,
        mut results: http_service::RequestResults,
    ) -> Result<(), Stopped> {
        let failed = |error: capnp::Error| Stopped::Source(error.into());
        let received = Responding::receive(&params, &mut results);
        let (request, responding) = received.map_err(failed)?;
        drop(params);
        self.life.with_spans(|spans| {
            for span in spans.iter().filter(|span| span.is_observed()) {
                span.set_name(request.method());
                describe_request(&request, span);
            }
        });
        let (service, event) = (self.service.clone(), self.event.clone());
        let parent = event.parent().clone();
        let response = guarded(parent.clone(), async {
            service.fetch(request, event).await
        });
        let response = response.await.map_err(failed)?;
        self.life.with_spans(|spans| {
            for span in spans.iter().filter(|span| span.is_observed()) {
                describe_status(response.status(), StatusCode::is_server_error, span);
            }
        });
        // What was written to the caller's span is there before the response.
        self.event.enricher().send_pending();
        // The response's body is the service's as well.
        let sent = guarded(parent, async { Ok(responding.respond(response).await) });
        sent.await.map_err(failed)?
    }
}

impl<S> Drop for HttpServer<S> {
    /// Nobody can make the request any more.
    fn drop(&mut self) {
        if !self.is_taken.get() {
            let reason = "no request was made";
            self.life
                .will_end(SessionEnd::new(Outcome::Canceled, Some(reason)));
        }
    }
}

/// Says on a span what is asked for.
pub(super) fn describe_request<B>(request: &http::Request<B>, span: &SpanBuilder) {
    span.set_attribute("http.request.method", request.method().as_str());
    span.set_attribute("url.full", without_credentials(request.uri()));
}

/// What stands before the host is for the server alone (https://opentelemetry.io/docs/specs/semconv/http/).
fn without_credentials(uri: &http::Uri) -> String {
    let full = uri.to_string();
    let authority = uri.authority().map(http::uri::Authority::as_str);
    match authority.and_then(|authority| Some((authority, authority.rsplit_once('@')?.1))) {
        Some((authority, host)) => {
            full.replacen(authority, &format!("REDACTED:REDACTED@{host}"), 1)
        }
        None => full,
    }
}

/// Says on a span what was answered. Whether that is an error depends on the side.
pub(super) fn describe_status(
    status: StatusCode,
    is_error: impl FnOnce(&StatusCode) -> bool,
    span: &SpanBuilder,
) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if is_error(&status) {
        span.set_attribute("error.type", status.as_str());
        span.set_status(SpanStatus::error(""));
    }
}

/// Given up, unless it was answered.
struct Answering<'a> {
    life: &'a Life,
    is_answered: bool,
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let reason = "the caller no longer waits";
            self.life
                .abort(SessionEnd::new(Outcome::Canceled, Some(reason)));
        }
    }
}

impl<S: Service> http_service::Server for HttpServer<S> {
    async fn request(
        self: Rc<Self>,
        params: http_service::RequestParams,
        results: http_service::RequestResults,
    ) -> capnp::Result<()> {
        if self.is_taken.replace(true) {
            return Err(capnp::Error::failed(
                "this event has had its request; start another one with startEvent".into(),
            ));
        }
        let mut answer = Box::pin(self.answer(params, results));
        // After the answer, so dropped before it: what it drops is no end of its own.
        let mut answering = Answering {
            life: &self.life,
            is_answered: false,
        };
        let answered = answer.as_mut().await;
        answering.is_answered = true;
        let (outcome, error) = match answered {
            Ok(()) => return Ok(()),
            Err(Stopped::Source(error)) => (Outcome::Exception, error),
            // Who takes no more of the response has given up, and is about to say so.
            Err(Stopped::Receiver(error)) => (Outcome::Canceled, error),
        };
        self.life
            .will_end(SessionEnd::new(outcome, Some(error.reason())));
        Err(error.into())
    }
}
