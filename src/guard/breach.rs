//! What a peer can do that the guard does not let through: each rule and each limit has its name.

use std::fmt;

/// A rule of the protocol, or a limit, that a peer did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Breach {
    /// A message that can't be read, or whose kind the protocol does not know.
    Malformed,
    /// A call, or a `Bootstrap`, with the id of one that is not finished.
    QuestionInUse,
    /// A call, a capability or a `Disembargo` that names a capability which the peer has not got.
    UnknownExport,
    /// A `Return` for no open call, or for one that was answered already.
    ReturnNotOpen,
    /// A `Return` of a kind that the call did not ask for.
    ReturnKind,
    /// Results whose pointers are not what a capability can be taken from, where one was asked for.
    ReturnContent,
    /// Results with a capability that leads back to the one it was promised as.
    ReturnCycle,
    /// A `Finish` for no call, or the second one for a call.
    FinishNotOpen,
    /// A `Release` of more references than the peer has.
    ReleaseBelowZero,
    /// A `Resolve` of what is no promise.
    ResolveNotOpen,
    /// The second `Resolve` of a promise, or a promise that is named again after it.
    ResolveTwice,
    /// A `Resolve` that leads back to the promise.
    ResolveCycle,
    /// A `Resolve` to something that is gone before it is known.
    ResolveLost,
    /// A `Disembargo` of nothing that was embargoed, or of what does not lead back to the peer.
    Disembargo,
    /// An `Unimplemented` for a message that every implementation has.
    Unimplemented,
    /// A call or a `Return` that has to do with a third party.
    ThirdParty,
    /// A call on what a call was to bring that was refused.
    OnRefused,
    /// Too many calls that have not returned.
    CallsInFlight,
    /// Too many calls that are not finished.
    UnfinishedCalls,
    /// Too many bytes of calls that have not returned.
    BytesInFlight,
    /// Too many capabilities of this side's.
    Exports,
    /// Too many capabilities of the peer's.
    Imports,
    /// Too many capabilities in one message.
    CapabilitiesInMessage,
    /// Calls pipelined on calls pipelined on calls.
    PipelineDepth,
    /// Promises that resolve to promises that resolve to promises.
    ResolutionHops,
    /// Too many promises that wait for what they resolve to.
    WaitingPromises,
    /// Too many messages a second.
    MessageRate,
    /// Too many bytes a second.
    ByteRate,
    /// Too many calls that are finished before they have returned.
    CanceledCalls,
    /// Too many bytes that wait for the peer to read them.
    QueuedBytes,
    /// No message came in time.
    FirstMessage,
    /// A message took too long to arrive.
    HalfMessage,
    /// What a [`Budget`](super::Budget) has for all connections is used up.
    Budget,
}

impl Breach {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Malformed,
        Self::QuestionInUse,
        Self::UnknownExport,
        Self::ReturnNotOpen,
        Self::ReturnKind,
        Self::ReturnContent,
        Self::ReturnCycle,
        Self::FinishNotOpen,
        Self::ReleaseBelowZero,
        Self::ResolveNotOpen,
        Self::ResolveTwice,
        Self::ResolveCycle,
        Self::ResolveLost,
        Self::Disembargo,
        Self::Unimplemented,
        Self::ThirdParty,
        Self::OnRefused,
        Self::CallsInFlight,
        Self::UnfinishedCalls,
        Self::BytesInFlight,
        Self::Exports,
        Self::Imports,
        Self::CapabilitiesInMessage,
        Self::PipelineDepth,
        Self::ResolutionHops,
        Self::WaitingPromises,
        Self::MessageRate,
        Self::ByteRate,
        Self::CanceledCalls,
        Self::QueuedBytes,
        Self::FirstMessage,
        Self::HalfMessage,
        Self::Budget,
    ];

    /// Its name, for a metric: `question_in_use`, `calls_in_flight`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::QuestionInUse => "question_in_use",
            Self::UnknownExport => "unknown_export",
            Self::ReturnNotOpen => "return_not_open",
            Self::ReturnKind => "return_kind",
            Self::ReturnContent => "return_content",
            Self::ReturnCycle => "return_cycle",
            Self::FinishNotOpen => "finish_not_open",
            Self::ReleaseBelowZero => "release_below_zero",
            Self::ResolveNotOpen => "resolve_not_open",
            Self::ResolveTwice => "resolve_twice",
            Self::ResolveCycle => "resolve_cycle",
            Self::ResolveLost => "resolve_lost",
            Self::Disembargo => "disembargo",
            Self::Unimplemented => "unimplemented",
            Self::ThirdParty => "third_party",
            Self::OnRefused => "on_refused",
            Self::CallsInFlight => "calls_in_flight",
            Self::UnfinishedCalls => "unfinished_calls",
            Self::BytesInFlight => "bytes_in_flight",
            Self::Exports => "exports",
            Self::Imports => "imports",
            Self::CapabilitiesInMessage => "capabilities_in_message",
            Self::PipelineDepth => "pipeline_depth",
            Self::ResolutionHops => "resolution_hops",
            Self::WaitingPromises => "waiting_promises",
            Self::MessageRate => "message_rate",
            Self::ByteRate => "byte_rate",
            Self::CanceledCalls => "canceled_calls",
            Self::QueuedBytes => "queued_bytes",
            Self::FirstMessage => "first_message",
            Self::HalfMessage => "half_message",
            Self::Budget => "budget",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_has_a_place_and_a_name_of_its_own() {
        let names: HashSet<_> = Breach::ALL.iter().map(|breach| breach.name()).collect();
        assert_eq!(names.len(), Breach::ALL.len());
        for (at, breach) in Breach::ALL.iter().enumerate() {
            assert_eq!(breach.index(), at);
        }
        assert_eq!(Breach::Budget.index() + 1, Breach::ALL.len());
    }
}
