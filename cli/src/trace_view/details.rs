//! What is written on a span, as the lines below it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::forest::{Row, Stray};
use crate::records::{Event, Link, Span};
use crate::terminal::{Line, count, ink, offset};

const BY_CALLEE: &str = "  ◂ callee";

/// Spans by their ids, to call a linked span by its name.
pub(super) struct Names<'a>(HashMap<(&'a str, &'a str), &'a str>);

impl<'a> Names<'a> {
    pub(super) fn of(spans: &'a [Span]) -> Self {
        let key = |span: &'a Span| ((&span.trace_id[..], &span.span_id[..]), &span.name[..]);
        Self(spans.iter().map(key).collect())
    }
}

/// The lines below `row`, each at most `width` wide.
pub(super) fn lines(row: &Row<'_>, names: &Names<'_>, width: usize) -> Vec<Line> {
    let span = row.span;
    let mut lines = Vec::new();
    lines.extend(row.stray.map(stray));
    lines.extend(span.error().map(error));
    lines.extend(span.links.iter().map(|to| link(to, span, names)));
    if let Some(name) = &span.original_name {
        lines.push(marked(renamed(name), span.name_by_callee, width));
    }
    let set_by_callee: HashSet<_> = span.set_by_callee.iter().collect();
    for (key, value) in &span.attributes {
        let by_callee = set_by_callee.contains(key);
        lines.push(marked(attribute(key, value), by_callee, width));
    }
    for happened in &span.events {
        let by_callee = happened.by_callee;
        lines.push(marked(event(happened, span), by_callee, width));
    }
    lines.extend((!span.dropped.is_empty()).then(|| dropped(span)));
    for line in &mut lines {
        line.cut(width);
    }
    lines
}

fn stray(stray: Stray<'_>) -> Line {
    let mut line = Line::default();
    match stray {
        Stray::Missing(parent) => line
            .push(ink::STOPPED, "! parent not among these spans: ")
            .push(ink::PLAIN, parent),
        Stray::Circle => line.push(ink::STOPPED, "! its parents form a circle"),
    };
    line
}

fn error(message: &str) -> Line {
    let mut line = Line::default();
    line.push(ink::BAD, "! error: ").push(ink::PLAIN, message);
    line
}

fn link(link: &Link, from: &Span, names: &Names<'_>) -> Line {
    let mut line = Line::default();
    line.push(ink::FAINT, "↗ linked to ");
    if let Some(name) = names.0.get(&(&link.trace_id[..], &link.span_id[..])) {
        line.push(ink::PLAIN, name).push(ink::PLAIN, " ");
    }
    line.push(ink::FAINT, "span ")
        .push(ink::PLAIN, &link.span_id);
    if link.trace_id != from.trace_id {
        line.push(ink::FAINT, " of trace ")
            .push(ink::PLAIN, &link.trace_id);
    }
    line
}

fn renamed(from: &str) -> Line {
    let mut line = Line::default();
    line.push(ink::FAINT, "renamed from ")
        .push(ink::PLAIN, from);
    line
}

fn attribute(key: &str, value: &Value) -> Line {
    let mut line = Line::default();
    line.push(ink::FAINT, key)
        .push(ink::FAINT, " = ")
        .push(ink::PLAIN, &shown(value));
    line
}

fn event(event: &Event, span: &Span) -> Line {
    let mut line = Line::default();
    line.push(ink::FAINT, "◆ ");
    if let (Some(start), Some(time)) = (span.start_time_unix_nano, event.time_unix_nano) {
        line.push(ink::FAINT, &offset(start, time))
            .push(ink::PLAIN, " ");
    }
    line.push(ink::PLAIN, &event.name);
    for (key, value) in &event.attributes {
        line.push(ink::FAINT, &format!("  {key} = "))
            .push(ink::PLAIN, &shown(value));
    }
    line
}

fn dropped(span: &Span) -> Line {
    let parts: Vec<_> = span
        .dropped
        .iter()
        .map(|(what, number)| format!("{} {what}", count(*number)))
        .collect();
    let mut line = Line::default();
    line.push(ink::STOPPED, "! left out: ")
        .push(ink::PLAIN, &parts.join(", "));
    line
}

/// A text as it is, anything else as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// However long the line, its mark stays: who wrote it must not be cut off.
fn marked(mut line: Line, by_callee: bool, width: usize) -> Line {
    if by_callee {
        let mut mark = Line::default();
        mark.push(ink::CALLEE, BY_CALLEE);
        line.cut(width.saturating_sub(mark.width())).append(mark);
    }
    line
}
