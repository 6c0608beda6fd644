//! The capabilities that are alive in an open session: what keeps it open, and where that came from.

use std::collections::HashSet;

use super::markup::Html;
use super::parts::{name, number};
use super::words;
use crate::page::view::{CapabilityView, Introduced, LiveView, SessionView};
use crate::trace::SpanId;

pub(super) fn capabilities(html: &mut Html, session: &SessionView, live: &LiveView) {
    html.lit("<section aria-labelledby=\"h-held\"><div class=\"head\"><h2 id=\"h-held\">Capabilities alive</h2><p class=\"note\">");
    let shown = live.capabilities.len();
    if shown < live.capability_count {
        html.put(words::count(shown as u64)).lit(" of ");
    }
    html.put(words::count(live.capability_count as u64))
        .lit(" · ");
    html.put(words::several(
        live.calls,
        "call in flight",
        "calls in flight",
    ));
    if live.background > 0 {
        html.lit(" · ")
            .put(words::count(live.background as u64))
            .lit(" in the background");
    }
    html.lit("</p></div>");
    if live.capabilities.is_empty() {
        html.lit("<p class=\"none\">None: a call in flight, or background work, keeps it open.</p></section>");
        return;
    }
    html.lit("<p class=\"hint\">Each keeps the session open. Those that are old and seldom called come first: ")
        .lit("one of them may have been forgotten by who holds it.</p>")
        .lit("<div class=\"scroll\"><table class=\"held\"><caption class=\"unseen\">Capabilities alive</caption><thead><tr>")
        .lit("<th scope=\"col\">Came with</th><th scope=\"col\">Held by</th><th scope=\"col\" class=\"n\">For</th>")
        .lit("<th scope=\"col\" class=\"n\">Calls</th><th scope=\"col\" class=\"wide\">Last call</th></tr></thead><tbody>");
    let kept: HashSet<SpanId> = session.spans.iter().map(|span| span.id).collect();
    for capability in &live.capabilities {
        row(html, capability, &kept);
    }
    html.lit("</tbody></table></div></section>");
}

fn row(html: &mut Html, capability: &CapabilityView, kept: &HashSet<SpanId>) {
    html.lit("<tr id=\"c-")
        .put(capability.number)
        .lit("\"><th scope=\"row\">");
    match &capability.introduced {
        Some(introduced) => origin(html, introduced, kept),
        None => drop(html.lit("the session’s first")),
    }
    html.lit("<span class=\"sub\">");
    if let Some(introduced) = &capability.introduced {
        html.lit(match introduced.in_results {
            true => "in its results · ",
            false => "in its parameters · ",
        });
    }
    html.lit("number ")
        .put(capability.number)
        .lit("</span></th><td>");
    html.lit(match capability.is_ours {
        true => "the peer<span class=\"sub\">ours</span>",
        false => "this side<span class=\"sub\">the peer’s</span>",
    });
    html.lit("</td><td class=\"n\">");
    html.put(capability.held.map_or("–".into(), words::age))
        .lit("</td>");
    if capability.calls == 0 {
        html.lit("<td class=\"n\"><span class=\"badge never\">never</span></td>");
    } else {
        number(html, capability.calls);
    }
    html.lit("<td class=\"wide\">");
    match &capability.last_call {
        Some(last) => name(html, last),
        None => drop(html.lit("<span class=\"faint\">–</span>")),
    }
    html.lit("</td></tr>");
}

/// The method, which leads to its span in the waterfall where that is kept.
fn origin(html: &mut Html, introduced: &Introduced, kept: &HashSet<SpanId>) {
    match introduced.span.filter(|span| kept.contains(span)) {
        Some(span) => {
            html.lit("<a href=\"#s-").put(span).lit("\">");
            name(html, &introduced.method);
            html.lit("</a>");
        }
        None => name(html, &introduced.method),
    }
}
