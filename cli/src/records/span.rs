//! Span records: what a line says.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One span as a process wrote it down. Only the ids must be there; all else has a default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Span {
    /// Which trace it belongs to.
    pub trace_id: String,
    /// Which span of that trace it is.
    pub span_id: String,
    /// The span that it is a child of; none for a root.
    pub parent_span_id: Option<String>,
    /// What it is called now.
    pub name: String,
    /// What it was called at first, if it was renamed.
    pub original_name: Option<String>,
    /// Did the callee give it the name that it has now?
    pub name_by_callee: bool,
    /// `CLIENT`, `SERVER` or `INTERNAL`.
    pub kind: String,
    /// The process that it belongs to.
    pub service: String,
    /// When it began.
    #[serde(deserialize_with = "time")]
    pub start_time_unix_nano: Option<u64>,
    /// When it ended.
    #[serde(deserialize_with = "time")]
    pub end_time_unix_nano: Option<u64>,
    /// How it ended: `ok`, `exception`, …
    pub outcome: Option<String>,
    /// What somebody said of how it went, if anybody did.
    pub status: Option<Status>,
    /// What is said about it.
    pub attributes: BTreeMap<String, Value>,
    /// The keys of those attributes which the callee set.
    pub set_by_callee: Vec<String>,
    /// What happened in it.
    pub events: Vec<Event>,
    /// Spans that it has to do with in other ways.
    pub links: Vec<Link>,
    /// How many things of what sort were left out because of a limit.
    pub dropped: BTreeMap<String, u64>,
    /// Was it still open when its process ended?
    pub open: bool,
    /// Is it no span, but what a callee wrote after the end of one? [`read_line`] makes a
    /// [`LateUpdate`] of that.
    pub(crate) late: bool,
}

/// What a callee wrote after the end of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LateUpdate {
    /// The span's trace.
    pub trace_id: String,
    /// The span.
    pub span_id: String,
    /// The process that the span belongs to.
    pub service: String,
    /// What was written, as something that happened.
    pub event: Event,
}

/// What a line may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A span.
    Span(Box<Span>),
    /// Something about a span that stands on a line before.
    Late(LateUpdate),
}

/// What somebody said of how a span went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `OK` or `ERROR`.
    pub code: String,
    /// Why it is an error.
    pub message: String,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// What happened.
    pub name: String,
    /// When.
    #[serde(deserialize_with = "time")]
    pub time_unix_nano: Option<u64>,
    /// What is said about it.
    pub attributes: BTreeMap<String, Value>,
    /// Did the callee write it?
    pub by_callee: bool,
}

/// Another span that a span has to do with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// The other span's trace.
    pub trace_id: String,
    /// The other span.
    pub span_id: String,
}

/// A line that is no span record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Which line, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.reason)
    }
}

impl Span {
    /// The message of an error that somebody put on it.
    pub fn error(&self) -> Option<&str> {
        let status = self.status.as_ref().filter(|status| status.code == "ERROR");
        status.map(|status| &status.message[..])
    }

    /// How it ended, or `open`; empty where nobody says.
    pub fn outcome(&self) -> &str {
        match (&self.outcome, self.open) {
            (_, true) => "open",
            (Some(outcome), _) => outcome,
            (None, _) => "",
        }
    }

    /// How long it took, in nanoseconds, if that is known.
    pub fn duration(&self) -> Option<u64> {
        match (self.start_time_unix_nano, self.end_time_unix_nano) {
            (Some(start), Some(end)) if !self.open => Some(end.saturating_sub(start)),
            _ => None,
        }
    }

    /// The id of its parent. OTLP/JSON writes an empty one for a root.
    pub fn parent(&self) -> Option<&str> {
        self.parent_span_id.as_deref().filter(|id| !id.is_empty())
    }

    /// What became of it, in one of four ways.
    pub fn end(&self) -> End {
        match self.outcome() {
            "open" => End::Open,
            "canceled" | "revoked" => End::Stopped,
            "ok" | "" if self.error().is_none() => End::Good,
            _ => End::Bad,
        }
    }
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It went well.
    Good,
    /// Somebody wanted no more.
    Stopped,
    /// It went wrong.
    Bad,
    /// It had not ended.
    Open,
}

impl LateUpdate {
    /// A span that stands for it where its own is not at hand: below that, of no length.
    pub fn into_span(self) -> Span {
        let Event {
            name,
            time_unix_nano: time,
            attributes,
            ..
        } = self.event;
        Span {
            trace_id: self.trace_id,
            span_id: String::new(),
            parent_span_id: Some(self.span_id),
            name,
            service: self.service,
            start_time_unix_nano: time,
            end_time_unix_nano: time,
            set_by_callee: attributes.keys().cloned().collect(),
            attributes,
            ..Span::default()
        }
    }
}

/// Reads span records, one a line; empty lines don't count. A process that was killed may have
/// stopped in the middle of a line, so that one bad line does not spoil the others. What came late is an event
/// of its span.
pub fn read(text: &str) -> (Vec<Span>, Vec<BadLine>) {
    let (mut spans, mut bad): (Vec<Span>, _) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match read_line(line) {
            Ok(Record::Late(late)) => {
                let of = |span: &&mut Span| {
                    (&span.trace_id, &span.span_id) == (&late.trace_id, &late.span_id)
                };
                if let Some(span) = spans.iter_mut().rfind(of) {
                    span.events.push(late.event);
                }
            }
            Ok(Record::Span(span)) => spans.push(*span),
            Err(reason) => bad.push(BadLine {
                number: index + 1,
                reason,
            }),
        }
    }
    (spans, bad)
}

