//! One session: what it is, what it keeps open, what happened in it.

use std::sync::Arc;

use super::capabilities::capabilities;
use super::layout::{Layout, Place, silent};
use super::markup::Html;
use super::parts::{name, outcome, session_link};
use super::waterfall::waterfall;
use super::words;
use crate::page::settings::Settings;
use crate::page::view::{EventView, Said, SessionView};
use crate::trace::SpanId;

pub(in crate::page) fn session(
    settings: &Settings,
    id: SpanId,
    found: Option<&(Arc<str>, SessionView)>,
    silent: &[Arc<str>],
    refresh: Option<u8>,
) -> String {
    let mut html = Html::default();
    html.lit("<p class=\"crumb\"><a href=\"")
        .put(&settings.base);
    html.lit("/tracez\">Sessions</a></p>");
    self::silent(&mut html, &silent.iter().collect::<Vec<_>>());
    match found {
        Some((board, session)) => write(&mut html, settings, board, session),
        None => {
            html.lit("<h1>This session is not known any more</h1><p>")
                .lit("Only the last closed ones are kept. Its id: <code>")
                .put(id)
                .lit("</code></p>");
        }
    }
    let title = found.map_or("Session", |(_, session)| &*session.name);
    let layout = Layout {
        settings,
        place: Place::Session,
        title: &title.chars().take(60).collect::<String>(),
        query: None,
        refresh,
    };
    layout.page(html)
}

fn write(html: &mut Html, settings: &Settings, board: &str, session: &SessionView) {
    html.lit("<div class=\"head\"><h1>");
    name(html, &session.name);
    html.lit("</h1>");
    outcome(html, session.outcome, session.is_open);
    html.lit("</div>");
    if let Some(why) = &session.why {
        html.lit("<p class=\"why\">");
        name(html, why);
        html.lit("</p>");
    }
    facts(html, settings, board, session);
    if let Some(live) = &session.live {
        capabilities(html, session, live);
    }
    waterfall(html, session);
    attributes(html, session);
    events(html, session);
}

fn facts(html: &mut Html, settings: &Settings, board: &str, session: &SessionView) {
    html.lit("<dl class=\"facts\">");
    fact(
        html,
        if session.is_open {
            "Open for"
        } else {
            "Lasted"
        },
        &words::duration(session.took),
    );
    fact(html, "Began", &words::moment(session.start));
    fact(html, "Side", words::side(session.side));
    fact(html, "Peer", session.peer.as_deref().unwrap_or("–"));
    fact(html, "Service", &session.service);
    fact(html, "Event loop", board);
    html.lit("<div><dt>Trace</dt><dd><code>")
        .put(session.trace_id)
        .lit("</code></dd></div>");
    html.lit("<div><dt>Span</dt><dd><code>")
        .put(session.id)
        .lit("</code></dd></div>");
    if let Some(parent) = session.parent {
        html.lit("<div><dt>Parent</dt><dd><code>");
        match session.part_of {
            Some(part_of) => session_link(html, settings, part_of, &parent.to_string()),
            None => drop(html.put(parent)),
        }
        html.lit("</code></dd></div>");
    }
    html.lit("</dl>");
}

fn fact(html: &mut Html, label: &'static str, value: &str) {
    html.lit("<div><dt>").lit(label).lit("</dt><dd>");
    name(html, value);
    html.lit("</dd></div>");
}

fn attributes(html: &mut Html, session: &SessionView) {
    if session.attributes.is_empty() {
        return;
    }
    html.lit("<section aria-labelledby=\"h-said\"><div class=\"head\"><h2 id=\"h-said\">Attributes</h2><p class=\"note\">");
    left_out(html, session.attributes_left_out);
    html.lit("</p></div><div class=\"scroll\"><table class=\"said\"><caption class=\"unseen\">Attributes</caption>")
        .lit("<thead><tr><th scope=\"col\">Key</th><th scope=\"col\">Value</th></tr></thead><tbody>");
    for said in &session.attributes {
        html.lit("<tr><th scope=\"row\"><code>");
        name(html, &said.key);
        html.lit("</code></th><td><bdi class=\"value\">")
            .put(&said.value)
            .lit("</bdi>");
        by_callee(html, said.by_callee);
        html.lit("</td></tr>");
    }
    html.lit("</tbody></table></div></section>");
}

fn events(html: &mut Html, session: &SessionView) {
    if session.events.is_empty() {
        return;
    }
    html.lit("<section aria-labelledby=\"h-events\"><div class=\"head\"><h2 id=\"h-events\">Events</h2><p class=\"note\">");
    left_out(html, session.events_left_out);
    html.lit("</p></div><div class=\"scroll\"><table class=\"said\"><caption class=\"unseen\">Events</caption>")
        .lit("<thead><tr><th scope=\"col\">After</th><th scope=\"col\">Event</th></tr></thead><tbody>");
    for event in &session.events {
        write_event(html, session, event);
    }
    html.lit("</tbody></table></div></section>");
}

fn write_event(html: &mut Html, session: &SessionView, event: &EventView) {
    let after = event.time.duration_since(session.start);
    html.lit("<tr><th scope=\"row\" class=\"n\">+")
        .put(words::duration(after));
    html.lit("</th><td>");
    name(html, &event.name);
    by_callee(html, event.by_callee);
    for Said { key, value, .. } in &event.attributes {
        html.lit("<span class=\"sub\"><code>");
        name(html, key);
        html.lit("</code> ");
        name(html, value);
        html.lit("</span>");
    }
    html.lit("</td></tr>");
}

fn by_callee(html: &mut Html, is_by_callee: bool) {
    if is_by_callee {
        html.lit(" <span class=\"tag\">written by the callee</span>");
    }
}

fn left_out(html: &mut Html, count: usize) {
    if count > 0 {
        html.put(words::count(count as u64))
            .lit(" more are not kept");
    }
}
