//! Capabilities in messages, found and exchanged without copying the message.
//!
//! A capability pointer holds an index into a table that lies beside the message. Who reads gets a
//! table of ours with the same indices ([`Incoming`]); who writes fills a table of ours, from which the
//! real one is filled in order ([`Outgoing`]). The message itself is never written, but for one
//! capability pointer that gets back the index it had.
//!
//! - [`walk`]: finds the capability pointers of a message, on an explicit stack.
//! - [`incoming`]: the mirror of a table, for readers.
//! - [`outgoing`]: the stand-in for a table, for builders.

mod any_struct;
mod incoming;
mod outgoing;
mod walk;

pub(super) use incoming::Incoming;
pub(super) use outgoing::Outgoing;
