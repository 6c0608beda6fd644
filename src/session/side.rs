//! What there are two sides of, and which side it is.

/// What has a life: spans that close once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Session,
    /// A session that lasts as long as a connection, at most, and for which no event was started.
    Connection,
    /// Another event, which one call through its membrane delivers.
    Event,
}

impl What {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Session | Self::Connection => "session",
            Self::Event => "event",
        }
    }
}

/// Whose side of a session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

impl Side {
    /// Are calls that go this way through its membrane answered here? What the callee gives is inside, on
    /// both sides.
    pub(super) fn answers(self, is_inbound: bool) -> bool {
        is_inbound == (self == Self::Callee)
    }
}

/// How far the callee's part of a session is, as the caller knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CalleesPart {
    #[default]
    Opening,
    Open,
    Over,
}
