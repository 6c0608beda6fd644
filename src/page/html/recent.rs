//! The last sessions that ended, by outcome.

use super::markup::Html;
use super::overview::{All, under};
use super::parts::{Head, name, outcome, session_link};
use super::words;
use crate::page::query::{Query, RECENT};
use crate::page::settings::Settings;
use crate::page::view::RecentRow;
use crate::trace::Outcome;

pub(super) fn recent(html: &mut Html, settings: &Settings, all: &All, query: &Query) {
    html.lit("<section aria-labelledby=\"h-recent\"><div class=\"head\"><h2 id=\"h-recent\">Recently closed</h2>");
    chips(html, settings, all, query);
    html.lit("</div>");
    if all.view.recent.is_empty() {
        html.lit("<p class=\"none\">");
        html.lit(match all.view.outcomes.ended() {
            0 => "None has ended yet.",
            _ => "None of the last ones matches.",
        });
        html.lit("</p></section>");
        return;
    }
    let head = Head {
        settings,
        query,
        columns: RECENT,
        sort: query.recent,
        set: |query, sort| query.recent = sort,
    };
    html.lit("<div class=\"scroll\"><table><caption class=\"unseen\">Recently closed sessions</caption><thead><tr>");
    head.write(html, "name", "Session", "");
    head.write(html, "outcome", "Outcome", "");
    head.write(html, "took", "Lasted", "n");
    head.write(html, "spans", "Calls", "n wide");
    head.write(html, "ended", "Ended", "n");
    html.lit("</tr></thead><tbody>");
    for row in &all.view.recent {
        recent_row(html, settings, all, row);
    }
    html.lit("</tbody></table></div></section>");
}

fn recent_row(html: &mut Html, settings: &Settings, all: &All, row: &RecentRow) {
    html.lit("<tr id=\"r-")
        .put(row.id)
        .lit("\"><th scope=\"row\">");
    session_link(html, settings, row.id, &row.name);
    let board = all.boards.get(&row.id.to_string());
    under(
        html,
        row.peer.as_deref(),
        Some(words::side(row.side)),
        board,
    );
    html.lit("</th><td>");
    outcome(html, row.outcome, false);
    if let Some(why) = &row.why {
        html.lit("<span class=\"sub\">");
        name(html, why);
        html.lit("</span>");
    }
    html.lit("</td><td class=\"n\">")
        .put(words::duration(row.took))
        .lit("</td>");
    html.lit("<td class=\"n wide\">")
        .put(words::count(row.spans))
        .lit("</td>");
    html.lit("<td class=\"n\">")
        .put(words::age(row.ago))
        .lit(" ago</td></tr>");
}

/// How many ended how: each leads to those.
fn chips(html: &mut Html, settings: &Settings, all: &All, query: &Query) {
    html.lit("<nav class=\"chips\" aria-label=\"By outcome\">");
    chip(html, settings, query, None, all.view.outcomes.ended());
    for (outcome, count) in all.view.outcomes.iter() {
        if count > 0 || query.outcome == Some(outcome) {
            chip(html, settings, query, Some(outcome), count);
        }
    }
    html.lit("</nav>");
}

fn chip(html: &mut Html, settings: &Settings, query: &Query, outcome: Option<Outcome>, count: u64) {
    let mut clicked = query.clone();
    clicked.outcome = outcome;
    let word = outcome.map_or("all", Outcome::as_str);
    html.lit("<a data-live class=\"chip ")
        .put(word)
        .lit("\" id=\"chip-")
        .put(word);
    html.lit("\" href=\"")
        .put(&settings.base)
        .lit("/tracez")
        .put(clicked.write());
    html.lit(match query.outcome == outcome {
        true => "\" aria-current=\"true\">",
        false => "\">",
    });
    html.put(word)
        .lit(" <b>")
        .put(words::count(count))
        .lit("</b></a>");
}
