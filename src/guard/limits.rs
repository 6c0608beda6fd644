//! How much a peer may have, and how fast.

use std::time::Duration;

/// A limit of time is no longer than a hundred years: no clock could add it to what it shows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How much of everything the peer of one connection may have at once.
///
/// Past a limit a call is answered with an error (`overloaded`) and is not begun; what is no call, or can't
/// be answered, ends the connection with an `Abort` that names the limit. Each has a counter
/// ([`Guard::count`](super::Guard::count)).
///
/// ```
/// # use capspan::guard::GuardLimits;
/// let limits = GuardLimits::default().max_calls(256).max_exports(1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    pub(super) calls: usize,
    pub(super) unfinished: usize,
    pub(super) call_bytes: u64,
    pub(super) exports: usize,
    pub(super) imports: usize,
    pub(super) capabilities: u32,
    pub(super) pipeline_depth: u8,
    pub(super) hops: u8,
    pub(super) waiting: usize,
    pub(super) messages_a_second: Option<u32>,
    pub(super) bytes_a_second: Option<u64>,
    pub(super) canceled_of: u32,
    pub(super) queued: u64,
    pub(super) burst: u64,
    /// None of these is above [`LONGEST`].
    pub(super) first_message: Duration,
    pub(super) half_message: Duration,
    pub(super) last_message: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            calls: 16_384,
            unfinished: 65_536,
            call_bytes: 64 << 20,
            exports: 65_536,
            imports: 65_536,
            capabilities: 1_024,
            pipeline_depth: 64,
            hops: 64,
            waiting: 1_024,
            messages_a_second: None,
            bytes_a_second: None,
            canceled_of: 500,
            queued: 4 << 20,
            burst: 64 << 20,
            first_message: Duration::from_secs(30),
            half_message: Duration::from_secs(30),
            last_message: Duration::from_secs(30),
        }
    }
}

impl GuardLimits {
    /// Calls of the peer's that have not returned, and were not canceled; default 16,384. More are answered
    /// `overloaded`.
    #[must_use]
    pub fn max_calls(mut self, count: usize) -> Self {
        self.calls = count;
        self
    }

    /// Calls of the peer's that are not over for both sides: not returned, or not finished; default 65,536.
    /// A canceled call holds its place for good, as `capnp-rpc` never returns it. More end the connection.
    #[must_use]
    pub fn max_unfinished(mut self, count: usize) -> Self {
        self.unfinished = count;
        self
    }

    /// Bytes of the peer's calls that have not returned; default 64 MiB. One that is larger than this on
    /// its own is never begun. Results with capabilities count until the peer finishes the call. So do those that stay
    /// on this side (`sendResultsTo.yourself`), which are dropped past the limit. In force where bytes are counted ([`Guard::counting_reader`](super::Guard::counting_reader)).
    #[must_use]
    pub fn max_call_bytes(mut self, bytes: u64) -> Self {
        self.call_bytes = bytes;
        self
    }

    /// Capabilities of this side's that the peer holds; default 65,536. With as many, calls are answered
    /// `overloaded`; what those in flight bring yet comes on top.
    #[must_use]
    pub fn max_exports(mut self, count: usize) -> Self {
        self.exports = count;
        self
    }

    /// Capabilities of the peer's that this side holds; default 65,536. A call that brings more is answered
    /// `overloaded`, and results that do are replaced by that error.
    #[must_use]
    pub fn max_imports(mut self, count: usize) -> Self {
        self.imports = count;
        self
    }

    /// Capabilities in one message; default 1,024.
    #[must_use]
    pub fn max_capabilities(mut self, count: u32) -> Self {
        self.capabilities = count;
        self
    }

    /// How deep calls may be pipelined on calls that have not returned, and on promises, and how many fields
    /// down in the results of one: else a deep chain would use up the stack; default 64.
    #[must_use]
    pub fn max_pipeline_depth(mut self, depth: u8) -> Self {
        self.pipeline_depth = depth;
        self
    }

    /// How many promises may lead to each other; default 64. One more is broken.
    #[must_use]
    pub fn max_hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Promises of the peer's that have resolved to what this side has not promised to the end; default
    /// 1,024. One more is broken.
    #[must_use]
    pub fn max_waiting(mut self, count: usize) -> Self {
        self.waiting = count;
        self
    }

    /// Messages a second, over any second; by default as many as it likes.
    #[must_use]
    pub fn messages_a_second(mut self, count: u32) -> Self {
        self.messages_a_second = Some(count);
        self
    }

    /// Bytes a second; by default as many as it likes. In force where bytes are counted.
    #[must_use]
    pub fn bytes_a_second(mut self, bytes: u64) -> Self {
        self.bytes_a_second = Some(bytes);
        self
    }

    /// The connection is ended when of `calls` calls more than half were finished before they had returned,
    /// all within a second; default 500.
    #[must_use]
    pub fn max_canceled_of(mut self, calls: u32) -> Self {
        self.canceled_of = calls.max(1);
        self
    }

    /// Bytes in answer to the peer that it has left unread for a whole turn of the event loop when there are
    /// more, besides the message that it is reading; default 4 MiB. Calls of this side's don't count: how many
    /// it makes is its own affair.
    #[must_use]
    pub fn max_queued(mut self, bytes: u64) -> Self {
        self.queued = bytes;
        self
    }

    /// Bytes that wait to be sent in answer, for however short a time; default 64 MiB. A message that finds
    /// less is sent, whatever its size.
    #[must_use]
    pub fn max_burst(mut self, bytes: u64) -> Self {
        self.burst = bytes;
        self
    }

    /// How long the first message may take; default 30 s. Needs a [timer](super::GuardOptions::timer).
    #[must_use]
    pub fn first_message(mut self, limit: Duration) -> Self {
        self.first_message = limit.min(LONGEST);
        self
    }

    /// How long a message may take from its first byte to its last; default 30 s. Needs a timer, and is in
    /// force where bytes are counted.
    #[must_use]
    pub fn half_message(mut self, limit: Duration) -> Self {
        self.half_message = limit.min(LONGEST);
        self
    }

    /// How long the peer may take to read what waits for it when the connection has come to its end, be it that it
    /// closed it; default 30 s. The rest is dropped. Needs a timer.
    #[must_use]
    pub fn last_message(mut self, limit: Duration) -> Self {
        self.last_message = limit.min(LONGEST);
        self
    }
}
