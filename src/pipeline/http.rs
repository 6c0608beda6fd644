//! An HTTP request as an event, on the callee's side.

use std::cell::Cell;
use std::rc::Rc;

use http::{Request, StatusCode};

use super::context::EventContext;
use super::handler::guarded;
use super::service::Service;
use crate::fetch::{Body, Received, Responding, Stopped};
use crate::http_over_capnp_capnp::http_request;
use crate::http_over_capnp_capnp::http_service::{
    self, client_request_context, server_request_context,
};
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

    /// Takes the request, which is the only one.
    fn take(&self, asked: Asked<'_>) -> capnp::Result<Received> {
        if self.is_taken.replace(true) {
            return Err(capnp::Error::failed(
                "this event has had its request; start another one with startEvent".into(),
            ));
        }
        let life = Rc::downgrade(&self.life);
        let refuses = move |count| {
            if let Some(life) = life.upgrade() {
                life.with_spans(|spans| {
                    let observed = spans.iter().filter(|span| span.is_observed());
                    observed.for_each(|span| describe_refused(count, span));
                });
            }
        };
        let received =
            Responding::receive(asked.request, asked.context, refuses, self.event.place());
        let received = received.inspect_err(|error| {
            let end = SessionEnd::new(Outcome::Exception, Some(error.reason()));
            self.life.will_end(end);
        })?;
        self.life.with_spans(|spans| {
            for span in spans.iter().filter(|span| span.is_observed()) {
                span.set_name(received.request.method());
                describe_request(&received.request, span);
            }
        });
        Ok(received)
    }

    async fn answer(&self, request: Request<Body>, responding: Responding) -> Result<(), Stopped> {
        let failed = |error: capnp::Error| Stopped::Source(error.into());
        let (service, event) = (self.service.clone(), self.event.clone());
        let parent = event.parent().clone();
        let response = guarded(&self.life, parent.clone(), async {
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
        let sent = guarded(&self.life, parent, async {
            Ok(responding.respond(response).await)
        });
        sent.await.map_err(failed)?
    }

    /// Answers it. Dropping this cancels the event.
    async fn serve(&self, request: Request<Body>, responding: Responding) -> capnp::Result<()> {
        let mut answer = Box::pin(self.answer(request, responding));
        // After the answer, so dropped before it: what it drops is no end of its own.
        let mut answering = Answering {
            life: &self.life,
            is_answered: false,
        };
        let answered = answer.as_mut().await;
        answering.is_answered = true;
        match answered {
            Ok(()) => Ok(()),
            Err(Stopped::Source(error)) => {
                self.life.will_fail(&error);
                Err(error.into())
            }
            // Who takes no more of the response has given up, and is about to say so.
            Err(Stopped::Receiver(error)) => {
                let end = SessionEnd::new(Outcome::Canceled, Some(error.reason()));
                self.life.will_end(end);
                Err(error.into())
            }
        }
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

/// Says on a span how many writes of a body have been refused because too much of it waits.
pub(super) fn describe_refused(count: u64, span: &SpanBuilder) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    span.set_attribute("capspan.body.refused_writes", count);
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

/// What is said of a request.
struct Asked<'a> {
    request: capnp::Result<http_request::Reader<'a>>,
    context: capnp::Result<client_request_context::Client>,
}

/// What a context of `startRequest` resolves to: there is nothing left to be done.
struct Done;

impl server_request_context::Server for Done {}

impl<S: Service> http_service::Server for HttpServer<S> {
    async fn request(
        self: Rc<Self>,
        params: http_service::RequestParams,
        mut results: http_service::RequestResults,
    ) -> capnp::Result<()> {
        let asked = params.get()?;
        let received = self.take(Asked {
            request: asked.get_request(),
            context: asked.get_context(),
        })?;
        drop(params);
        if let Some(stream) = received.stream {
            results.get().set_request_body(stream);
            // The caller writes while this call goes on.
            results.set_pipeline()?;
        }
        self.serve(received.request, received.responding).await
    }

    /// What older peers call: it returns at once, and its context stands for the call. As any call in process
    /// it goes on while somebody waits for it.
    async fn start_request(
        self: Rc<Self>,
        params: http_service::StartRequestParams,
        mut results: http_service::StartRequestResults,
    ) -> capnp::Result<()> {
        let asked = params.get()?;
        let received = self.take(Asked {
            request: asked.get_request(),
            context: asked.get_context(),
        })?;
        drop(params);
        let mut results = results.get();
        if let Some(stream) = received.stream {
            results.set_request_body(stream);
        }
        results.set_context(capnp_rpc::new_future_client(async move {
            self.serve(received.request, received.responding).await?;
            Ok(capnp_rpc::new_client(Done))
        }));
        Ok(())
    }

    async fn connect(
        self: Rc<Self>,
        _params: http_service::ConnectParams,
        _results: http_service::ConnectResults,
    ) -> capnp::Result<()> {
        Err(capnp::Error::unimplemented(
            "connect: tunnels are not served here; an event takes one request".into(),
        ))
    }
}
