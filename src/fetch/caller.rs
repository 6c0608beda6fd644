//! One request, on the caller's side.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::rc::{Rc, Weak};

use capnp::capability::{FromClientHook, RemotePromise};
use capnp::traits::HasTypeId;
use futures::channel::oneshot;
use futures::future::{AbortHandle, AbortRegistration, Either, LocalBoxFuture, Shared, select};
use futures::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::head;
use super::pipe::{Outside, Over, pipe};
use super::pump::{Stopped, end, write_all};
use super::writer::Nexts;
use crate::byte_stream_capnp::byte_stream;
use crate::error::{Error, Result};
use crate::http_over_capnp_capnp::http_service::{self, client_request_context};

type Ended = Shared<LocalBoxFuture<'static, Result<()>>>;

/// A request that has been sent. What is done with its parts is up to whoever delivers it.
pub(crate) struct Exchange {
    /// Comes when the response begins. Dropping it before that gives up the request, and so does dropping
    /// the response's body before its end.
    pub(crate) response: LocalBoxFuture<'static, Result<Response<Body>>>,
    /// Sends the request's body, and ends when the service has done all and the response is whole.
    pub(crate) work: LocalBoxFuture<'static, Result<()>>,
    /// Is to be told how the work has ended.
    pub(crate) end: oneshot::Sender<Result<()>>,
    /// The work is to be aborted by this.
    pub(crate) aborts: AbortRegistration,
}

/// What others are to see of a response.
pub(crate) enum Seen {
    /// Its status, before anybody else knows it.
    Status(StatusCode),
    /// How many writes of its body have been refused because too much waits.
    Refused(u64),
}

/// What its owner has of a request: dropping it aborts the work, or, where all of the response has been
/// received, what is left of the upload.
struct Held {
    abort: AbortHandle,
    is_received: Rc<Cell<bool>>,
    let_go: Option<oneshot::Sender<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.let_go.take() {
            Some(let_go) if self.is_received.get() => {
                let _over_already = let_go.send(());
            }
            _ => self.abort.abort(),
        }
    }
}

impl Exchange {
    /// Sends a request that has been checked.
    pub(crate) fn begin(
        service: &http_service::Client,
        request: Request<Body>,
        sees: impl Fn(Seen) + 'static,
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
        let (over, is_over) = oneshot::channel();
        let (let_go, is_let_go) = oneshot::channel();
        let (is_answered, nexts) = (Rc::<Cell<bool>>::default(), Rc::default());
        let held = Held {
            abort: abort.clone(),
            is_received: Rc::default(),
            let_go: Some(let_go),
        };
        let mut request = service.request_request();
        head::write_request(&head, body.length(), request.get().init_request())?;
        let context: client_request_context::Client = capnp_rpc::new_client(Responder {
            respond: RefCell::new(Some((respond, over))),
            sees: Rc::new(sees),
            is_head: head.method == Method::HEAD,
            ended: ended.clone(),
            is_answered: is_answered.clone(),
            is_received: held.is_received.clone(),
            nexts: Rc::downgrade(&nexts),
        });
        request.get().set_context(context);
        let work = Work {
            call: request.send(),
            body: (body.length() != Some(0)).then_some(body),
            is_answered,
            is_over,
            is_let_go,
            service: service.clone(),
            abort,
            _nexts: nexts,
        };
        let response = async move {
            match response.await {
                Ok(response) => Ok(Response::map(response, |body: Body| body.holding(held))),
                // It will not come any more, and the end tells why.
                Err(oneshot::Canceled) => Err(match ended.await {
                    Ok(()) => no_response(),
                    Err(error) => error,
                }),
            }
        };
        Ok(Self {
            response: response.boxed_local(),
            work: work.run().boxed_local(),
            end,
            aborts,
        })
    }
}

fn no_response() -> Error {
    Error::malformed("the service gave no response")
}

fn no_end() -> Error {
    Error::malformed("the response was left without its end")
}

/// What there is to do for a request that has been sent.
struct Work {
    call: RemotePromise<http_service::request_results::Owned>,
    body: Option<Body>,
    is_answered: Rc<Cell<bool>>,
    /// How the response came to its end.
    is_over: oneshot::Receiver<Over>,
    /// All of the response has been received, and has been let go.
    is_let_go: oneshot::Receiver<()>,
    service: http_service::Client,
    abort: AbortHandle,
    _nexts: Rc<Nexts>,
}

impl Work {
    async fn run(self) -> Result<()> {
        let RemotePromise { promise, pipeline } = self.call;
        let done = promise.map(|answer| answer.map(drop).map_err(Error::from));
        let done = match self.body {
            None => done.boxed_local(),
            Some(body) => {
                let to = pipeline.get_request_body();
                let upload = upload(body, to, self.is_let_go);
                uploading(upload, done, self.service.clone(), self.abort).boxed_local()
            }
        };
        let (over, done) = match select(done, self.is_over).await {
            Either::Left((done, over)) => {
                done?;
                if !self.is_answered.get() {
                    return Err(no_response());
                }
                // What was sent before may still be on its way.
                (over.await, None)
            }
            Either::Right((over, done)) => (over, Some(done)),
        };
        let error = match over {
            Ok(Over::Complete) => {
                // Nothing is left that it might be asked.
                drop(self.service);
                return match done {
                    Some(done) => done.await,
                    None => Ok(()),
                };
            }
            Ok(Over::Failed(error)) => return Err(error),
            Ok(Over::Lost) => no_end(),
            Err(oneshot::Canceled) => no_response(),
        };
        // Where the service has failed, its return is about to say why.
        match done {
            Some(mut done) => soon(&mut done, &self.service).await.unwrap_or(Ok(())),
            None => Ok(()),
        }
        .and(Err(error))
    }
}

