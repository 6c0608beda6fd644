//! What a board says of what was refused, and of what it could not keep.

use std::time::Duration;

use crate::guard::Breach;

#[derive(Default)]
pub(in crate::page) struct Limits {
    /// By the guards' rules and limits: how often, and how often that ended the connection. Only what
    /// has happened.
    pub(in crate::page) refused: Vec<(Breach, u64, u64)>,
    /// The last ones, latest first.
    pub(in crate::page) last: Vec<RefusalRow>,
    pub(in crate::page) kept: Kept,
    pub(in crate::page) left_out: LeftOut,
}

/// One time that a guard stepped in.
#[derive(Clone)]
pub(in crate::page) struct RefusalRow {
    pub(in crate::page) peer: String,
    pub(in crate::page) breach: Breach,
    pub(in crate::page) text: String,
    pub(in crate::page) ends: bool,
    pub(in crate::page) ago: Duration,
}

/// How much the page keeps.
#[derive(Clone, Copy, Default)]
pub(in crate::page) struct Kept {
    pub(in crate::page) open: usize,
    pub(in crate::page) recent: usize,
    pub(in crate::page) spans: usize,
    pub(in crate::page) methods: usize,
}

/// What the page could not keep.
#[derive(Clone, Copy, Default)]
pub(in crate::page) struct LeftOut {
    /// Open sessions of which only is known that there are.
    pub(in crate::page) sessions: u64,
    /// Spans of sessions.
    pub(in crate::page) spans: u64,
    /// Spans that belong to no session that is known.
    pub(in crate::page) strays: u64,
    /// Calls of methods that are not told apart any more.
    pub(in crate::page) calls: u64,
}

impl LeftOut {
    /// Each with its name, for people and for JSON.
    pub(in crate::page) fn iter(&self) -> [(&'static str, &'static str, u64); 4] {
        [
            ("open sessions beyond the limit", "sessions", self.sessions),
            ("spans beyond the limits", "spans", self.spans),
            ("spans outside of any session", "strays", self.strays),
            (
                "calls of methods beyond the limit, counted together",
                "calls",
                self.calls,
            ),
        ]
    }

    pub(in crate::page) fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.spans += other.spans;
        self.strays += other.strays;
        self.calls += other.calls;
    }
}

impl Kept {
    /// Each with its name, for people and for JSON.
    pub(in crate::page) fn iter(&self) -> [(&'static str, &'static str, usize); 4] {
        [
            ("open sessions", "open", self.open),
            ("closed sessions", "recent", self.recent),
            ("spans of sessions", "spans", self.spans),
            ("methods", "methods", self.methods),
        ]
    }

    pub(in crate::page) fn add(&mut self, other: Self) {
        self.open += other.open;
        self.recent += other.recent;
        self.spans += other.spans;
        self.methods += other.methods;
    }
}
