//! Chrome's trace JSON, which Perfetto shows as well.
//!
//! A service is a process there, and its spans are slices on tracks of it. The format wants that slices on
//! one track lie side by side or one in the other, which spans need not: `lanes` puts them so. What happened
//! in a span is an instant, and an arrow leads from a span to those below it in other services, and to those
//! of its trace that link to it.

mod lanes;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use self::lanes::{Lanes, Slice};
use super::out_file::OutFile;
use super::plain::plain;
use crate::failure::Failure;
use crate::records::Span;
use crate::terminal::count;
use crate::trace_view::traces;

/// So many services are told apart.
const SERVICES: usize = 10_000;
const DAY: u64 = 86_400_000_000_000;

/// A trace file in the making.
pub(super) struct Perfetto {
    out: OutFile,
    /// What times are counted from: nanoseconds since 1970 are too much for numbers of JSON.
    base: Option<u64>,
    has_event: bool,
    processes: HashMap<String, Process>,
    flows: u64,
    without_start: u64,
}

struct Process {
    id: usize,
    lanes: Lanes,
}

/// Where a span stands.
#[derive(Clone, Copy)]
struct Place {
    process: usize,
    lane: usize,
    slice: Slice,
}

impl Perfetto {
    pub(super) fn begin(out: OutFile) -> Result<Self, Failure> {
        Ok(Self {
            out,
            base: None,
            has_event: false,
            processes: HashMap::new(),
            flows: 0,
            without_start: 0,
        })
    }

