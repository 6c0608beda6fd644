//! The calls of a session, and other work in it, each where it lies in time.

use super::axis::{Axis, WIDTH};
use super::markup::Html;
use super::parts::{name, outcome};
use super::words;
use crate::page::view::{SessionView, SpanView};
use crate::trace::SpanRole;

/// How deep a span is set in at most.
const MAX_DEPTH: usize = 12;

/// How wide a bar is at least.
const LEAST: f64 = 3.0;

pub(super) fn waterfall(html: &mut Html, session: &SessionView) {
    html.lit("<section aria-labelledby=\"h-spans\"><div class=\"head\"><h2 id=\"h-spans\">Calls</h2><p class=\"note\">");
    html.put(words::several(session.spans.len(), "span", "spans"));
    if session.spans_left_out > 0 {
        html.lit(" · ")
            .put(words::count(session.spans_left_out))
            .lit(" more are not kept");
    }
    let spans = session.spans.iter();
    let axis = Axis::of(spans.map(|span| (span.after, span.after + span.took)));
    if !axis.cut().is_zero() {
        html.lit(" · ")
            .put(words::duration(axis.cut()))
            .lit(" without calls are not drawn");
    }
    html.lit("</p></div>");
    if session.spans.is_empty() {
        html.lit("<p class=\"none\">None that is told: see <code>call_spans</code>.</p></section>");
        return;
    }
    html.lit("<div class=\"scroll\"><table class=\"fall\"><caption class=\"unseen\">Calls as a waterfall</caption><thead><tr>")
        .lit("<th scope=\"col\">Call</th><th scope=\"col\" class=\"strip\"><span class=\"unseen\">From the beginning of the session to </span><span class=\"axis\">")
        .put(words::duration(axis.whole()))
        .lit("</span></th><th scope=\"col\" class=\"n wide\">After</th><th scope=\"col\" class=\"n\">Took</th>")
        .lit("<th scope=\"col\">Outcome</th></tr></thead><tbody>");
    for span in &session.spans {
        row(html, session, span, &axis);
    }
    html.lit("</tbody></table></div></section>");
}

fn row(html: &mut Html, session: &SessionView, span: &SpanView, axis: &Axis) {
    html.lit("<tr id=\"s-")
        .put(span.id)
        .lit("\"><th scope=\"row\" class=\"d");
    html.put((span.depth - 1).min(MAX_DEPTH)).lit("\">");
    name(html, &span.name);
    let word = match span.role {
        SpanRole::Work => "work",
        _ if span.side != session.side => "called back",
        SpanRole::Call | SpanRole::Event => "",
    };
    if !word.is_empty() {
        html.lit("<span class=\"sub\">").lit(word).lit("</span>");
    }
    html.lit("</th><td class=\"strip\" aria-hidden=\"true\">");
    bar(html, span, axis);
    html.lit("</td><td class=\"n wide\">+")
        .put(words::duration(span.after));
    html.lit("</td><td class=\"n\">")
        .put(words::duration(span.took))
        .lit("</td><td>");
    outcome(html, span.outcome, span.is_open);
    if let Some(why) = &span.why {
        html.lit("<span class=\"sub\">");
        name(html, why);
        html.lit("</span>");
    }
    html.lit("</td></tr>");
}

fn bar(html: &mut Html, span: &SpanView, axis: &Axis) {
    let (from, to) = (axis.place(span.after), axis.place(span.after + span.took));
    let class = match (span.is_open, span.outcome) {
        (true, _) => "open",
        (false, Some(outcome)) => outcome.as_str(),
        (false, None) => "ok",
    };
    html.lit("<svg viewBox=\"0 0 1000 12\" preserveAspectRatio=\"none\">");
    for mark in axis.marks() {
        html.lit("<line class=\"cut\" y1=\"0\" y2=\"12\" x1=\"")
            .put(format_args!("{mark:.1}"))
            .lit("\" x2=\"")
            .put(format_args!("{mark:.1}"))
            .lit("\"/>");
    }
    html.lit("<rect y=\"1\" height=\"10\" class=\"")
        .put(class)
        .lit("\" x=\"")
        .put(format_args!("{:.1}", from.min(WIDTH - LEAST)))
        .lit("\" width=\"")
        .put(format_args!("{:.1}", (to - from).max(LEAST)))
        .lit("\"/></svg>");
}
