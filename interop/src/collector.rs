//! An OpenTelemetry collector that is not ours: the program `rotel`, which prints the spans that it takes.

use std::collections::BTreeMap;
use std::env;
use std::net::{SocketAddr, TcpListener};

use capspan::trace::Value;
use capspan_testkit::exported::{Exported, Said};
use tempfile::TempDir;
use tokio::process::Command;

use crate::Program;

/// A collector that runs. It is killed when this is dropped.
pub struct Collector {
    program: Program,
    address: SocketAddr,
    /// Where it writes down its process id.
    _folder: TempDir,
}

/// A span as it is printed. What is not printed of a span is not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Printed {
    pub service: String,
    pub trace_id: String,
    pub span_id: String,
    pub parent: String,
    pub name: String,
    pub kind: String,
    pub start: String,
    pub end: String,
    pub status: String,
    pub message: String,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<PrintedPart>,
    pub links: Vec<PrintedPart>,
}

/// An event: name and time; a link: ids and trace state. Then its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PrintedPart {
    pub fields: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    /// At a free port, or again where one was before.
    ///
    /// # Panics
    ///
    /// Where `.ci/interop` has not installed it.
    pub fn start(at: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for its process id");
        let address = at.unwrap_or_else(free);
        let program =
            env::var_os("CAPSPAN_ROTEL").expect("CAPSPAN_ROTEL names it: run .ci/interop");
        let mut command = Command::new(program);
        command
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &address.to_string()])
            .args(["--otlp-grpc-endpoint", &free().to_string()])
            .arg("--pid-file")
            .arg(folder.path().join("pid"));
        Self {
            program: Program::start(command),
            address,
            _folder: folder,
        }
    }

    /// Where it takes spans, for [`start`](Self::start).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that it prints until one of this name, that one excluded.
    ///
    /// # Panics
    ///
    /// Where it ends before.
    pub async fn until(&mut self, last: &str) -> Vec<Printed> {
        let mut reading = Reading::default();
        loop {
            let line = self.program.line_or_end().await;
            let line = line.expect("it goes on");
            reading.line(&line);
            if reading.span().name == last {
                reading.spans.pop();
                return reading.spans;
            }
        }
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.program.kill().await;
    }
}

/// A port that nobody has now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has an address")
}

/// What has been read, and of what the next line is.
#[derive(Default)]
struct Reading {
    service: String,
    spans: Vec<Printed>,
    part: Part,
    none: Printed,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Resource,
    Span,
    Event,
    Link,
}

impl Reading {
    fn span(&mut self) -> &mut Printed {
        self.spans.last_mut().unwrap_or(&mut self.none)
    }

    fn line(&mut self, line: &str) {
        if line.starts_with("ResourceSpans #") {
            self.part = Part::Resource;
        } else if line.starts_with("Span #") {
            self.part = Part::Span;
            let service = self.service.clone();
            self.spans.push(Printed {
                service,
                ..Printed::default()
            });
        } else if line.starts_with("SpanEvent #") {
            self.part = Part::Event;
            self.span().events.push(PrintedPart::default());
        } else if line.starts_with("SpanLink #") {
            self.part = Part::Link;
            self.span().links.push(PrintedPart::default());
        } else if let Some(said) = line.strip_prefix("          -> ") {
            let part = self.part;
            let span = self.span();
            let list = if part == Part::Event {
                &mut span.events
            } else {
                &mut span.links
            };
            if let (Some(last), Some((key, value))) = (list.last_mut(), said.split_once(": ")) {
                last.attributes.insert(key.to_owned(), value.to_owned());
            }
        } else if let Some(said) = line.strip_prefix("     -> ") {
            self.said(said);
        } else {
            self.field(line);
        }
    }

    /// One of a list.
    fn said(&mut self, said: &str) {
        let part = self.part;
        let (key, value) = said.split_once(": ").unwrap_or((said, ""));
        let value = value.to_owned();
        match part {
            Part::Resource if key == "service.name" => self.service = inner(&value),
            Part::Resource => {}
            Part::Span => drop(self.span().attributes.insert(key.to_owned(), value)),
            _ if matches!(key, "DroppedAttributesCount" | "Attributes::") => {}
            Part::Event => self
                .span()
                .events
                .iter_mut()
                .next_back()
                .into_iter()
                .for_each(|event| event.fields.push(value.clone())),
            Part::Link => self
                .span()
                .links
                .iter_mut()
                .next_back()
                .into_iter()
                .for_each(|link| link.fields.push(value.clone())),
        }
    }

    fn field(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(':') else {
            return;
        };
        // One space, and then the value with all its own.
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        let span = self.span();
        match key.trim() {
            "Trace ID" => span.trace_id = value,
            "Parent ID" => span.parent = value,
            "ID" => span.span_id = value,
            "Name" => span.name = value,
            "Kind" => span.kind = value,
            "Start time" => span.start = value,
            "End time" => span.end = value,
            "Status code" => span.status = value,
            "Status message" => span.message = value,
            _ => {}
        }
    }
}

/// What is within `Str(…)`.
fn inner(value: &str) -> String {
    let value = value
        .strip_prefix("Str(")
        .and_then(|value| value.strip_suffix(')'));
    value.unwrap_or_default().to_owned()
}

impl From<&Exported> for Printed {
    fn from(span: &Exported) -> Self {
        Self {
            service: span.service.clone(),
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            parent: span.parent.clone(),
            name: span.name.clone(),
            kind: format!("SPAN_KIND_{}", span.kind),
            start: span.start.to_string(),
            end: span.end.to_string(),
            status: format!("STATUS_CODE_{}", span.status),
            message: span.message.clone(),
            attributes: printed(&span.attributes),
            events: span
                .events
                .iter()
                .map(|event| PrintedPart {
                    fields: vec![event.name.clone(), event.time.to_string()],
                    attributes: printed(&event.attributes),
                })
                .collect(),
            links: span
                .links
                .iter()
                .map(|link| PrintedPart {
                    fields: vec![
                        link.trace_id.clone(),
                        link.span_id.clone(),
                        link.trace_state.clone(),
                    ],
                    attributes: printed(&link.attributes),
                })
                .collect(),
        }
    }
}

fn printed(said: &Said) -> BTreeMap<String, String> {
    let said = said.iter();
    said.map(|(key, value)| (key.clone(), value_printed(value)))
        .collect()
}

fn value_printed(value: &Value) -> String {
    fn list<T>(kind: &str, list: &[T], show: impl Fn(&T) -> String) -> String {
        let elements: Vec<_> = list
            .iter()
            .map(|it| format!("{kind}({})", show(it)))
            .collect();
        format!("Slice({})", elements.join(", "))
    }
    match value {
        Value::Text(text) => format!("Str({text})"),
        Value::Bool(is) => format!("Bool({is})"),
        Value::Int(number) => format!("Int({number})"),
        Value::Float(number) => format!("Double({number})"),
        Value::TextList(texts) => list("Str", texts, |text| text.to_string()),
        Value::BoolList(bools) => list("Bool", bools, bool::to_string),
        Value::IntList(numbers) => list("Int", numbers, i64::to_string),
        Value::FloatList(numbers) => list("Double", numbers, f64::to_string),
    }
}
