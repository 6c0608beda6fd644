//! What guards refused, and how much the page keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{Layout, Place, silent};
use super::markup::Html;
use super::parts::{name, number};
use super::words;
use crate::page::boards::Answer;
use crate::page::settings::Settings;
use crate::page::view::{Kept, LeftOut, Limits, RefusalRow};

pub(in crate::page) fn limits(
    settings: &Settings,
    answers: &[Answer<Limits>],
    refresh: Option<u8>,
) -> String {
    let mut html = Html::default();
    html.lit("<h1 class=\"unseen\">Limits</h1>");
    let is_silent = |answer: &&Answer<Limits>| answer.said.is_none();
    let boards = answers.iter().filter(is_silent).map(|answer| &answer.board);
    silent(&mut html, &boards.collect::<Vec<_>>());
    refused(&mut html, answers);
    last(&mut html, answers);
    kept(&mut html, answers);
    let layout = Layout {
        settings,
        place: Place::Limits,
        title: "Limits",
        query: None,
        refresh,
    };
    layout.page(html)
}

fn refused(html: &mut Html, answers: &[Answer<Limits>]) {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let said = answers.iter().filter_map(|answer| answer.said.as_ref());
    for (breach, refused, ended) in said.flat_map(|said| &said.refused) {
        let count = counts.entry(breach.name()).or_default();
        count.0 += refused;
        count.1 += ended;
    }
    html.lit("<section aria-labelledby=\"h-refused\"><div class=\"head\"><h2 id=\"h-refused\">Refused by guards</h2></div>");
    if counts.is_empty() {
        html.lit("<p class=\"none\">Nothing.</p></section>");
        return;
    }
    html.lit("<div class=\"scroll\"><table><caption class=\"unseen\">Refused by guards</caption><thead><tr>")
        .lit("<th scope=\"col\">Rule or limit</th><th scope=\"col\" class=\"n\">Times</th>")
        .lit("<th scope=\"col\" class=\"n\">Ended the connection</th></tr></thead><tbody>");
    for (breach, (refused, ended)) in counts {
        html.lit("<tr><th scope=\"row\"><code>")
            .put(breach)
            .lit("</code></th>");
        number(html, refused);
        number(html, ended);
        html.lit("</tr>");
    }
    html.lit("</tbody></table></div></section>");
}

fn last(html: &mut Html, answers: &[Answer<Limits>]) {
    let said = answers
        .iter()
        .filter_map(|answer| Some((&answer.board, answer.said.as_ref()?)));
    let mut rows: Vec<(&Arc<str>, &RefusalRow)> = said
        .flat_map(|(board, said)| said.last.iter().map(move |row| (board, row)))
        .collect();
    rows.sort_by_key(|(_, row)| row.ago);
    rows.truncate(50);
    if rows.is_empty() {
        return;
    }
    html.lit("<section aria-labelledby=\"h-last\"><div class=\"head\"><h2 id=\"h-last\">The last ones</h2></div>")
        .lit("<div class=\"scroll\"><table><caption class=\"unseen\">The last refusals</caption><thead><tr>")
        .lit("<th scope=\"col\">What happened</th><th scope=\"col\">Rule or limit</th><th scope=\"col\">Peer</th>")
        .lit("<th scope=\"col\" class=\"n\">When</th></tr></thead><tbody>");
    for (board, row) in rows {
        html.lit("<tr><th scope=\"row\">");
        name(html, &row.text);
        html.lit("<span class=\"sub\">");
        html.lit(if row.ends {
            "ended the connection · "
        } else {
            "answered with an error · "
        });
        name(html, board);
        html.lit("</span></th><td><code>")
            .put(row.breach)
            .lit("</code></td><td>");
        name(html, &row.peer);
        html.lit("</td><td class=\"n\">")
            .put(words::age(row.ago))
            .lit(" ago</td></tr>");
    }
    html.lit("</tbody></table></div></section>");
}

fn kept(html: &mut Html, answers: &[Answer<Limits>]) {
    let (mut kept, mut left_out) = (Kept::default(), LeftOut::default());
    for said in answers.iter().filter_map(|answer| answer.said.as_ref()) {
        kept.add(said.kept);
        left_out.add(said.left_out);
    }
    html.lit("<section aria-labelledby=\"h-kept\"><div class=\"head\"><h2 id=\"h-kept\">This page</h2></div>")
        .lit("<p class=\"hint\">It keeps a limited number of everything. What goes beyond is counted.</p>")
        .lit("<div class=\"scroll\"><table><caption class=\"unseen\">What this page keeps</caption><thead><tr>")
        .lit("<th scope=\"col\">What</th><th scope=\"col\" class=\"n\">How many</th></tr></thead><tbody>");
    for (what, _, count) in kept.iter() {
        html.lit("<tr><th scope=\"row\">Kept: ")
            .lit(what)
            .lit("</th>");
        number(html, count as u64);
        html.lit("</tr>");
    }
    for (what, _, count) in left_out.iter() {
        html.lit("<tr><th scope=\"row\">Not kept: ")
            .lit(what)
            .lit("</th>");
        number(html, count);
        html.lit("</tr>");
    }
    html.lit("</tbody></table></div></section>");
}
