//! What objects of ours can be told to do.

/// What an object can do: the number of its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Gives back what it was given.
    Echo,
    /// Keeps it.
    Keep,
    /// Calls it, and gives what that gives.
    Call,
    /// Calls what its answer will bring, before it is there.
    Pipeline,
    /// Gives a new object.
    Make,
    /// Gives a promise.
    Promise,
    /// The oldest promise becomes what was given, or a new object.
    Fulfil,
    /// The oldest promise breaks.
    Break,
    /// Never returns.
    Never,
    /// Streams to it.
    Stream,
    /// Calls it, and keeps the response.
    KeepResponse,
    /// Calls it, keeps what the answer will bring, and drops the call.
    KeepPipeline,
    /// Passes on what an answer will bring.
    PassAnswer,
    /// Gives what was kept last.
    Kept,
    /// Lets go of what was kept last.
    Forget,
    /// Drops all that it is at.
    Cancel,
    /// Waits until it is settled, then calls it.
    Settle,
    Fail,
    /// Returns a new object when the gate opens.
    Wait,
    /// Opens the gate.
    Open,
    /// Calls what was kept last.
    CallKept,
    /// Gives a promise that becomes what was given.
    Becomes,
    /// Hands the call on, as it is.
    Forward,
    /// Its results can be called before it returns, when the gate opens.
    Early,
}

impl Action {
    pub(super) const ALL: [Self; 24] = [
        Self::Echo,
        Self::Keep,
        Self::Call,
        Self::Pipeline,
        Self::Make,
        Self::Promise,
        Self::Fulfil,
        Self::Break,
        Self::Never,
        Self::Stream,
        Self::KeepResponse,
        Self::KeepPipeline,
        Self::PassAnswer,
        Self::Kept,
        Self::Forget,
        Self::Cancel,
        Self::Settle,
        Self::Fail,
        Self::Wait,
        Self::Open,
        Self::CallKept,
        Self::Becomes,
        Self::Forward,
        Self::Early,
    ];

    /// Whether all that it gives is new: then its answer can't lead back to what it was given.
    pub(super) fn is_fresh(self) -> bool {
        matches!(self, Self::Make | Self::Wait | Self::Early)
    }
}
