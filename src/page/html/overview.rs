//! The overview: what is open, how long calls take, how the last sessions ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::layout::{Layout, Place, silent};
use super::markup::Html;
use super::parts::{Head, name, number, session_link, time};
use super::recent::recent;
use super::words;
use crate::page::boards::Answer;
use crate::page::query::{METHODS, OPEN, Query};
use crate::page::settings::Settings;
use crate::page::view::{MethodRow, OpenRow, Overview};

/// Of all boards together.
pub(super) struct All {
    pub(super) view: Overview,
    pub(super) silent: Vec<Arc<str>>,
    /// Which board each session is on.
    pub(super) boards: HashMap<String, Arc<str>>,
}

pub(in crate::page) fn overview(
    settings: &Settings,
    answers: Vec<Answer<Overview>>,
    query: &Query,
    refresh: Option<u8>,
) -> String {
    let has_several = answers.len() > 1;
    let mut boards = HashMap::new();
    for answer in answers.iter().filter(|_| has_several) {
        let said = answer.said.iter();
        let open = said
            .clone()
            .flat_map(|view| view.open.iter().filter_map(|row| row.id));
        let recent = said.flat_map(|view| view.recent.iter().map(|row| row.id));
        let ids = open.chain(recent);
        boards.extend(ids.map(|id| (id.to_string(), answer.board.clone())));
    }
    let (view, silent) = Overview::of_all(answers, query);
    let all = All {
        view,
        silent,
        boards,
    };
    let mut html = Html::default();
    html.lit("<h1 class=\"unseen\">Sessions</h1>");
    self::silent(&mut html, &all.silent.iter().collect::<Vec<_>>());
    tiles(&mut html, settings, &all.view);
    open(&mut html, settings, &all, query);
    methods(&mut html, settings, &all.view, query);
    recent(&mut html, settings, &all, query);
    let layout = Layout {
        settings,
        place: Place::Sessions,
        title: "Sessions",
        query: Some(query),
        refresh,
    };
    layout.page(html)
}

fn tiles(html: &mut Html, settings: &Settings, view: &Overview) {
    let failed = view.outcomes.failed();
    html.lit("<dl class=\"tiles\">");
    tile(html, "Open sessions", view.open_count as u64, "");
    tile(html, "Calls in flight", view.calls as u64, "");
    tile(html, "Capabilities alive", view.capabilities as u64, "");
    tile(html, "Ended", view.outcomes.ended(), "");
    tile(html, "Not ok", failed, if failed > 0 { "bad" } else { "" });
    html.lit("<div><dt><a href=\"").put(&settings.base);
    html.lit("/tracez/limits\">Refused by guards</a></dt><dd class=\"");
    html.lit(if view.refused > 0 { "bad" } else { "" });
    html.lit("\">")
        .put(words::count(view.refused))
        .lit("</dd></div></dl>");
}

fn tile(html: &mut Html, label: &'static str, count: u64, class: &'static str) {
    html.lit("<div><dt>")
        .lit(label)
        .lit("</dt><dd class=\"")
        .lit(class);
    html.lit("\">").put(words::count(count)).lit("</dd></div>");
}

fn open(html: &mut Html, settings: &Settings, all: &All, query: &Query) {
    let view = &all.view;
    html.lit("<section aria-labelledby=\"h-open\"><div class=\"head\"><h2 id=\"h-open\">Open sessions</h2><p class=\"note\">");
    let shown = view.open.len();
    if query.is_default_search() && shown == view.open_count {
        html.put(words::several(shown, "session", "sessions"));
    } else {
        html.put(words::count(shown as u64)).lit(" of ");
        html.put(words::several(view.open_count, "session", "sessions"));
    }
    html.lit("</p></div>");
    if view.open.is_empty() {
        html.lit("<p class=\"none\">");
        html.lit(match view.open_count {
            0 => "No session is open.",
            _ => "No open session matches.",
        });
        html.lit("</p></section>");
        return;
    }
    let head = Head {
        settings,
        query,
        columns: OPEN,
        sort: query.open,
        set: |query, sort| query.open = sort,
    };
    html.lit(
        "<div class=\"scroll\"><table><caption class=\"unseen\">Open sessions</caption><thead><tr>",
    );
    head.write(html, "name", "Session", "");
    head.write(html, "age", "Age", "n");
    head.write(html, "calls", "In flight", "n wide");
    head.write(html, "capabilities", "Capabilities", "n");
    html.lit("</tr></thead><tbody>");
    for row in &view.open {
        open_row(html, settings, all, row);
    }
    html.lit("</tbody></table></div></section>");
}

