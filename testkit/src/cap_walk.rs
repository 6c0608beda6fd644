//! A property of the membrane that must hold for every message.

/// Placeholder.
pub fn cap_walk(_data: &[u8]) {}
