//! What of the overview is asked for: what is searched for, and in which order.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::view::{MethodRow, OpenRow, Outcomes, RecentRow, cut};
use crate::trace::{Outcome, SpanKind};

/// How many bytes of what is searched for are looked at.
const SEARCH_BYTES: usize = 200;

/// What of the overview is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// What each row must have somewhere, in any case.
    pub(super) search: String,
    pub(super) outcome: Option<Outcome>,
    pub(super) open: Sort,
    pub(super) recent: Sort,
    pub(super) methods: Sort,
}

/// The order of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: &'static str,
    /// Is the largest one first?
    pub(super) is_descending: bool,
}

/// A table that can be sorted.
pub(super) struct Columns {
    /// The parameter that says how.
    pub(super) parameter: &'static str,
    /// What can be sorted by, the default first. Of numbers the largest is first at first.
    names: &'static [(&'static str, bool)],
}

pub(super) const OPEN: Columns = Columns {
    parameter: "open",
    names: &[
        ("age", true),
        ("name", false),
        ("calls", true),
        ("capabilities", true),
    ],
};

pub(super) const RECENT: Columns = Columns {
    parameter: "recent",
    names: &[
        ("ended", false),
        ("name", false),
        ("outcome", false),
        ("took", true),
        ("spans", true),
    ],
};

pub(super) const METHODS: Columns = Columns {
    parameter: "methods",
    names: &[
        ("calls", true),
        ("name", false),
        ("failed", true),
        ("p50", true),
        ("p90", true),
        ("p99", true),
        ("max", true),
    ],
};

impl Columns {
    fn first(&self) -> Sort {
        let (column, is_descending) = self.names[0];
        Sort {
            column,
            is_descending,
        }
    }

    /// `name`, or `-name` for the other way round.
    fn parse(&self, text: &str) -> Option<Sort> {
        let (turned, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let (column, is_descending) = *self.names.iter().find(|(known, _)| *known == name)?;
        Some(Sort {
            column,
            is_descending: is_descending != turned,
        })
    }

    /// What `parse` makes `sort` of.
    fn write(&self, sort: Sort) -> String {
        let known = self.names.iter().find(|(name, _)| *name == sort.column);
        match known.is_some_and(|(_, at_first)| *at_first != sort.is_descending) {
            true => format!("-{}", sort.column),
            false => sort.column.into(),
        }
    }

    /// What a click on `column` leads to.
    pub(super) fn clicked(&self, now: Sort, column: &'static str) -> Sort {
        let known = self.names.iter().find(|(name, _)| *name == column);
        Sort {
            column,
            is_descending: match now.column == column {
                true => !now.is_descending,
                false => known.is_some_and(|(_, is_descending)| *is_descending),
            },
        }
    }
}

impl Default for Query {
    fn default() -> Self {
        Self {
            search: String::new(),
            outcome: None,
            open: OPEN.first(),
            recent: RECENT.first(),
            methods: METHODS.first(),
        }
    }
}

impl Query {
    /// From the part of a URL behind `?`. What it does not know it leaves alone.
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in parameters(text) {
            match &*name {
                "q" => query.search = cut(value.trim(), SEARCH_BYTES).to_lowercase(),
                "outcome" => query.outcome = value.parse().ok(),
                "open" => query.open = OPEN.parse(&value).unwrap_or(query.open),
                "recent" => query.recent = RECENT.parse(&value).unwrap_or(query.recent),
                "methods" => query.methods = METHODS.parse(&value).unwrap_or(query.methods),
                _ => {}
            }
        }
        query
    }

    /// All of it but what is searched for and what is as it is by default, as parameters.
    pub(super) fn others(&self) -> Vec<(&'static str, String)> {
        let default = Self::default();
        let outcome = self.outcome.map(|outcome| ("outcome", outcome.to_string()));
        let sorts = [
            (OPEN, self.open, default.open),
            (RECENT, self.recent, default.recent),
            (METHODS, self.methods, default.methods),
        ];
        let sorts = sorts.into_iter().filter(|(_, sort, usual)| sort != usual);
        let sorts = sorts.map(|(columns, sort, _)| (columns.parameter, columns.write(sort)));
        outcome.into_iter().chain(sorts).collect()
    }

