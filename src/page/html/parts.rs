//! What several pages have.

use std::time::Duration;

use super::markup::Html;
use super::words;
use crate::page::query::{Columns, Query, Sort};
use crate::page::settings::Settings;
use crate::trace::{Outcome, SpanId};

/// How many characters of a name stand in a table; the rest is in its title.
const NAME_CHARACTERS: usize = 80;

/// A name, or another text of anybody's, apart from the direction of what stands around it.
pub(super) fn name(html: &mut Html, name: &str) {
    match name.char_indices().nth(NAME_CHARACTERS) {
        None => {
            html.lit("<bdi>");
            breakable(html, name);
            html.lit("</bdi>");
        }
        Some((end, _)) => {
            html.lit("<bdi title=\"").put(name).lit("\">");
            breakable(html, &name[..end]);
            html.lit("…</bdi>");
        }
    }
}

/// Where there is little room, a line may end behind a slash.
fn breakable(html: &mut Html, name: &str) {
    for (place, part) in name.split_inclusive('/').enumerate() {
        html.lit(if place > 0 { "<wbr>" } else { "" }).put(part);
    }
}

/// How something ended.
pub(super) fn outcome(html: &mut Html, outcome: Option<Outcome>, is_open: bool) {
    let (class, word) = match (is_open, outcome) {
        (true, _) => ("open", "open"),
        (false, Some(outcome)) => (outcome.as_str(), outcome.as_str()),
        (false, None) => ("ok", "closed"),
    };
    html.lit("<span class=\"badge ")
        .put(class)
        .lit("\">")
        .put(word)
        .lit("</span>");
}

pub(super) fn session_link(html: &mut Html, settings: &Settings, id: SpanId, called: &str) {
    html.lit("<a href=\"")
        .put(&settings.base)
        .lit("/tracez/session/")
        .put(id)
        .lit("\">");
    name(html, called);
    html.lit("</a>");
}

/// A number's cell.
pub(super) fn number(html: &mut Html, number: impl TryInto<u64>) {
    html.lit("<td class=\"n\">")
        .put(words::count(number))
        .lit("</td>");
}

/// A time's cell, empty where there is none.
pub(super) fn time(html: &mut Html, class: &'static str, time: Option<Duration>) {
    let text = time.map(words::duration);
    html.lit("<td class=\"n ").lit(class).lit("\">");
    html.put(text.as_deref().unwrap_or("–")).lit("</td>");
}

/// The head of a column that a table can be sorted by.
pub(super) struct Head<'a> {
    pub(super) settings: &'a Settings,
    pub(super) query: &'a Query,
    pub(super) columns: Columns,
    pub(super) sort: Sort,
    /// Puts another order into a query.
    pub(super) set: fn(&mut Query, Sort),
}

impl Head<'_> {
    pub(super) fn write(
        &self,
        html: &mut Html,
        column: &'static str,
        label: &'static str,
        class: &'static str,
    ) {
        let is_sorted = self.sort.column == column;
        let mut clicked = self.query.clone();
        (self.set)(&mut clicked, self.columns.clicked(self.sort, column));
        html.lit("<th scope=\"col\" class=\"").lit(class);
        html.lit(match (is_sorted, self.sort.is_descending) {
            (false, _) => "\">",
            (true, true) => "\" aria-sort=\"descending\">",
            (true, false) => "\" aria-sort=\"ascending\">",
        });
        html.lit("<a class=\"sort\" data-live id=\"sort-")
            .lit(self.columns.parameter);
        html.lit("-").lit(column).lit("\" href=\"");
        html.put(&self.settings.base)
            .lit("/tracez")
            .put(clicked.write())
            .lit("\">");
        html.lit(label).lit("</a></th>");
    }
}
