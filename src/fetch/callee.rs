//! One request, on the callee's side.

use http::{Method, Request, Response};

use super::body::Body;
use super::caller::has_body;
use super::head;
use super::pipe::{Closer, pipe};
use super::pump::{Stopped, pump};
use crate::error::Error;
use crate::http_over_capnp_capnp::http_service::{self, client_request_context};

/// A request that has been received, whose response is to be sent.
pub(crate) struct Responding {
    context: client_request_context::Client,
    is_head: bool,
    /// Where the request has a body.
    _body: Option<Closer>,
}

fn refused(error: capnp::Error) -> Stopped {
    Stopped::Receiver(error.into())
}

impl Responding {
    /// Receives a request. Its body may come from now on.
    pub(crate) fn receive(
        params: &http_service::RequestParams,
        results: &mut http_service::RequestResults,
    ) -> capnp::Result<(Request<Body>, Self)> {
        let params = params.get()?;
        let (request, length) = head::read_request(params.get_request()?)?;
        let (body, closer) = match length {
            Some(0) => (Body::empty(), None),
            length => {
                let why = Error::canceled("the request's body was given up");
                let (stream, body, closer) = pipe(length, async { why });
                results.get().set_request_body(stream);
                // The caller writes while this call goes on.
                results.set_pipeline()?;
                (body, Some(closer))
            }
        };
        let responding = Self {
            context: params.get_context()?,
            is_head: request.method() == Method::HEAD,
            _body: closer,
        };
        Ok((request.map(|()| body), responding))
    }

    /// Sends the response, to the end of its body. What has not been read of the
    /// request's body then is given up.
    pub(crate) async fn respond(self, response: Response<Body>) -> Result<(), Stopped> {
        let (head, body) = response.into_parts();
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
            let sent = pump(body, started.pipeline.get_body()).await;
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
