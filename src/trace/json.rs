//! Span records as JSON, and an observer that writes one line for each span.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use super::attribute::{Attributes, Value};
use super::context::SpanContext;
use super::observer::Observer;
use super::open_spans::OpenSpans;
use super::record::{EventRecord, SpanRecord};
use super::status::SpanStatus;
use crate::{Error, Result};

/// Writes each span as one line of JSON when it closes. A clone is a handle to the same writer.
///
/// A line that can't be written does not disturb the service: the first error is kept for
/// [`finish`](Self::finish), and nothing is written after it. The writer is called within the end
/// of a span: give it a buffer, if it may be slow.
///
/// ```
/// # use capspan::trace::{JsonLines, SpanKind, Tracer};
/// let lines = JsonLines::new(Vec::new());
/// let tracer = Tracer::new(lines.clone()).with_service("users");
/// tracer.root().start("work", SpanKind::Internal).end();
/// lines.finish()?;
///
/// let text = lines.with_writer(|bytes| String::from_utf8_lossy(bytes).into_owned());
/// assert!(text.unwrap().contains(r#""name":"work","kind":"INTERNAL","service":"users""#));
/// # Ok::<(), capspan::Error>(())
/// ```
#[derive(Debug)]
pub struct JsonLines<W> {
    lines: Rc<RefCell<Lines<W>>>,
}

#[derive(Debug)]
struct Lines<W> {
    writer: W,
    open: OpenSpans,
    error: Option<Error>,
    is_finished: bool,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            lines: Rc::new(RefCell::new(Lines {
                writer,
                open: OpenSpans::default(),
                error: None,
                is_finished: false,
            })),
        }
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// Failed, if this or any line before could not be written.
    pub fn flush(&self) -> Result<()> {
        let mut lines = self.lines.try_borrow_mut().map_err(|_| reentered())?;
        lines.flush()
    }

    /// Writes the spans that are still open, with `"open": true`, and flushes the writer. After
    /// that nothing more is written, so that no span stands on two lines.
    ///
    /// # Errors
    /// Failed, if this or any line before could not be written.
    pub fn finish(&self) -> Result<()> {
        let mut lines = self.lines.try_borrow_mut().map_err(|_| reentered())?;
        if !std::mem::replace(&mut lines.is_finished, true) {
            let open = std::mem::take(&mut lines.open);
            for span in open.in_order() {
                lines.write(span);
            }
        }
        lines.flush()
    }

    /// What `look` finds in the writer; `None` if it is just being written to. Spans that `look`
    /// itself opens or ends are not written.
    pub fn with_writer<T>(&self, look: impl FnOnce(&W) -> T) -> Option<T> {
        self.lines
            .try_borrow()
            .ok()
            .map(|lines| look(&lines.writer))
    }

    fn keep(&self, span: &SpanRecord) {
        if let Ok(mut lines) = self.lines.try_borrow_mut()
            && !lines.is_finished
        {
            lines.open.keep(span);
        }
    }
}

impl<W: Write> Lines<W> {
    fn write(&mut self, span: &SpanRecord) {
        if self.error.is_none() {
            let line = format!("{}\n", to_json(span));
            self.keep_error(|writer| writer.write_all(line.as_bytes()));
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.error.is_none() {
            self.keep_error(Write::flush);
        }
        self.error.clone().map_or(Ok(()), Err)
    }

    fn keep_error(&mut self, write: impl FnOnce(&mut W) -> std::io::Result<()>) {
        if let Err(error) = write(&mut self.writer) {
            self.error = Some(Error::failed(format!(
                "writing spans as JSON lines: {error}"
            )));
        }
    }
}

impl<W> Clone for JsonLines<W> {
    fn clone(&self) -> Self {
        Self {
            lines: self.lines.clone(),
        }
    }
}

/// Spans of the writer's own, opened and closed while it writes, are not written.
impl<W: Write> Observer for JsonLines<W> {
    fn opened(&self, span: &SpanRecord) {
        self.keep(span);
    }

    fn renamed(&self, span: &SpanRecord, _previous: &str) {
        self.keep(span);
    }

    fn updated(&self, span: &SpanRecord) {
        self.keep(span);
    }

