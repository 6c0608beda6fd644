//! Which updates have been answered, and who waits for that.

use std::collections::VecDeque;

use futures::channel::oneshot;

use crate::error::{Error, Result};
use crate::trace::EnrichStatus;

/// The updates that were sent, by their numbers, which count from zero.
pub(super) struct Answers {
    /// The first that has not been answered, and of all from there on, whether they have.
    first: u64,
    answered: VecDeque<bool>,
    unanswered: usize,
    worst: Worst,
    waiting: Vec<Waiting>,
}

/// The worst that became of what was written since somebody was told.
#[derive(Clone, Copy)]
pub(super) struct Worst(EnrichStatus);

/// Somebody who waits for the answers to all before `until`.
struct Waiting {
    until: u64,
    tell: oneshot::Sender<Result<EnrichStatus>>,
}

/// What is to be told, and whom. Their wakers may run anybody's code.
#[must_use]
pub(super) struct Told {
    waiting: Vec<Waiting>,
    what: Result<EnrichStatus>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            first: 0,
            answered: VecDeque::new(),
            unanswered: 0,
            worst: Worst::new(),
            waiting: Vec::new(),
        }
    }

    /// How many updates are on their way.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// One more is sent: its number.
    pub(super) fn sent(&mut self) -> u64 {
        self.answered.push_back(false);
        self.unanswered += 1;
        self.next() - 1
    }

    /// The number of the next that is sent.
    fn next(&self) -> u64 {
        self.first + self.answered.len() as u64
    }

    /// An update has been answered, in whatever order.
    pub(super) fn answered(&mut self, number: u64, status: EnrichStatus) -> Told {
        self.worst.note(status);
        let index = number.checked_sub(self.first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(answered) = index.and_then(|index| self.answered.get_mut(index)) {
            self.unanswered -= usize::from(!std::mem::replace(answered, true));
        }
        while self.answered.front() == Some(&true) {
            self.answered.pop_front();
            self.first += 1;
        }
        let first = self.first;
        let is_done = |waiting: &mut Waiting| waiting.until <= first;
        let waiting: Vec<_> = self.waiting.extract_if(.., is_done).collect();
        let what = match waiting[..] {
            [] => EnrichStatus::Applied,
            _ => self.worst.take(),
        };
        Told {
            waiting,
            what: Ok(what),
        }
    }

    /// Waits for the answers to all that was sent, and to the next if there is something to be sent.
    pub(super) fn wait(&mut self, is_more: bool) -> Flushed {
        let until = self.next() + u64::from(is_more);
        if until <= self.first {
            return Flushed::Known(Ok(self.worst.take()));
        }
        self.waiting.retain(|waiting| !waiting.tell.is_canceled());
        let (tell, told) = oneshot::channel();
        self.waiting.push(Waiting { until, tell });
        Flushed::Waiting(told)
    }

    /// Nobody is to wait any more.
    pub(super) fn end(&mut self, what: Result<EnrichStatus>) -> Told {
        let waiting = std::mem::take(&mut self.waiting);
        Told { waiting, what }
    }
}

impl Worst {
    pub(super) const fn new() -> Self {
        Self(EnrichStatus::Applied)
    }

    pub(super) fn note(&mut self, status: EnrichStatus) {
        self.0 = match (self.0, status) {
            (EnrichStatus::SpanEnded, _) | (_, EnrichStatus::SpanEnded) => EnrichStatus::SpanEnded,
            (EnrichStatus::Overloaded, _) => EnrichStatus::Overloaded,
            (EnrichStatus::Applied, status) => status,
        };
    }

    /// Somebody is told. The end of a span is for ever.
    pub(super) fn take(&mut self) -> EnrichStatus {
        let worst = self.0;
        if worst == EnrichStatus::Overloaded {
            self.0 = EnrichStatus::Applied;
        }
        worst
    }
}

/// What became of what was written, now or later.
pub(super) enum Flushed {
    Known(Result<EnrichStatus>),
    Waiting(oneshot::Receiver<Result<EnrichStatus>>),
}

/// What is said to who asks when the event is over.
pub(super) fn over() -> Error {
    Error::ended("the event is over, and its caller had not answered")
}

impl Told {
    pub(super) fn tell(self) {
        for waiting in self.waiting {
            // Whoever no longer waits need not know.
            let _gone = waiting.tell.send(self.what.clone());
        }
    }
}