    /// Writes one trace.
    pub(super) fn trace(&mut self, spans: &[Span]) -> Result<(), Failure> {
        for trace in traces(spans, 0) {
            // From the root down to the current span.
            let mut above: Vec<Option<Place>> = Vec::new();
            let mut places = HashMap::new();
            for row in &trace.rows {
                above.truncate(row.depth);
                let parent = above.last().copied().flatten();
                let place = match row.span.start_time_unix_nano {
                    Some(start) => Some(self.span(row.span, start, parent)?),
                    None => {
                        self.without_start += 1;
                        None
                    }
                };
                above.push(place);
                if let Some(place) = place {
                    places.insert(&row.span.span_id[..], place);
                }
            }
            for row in &trace.rows {
                let Some(to) = places.get(&row.span.span_id[..]) else {
                    continue;
                };
                for link in row
                    .span
                    .links
                    .iter()
                    .filter(|link| link.trace_id == trace.id)
                {
                    if let Some(from) = places.get(&link.span_id[..]) {
                        self.flow("link", *from, from.slice.start, *to)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// There are no more. Gives what is not in it, to be told.
    pub(super) fn finish(mut self) -> Result<Option<String>, Failure> {
        self.header(0)?;
        self.out.write("\n]}\n")?;
        self.out.finish()?;
        Ok((self.without_start > 0).then(|| {
            let number = count(self.without_start);
            format!("{number} spans without a start, which have no place in the file for Perfetto")
        }))
    }

    fn span(&mut self, span: &Span, start: u64, parent: Option<Place>) -> Result<Place, Failure> {
        self.header(start)?;
        let slice = Slice {
            start,
            end: span.duration().map(|took| start.saturating_add(took)),
        };
        let place = self.place(&span.service, slice, parent)?;
        let mut event = json!({
            "name": span.name,
            "cat": span.kind.to_lowercase(),
            "ph": if slice.end.is_some() { "X" } else { "B" },
            "ts": self.time(start),
            "args": args(span),
        });
        if let Some(took) = span.duration() {
            event["dur"] = micros(i128::from(took));
        }
        self.event(place, event)?;
        for happened in &span.events {
            let event = json!({
                "name": happened.name,
                "ph": "i",
                "s": "t",
                "ts": self.time(happened.time_unix_nano.unwrap_or(start)),
                "args": {"attributes": happened.attributes, "byCallee": happened.by_callee},
            });
            self.event(place, event)?;
        }
        if let Some(from) = parent.filter(|parent| parent.process != place.process) {
            let at = start
                .max(from.slice.start)
                .min(from.slice.end.unwrap_or(u64::MAX));
            self.flow("call", from, at, place)?;
        }
        Ok(place)
    }

    fn place(
        &mut self,
        service: &str,
        slice: Slice,
        parent: Option<Place>,
    ) -> Result<Place, Failure> {
        let known = self.processes.len();
        let is_known = self.processes.contains_key(service);
        let service = if is_known || known < SERVICES {
            service
        } else {
            "(others)"
        };
        let is_new = !self.processes.contains_key(service);
        let process = self
            .processes
            .entry(service.to_owned())
            .or_insert_with(|| Process {
                id: known + 1,
                lanes: Lanes::default(),
            });
        let lanes = process.lanes.len();
        let id = process.id;
        let below = parent
            .filter(|parent| parent.process == id)
            .map(|parent| (parent.lane, parent.slice));
        let lane = process.lanes.place(slice, below);
        let place = Place {
            process: id,
            lane,
            slice,
        };
        if is_new {
            let name = if service.is_empty() {
                "(no service)"
            } else {
                service
            };
            self.event(
                place,
                json!({"name": "process_name", "ph": "M", "args": {"name": name}}),
            )?;
        }
        if lane == lanes {
            let name = format!("track {}", lane + 1);
            self.event(
                place,
                json!({"name": "thread_name", "ph": "M", "args": {"name": name}}),
            )?;
        }
        Ok(place)
    }

    /// An arrow from `from`, at a time, to the start of `to`. None leads back in time.
    fn flow(&mut self, name: &str, from: Place, at: u64, to: Place) -> Result<(), Failure> {
        if at > to.slice.start {
            return Ok(());
        }
        self.flows += 1;
        let id = self.flows;
        let start = json!({"name": name, "cat": name, "ph": "s", "id": id, "ts": self.time(at)});
        self.event(from, start)?;
        let end = json!({"name": name, "cat": name, "ph": "f", "bp": "e", "id": id, "ts": self.time(to.slice.start)});
        self.event(to, end)
    }

    fn event(&mut self, place: Place, mut event: Value) -> Result<(), Failure> {
        event["pid"] = place.process.into();
        event["tid"] = (place.lane + 1).into();
        let separator = if self.has_event { ",\n" } else { "\n" };
        self.has_event = true;
        self.out
            .write(&format!("{separator}{}", plain(&event.to_string())))
    }

    /// Writes the beginning, once: `start` is one of the first that there are.
    fn header(&mut self, start: u64) -> Result<(), Failure> {
        if self.base.is_some() {
            return Ok(());
        }
        // What began a little before, on another clock, is after the base as well.
        let base = (start / DAY).saturating_sub(1) * DAY;
        self.base = Some(base);
        let about = json!({
            "writtenBy": concat!("capspan ", env!("CARGO_PKG_VERSION")),
            "timesAreSinceUnixNano": base.to_string(),
        });
        let head = format!("{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":[");
        self.out.write(&head)
    }

    fn time(&self, time: u64) -> Value {
        micros(i128::from(time) - i128::from(self.base.unwrap_or(0)))
    }
}

/// Microseconds, exact to the nanosecond for a hundred days.
fn micros(nanos: i128) -> Value {
    json!(nanos as f64 / 1e3)
}

fn args(span: &Span) -> Value {
    let mut args = Map::new();
    let mut put = |key: &str, value: Value| args.insert(key.into(), value);
    put("traceId", json!(span.trace_id));
    put("spanId", json!(span.span_id));
    if let Some(parent) = span.parent() {
        put("parentSpanId", json!(parent));
    }
    if !span.outcome().is_empty() {
        put("outcome", json!(span.outcome()));
    }
    if let Some(message) = span.error() {
        put("error", json!(message));
    }
    if let Some(name) = &span.original_name {
        put("originalName", json!(name));
    }
    if !span.attributes.is_empty() {
        put("attributes", json!(span.attributes));
    }
    if !span.set_by_callee.is_empty() {
        put("setByCallee", json!(span.set_by_callee));
    }
    if !span.dropped.is_empty() {
        put("dropped", json!(span.dropped));
    }
    args.into()
}
