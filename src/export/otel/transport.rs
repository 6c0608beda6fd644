//! The way to the collector: one HTTP request at a time, within a deadline, whose answer is understood.

use std::io::Read as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::blocking::Client;
use reqwest::redirect::Policy;

use super::answer::Answer;
use crate::error::{Error, Result};

/// How much of an answer is read: it only says how many were refused, and why.
const MAX_ANSWER: u64 = 64 * 1024;
/// How long a collector may make us wait.
const MAX_THROTTLE: Duration = Duration::from_secs(600);

/// An HTTP client for the exporters of `opentelemetry-otlp`, which keep to themselves what a collector says. A
/// clone is a handle to the same.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client,
    exchange: Arc<Mutex<Exchange>>,
}

/// One request and its answer.
#[derive(Debug, Default)]
struct Exchange {
    deadline: Option<Instant>,
    answer: Option<Answer>,
}

impl Transport {
    /// Must be made, and dropped, outside of any event loop.
    pub(super) fn new() -> Result<Self> {
        let client = Client::builder()
            // Headers may hold a secret, which is for this collector alone.
            .redirect(Policy::none())
            .build()
            .map_err(|error| Error::failed(format!("HTTP client: {error}")))?;
        Ok(Self {
            client,
            exchange: Arc::default(),
        })
    }

    /// The next request has until then.
    pub(super) fn begin(&self, deadline: Instant) {
        *self.lock() = Exchange {
            deadline: Some(deadline),
            answer: None,
        };
    }

    /// What came of it; `None` if there was no request.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.lock().answer.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let deadline = self.lock().deadline.unwrap_or_else(Instant::now);
        let is_logs = request.uri().path().ends_with("/logs");
        let exchanged = self.exchange(request, deadline);
        self.lock().answer = Some(match &exchanged {
            Ok(response) => understand(response, is_logs),
            Err(error) => Answer::Later {
                why: told(&**error),
                after: None,
            },
        });
        exchanged
    }

    fn exchange(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, HttpError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut request = reqwest::blocking::Request::try_from(request)?;
        *request.timeout_mut() = Some(left());
        // Whoever reads errors need not know what the URL has of credentials.
        let answer = self.client.execute(request);
        let mut answer = answer.map_err(reqwest::Error::without_url)?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            std::mem::swap(headers, answer.headers_mut());
        }
        let (mut body, mut piece) = (Vec::new(), [0; 4096]);
        let mut answer = answer.take(MAX_ANSWER);
        // The client's limit of time is one for each piece.
        while !left().is_zero() {
            match answer.read(&mut piece)? {
                0 => return Ok(response.body(body.into())?),
                length => body.extend_from_slice(&piece[..length]),
            }
        }
        Err("the collector's answer took too long".into())
    }
}

impl HttpClient for Transport {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        // It blocks; there is nothing else to do in the worker's thread.
        Box::pin(std::future::ready(self.send(request)))
    }
}

/// What an answer means, by the specification of OTLP/HTTP.
fn understand(response: &Response<Bytes>, is_logs: bool) -> Answer {
    let status = response.status();
    let why = || format!("the collector answers {status}");
    match status.as_u16() {
        200..=299 => taken(response.body(), is_logs),
        429 | 503 => Answer::Later {
            why: why(),
            after: retry_after(response),
        },
        502 | 504 => Answer::Later {
            why: why(),
            after: None,
        },
        _ => Answer::Refused { why: why() },
    }
}

/// All of it, but for what the collector says that it has refused. What can't be read refuses nothing.
fn taken(body: &Bytes, is_logs: bool) -> Answer {
    let partial = if is_logs {
        ExportLogsServiceResponse::decode(body.clone())
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_log_records, partial.error_message))
    } else {
        ExportTraceServiceResponse::decode(body.clone())
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| (partial.rejected_spans, partial.error_message))
    };
    let (rejected, why) = partial.unwrap_or_default();
    Answer::Taken {
        rejected: u64::try_from(rejected).unwrap_or(0),
        why,
    }
}

/// Seconds, or a date.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?.trim();
    let after = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(after.min(MAX_THROTTLE))
}

/// An error with its causes: the last of them says most.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