    fn closed(&self, span: &SpanRecord) {
        if let Ok(mut lines) = self.lines.try_borrow_mut()
            && !lines.is_finished
        {
            lines.open.remove(span);
            lines.write(span);
        }
    }
}

fn reentered() -> Error {
    Error::invalid("JSON lines: finished or flushed by its own writer")
}

/// A span as one JSON object. Names are those of OTLP/JSON where it has one, always in this order:
/// `traceId`, `spanId`, `parentSpanId` (absent for a root), `name`, `originalName` (if renamed),
/// `kind`, `service`, `startTimeUnixNano`, `endTimeUnixNano` (texts of digits), `open` (`true`,
/// only while it is), `outcome` and `status` (where set), `attributes` (an object), `setByCallee`
/// (keys), `events`, `links`, `dropped` (an object of the counters that are not zero).
///
/// Numbers that JSON does not know are the texts `NaN`, `Infinity` and `-Infinity`.
pub fn to_json(span: &SpanRecord) -> Json {
    let mut object = Map::new();
    let mut put = |name: &str, value: Json| object.insert(name.into(), value);
    put("traceId", span.trace_id().to_string().into());
    put("spanId", span.span_id().to_string().into());
    if let Some(parent) = span.parent_span_id() {
        put("parentSpanId", parent.to_string().into());
    }
    put("name", span.name().into());
    if let Some(name) = span.original_name() {
        put("originalName", name.into());
    }
    put("kind", span.kind().as_str().into());
    put("service", span.service().into());
    put(
        "startTimeUnixNano",
        span.start().unix_nanos().to_string().into(),
    );
    match span.end() {
        Some(end) => put("endTimeUnixNano", end.unix_nanos().to_string().into()),
        None => put("open", true.into()),
    };
    if let Some(outcome) = span.outcome() {
        put("outcome", outcome.as_str().into());
    }
    match span.status() {
        SpanStatus::Unset => None,
        SpanStatus::Ok => put("status", json!({ "code": "OK" })),
        SpanStatus::Error(message) => put("status", json!({ "code": "ERROR", "message": message })),
    };
    put("attributes", attributes(span.attributes()));
    put(
        "setByCallee",
        span.set_by_callee().iter().map(|key| &**key).collect(),
    );
    put("events", span.events().iter().map(event).collect());
    put("links", span.links().iter().map(link).collect());
    let dropped = span.dropped().iter().filter(|(_, count)| *count > 0);
    put(
        "dropped",
        dropped
            .map(|(name, count)| (name.to_owned(), Json::from(count)))
            .collect(),
    );
    Json::Object(object)
}

fn event(event: &EventRecord) -> Json {
    json!({
        "name": event.name(),
        "timeUnixNano": event.time().unix_nanos().to_string(),
        "attributes": attributes(event.attributes()),
        "byCallee": event.is_by_callee(),
    })
}

fn link(context: &SpanContext) -> Json {
    let mut link = json!({
        "traceId": context.trace_id().to_string(),
        "spanId": context.span_id().to_string(),
    });
    if !context.trace_state().is_empty() {
        link["traceState"] = context.trace_state().as_str().into();
    }
    link
}

fn attributes(attributes: &Attributes) -> Json {
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone().into_string(), value(&attribute.value)))
        .collect()
}

fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => (**text).into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => float(*number),
        Value::TextList(list) => list.iter().map(|text| &**text).collect(),
        Value::BoolList(list) => list.iter().copied().collect(),
        Value::IntList(list) => list.iter().copied().collect(),
        Value::FloatList(list) => list.iter().copied().map(float).collect(),
    }
}

