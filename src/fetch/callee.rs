//! One request, on the callee's side.

use std::rc::Rc;

use futures::channel::oneshot;
use http::{Method, Request, Response};

use super::body::Body;
use super::caller::has_body;
use super::head;
use super::pipe::{Closer, Outside, pipe};
use super::pump::{Stopped, end, write_all};
use super::writer::Nexts;
use crate::byte_stream_capnp::byte_stream;
use crate::error::{Error, Result};
use crate::http_over_capnp_capnp::http_request;
use crate::http_over_capnp_capnp::http_service::client_request_context;
use crate::room::Place;

/// A request that has been received.
pub(crate) struct Received {
    pub(crate) request: Request<Body>,
    /// What its body is to be written to, if it has one.
    pub(crate) stream: Option<byte_stream::Client>,
    pub(crate) responding: Responding,
}

/// What there is to do for one, whose response is to be sent.
pub(crate) struct Responding {
    context: client_request_context::Client,
    is_head: bool,
    /// Where the request has a body.
    _body: Option<Closer>,
    /// Of the request's head.
    _place: Option<Place>,
    _nexts: Rc<Nexts>,
}

fn refused(error: capnp::Error) -> Stopped {
    Stopped::Receiver(error.into())
}

impl Responding {
    /// Receives a request. `refuses` is told how many writes of its body have been refused because too much
    /// waits, each time. What is kept of the request is counted in `place`, and where that is.
    pub(crate) fn receive(
        request: capnp::Result<http_request::Reader<'_>>,
        context: capnp::Result<client_request_context::Client>,
        refuses: impl Fn(u64) + 'static,
        mut place: Option<Place>,
    ) -> Result<Received> {
        let (request, length) = head::read_request(request?)?;
        if let Some(place) = &mut place {
            place.add(head::size(&request))?;
        }
        let nexts = Rc::default();
        let (body, stream, closer) = match length {
            Some(0) => (Body::empty(), None, None),
            length => {
                let why = Error::canceled("the request's body was given up");
                let (over, _nobody_asks) = oneshot::channel();
                let outside = Outside {
                    over,
                    nexts: Rc::downgrade(&nexts),
                    refuses: Box::new(refuses),
                    place: place.as_ref().map(Place::another),
                };
                let (stream, body, pipe) = pipe(length, async { why }, outside);
                (body, Some(stream), Some(Closer(pipe)))
            }
        };
        let responding = Self {
            context: context?,
            is_head: request.method() == Method::HEAD,
            _body: closer,
            _place: place,
            _nexts: nexts,
        };
        Ok(Received {
            request: request.map(|()| body),
            stream,
            responding,
        })
    }

    /// Sends the response, to the end of its body. What has not been read of the
    /// request's body then is given up.
    pub(crate) async fn respond(self, response: Response<Body>) -> Result<(), Stopped> {
        let (head, body) = response.into_parts();
        body.check().map_err(Stopped::Source)?;
        let has_body = has_body(self.is_head, head.status, body.length());
        let length = match has_body {
            true => body.length(),
            false => Some(0),
        };
        let mut request = self.context.start_response_request();
        head::write_response(&head, length, request.get().init_response())
            .map_err(Stopped::Source)?;
        let started = request.send();
        if has_body {
            let to = started.pipeline.get_body();
            let sent = match write_all(body, &to).await {
                Ok(()) => end(&to).await,
                stopped => stopped,
            };
            if let Err(Stopped::Source(_)) = sent {
                return sent;
            }
            // Where the response was refused, that is why.
            started.promise.await.map_err(refused)?;
            return sent;
        }
        started.promise.await.map_err(refused)?;
        Ok(())
    }
}
