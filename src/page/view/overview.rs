//! What a board says of all that it has seen.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::LeftOut;
use crate::page::boards::Answer;
use crate::page::query::Query;
use crate::trace::{Outcome, SpanId, SpanKind};

/// How many open sessions are shown, and how many that are over.
pub(in crate::page) const MAX_SHOWN: usize = 200;

#[derive(Default)]
pub(in crate::page) struct Overview {
    /// Those that were asked for, as many as are shown.
    pub(in crate::page) open: Vec<OpenRow>,
    /// How many there are in all.
    pub(in crate::page) open_count: usize,
    /// How many match what was searched for.
    pub(in crate::page) open_matching: usize,
    pub(in crate::page) calls: usize,
    pub(in crate::page) capabilities: usize,
    /// How many have begun so far.
    pub(in crate::page) begun: u64,
    pub(in crate::page) outcomes: Outcomes,
    pub(in crate::page) recent: Vec<RecentRow>,
    pub(in crate::page) methods: Vec<MethodRow>,
    pub(in crate::page) refused: u64,
    pub(in crate::page) left_out: LeftOut,
}

impl Overview {
    /// What all boards say, as one, and the names of those that say nothing.
    pub(in crate::page) fn of_all(
        answers: Vec<Answer<Self>>,
        query: &Query,
    ) -> (Self, Vec<Arc<str>>) {
        let mut all = Self::default();
        let mut silent = Vec::new();
        for Answer { board, said } in answers {
            match said {
                Some(said) => all.add(said),
                None => silent.push(board),
            }
        }
        query.sort_open(&mut all.open);
        all.open.truncate(MAX_SHOWN);
        query.sort_recent(&mut all.recent);
        all.recent.truncate(MAX_SHOWN);
        query.sort_methods(&mut all.methods);
        (all, silent)
    }

    fn add(&mut self, other: Self) {
        self.open.extend(other.open);
        self.open_count += other.open_count;
        self.open_matching += other.open_matching;
        self.calls += other.calls;
        self.capabilities += other.capabilities;
        self.begun += other.begun;
        self.outcomes.add(other.outcomes);
        self.recent.extend(other.recent);
        for row in other.methods {
            let same = |known: &&mut MethodRow| known.name == row.name && known.side == row.side;
            match self.methods.iter_mut().find(same) {
                Some(known) => known.add(row),
                None => self.methods.push(row),
            }
        }
        self.refused += other.refused;
        self.left_out.add(other.left_out);
    }
}

/// An open session, or another event that is under way. Its texts are copied when it is to be shown.
pub(in crate::page) struct OpenRow<T = String> {
    /// `None` where it is not observed.
    pub(in crate::page) id: Option<SpanId>,
    pub(in crate::page) name: T,
    pub(in crate::page) peer: Option<T>,
    pub(in crate::page) side: Option<SpanKind>,
    pub(in crate::page) age: Option<Duration>,
    pub(in crate::page) calls: usize,
    pub(in crate::page) capabilities: usize,
}

impl OpenRow<&str> {
    pub(in crate::page) fn to_shown(&self) -> OpenRow {
        OpenRow {
            id: self.id,
            name: self.name.to_owned(),
            peer: self.peer.map(str::to_owned),
            side: self.side,
            age: self.age,
            calls: self.calls,
            capabilities: self.capabilities,
        }
    }
}

/// One that is over.
pub(in crate::page) struct RecentRow {
    pub(in crate::page) id: SpanId,
    pub(in crate::page) name: String,
    pub(in crate::page) peer: Option<String>,
    pub(in crate::page) side: SpanKind,
    pub(in crate::page) outcome: Option<Outcome>,
    pub(in crate::page) why: Option<String>,
    pub(in crate::page) took: Duration,
    /// How long ago it ended.
    pub(in crate::page) ago: Duration,
    /// Of calls and other work in it.
    pub(in crate::page) spans: u64,
}

/// The calls of one method.
#[derive(Clone)]
pub(in crate::page) struct MethodRow {
    pub(in crate::page) name: String,
    pub(in crate::page) side: SpanKind,
    pub(in crate::page) begun: u64,
    pub(in crate::page) ok: u64,
    pub(in crate::page) failed: u64,
    pub(in crate::page) canceled: u64,
    /// In microseconds, of those that were answered.
    pub(in crate::page) latency: Option<Histogram<u32>>,
}

impl MethodRow {
    pub(in crate::page) fn in_flight(&self) -> u64 {
        let ended = self.ok + self.failed + self.canceled;
        self.begun.saturating_sub(ended)
    }

    /// Tells it apart from other methods, and stays the same.
    pub(in crate::page) fn key(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.name, self.side).hash(&mut hasher);
        format!("{:x}", hasher.finish())
    }

    /// What `quantile` of the calls did not exceed; `None` where none has been answered.
    pub(in crate::page) fn latency(&self, quantile: f64) -> Option<Duration> {
        let latency = self.latency.as_ref()?;
        Some(Duration::from_micros(latency.value_at_quantile(quantile)))
    }

    /// Adds the calls of the same method elsewhere.
    pub(in crate::page) fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.ok += other.ok;
        self.failed += other.failed;
        self.canceled += other.canceled;
        match (&mut self.latency, other.latency) {
            // The bounds of both are the same: it can't fail.
            (Some(latency), Some(other)) => drop(latency.add(other)),
            (latency @ None, other) => *latency = other,
            (Some(_), None) => {}
        }
    }
}

/// How many sessions have ended how.
#[derive(Clone, Copy, Default)]
pub(in crate::page) struct Outcomes {
    counts: [u64; Outcome::ALL.len()],
    unsaid: u64,
}

impl Outcomes {
    pub(in crate::page) fn count(&mut self, outcome: Option<Outcome>) {
        match self.counts.get_mut(Self::place(outcome)) {
            Some(count) => *count += 1,
            None => self.unsaid += 1,
        }
    }

    /// In the order of [`Outcome::ALL`], with what is not said at the end.
    pub(in crate::page) fn place(outcome: Option<Outcome>) -> usize {
        let place = Outcome::ALL
            .iter()
            .position(|known| Some(*known) == outcome);
        place.unwrap_or(Outcome::ALL.len())
    }

    pub(in crate::page) fn add(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.unsaid += other.unsaid;
    }

    /// How many have ended in all.
    pub(in crate::page) fn ended(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.unsaid
    }

    /// How many of these went wrong, or are not known to have gone well.
    pub(in crate::page) fn failed(&self) -> u64 {
        let good = [Outcome::Ok, Outcome::Canceled];
        let bad = self.iter().filter(|(outcome, _)| !good.contains(outcome));
        bad.map(|(_, count)| count).sum()
    }

    pub(in crate::page) fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().zip(self.counts)
    }
}
