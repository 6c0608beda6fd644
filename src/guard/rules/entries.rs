//! What is known of the calls and capabilities of a connection.

use std::rc::Rc;

use capnp::message::{Builder, HeapAllocator};

use smallvec::SmallVec;

use super::pointers::Path;
use super::tails::Tail;

/// A message of this side's, as `capnp-rpc` has it.
pub(in crate::guard) type Sent = Rc<Builder<HeapAllocator>>;

/// How many bytes a message has on the wire.
pub(in crate::guard) fn size(sent: &Sent) -> u64 {
    let segments = sent.get_segments_for_output();
    let table = (segments.len() as u64 + 2) / 2 * 8;
    let bytes: usize = segments.iter().map(|segment| segment.len()).sum();
    table + bytes as u64
}

/// Ids of capabilities of this side's.
pub(super) type Passed = SmallVec<[u32; 4]>;

/// Tells one use of an id from the next.
pub(super) type Serial = u32;

/// A call of the peer's.
pub(super) struct Answer {
    pub(super) serial: Serial,
    pub(super) stage: Stage,
    /// What it waits for before it can begin.
    pub(super) on: On,
    /// Its results stay here: what becomes of them.
    pub(super) tail: Option<Tail>,
    /// How long its message was; when it has returned, its results, if they are kept.
    pub(super) bytes: u64,
    /// Is it pipelined on, or passed on as what it will bring? Then it goes on after its `Finish`.
    pub(super) is_pipelined: bool,
    /// How many calls were made on what it will bring, or with that, and were not canceled.
    pub(super) carriers: u32,
    /// On which calls, or with the results of which, it was made itself, until it returns.
    pub(super) carries: SmallVec<[(u32, Serial); 1]>,
    /// The `Return` that was sent, if there are capabilities in it.
    pub(super) results: Option<Sent>,
    /// Where each capability in it leads to, as far as this is known.
    pub(super) leads: Vec<Leads>,
}

/// How far a call of the peer's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Neither has it returned nor has the peer finished it.
    Running,
    /// The peer has finished it, and it has not returned.
    Finished,
    /// The same, and it was canceled by that: `capnp-rpc` has let go of it, and may never send a `Return`.
    Canceled,
    /// It has returned, and the peer has not finished it.
    Returned,
    /// The guard has answered it, and the peer has not finished it.
    Refused,
}

/// What a call, or a promise, waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Nothing,
    Answer(u32, Serial),
    Export(u32, Serial),
}

/// A call of this side's.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) serial: Serial,
    pub(super) stage: Asked,
    /// Capabilities of this side's that it took along.
    pub(super) params: Passed,
    /// What was pipelined on it, or passed on as what it will bring.
    pub(super) pipelined: SmallVec<[Path; 1]>,
    /// Who stands for what it will bring.
    pub(super) mentions: Vec<(Mention, Path)>,
}

/// How far a call of this side's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Waiting,
    /// The peer has answered it by the results of this call of its own, which have not come.
    Taken(u32),
    /// Finished before the `Return` came.
    Canceled,
    Returned,
}

/// Who stands for what a call of this side's will bring.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mention {
    Export(u32, Serial),
    /// One of its results, by the place in their table.
    Answer(u32, Serial, u32),
}

impl Mention {
    /// The same of another place in the table.
    pub(super) fn at(self, at: u32) -> Self {
        match self {
            Self::Answer(id, serial, _) => Self::Answer(id, serial, at),
            export @ Self::Export(..) => export,
        }
    }
}

/// A capability of this side's that the peer holds.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) serial: Serial,
    pub(super) references: u32,
    pub(super) leads: Exported,
    /// What the call waited for that brought it.
    pub(super) on: On,
}

/// What a capability of this side's is.
#[derive(Debug)]
pub(super) enum Exported {
    Object,
    /// A promise that the peer has not been told the end of.
    Promise,
    /// A promise that has resolved.
    Resolved(Box<Leads>),
}

/// A capability of the peer's that this side holds.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) serial: Serial,
    pub(super) references: u32,
    pub(super) is: Imported,
    /// References that `capnp-rpc` counts, and the peer does not.
    pub(super) surplus: u32,
    /// How many promises lead to each other before this one.
    pub(super) above: u8,
}

/// What a capability of the peer's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Imported {
    Object,
    Promise,
    /// A promise whose `Resolve` waits for what it names.
    Waiting,
    Resolved,
}

/// Something that a promise may lead to, and that is none of its own kind: a use of an id, and a way down
/// into the results where it is a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Import(u32, Serial),
    Export(u32, Serial),
    Answer(u32, Serial, Path),
    Question(u32, Serial, Path),
}

/// Where a capability leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To an object, or to an error: no further.
    End,
    To(Place),
}

impl Answer {
    pub(super) fn new(serial: Serial, stage: Stage, on: On, bytes: u64) -> Self {
        Self {
            serial,
            stage,
            on,
            tail: None,
            bytes,
            is_pipelined: false,
            carriers: 0,
            carries: SmallVec::new(),
            results: None,
            leads: Vec::new(),
        }
    }

    /// Is it in flight: has the service not returned?
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Finished)
    }
}

impl Question {
    pub(super) fn new(serial: Serial, params: Passed) -> Self {
        Self {
            serial,
            stage: Asked::Waiting,
            params,
            pipelined: SmallVec::new(),
            mentions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_capability_takes_little() {
        // With the room that a growing table has ahead: at most twice of it.
        assert!(size_of::<Option<Export>>() <= 48);
        assert!(size_of::<Option<Import>>() <= 24);
    }
}
