//! What no run does, as `capnp-rpc` 0.27.3 can't stand it and the guard does not keep it away. To see what happens,
//! change one; when it is mended, take it out.

/// Our side makes nothing of the peer's promises before they are settled, but for calls: a call with a capability that
/// is handed on to a promise panics where that has become something of our own, or has broken (`rpc.rs:2015`,
/// `rpc.rs:2086`).
pub(super) const HANDS_ON_NO_PROMISE: bool = true;

/// The peer never gives back what it was given, by name or as an answer: a call on a promise with itself among its
/// parameters panics (`queued.rs:278`, `queued.rs:321`).
pub(super) const GIVES_NOTHING_BACK: bool = true;
