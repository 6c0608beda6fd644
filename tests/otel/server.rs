//! A collector that does as it is told: HTTP/1.1 on a port of this machine, a thread a connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use capspan::trace::Value;
use capspan_testkit::exported::{Exported, ExportedEvent, ExportedLink, Said};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use prost::Message as _;

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, headers, and a body.
    Answer(u16, &'static str, Vec<u8>),
    /// Nothing, until the collector is gone.
    Hang,
    /// An answer that promises more than ever comes.
    Half,
    /// The connection is closed.
    Close,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Answer(200, "", Vec::new())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, "", b"no".to_vec())
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// A collector that runs. Dropping it kills it, with all connections.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Each request, when it is to be replied to.
    pub(crate) requests: mpsc::Receiver<Request>,
    connections: Arc<Mutex<Option<Vec<TcpStream>>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// At a port of its own; `reply` is asked with the number of a request, from 0.
    pub(crate) fn start(reply: impl FnMut(usize) -> Reply + Send + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), reply)
    }

    pub(crate) fn start_at(
        address: SocketAddr,
        mut reply: impl FnMut(usize) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (say, requests) = mpsc::channel();
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let mut number = 0;
        let reply = Arc::new(Mutex::new(move |request| {
            // The test may have seen enough.
            let _ = say.send(request);
            number += 1;
            reply(number - 1)
        }));
        let accepted = connections.clone();
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                match &mut *accepted.lock().unwrap() {
                    Some(open) => open.push(stream.try_clone().unwrap()),
                    None => return,
                }
                let reply = reply.clone();
                thread::spawn(move || {
                    // A connection may end at any time.
                    let _ = serve(stream, |request| (reply.lock().unwrap())(request));
                });
            }
        });
        Self {
            address,
            requests,
            connections,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn so_far(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let open = self.connections.lock().unwrap().take();
        for stream in open.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The one that it waits for.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

fn serve(stream: TcpStream, mut reply: impl FnMut(Request) -> Reply) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = read(&mut reader)?;
        match reply(request) {
            Reply::Answer(status, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
                writer.write_all(head.as_bytes())?;
                writer.write_all(&body)?;
            }
            Reply::Hang => wait(&mut reader)?,
            Reply::Half => {
                writer.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\nhalf")?;
                wait(&mut reader)?;
            }
            Reply::Close => return writer.shutdown(Shutdown::Both),
        }
    }
}

/// Until the connection is over.
fn wait(reader: &mut BufReader<TcpStream>) -> io::Result<()> {
    reader.read_exact(&mut [0])
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut line = || {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok::<_, io::Error>(line.trim_end().to_owned()),
        }
    };
    let first = line()?;
    let mut request = Request {
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        ..Request::default()
    };
    loop {
        let header = line()?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        request.headers.push(header);
    }
    let length = request.headers.iter();
    let length = length
        .filter_map(|header| header.strip_prefix("content-length: "))
        .next();
    request.body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

/// The spans of a request.
pub(crate) fn spans(request: &Request) -> Vec<Exported> {
    let message = ExportTraceServiceRequest::decode(&*request.body).unwrap();
    let mut all = Vec::new();
    for resource in message.resource_spans {
        let attributes = said(&resource.resource.unwrap().attributes);
        for scope in resource.scope_spans {
            assert_eq!(scope.scope.unwrap().name, "capspan");
            let spans = scope.spans.iter();
            all.extend(spans.map(|span| exported(&attributes["service.name"], span)));
        }
    }
    all
}

fn exported(service: &Value, span: &Span) -> Exported {
    let status = span.status.clone().unwrap();
    assert_ne!(span.flags & SpanFlags::ContextHasIsRemoteMask as u32, 0);
    Exported {
        service: service.as_text().unwrap().to_owned(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        has_remote_parent: span.flags & SpanFlags::ContextIsRemoteMask as u32 != 0,
        flags: span.flags as u8,
        trace_state: span.trace_state.clone(),
        name: span.name.clone(),
        kind: ["", "INTERNAL", "SERVER", "CLIENT"][span.kind as usize],
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status: ["UNSET", "OK", "ERROR"][status.code as usize],
        message: status.message,
        attributes: said(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| ExportedEvent {
                name: event.name.clone(),
                time: event.time_unix_nano,
                attributes: said(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| ExportedLink {
                trace_id: hex(&link.trace_id),
                span_id: hex(&link.span_id),
                trace_state: link.trace_state.clone(),
                flags: link.flags as u8,
                attributes: said(&link.attributes),
            })
            .collect(),
        dropped: [
            span.dropped_attributes_count,
            span.dropped_events_count,
            span.dropped_links_count,
        ],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(attributes: &[KeyValue]) -> Said {
    let said: Said = attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), value(attribute.value.as_ref())))
        .collect();
    assert_eq!(said.len(), attributes.len(), "a key stands twice");
    said
}

fn value(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()).unwrap() {
        any_value::Value::StringValue(text) => text.into(),
        any_value::Value::BoolValue(is) => (*is).into(),
        any_value::Value::IntValue(number) => (*number).into(),
        any_value::Value::DoubleValue(number) => (*number).into(),
        any_value::Value::ArrayValue(list) => {
            let elements = list.values.iter().map(|element| self::value(Some(element)));
            let elements: Vec<_> = elements.collect();
            match elements.first() {
                None => Value::TextList(Vec::new()),
                Some(Value::Text(_)) => Value::TextList(all(elements, |it| match it {
                    Value::Text(text) => Some(text),
                    _ => None,
                })),
                Some(Value::Bool(_)) => Value::BoolList(all(elements, |it| match it {
                    Value::Bool(is) => Some(is),
                    _ => None,
                })),
                Some(Value::Int(_)) => Value::IntList(all(elements, |it| match it {
                    Value::Int(number) => Some(number),
                    _ => None,
                })),
                _ => Value::FloatList(all(elements, |it| match it {
                    Value::Float(number) => Some(number),
                    _ => None,
                })),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// All of one kind.
fn all<T>(elements: Vec<Value>, of_kind: impl Fn(Value) -> Option<T>) -> Vec<T> {
    elements
        .into_iter()
        .map(|element| of_kind(element).unwrap())
        .collect()
}
