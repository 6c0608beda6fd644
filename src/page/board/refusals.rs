//! What guards have refused.

use std::collections::VecDeque;

use crate::guard::{Breach, Refusal};
use crate::page::view::{RefusalRow, TEXT_BYTES, cut};
use crate::trace::Timestamp;

/// How many are kept with their texts.
const MAX_LAST: usize = 50;

pub(super) struct Refusals {
    /// By breach: how often, and how often that ended the connection.
    counts: Vec<(u64, u64)>,
    last: VecDeque<Noted>,
}

struct Noted {
    peer: Box<str>,
    breach: Breach,
    text: Box<str>,
    ends: bool,
    at: Timestamp,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            counts: vec![(0, 0); Breach::ALL.len()],
            last: VecDeque::new(),
        }
    }
}

impl Refusals {
    pub(super) fn note(&mut self, refusal: &Refusal<'_>, at: Timestamp) {
        let place = Breach::ALL.iter().position(|b| *b == refusal.breach);
        if let Some((refused, ended)) = place.and_then(|place| self.counts.get_mut(place)) {
            *refused += 1;
            *ended += u64::from(refusal.ends);
        }
        self.last.truncate(MAX_LAST - 1);
        self.last.push_front(Noted {
            peer: cut(refusal.peer, TEXT_BYTES).into(),
            breach: refusal.breach,
            text: cut(refusal.text, TEXT_BYTES).into(),
            ends: refusal.ends,
            at,
        });
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|(refused, _)| refused).sum()
    }

    /// Those that have happened.
    pub(super) fn counts(&self) -> Vec<(Breach, u64, u64)> {
        let counts = Breach::ALL.iter().zip(&self.counts);
        let counts = counts.map(|(breach, (refused, ended))| (*breach, *refused, *ended));
        counts.filter(|(_, refused, _)| *refused > 0).collect()
    }

    /// The last ones, latest first.
    pub(super) fn last(&self, now: Timestamp) -> Vec<RefusalRow> {
        let rows = self.last.iter().map(|noted| RefusalRow {
            peer: noted.peer.to_string(),
            breach: noted.breach,
            text: noted.text.to_string(),
            ends: noted.ends,
            ago: now.duration_since(noted.at),
        });
        rows.collect()
    }
}
