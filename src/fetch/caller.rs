//! One request, on the caller's side.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};

use capnp::capability::RemotePromise;
use futures::channel::oneshot;
use futures::future::{AbortHandle, AbortRegistration, Either, LocalBoxFuture, Shared, select};
use futures::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::head;
use super::pipe::pipe;
use super::pump::{Stopped, pump};
use crate::error::{Error, Result};
use crate::http_over_capnp_capnp::http_service::{self, client_request_context};

type Ended = Shared<LocalBoxFuture<'static, Result<()>>>;

/// A request that has been sent. What is done with its parts is up to whoever delivers it.
pub(crate) struct Exchange {
    /// Comes when the response begins. Dropping it before that gives up the request, and so does dropping
    /// the response's body before its end.
    pub(crate) response: LocalBoxFuture<'static, Result<Response<Body>>>,
    /// Sends the request's body, and ends when the service has done all.
    pub(crate) work: LocalBoxFuture<'static, Result<()>>,
    /// Is to be told how the work has ended.
    pub(crate) end: oneshot::Sender<Result<()>>,
    /// The work is to be aborted by this.
    pub(crate) aborts: AbortRegistration,
}

/// Aborts the work when it is dropped, unless there is nothing left to be received.
struct GiveUp {
    abort: AbortHandle,
    is_received: Cell<bool>,
    /// Ends the work with an error.
    fail: RefCell<Option<oneshot::Sender<Error>>>,
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        if !self.is_received.get() {
            self.abort.abort();
        }
    }
}

impl Exchange {
    /// Sends a request that has been checked. `sees` is told of the response's status before anybody else.
    pub(crate) fn begin(
        service: &http_service::Client,
        request: Request<Body>,
        sees: impl Fn(StatusCode) + 'static,
    ) -> Result<Self> {
        let (head, body) = request.into_parts();
        let (respond, response) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let ended = async move {
            let given_up = || Error::canceled("the request was given up");
            ended.await.unwrap_or_else(|_| Err(given_up()))
        };
        let ended = ended.boxed_local().shared();
        let (abort, aborts) = AbortHandle::new_pair();
        let (fail, failure) = oneshot::channel();
        let give_up = Rc::new(GiveUp {
            abort,
            is_received: Cell::new(false),
            fail: RefCell::new(Some(fail)),
        });
        let is_answered = Rc::new(Cell::new(false));
        let mut request = service.request_request();
        head::write_request(&head, body.length(), request.get().init_request())?;
        let context: client_request_context::Client = capnp_rpc::new_client(Responder {
            respond: RefCell::new(Some(respond)),
            sees: Box::new(sees),
            is_answered: is_answered.clone(),
            is_head: head.method == Method::HEAD,
            ended: ended.clone(),
            give_up: Rc::downgrade(&give_up),
        });
        request.get().set_context(context);
        let call = request.send();
        let body = (body.length() != Some(0)).then_some(body);
        let response = async move {
            let response = response.await;
            let response = match response {
                Ok(response) => Ok(response),
                // It will not come any more, and the end tells why.
                Err(oneshot::Canceled) => Err(match ended.await {
                    Ok(()) => no_response(),
                    Err(error) => error,
                }),
            };
            drop(give_up);
            response
        };
        let work = work(call, body).map(move |result| match is_answered.get() {
            true => result,
            false => result.and_then(|()| Err(no_response())),
        });
        Ok(Self {
            response: response.boxed_local(),
            work: unless(failure, work).boxed_local(),
            end,
            aborts,
        })
    }
}

fn no_response() -> Error {
    Error::malformed("the service gave no response")
}

/// Does `work`, unless there is a failure before it is done.
async fn unless(
    failure: oneshot::Receiver<Error>,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    match select(failure, Box::pin(work)).await {
        Either::Left((Ok(error), _)) => Err(error),
        Either::Left((Err(oneshot::Canceled), work)) => work.await,
        Either::Right((result, _)) => result,
    }
}

/// Sends the body and waits for the end.
async fn work(
    call: RemotePromise<http_service::request_results::Owned>,
    body: Option<Body>,
) -> Result<()> {
    let RemotePromise { promise, pipeline } = call;
    let done = promise.map(|answer| answer.map(drop).map_err(Error::from));
    let Some(body) = body else {
        return done.await;
    };
    let sent = pump(body, pipeline.get_request_body());
    match select(Box::pin(sent), done).await {
        Either::Left((Err(Stopped::Source(error)), _)) => Err(error),
        // A service need not read all.
        Either::Left((Ok(()) | Err(Stopped::Receiver(_)), done)) => done.await,
        Either::Right((done, _)) => done,
    }
}

/// Takes the response.
struct Responder {
    respond: RefCell<Option<oneshot::Sender<Response<Body>>>>,
    sees: Box<dyn Fn(StatusCode)>,
    is_answered: Rc<Cell<bool>>,
    is_head: bool,
    ended: Ended,
    give_up: Weak<GiveUp>,
}

impl client_request_context::Server for Responder {
    async fn start_response(
        self: Rc<Self>,
        params: client_request_context::StartResponseParams,
        mut results: client_request_context::StartResponseResults,
    ) -> capnp::Result<()> {
        let (response, length) = head::read_response(params.get()?.get_response()?)?;
        drop(params);
        let (Some(respond), Some(give_up)) = (self.respond.take(), self.give_up.upgrade()) else {
            return Err(capnp::Error::disconnected(
                "nobody waits for this response: there was one before, or it was given up".into(),
            ));
        };
        self.is_answered.set(true);
        (self.sees)(response.status());
        let body = if has_body(self.is_head, response.status(), length) {
            let ended = self.ended.clone();
            let (stream, body, closer) = pipe(length, async move {
                match ended.await {
                    Err(error) => error,
                    Ok(()) => Error::malformed("the response was left without its end"),
                }
            });
            results.get().set_body(stream);
            // It ends by itself, or by its reader.
            closer.leave();
            received(body, give_up)
        } else {
            give_up.is_received.set(true);
            Body::empty()
        };
        let _nobody_waits = respond.send(response.map(|()| body));
        Ok(())
    }
}

/// The same body, which gives up the request when it is dropped before its end.
fn received(body: Body, give_up: Rc<GiveUp>) -> Body {
    let length = body.length();
    let from = (body, give_up, length);
    let pieces = stream::unfold(from, async |(mut body, give_up, left)| {
        match body.next().await {
            Some(Ok(piece)) => {
                let left = left.map(|left| left.saturating_sub(piece.len() as u64));
                if left == Some(0) {
                    // Who stops reading then has all of it.
                    give_up.is_received.set(true);
                }
                Some((Ok(piece), (body, give_up, left)))
            }
            Some(Err(error)) => {
                give_up.is_received.set(true);
                if let Some(fail) = give_up.fail.take() {
                    let _over_already = fail.send(error.clone());
                }
                Some((Err(error), (body, give_up, left)))
            }
            None => {
                give_up.is_received.set(true);
                None
            }
        }
    });
    match length {
        Some(length) => Body::stream(pieces).with_length(length),
        None => Body::stream(pieces),
    }
}

/// Has a response a body?
pub(super) fn has_body(is_head: bool, status: StatusCode, length: Option<u64>) -> bool {
    let never = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    !is_head && !never.contains(&status) && length != Some(0)
}