fn float(number: f64) -> Json {
    match number {
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        // `from_f64` is `None` for NaN alone now.
        finite => serde_json::Number::from_f64(finite).map_or("NaN".into(), Json::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{
        ManualClock, Outcome, SequentialIds, SpanEvent, SpanKind, SpanUpdate, Timestamp, Tracer,
    };
    use std::io;

    fn text(lines: &JsonLines<Vec<u8>>) -> String {
        lines
            .with_writer(|bytes| String::from_utf8(bytes.clone()).unwrap())
            .unwrap()
    }

    fn tracer<W: Write + 'static>(lines: &JsonLines<W>) -> Tracer {
        Tracer::new(lines.clone())
            .with_clock(ManualClock::new(Timestamp::from_unix_nanos(5)))
            .with_ids(SequentialIds::new())
            .with_service("users")
    }

    #[test]
    fn a_full_span_is_one_line_in_the_order_of_the_design() {
        let lines = JsonLines::new(Vec::new());
        let tracer = tracer(&lines);
        let root = tracer.root().start("root", SpanKind::Internal);
        let span = root.parent().start("call", SpanKind::Client);
        span.set_attribute("own", "\"x\"\n")
            .add_link(root.context().unwrap());
        let update = SpanUpdate::new()
            .name("GET")
            .attribute("rows", 3)
            .attribute("own", 1)
            .event(SpanEvent::new("hit").attribute("f", 0.5))
            .status(SpanStatus::error("no"));
        span.downgrade().enrich(&update);
        span.set_outcome(Outcome::Exception)
            .end_at(Timestamp::from_unix_nanos(9));
        let wanted = concat!(
            r#"{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","#,
            r#""parentSpanId":"0000000000000001","name":"GET","originalName":"call","kind":"CLIENT","#,
            r#""service":"users","startTimeUnixNano":"5","endTimeUnixNano":"9","outcome":"exception","#,
            r#""status":{"code":"ERROR","message":"no"},"attributes":{"own":"\"x\"\n","rows":3},"#,
            r#""setByCallee":["rows"],"events":[{"name":"hit","timeUnixNano":"5","attributes":{"f":0.5},"#,
            r#""byCallee":true}],"links":[{"traceId":"00000000000000000000000000000001","#,
            r#""spanId":"0000000000000001"}],"dropped":{"protectedKeys":1}}"#,
            "\n"
        );
        assert_eq!(text(&lines), wanted);
    }

    #[test]
    fn a_bare_root_has_neither_parent_nor_former_name_nor_outcome() {
        let (tracer, spans, _) = observed();
        drop(tracer.root().start("x", SpanKind::Server));
        let json = to_json(&spans.closed()[0]);
        let names: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let wanted = [
            "traceId",
            "spanId",
            "name",
            "kind",
            "service",
            "startTimeUnixNano",
            "endTimeUnixNano",
            "attributes",
            "setByCallee",
            "events",
            "links",
            "dropped",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn numbers_that_json_does_not_know_are_texts() {
        let numbers = value(&Value::from([
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1.0,
        ]));
        assert_eq!(numbers.to_string(), r#"["NaN","Infinity","-Infinity",1.0]"#);
        assert_eq!(
            value(&Value::from(i64::MIN)).to_string(),
            "-9223372036854775808"
        );
    }

    #[test]
    fn what_is_open_at_the_end_is_written_once_as_open() {
        let lines = JsonLines::new(Vec::new());
        let tracer = tracer(&lines);
        let open = tracer.root().start("first", SpanKind::Internal);
        drop(tracer.root().start("second", SpanKind::Internal));
        open.set_name("open");
        lines.finish().unwrap();
        drop(open);
        lines.finish().unwrap();
        let written = text(&lines);
        let written: Vec<Json> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [second, open] = &written[..] else {
            panic!("two lines")
        };
        assert_eq!(
            (&second["name"], second.get("open")),
            (&json!("second"), None)
        );
        assert_eq!(
            (&open["name"], &open["open"]),
            (&json!("open"), &json!(true))
        );
        assert_eq!(open.get("endTimeUnixNano"), None);
    }

    /// Takes so many lines, then none.
    struct Full(usize, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.0.checked_sub(1) {
                Some(left) => self.0 = left,
                None => return Err(io::Error::other("disk full")),
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_error_is_kept_for_the_end() {
        let lines = JsonLines::new(Full(1, 0));
        let tracer = tracer(&lines);
        for _ in 0..4 {
            drop(tracer.root().start("x", SpanKind::Internal));
        }
        for result in [lines.flush(), lines.finish(), lines.finish()] {
            assert!(result.unwrap_err().reason().contains("disk full"));
        }
        assert_eq!(
            lines.with_writer(|full| full.1),
            Some(2),
            "nothing after the error"
        );
    }
}
