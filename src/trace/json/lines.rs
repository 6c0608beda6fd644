//! An observer that writes one line of JSON for each span.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use serde::Serialize;

use super::object::{Late, Object};
use crate::error::{Error, Result};
use crate::trace::open_spans::OpenSpans;
use crate::trace::{LateUpdate, Observer, SpanRecord};

/// Writes each span as one line of JSON when it closes. A clone is a handle to the same writer.
///
/// A line is one object. Its members are, always in this order: `traceId`, `spanId`, `parentSpanId`
/// (absent for a root), `name`, `originalName` (if renamed), `nameByCallee` (`true`, only if the name is
/// the callee's), `kind`, `service`, `startTimeUnixNano`, `endTimeUnixNano` (texts of digits), `open`
/// (`true`, only while it is), `outcome` and `status` (where set), `attributes` (an object),
/// `setByCallee` (keys), `events`, `links`, `dropped` (an object of the counters that are not zero).
/// Names are those of OTLP/JSON where it has one. Numbers that JSON does not know are the texts `NaN`,
/// `Infinity` and `-Infinity`.
///
/// What a callee wrote after the end of a span, where that is [kept](crate::trace::EnrichRules::keep_late), is
/// a line of its own: `traceId` and `spanId` of the span, `name` (`late update`), `late` (`true`), `service`,
/// `timeUnixNano` (when it came), `newName` and `status` (if there are), `attributes`, `events`, `links`,
/// `dropped`.
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
                lines.write(&Object(span));
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
    fn write(&mut self, object: &impl Serialize) {
        if self.error.is_none() {
            self.keep_error(|writer| {
                let mut line = serde_json::to_vec(object)?;
                line.push(b'\n');
                // At once, so that a process which dies leaves whole lines.
                writer.write_all(&line)
            });
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
            lines.write(&Object(span));
        }
    }

    fn late(&self, update: &LateUpdate) {
        if let Ok(mut lines) = self.lines.try_borrow_mut()
            && !lines.is_finished
        {
            lines.write(&Late(update));
        }
    }
}

fn reentered() -> Error {
    Error::invalid("JSON lines: finished or flushed by its own writer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{
        ManualClock, Outcome, SequentialIds, SpanEvent, SpanKind, SpanStatus, SpanUpdate,
        Timestamp, Tracer,
    };
    use serde_json::{Value as Json, json};
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
            r#""parentSpanId":"0000000000000001","name":"GET","originalName":"call","#,
            r#""nameByCallee":true,"kind":"CLIENT","#,
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
