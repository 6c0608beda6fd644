//! One request, on the callee's side.

use http::{Method, Request, Response};

use super::body::Body;
use super::caller::has_body;
use super::head;
use super::pipe::pipe;
use super::pump::{Stopped, pump};
use crate::error::{Error, Result};
use crate::http_over_capnp_capnp::http_service::{self, client_request_context};

/// A request that has been received, whose response is to be sent.
pub(crate) struct Responding {
    context: client_request_context::Client,
    is_head: bool,
}

impl Responding {
    /// Receives a request. Its body may come from now on.
    pub(crate) fn receive(
        params: &http_service::RequestParams,
        results: &mut http_service::RequestResults,
    ) -> capnp::Result<(Request<Body>, Self)> {
        let params = params.get()?;
        let (request, length) = head::read_request(params.get_request()?)?;
        let responding = Self {
            context: params.get_context()?,
            is_head: request.method() == Method::HEAD,
        };
        let body = match length {
            Some(0) => Body::empty(),
            length => {
                let why = Error::canceled("the caller gave up the request's body");
                let (stream, body) = pipe(length, async { why });
                results.get().set_request_body(stream);
                // The caller writes while this call goes on.
                results.set_pipeline()?;
                body
            }
        };
        Ok((request.map(|()| body), responding))
    }

    /// Sends the response, to the end of its body.
    ///
    /// Fails as canceled ([`Error::is_canceled`]) where the caller does not take all of it.
    pub(crate) async fn respond(self, response: Response<Body>) -> Result<()> {
        let (head, body) = response.into_parts();
        let has_body = has_body(self.is_head, head.status, body.length());
        let length = match has_body {
            true => body.length(),
            false => Some(0),
        };
        let mut request = self.context.start_response_request();
        head::write_response(&head, length, request.get().init_response())?;
        let started = request.send();
        if has_body {
            match pump(body, started.pipeline.get_body()).await {
                Ok(()) => {}
                Err(Stopped::Source(error)) => return Err(error),
                Err(Stopped::Receiver(error)) => {
                    // Where the response was refused, that is why.
                    started.promise.await?;
                    let reason = error.reason();
                    let text = format!("the caller takes no more of the response: {reason}");
                    return Err(Error::canceled(text));
                }
            }
        }
        started.promise.await?;
        Ok(())
    }
}