/// Reads the record on one line.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_line(line: &str) -> Result<Record, String> {
    let span: Span = serde_json::from_str(line).map_err(in_words)?;
    if span.trace_id.is_empty() {
        return Err("no traceId".into());
    }
    if span.span_id.is_empty() {
        return Err("no spanId".into());
    }
    if !span.late {
        return Ok(Record::Span(Box::new(span)));
    }
    // Its time is called as an event's.
    let event: Event = serde_json::from_str(line).map_err(in_words)?;
    Ok(Record::Late(LateUpdate {
        trace_id: span.trace_id,
        span_id: span.span_id,
        service: span.service,
        event: Event {
            by_callee: true,
            ..event
        },
    }))
}

/// There is but one line, which has a number of its own.
fn in_words(error: serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", " at column ")
}

/// JSON's numbers can't hold nanoseconds, so that they are written as text; a number does too.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Time {
        Text(String),
        Number(u64),
    }
    match Option::<Time>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Time::Number(time)) => Ok(Some(time)),
        Some(Time::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_record_is_read() {
        let (spans, bad) = read(
            r#"{"traceId":"t","spanId":"s","parentSpanId":"p","name":"n","originalName":"o","nameByCallee":true,
"kind":"CLIENT","service":"caller","startTimeUnixNano":"7","endTimeUnixNano":"9",
"outcome":"ok","status":{"code":"ERROR","message":"m"},"attributes":{"a":1,"b":["x"]},"setByCallee":["a"],
"events":[{"name":"e","timeUnixNano":"8","attributes":{"c":true},"byCallee":true}],
"links":[{"traceId":"t2","spanId":"s2"}],"dropped":{"events":3}}"#
                .replace('\n', "")
                .as_str(),
        );
        assert_eq!(bad, []);
        let event = Event {
            name: "e".into(),
            time_unix_nano: Some(8),
            attributes: BTreeMap::from([("c".into(), Value::Bool(true))]),
            by_callee: true,
        };
        let span = Span {
            trace_id: "t".into(),
            span_id: "s".into(),
            parent_span_id: Some("p".into()),
            name: "n".into(),
            original_name: Some("o".into()),
            name_by_callee: true,
            kind: "CLIENT".into(),
            service: "caller".into(),
            start_time_unix_nano: Some(7),
            end_time_unix_nano: Some(9),
            outcome: Some("ok".into()),
            status: Some(Status {
                code: "ERROR".into(),
                message: "m".into(),
            }),
            attributes: BTreeMap::from([
                ("a".into(), Value::from(1)),
                ("b".into(), Value::from(vec!["x"])),
            ]),
            set_by_callee: vec!["a".into()],
            events: vec![event],
            links: vec![Link {
                trace_id: "t2".into(),
                span_id: "s2".into(),
            }],
            dropped: BTreeMap::from([("events".into(), 3)]),
            open: false,
            late: false,
        };
        assert_eq!(spans, [span]);
    }

    #[test]
    fn ids_are_enough_and_unknown_fields_do_no_harm() {
        let (spans, bad) = read("\n{\"traceId\":\"t\",\"spanId\":\"s\",\"new\":{}}\n\n");
        assert_eq!((spans.len(), bad.len()), (1, 0));
        assert_eq!(spans[0].start_time_unix_nano, None);
    }

    #[test]
    fn a_time_may_be_a_number() {
        let (spans, _) = read(r#"{"traceId":"t","spanId":"s","startTimeUnixNano":12}"#);
        assert_eq!(spans[0].start_time_unix_nano, Some(12));
    }

    #[test]
    fn what_came_late_is_an_event_of_its_span() {
        let text = concat!(
            r#"{"traceId":"1","spanId":"2","name":"call"}"#,
            "\n",
            r#"{"traceId":"1","spanId":"2","name":"late update","late":true,"service":"users","#,
            r#""timeUnixNano":"7","attributes":{"rows":3},"events":[],"links":[],"dropped":{}}"#,
        );
        let (spans, bad) = read(text);
        assert_eq!((spans.len(), bad.len()), (1, 0));
        let [event] = &spans[0].events[..] else {
            panic!("one event")
        };
        assert_eq!(
            (&*event.name, event.time_unix_nano),
            ("late update", Some(7))
        );
        assert!(event.by_callee && event.attributes.contains_key("rows"));
    }

    #[test]
    fn bad_lines_are_told_and_spoil_nothing() {
        let (spans, bad) = read(
            "{\"traceId\":\"t\",\"spanId\":\"s\"}\n\
             {\"traceId\":\"t\"}\n\
             {\"spanId\":\"s\"}\n\
             {\"traceId\":\"t\",\"spanId\":\"s\",\"startTimeUnixNano\":\"soon\"}\n\
             {\"traceId\":\"t\",\"spa",
        );
        assert_eq!(spans.len(), 1);
        let told: Vec<_> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(told[..2], ["line 2: no spanId", "line 3: no traceId"]);
        assert!(told[2].starts_with("line 4: invalid digit"), "{}", told[2]);
        assert!(told[3].starts_with("line 5: EOF"), "{}", told[3]);
    }
}
