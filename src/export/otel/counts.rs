//! What became of the records.

/// What became of the records, spans and late updates, that an [`Otel`](super::Otel) was given.
///
/// All are of one moment: `emitted` is always `exported` + [`dropped`](Self::dropped) + `queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtelCounts {
    /// Records that its observers were told of and that are for it.
    pub emitted: u64,
    /// Records that the collector has taken.
    pub exported: u64,
    /// Records that came when the queue was full.
    pub dropped_queue_full: u64,
    /// Records that the collector has refused, or has not taken in time.
    pub dropped_export_failed: u64,
    /// Records that came after the shutdown, or were not exported before its deadline. Of the batch that was
    /// on its way at that moment, the collector may have taken some all the same.
    pub dropped_shut_down: u64,
    /// Records that wait, or are on their way.
    pub queued: u64,
}

impl OtelCounts {
    /// Records that no collector will see, for whatever cause.
    pub fn dropped(&self) -> u64 {
        self.dropped_queue_full + self.dropped_export_failed + self.dropped_shut_down
    }
}
