//! What waits to be exported, how much of it there may be, and what became of the rest.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::channel::oneshot;

use super::counts::OtelCounts;
use super::packed::Packed;

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Records that wait or are on their way.
    pub(super) records: usize,
    /// Bytes of them.
    pub(super) bytes: usize,
    /// Records that are exported at once.
    pub(super) batch: usize,
    /// How long records wait for more, from when the worker has time for them.
    pub(super) delay: Duration,
}

/// Between the threads of services, which push, and the worker, which takes. Nobody holds its lock for longer
/// than a few moves take.
pub(super) struct Queue {
    pub(super) limits: Limits,
    state: Mutex<State>,
    /// The worker waits for this one.
    news: Condvar,
    /// Whoever ends the queue with a deadline waits for this one.
    closed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Packed>,
    counts: OtelCounts,
    /// Of all that are in `counts.queued`.
    bytes: usize,
    /// How many records have been let in, and how many of these, in order, are over with.
    accepted: u64,
    finished: u64,
    flushes: Vec<Flush>,
    /// The worker sleeps until it is woken: there was nothing for a while.
    is_idle: bool,
    /// Nothing is let in any more, and what waits has until then.
    end: Option<Instant>,
    /// All that was queued is over with, and the worker's results don't count any more.
    is_closed: bool,
    endings: Vec<oneshot::Sender<OtelCounts>>,
    last_failure: Option<Box<str>>,
}

/// Somebody wants all records up to this one to be over with.
struct Flush {
    upto: u64,
    done: oneshot::Sender<OtelCounts>,
}

/// What became of records that were on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) exported: u64,
    pub(super) failed: u64,
    pub(super) bytes: usize,
}

impl State {
    /// Is there a reason not to wait for a full batch?
    fn is_due(&self, batch: usize) -> bool {
        self.waiting.len() >= batch
            || self.end.is_some()
            || self.is_closed
            || !self.flushes.is_empty()
    }

    /// Whatever is queued is lost. Gives it back, with those who wait for the worker.
    fn close(&mut self) -> (VecDeque<Packed>, Vec<oneshot::Sender<OtelCounts>>) {
        self.counts.dropped_shut_down += self.counts.queued;
        self.counts.queued = 0;
        self.bytes = 0;
        self.is_closed = true;
        let flushes = std::mem::take(&mut self.flushes).into_iter();
        let endings = std::mem::take(&mut self.endings);
        let waiters = flushes.map(|flush| flush.done).chain(endings);
        (std::mem::take(&mut self.waiting), waiters.collect())
    }
}

