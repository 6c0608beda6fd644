//! The server of the live page: HTTP/1.1 for a few people of one's own, with limits for all others.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capspan::page::Page;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;

/// How many connections there may be. A further one takes the place of the oldest: who reads slowly, or asks
/// nothing, keeps nobody else from the page. A browser that loses its connection makes another.
const MAX_CONNECTIONS: usize = 64;

/// How long the head of a request may take, and how long a connection may have nothing to ask.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a connection may last: so nobody holds one for ever by reading slowly. A browser makes another.
const MAX_LIFE: Duration = Duration::from_secs(120);

/// How long what is being answered may take when it is to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// How large the head of a request may be.
const MAX_HEAD: usize = 16 * 1024;

/// How long it waits after it could not take a connection: the process may have no more files.
const BREATHER: Duration = Duration::from_millis(100);

/// What Prometheus reads.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Refuses an address that others than this machine reach, where everybody could read the page there.
///
/// # Errors
/// Told to the user, with what to do.
pub fn check_address(address: SocketAddr, has_token: bool) -> Result<(), Failure> {
    match address.ip().to_canonical().is_loopback() || has_token {
        true => Ok(()),
        false => Err(Failure::told(format!(
            "the page at {address} could be read by others: give it a token, or a loopback address such as \
             127.0.0.1:{}",
            address.port()
        ))),
    }
}

/// Serves `page`, and at `/metrics` what `metrics` gives, until `stop` is ready; then lets what is being
/// answered end. It asks for tokens as the page does. Dropped, it ends at once.
pub async fn serve<M>(
    listener: TcpListener,
    page: Page,
    metrics: Option<M>,
    stop: impl Future<Output = ()>,
) where
    M: Fn() -> String + Send + Sync + 'static,
{
    let site = Arc::new(Site { page, metrics });
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut oldest_first = VecDeque::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    oldest_first.retain(|it: &AbortHandle| !it.is_finished());
                    if oldest_first.len() >= MAX_CONNECTIONS
                        && let Some(oldest) = oldest_first.pop_front()
                    {
                        oldest.abort();
                    }
                    let connection = connection(stream, site.clone(), stopped.clone());
                    oldest_first.push_back(connections.spawn(connection));
                }
                Err(_) => sleep(BREATHER).await,
            },
        }
    }
    drop((listener, stopping));
    while connections.join_next().await.is_some() {}
}

/// What is served.
struct Site<M> {
    page: Page,
    metrics: Option<M>,
}

impl<M: Fn() -> String> Site<M> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let metrics = self.metrics.as_ref();
        let metrics = metrics.filter(|_| request.uri().path() == "/metrics");
        let response = match metrics {
            None => self.page.respond(&request).await,
            Some(metrics) => match self.page.refusal(&request) {
                Some(refusal) => refusal,
                None => measured(metrics()),
            },
        };
        response.map(Full::new)
    }
}

fn measured(text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers on one connection until it ends, has lasted for too long, or all is to end.
async fn connection<M>(stream: TcpStream, site: Arc<Site<M>>, mut stopped: watch::Receiver<()>)
where
    M: Fn() -> String + Send + Sync + 'static,
{
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_WAIT)
        .max_buf_size(MAX_HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How it went is the browser's business.
        _ended = &mut connection => return,
        _gone = stopped.changed() => {}
        () = sleep(MAX_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = timeout(FAREWELL, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_needs_no_token() {
        for address in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(check_address(address.parse().unwrap(), false), Ok(()));
        }
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[fe80::1]:1"] {
            let address = address.parse().unwrap();
            assert!(check_address(address, false).is_err(), "{address}");
            assert_eq!(check_address(address, true), Ok(()));
        }
    }
}
