//! How much a tail holds, and what it has lost.

/// How much may wait to be sent. What goes beyond is lost, and counted in [`TailCounts`].
///
/// ```
/// # use capspan::export::TailLimits;
/// let limits = TailLimits::default().max_invocations(100).max_events(256);
/// ```
#[derive(Clone, Debug)]
pub struct TailLimits {
    pub(super) invocations: usize,
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) total_bytes: usize,
}

impl Default for TailLimits {
    fn default() -> Self {
        Self {
            invocations: 1024,
            events: 1024,
            bytes: 1024 * 1024,
            total_bytes: 64 * 1024 * 1024,
        }
    }
}

impl TailLimits {
    /// Invocations that are being told at once; default 1,024. Those that begin beyond it are not told at
    /// all. Where half of it is reached, an invocation whose span has closed no longer waits for the spans
    /// below it.
    #[must_use]
    pub fn max_invocations(mut self, count: usize) -> Self {
        self.invocations = count;
        self
    }

    /// Tail events of one invocation that wait to be sent; default 1,024. The onset and the outcome do not
    /// count.
    #[must_use]
    pub fn max_events(mut self, count: usize) -> Self {
        self.events = count;
        self
    }

    /// Bytes of them, about; default 1 MiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Bytes of those of all invocations; default 64 MiB.
    #[must_use]
    pub fn max_total_bytes(mut self, bytes: usize) -> Self {
        self.total_bytes = bytes;
        self
    }
}

/// What became of invocations and their tail events. Counters stop at their largest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TailCounts {
    /// Invocations of which telling has begun.
    pub invocations: u64,
    /// Of these, those whose receiver has refused, failed, or gone before their end. What happens in them
    /// after that is not counted as lost.
    pub failed_invocations: u64,
    /// Invocations that are not told at all, as too many were at once.
    pub lost_invocations: u64,
    /// Tail events that were sent. The receiver may still have failed to take the last ones.
    pub sent_events: u64,
    /// Tail events that were not, as too many waited, or as the receiver failed.
    pub lost_events: u64,
}

/// Counts more.
pub(super) fn count(counter: &mut u64, more: usize) {
    *counter = counter.saturating_add(more as u64);
}