/// What `done` gives by the time that all has come which the peer has sent up to now: it is asked for
/// something that it does not have, and is to say so at once.
async fn soon(
    done: &mut (impl Future<Output = Result<()>> + Unpin),
    service: &http_service::Client,
) -> Option<Result<()>> {
    let hook = service.as_client_hook();
    let asked = hook.new_call(http_service::Client::TYPE_ID, u16::MAX, None);
    match select(done, asked.send().promise).await {
        Either::Left((done, asked)) => {
            // A call that is given up would leave something behind at both ends.
            let _refused = asked.await;
            Some(done)
        }
        Either::Right((Err(error), _)) if error.kind == capnp::ErrorKind::Disconnected => {
            Some(Err(error.into()))
        }
        Either::Right(_) => None,
    }
}

/// How an upload came to its end.
enum Uploaded {
    Sent(Result<(), Stopped>),
    LetGo,
}

async fn upload(body: Body, to: byte_stream::Client, let_go: oneshot::Receiver<()>) -> Uploaded {
    let writing = Box::pin(write_all(body, &to));
    let written = match select(let_go, writing).await {
        Either::Left((Ok(()), writing)) => {
            drop(writing);
            return Uploaded::LetGo;
        }
        Either::Left((Err(oneshot::Canceled), writing)) => writing.await,
        Either::Right((written, _)) => written,
    };
    Uploaded::Sent(match written {
        Ok(()) => end(&to).await,
        stopped => stopped,
    })
}

/// Waits for the end of a request while its body is being sent. Once that has been let go, the service has
/// the time of one more message; then it is aborted.
async fn uploading(
    upload: impl Future<Output = Uploaded>,
    done: impl Future<Output = Result<()>> + Unpin,
    service: http_service::Client,
    abort: AbortHandle,
) -> Result<()> {
    let mut done = done;
    match select(Box::pin(upload), &mut done).await {
        Either::Left((Uploaded::Sent(Err(Stopped::Source(error))), _)) => Err(error),
        // A service need not read all.
        Either::Left((Uploaded::Sent(Ok(()) | Err(Stopped::Receiver(_))), done)) => {
            drop(service);
            done.await
        }
        Either::Left((Uploaded::LetGo, done)) => match soon(done, &service).await {
            Some(result) => result,
            None => {
                abort.abort();
                pending().await
            }
        },
        Either::Right((result, _)) => result,
    }
}

/// Where a response goes, and who is to be told of its end.
type Respond = (oneshot::Sender<Response<Body>>, oneshot::Sender<Over>);

/// Takes the response.
struct Responder {
    respond: RefCell<Option<Respond>>,
    sees: Rc<dyn Fn(Seen)>,
    is_head: bool,
    ended: Ended,
    is_answered: Rc<Cell<bool>>,
    is_received: Rc<Cell<bool>>,
    nexts: Weak<Nexts>,
}

impl client_request_context::Server for Responder {
    async fn start_response(
        self: Rc<Self>,
        params: client_request_context::StartResponseParams,
        mut results: client_request_context::StartResponseResults,
    ) -> capnp::Result<()> {
        let (response, length) = head::read_response(params.get()?.get_response()?)?;
        drop(params);
        let respond = self.respond.take();
        let Some((respond, over)) = respond.filter(|(respond, _)| !respond.is_canceled()) else {
            return Err(capnp::Error::disconnected(
                "nobody waits for this response: there was one before, or it was given up".into(),
            ));
        };
        self.is_answered.set(true);
        (self.sees)(Seen::Status(response.status()));
        let body = if has_body(self.is_head, response.status(), length) {
            let (stream, body) = self.receive(length, over);
            results.get().set_body(stream);
            body
        } else {
            self.is_received.set(true);
            let _over_already = over.send(Over::Complete);
            Body::empty()
        };
        let _nobody_waits = respond.send(response.map(|()| body));
        Ok(())
    }

    async fn start_web_socket(
        self: Rc<Self>,
        _params: client_request_context::StartWebSocketParams,
        _results: client_request_context::StartWebSocketResults,
    ) -> capnp::Result<()> {
        Err(capnp::Error::unimplemented(
            "startWebSocket: WebSockets are not taken here; this request is to have a response"
                .into(),
        ))
    }
}

impl Responder {
    fn receive(
        &self,
        length: Option<u64>,
        over: oneshot::Sender<Over>,
    ) -> (byte_stream::Client, Body) {
        let ended = self.ended.clone();
        let why = async move {
            match ended.await {
                Err(error) => error,
                Ok(()) => no_end(),
            }
        };
        let sees = self.sees.clone();
        let outside = Outside {
            over,
            nexts: self.nexts.clone(),
            refuses: Box::new(move |count| sees(Seen::Refused(count))),
            place: None,
        };
        let (stream, body, _ends_by_itself) = pipe(length, why, outside);
        (stream, received(body, self.is_received.clone()))
    }
}

/// The same body, which notes that all of it has been received, or that no more will be.
fn received(body: Body, is_received: Rc<Cell<bool>>) -> Body {
    let length = body.length();
    let pieces = stream::unfold((body, length), move |(mut body, left)| {
        let is_received = is_received.clone();
        async move {
            let piece = body.next().await;
            let left = match &piece {
                Some(Ok(piece)) => left.map(|left| left.saturating_sub(piece.len() as u64)),
                None | Some(Err(_)) => Some(0),
            };
            if left == Some(0) {
                // Who stops reading then has all of it.
                is_received.set(true);
            }
            Some((piece?, (body, left)))
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