    /// The same as a part of a URL, with `?`; empty where all is as it is by default.
    pub(super) fn write(&self) -> String {
        let searched = Some(("q", encode(&self.search))).filter(|(_, q)| !q.is_empty());
        let all = searched.into_iter().chain(self.others());
        let parts: Vec<_> = all.map(|(name, value)| format!("{name}={value}")).collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!("?{}", parts.join("&")),
        }
    }

    /// Is nothing searched for?
    pub(super) fn is_default_search(&self) -> bool {
        self.search.is_empty() && self.outcome.is_none()
    }

    pub(super) fn matches_open(&self, row: &OpenRow<&str>) -> bool {
        let id = || row.id.map(|id| id.to_string());
        self.outcome.is_none()
            && (self.finds(row.name)
                || row.peer.is_some_and(|peer| self.finds(peer))
                || id().is_some_and(|id| self.finds(&id)))
    }

    pub(super) fn matches_recent(&self, row: &RecentRow) -> bool {
        (self.outcome.is_none() || self.outcome == row.outcome)
            && (self.finds(&row.name)
                || row.peer.as_deref().is_some_and(|peer| self.finds(peer))
                || row.why.as_deref().is_some_and(|why| self.finds(why))
                || self.finds(&row.id.to_string()))
    }

    pub(super) fn matches_method(&self, row: &MethodRow) -> bool {
        self.finds(&row.name)
    }

    fn finds(&self, text: &str) -> bool {
        self.search.is_empty() || text.to_lowercase().contains(&self.search)
    }

    pub(super) fn sort_open<T: Ord>(&self, rows: &mut [OpenRow<T>]) {
        self.open.sort(rows, |column, a, b| match column {
            "name" => a.name.cmp(&b.name),
            "calls" => a.calls.cmp(&b.calls),
            "capabilities" => a.capabilities.cmp(&b.capabilities),
            _ => a.age.cmp(&b.age),
        });
    }

    pub(super) fn sort_recent(&self, rows: &mut [RecentRow]) {
        self.recent.sort(rows, |column, a, b| match column {
            "name" => a.name.cmp(&b.name),
            "outcome" => Outcomes::place(a.outcome).cmp(&Outcomes::place(b.outcome)),
            "took" => a.took.cmp(&b.took),
            "spans" => a.spans.cmp(&b.spans),
            _ => a.ago.cmp(&b.ago),
        });
    }

    pub(super) fn sort_methods(&self, rows: &mut [MethodRow]) {
        let is_made_here = |row: &MethodRow| row.side == SpanKind::Client;
        rows.sort_by(|a, b| (&a.name, is_made_here(a)).cmp(&(&b.name, is_made_here(b))));
        self.methods.sort(rows, |column, a, b| match column {
            "name" => a.name.cmp(&b.name),
            "failed" => a.failed.cmp(&b.failed),
            "p50" => a.latency(0.5).cmp(&b.latency(0.5)),
            "p90" => a.latency(0.9).cmp(&b.latency(0.9)),
            "p99" => a.latency(0.99).cmp(&b.latency(0.99)),
            "max" => a.latency(1.0).cmp(&b.latency(1.0)),
            _ => a.begun.cmp(&b.begun),
        });
    }
}

impl Sort {
    fn sort<T>(self, rows: &mut [T], compare: impl Fn(&str, &T, &T) -> Ordering) {
        match self.is_descending {
            true => rows.sort_by(|a, b| compare(self.column, b, a)),
            false => rows.sort_by(|a, b| compare(self.column, a, b)),
        }
    }
}

/// The parameters of a URL, decoded.
pub(super) fn parameters(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3);
        let escaped = hex.filter(|_| byte == b'%');
        let escaped = escaped.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(escaped) => {
                decoded.push(escaped);
                at += 3;
            }
            None => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// `text` as a part of a URL.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_the_way_there_and_back() {
        for text in [
            "",
            "?q=a%20%26%20%C3%A4",
            "?q=x&outcome=timeout&open=-age&recent=took&methods=-p99",
        ] {
            let query = Query::parse(text.trim_start_matches('?'));
            assert_eq!(query.write(), text);
        }
    }

    #[test]
    fn what_it_does_not_know_is_left_alone() {
        let query = Query::parse("open=nothing&outcome=none&x&=&%zz=%&&methods=--p99");
        assert_eq!(query, Query::default());
    }

    #[test]
    fn what_is_searched_for_is_decoded_and_cut() {
        assert_eq!(Query::parse("q=+A%c3%A4%ff+b ").search, "aä\u{fffd} b");
        let long = format!("q={}", "ä".repeat(5_000));
        assert_eq!(Query::parse(&long).search.len(), SEARCH_BYTES);
    }

    #[test]
    fn a_second_click_turns_the_order() {
        let age = Query::default().open;
        let calls = OPEN.clicked(age, "calls");
        assert!(calls.column == "calls" && calls.is_descending);
        assert!(!OPEN.clicked(calls, "calls").is_descending);
        assert!(!OPEN.clicked(age, "name").is_descending);
    }
}
