//! One span on the page.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::text::{cut, html};
use crate::records::{End, Event, Span};
use crate::terminal::{count, duration, offset};
use crate::trace_view::{Row, Stray, Trace, shown};

/// A bar's own units, from end to end.
const WIDTH: u64 = 1_000;

const CALLEE: &str = r#" <span class="callee">◂ callee</span>"#;

/// Writes the span up to where those below it follow: its element stays open.
pub(super) fn write(row: &Row<'_>, trace: &Trace<'_>, out: &mut String) {
    let span = row.span;
    let class = class(span);
    out.push_str(r#"<details class="span" open=""><summary><span class="label">"#);
    for (of, word) in [("kind", &span.kind), ("service", &span.service)] {
        if !word.is_empty() {
            let _ = write!(out, r#"<bdi class="{of}">{}</bdi> "#, html(&cut(word)));
        }
    }
    let name = if span.name.is_empty() {
        "(no name)"
    } else {
        &span.name
    };
    let _ = write!(
        out,
        r#"<bdi class="name">{}</bdi></span>"#,
        html(&cut(name))
    );
    bar(span, trace, class, out);
    let time = span.duration().map_or_else(|| "–".into(), duration);
    let _ = writeln!(
        out,
        r#"<span class="time">{time}</span><span class="outcome {class}">{}</span></summary>"#,
        html(&cut(outcome(span))),
    );
    out.push_str("<ul>\n");
    remarks(row, out);
    facts(span, trace, out);
    out.push_str("</ul>\n");
}

/// What it looks like.
pub(super) fn class(span: &Span) -> &'static str {
    match span.end() {
        End::Good => "good",
        End::Stopped => "stopped",
        End::Bad => "bad",
        End::Open => "open",
    }
}

/// What it is called. A span that says ok and error is an error.
pub(super) fn outcome(span: &Span) -> &str {
    match (span.outcome(), span.error()) {
        ("ok" | "", Some(_)) => "error",
        (outcome, _) => outcome,
    }
}

fn bar(span: &Span, trace: &Trace<'_>, class: &str, out: &mut String) {
    let whole = u128::from(trace.end.saturating_sub(trace.start)).max(1);
    let scale = |time: u64| {
        let scaled = u128::from(time.saturating_sub(trace.start)) * u128::from(WIDTH) / whole;
        u64::try_from(scaled).map_or(WIDTH, |scaled| scaled.min(WIDTH))
    };
    let _ = write!(
        out,
        r#"<svg class="bar" viewBox="0 0 {WIDTH} 8" preserveAspectRatio="none" aria-hidden="true">"#
    );
    if let Some(start) = span.start_time_unix_nano {
        // It is to be seen however short it is.
        let from = scale(start).min(WIDTH - 4);
        let to = span
            .duration()
            .map_or(WIDTH, |took| scale(start.saturating_add(took)));
        let width = to.saturating_sub(from).max(4);
        let _ = write!(
            out,
            r#"<rect class="{class}" x="{from}" width="{width}" height="8"/>"#
        );
        for time in span.events.iter().filter_map(|event| event.time_unix_nano) {
            let at = scale(time).min(WIDTH - 2);
            let _ = write!(
                out,
                r#"<rect class="event" x="{at}" width="2" height="8"/>"#
            );
        }
    }
    out.push_str("</svg>");
}

fn remarks(row: &Row<'_>, out: &mut String) {
    let mut remark = |text: &str| {
        let _ = writeln!(out, r#"<li class="remark">{}</li>"#, html(text));
    };
    match row.stray {
        None => {}
        Some(Stray::Missing(parent)) => remark(&format!("parent not among these spans: {parent}")),
        Some(Stray::Circle) => remark("its parents form a circle"),
    }
    if row.depth > super::LEVELS {
        remark(&format!(
            "level {}: shown side by side with those above",
            row.depth
        ));
    }
    if let Some(message) = row.span.error() {
        remark(&format!("error: {message}"));
    }
    if !row.span.dropped.is_empty() {
        let parts: Vec<_> = row
            .span
            .dropped
            .iter()
            .map(|(what, number)| format!("{} {what}", count(*number)))
            .collect();
        remark(&format!("left out: {}", parts.join(", ")));
    }
}

fn facts(span: &Span, trace: &Trace<'_>, out: &mut String) {
    if cut(&span.name) != span.name {
        fact("name", &span.name, span.name_by_callee, out);
    }
    if let Some(name) = &span.original_name {
        fact("renamed from", name, span.name_by_callee, out);
    }
    let set_by_callee: HashSet<_> = span.set_by_callee.iter().collect();
    for (key, value) in &span.attributes {
        fact(key, &shown(value), set_by_callee.contains(key), out);
    }
    for event in &span.events {
        happened(event, span, out);
    }
    for link in &span.links {
        let to = if link.trace_id == span.trace_id {
            format!("span {}", link.span_id)
        } else {
            format!("span {} of trace {}", link.span_id, link.trace_id)
        };
        fact("linked to", &to, false, out);
    }
    if let Some(start) = span.start_time_unix_nano {
        fact("began", &offset(trace.start, start), false, out);
    }
    fact("id", &span.span_id, false, out);
}

fn fact(key: &str, value: &str, by_callee: bool, out: &mut String) {
    let mark = if by_callee { CALLEE } else { "" };
    let _ = writeln!(
        out,
        r#"<li><bdi class="key">{}</bdi> <bdi>{}</bdi>{mark}</li>"#,
        html(key),
        html(value)
    );
}

fn happened(event: &Event, span: &Span, out: &mut String) {
    let mut text = String::new();
    if let (Some(start), Some(time)) = (span.start_time_unix_nano, event.time_unix_nano) {
        text = format!("{} ", offset(start, time));
    }
    text.push_str(&event.name);
    let mark = if event.by_callee { CALLEE } else { "" };
    let _ = write!(out, r#"<li>◆ <bdi>{}</bdi>"#, html(&text));
    for (key, value) in &event.attributes {
        let value: &Value = value;
        let _ = write!(
            out,
            r#" <bdi class="key">{}</bdi> <bdi>{}</bdi>"#,
            html(key),
            html(&shown(value))
        );
    }
    let _ = writeln!(out, "{mark}</li>");
}