/// Wakers are not ours: nothing may be locked.
fn tell(waiters: Vec<oneshot::Sender<OtelCounts>>, counts: OtelCounts) {
    for waiter in waiters {
        // Whoever has lost interest is not told.
        let _ = waiter.send(counts);
    }
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            news: Condvar::new(),
            closed: Condvar::new(),
        }
    }

    /// No code but ours runs under the lock, so that a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> OtelCounts {
        self.lock().counts
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        self.lock().last_failure.as_deref().map(str::to_owned)
    }

    // --- for whoever has a record ---

    /// Lets a record in, or counts it as dropped.
    pub(super) fn push(&self, record: Packed) {
        let size = record.size();
        let mut state = self.lock();
        state.counts.emitted += 1;
        if state.end.is_some() || state.is_closed {
            state.counts.dropped_shut_down += 1;
        } else if state.counts.queued >= self.limits.records as u64
            || state.bytes.saturating_add(size) > self.limits.bytes
        {
            state.counts.dropped_queue_full += 1;
        } else {
            state.accepted += 1;
            state.counts.queued += 1;
            state.bytes += size;
            state.waiting.push_back(record);
            let is_full = state.waiting.len() == self.limits.batch;
            if std::mem::take(&mut state.is_idle) || is_full {
                drop(state);
                self.news.notify_one();
            }
            return;
        }
        // The record is dropped without the lock.
        drop(state);
    }

    /// Is done when all that was let in before is over with.
    pub(super) fn flush(&self) -> oneshot::Receiver<OtelCounts> {
        let (done, receiver) = oneshot::channel();
        let mut state = self.lock();
        if state.finished == state.accepted || state.is_closed {
            let _ = done.send(state.counts);
        } else {
            let upto = state.accepted;
            state.flushes.push(Flush { upto, done });
            drop(state);
            self.news.notify_one();
        }
        receiver
    }

    /// Lets nothing more in; what waits is exported until `deadline`, or an earlier one that was set before.
    /// Is done when all is over with. Who is to close the queue at the deadline is for others to see to.
    pub(super) fn end(&self, deadline: Instant) -> oneshot::Receiver<OtelCounts> {
        let (done, receiver) = oneshot::channel();
        let mut state = self.lock();
        let deadline = state.end.map_or(deadline, |set| set.min(deadline));
        state.end = Some(deadline);
        if state.is_closed {
            let _ = done.send(state.counts);
        } else {
            state.endings.push(done);
        }
        drop(state);
        self.news.notify_one();
        receiver
    }

    /// Waits until all is over with, and closes at `deadline`.
    pub(super) fn close_at(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self
            .closed
            .wait_timeout_while(self.lock(), left, |state| !state.is_closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.close();
    }

    /// Counts whatever is still queued as dropped, now.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        let closed = (!state.is_closed).then(|| state.close());
        let counts = state.counts;
        drop(state);
        self.closed.notify_all();
        self.news.notify_one();
        if let Some((_lost, waiters)) = closed {
            tell(waiters, counts);
        }
    }

    // --- for the worker ---

    /// Waits for a batch, and puts all that waits into `taken`, which is empty. `false`: all is over.
    pub(super) fn take(&self, taken: &mut VecDeque<Packed>) -> bool {
        loop {
            let batch = self.limits.batch;
            let mut state = self
                .news
                .wait_timeout_while(self.lock(), self.limits.delay, |state| !state.is_due(batch))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if !state.waiting.is_empty() {
                // Each of the two queues keeps its room.
                std::mem::swap(&mut state.waiting, taken);
                return true;
            }
            if state.end.is_some() || state.is_closed {
                drop(state);
                self.close();
                return false;
            }
            // Nothing for a while: let the processor sleep.
            state.is_idle = true;
            let mut state = self
                .news
                .wait_while(state, |state| {
                    state.waiting.is_empty() && !state.is_due(batch)
                })
                .unwrap_or_else(PoisonError::into_inner);
            state.is_idle = false;
        }
    }

    /// So much of a batch is over with.
    pub(super) fn settle(&self, settled: Settled) {
        let mut state = self.lock();
        if !state.is_closed {
            state.counts.exported += settled.exported;
            state.counts.dropped_export_failed += settled.failed;
            state.counts.queued -= settled.exported + settled.failed;
            state.bytes -= settled.bytes;
        }
    }

    /// All of a batch is over with: so many records.
    pub(super) fn finish(&self, records: usize) {
        let mut state = self.lock();
        state.finished += records as u64;
        let (finished, counts) = (state.finished, state.counts);
        let flushes = state.flushes.extract_if(.., |flush| flush.upto <= finished);
        let waiters = flushes.map(|flush| flush.done).collect();
        drop(state);
        tell(waiters, counts);
    }

    /// Why an export has failed.
    pub(super) fn failed(&self, why: &str) {
        self.lock().last_failure = Some(why.into());
    }

    /// When all is to be over, if that has been said.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        let state = self.lock();
        match state.is_closed {
            true => Some(Instant::now()),
            false => state.end,
        }
    }

    /// Sleeps until `until`, or until all is to be over. Is there time left before that?
    pub(super) fn pause(&self, until: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.is_closed || state.end.is_some_and(|end| end <= now) {
                return false;
            }
            if until <= now {
                return true;
            }
            let until = state.end.map_or(until, |end| end.min(until));
            state = self
                .news
                .wait_timeout(state, until - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