fn open_row(html: &mut Html, settings: &Settings, all: &All, row: &OpenRow) {
    match row.id {
        Some(id) => {
            html.lit("<tr id=\"o-").put(id).lit("\"><th scope=\"row\">");
            session_link(html, settings, id, &row.name);
        }
        None => {
            html.lit("<tr><th scope=\"row\"><span class=\"faint\">")
                .put(&row.name)
                .lit("</span>");
        }
    }
    let id = row.id.map(|id| id.to_string());
    let board = id.and_then(|id| all.boards.get(&id));
    under(html, row.peer.as_deref(), row.side.map(words::side), board);
    html.lit("</th><td class=\"n\">");
    html.put(row.age.map_or("–".into(), words::age))
        .lit("</td>");
    html.lit("<td class=\"n wide\">")
        .put(words::count(row.calls as u64))
        .lit("</td>");
    number(html, row.capabilities as u64);
    html.lit("</tr>");
}

/// What stands below a session's name.
pub(super) fn under(
    html: &mut Html,
    peer: Option<&str>,
    side: Option<&'static str>,
    board: Option<&Arc<str>>,
) {
    html.lit("<span class=\"sub\">")
        .lit(side.unwrap_or_default());
    if let Some(peer) = peer {
        html.lit(" · ");
        name(html, peer);
    }
    if let Some(board) = board {
        html.lit(" · ");
        name(html, board);
    }
    html.lit("</span>");
}

fn methods(html: &mut Html, settings: &Settings, view: &Overview, query: &Query) {
    html.lit("<section aria-labelledby=\"h-methods\"><div class=\"head\"><h2 id=\"h-methods\">Latency by method</h2><p class=\"note\">");
    html.put(words::several(view.methods.len(), "method", "methods"))
        .lit("</p></div>");
    if view.methods.is_empty() {
        html.lit("<p class=\"none\">No call yet.</p></section>");
        return;
    }
    let head = Head {
        settings,
        query,
        columns: METHODS,
        sort: query.methods,
        set: |query, sort| query.methods = sort,
    };
    html.lit("<div class=\"scroll\"><table><caption class=\"unseen\">Latency by method</caption><thead><tr>");
    head.write(html, "name", "Method", "");
    head.write(html, "calls", "Calls", "n");
    head.write(html, "failed", "Failed", "n");
    head.write(html, "p50", "p50", "n");
    head.write(html, "p90", "p90", "n wide");
    head.write(html, "p99", "p99", "n");
    head.write(html, "max", "Max", "n wide");
    html.lit("<th scope=\"col\" class=\"strip wide\"><span class=\"unseen\">From p50 to the longest</span></th>");
    html.lit("</tr></thead><tbody>");
    let scale = Scale::of(&view.methods);
    for row in &view.methods {
        html.lit("<tr id=\"m-")
            .put(row.key())
            .lit("\"><th scope=\"row\">");
        name(html, &row.name);
        html.lit("<span class=\"sub\">").lit(words::side(row.side));
        if row.in_flight() > 0 {
            html.lit(" · ")
                .put(words::count(row.in_flight()))
                .lit(" in flight");
        }
        html.lit("</span></th>");
        number(html, row.begun);
        html.lit(match row.failed {
            0 => "<td class=\"n faint\">",
            _ => "<td class=\"n bad\">",
        });
        html.put(words::count(row.failed)).lit("</td>");
        time(html, "", row.latency(0.5));
        time(html, "wide", row.latency(0.9));
        time(html, "", row.latency(0.99));
        time(html, "wide", row.latency(1.0));
        scale.strip(html, row);
        html.lit("</tr>");
    }
    html.lit("</tbody></table></div></section>");
}

/// Latencies as places on a line: those of all methods on the same one, which is logarithmic.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of(rows: &[MethodRow]) -> Self {
        let all = |quantile| rows.iter().filter_map(move |row| row.latency(quantile));
        let log = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64().ln());
        Self {
            least: log(all(0.5).min()),
            most: log(all(1.0).max()),
        }
    }

    /// From p50 to p99 as a bar, to the longest as a line.
    fn strip(&self, html: &mut Html, row: &MethodRow) {
        html.lit("<td class=\"strip wide\" aria-hidden=\"true\">");
        let place = |quantile| {
            let time = row.latency(quantile)?.as_secs_f64().ln();
            let width = (self.most - self.least).max(f64::MIN_POSITIVE);
            Some(((time - self.least) / width).clamp(0.0, 1.0) * 116.0 + 2.0)
        };
        if let (Some(p50), Some(p99), Some(max)) = (place(0.5), place(0.99), place(1.0)) {
            html.lit("<svg viewBox=\"0 0 120 10\" width=\"120\" height=\"10\"><line class=\"tail\" y1=\"5\" y2=\"5\" x1=\"");
            html.put(format_args!("{p50:.1}"))
                .lit("\" x2=\"")
                .put(format_args!("{max:.1}"));
            html.lit("\"/><rect class=\"most\" y=\"2.5\" height=\"5\" rx=\"2.5\" x=\"");
            html.put(format_args!("{:.1}", p50 - 2.0))
                .lit("\" width=\"");
            html.put(format_args!("{:.1}", (p99 - p50).max(0.0) + 4.0))
                .lit("\"/></svg>");
        }
        html.lit("</td>");
    }
}
