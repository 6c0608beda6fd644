//! The one error of this crate: opaque, made for people to read, asked by predicates.

use std::fmt;

/// What went wrong, to what, and what to do about it.
///
/// It is opaque: ask it by its predicates, print it for people. A fault of a peer
/// ([`is_peer_fault`](Error::is_peer_fault)) is told apart from a misuse by the caller.
///
/// ```
/// # use capspan::Error;
/// let error = Error::from(capnp::Error::disconnected("the peer went away".into()));
/// assert!(error.is_disconnected());
/// assert_eq!(error.to_string(), "disconnected: the peer went away");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Malformed,
    Limit,
    Overloaded,
    Revoked,
    Canceled,
    Ended,
    Disconnected,
    Unimplemented,
    Failed,
}

impl Kind {
    #[cfg(feature = "metrics")]
    const ALL: [Self; 10] = [
        Self::Invalid,
        Self::Malformed,
        Self::Limit,
        Self::Overloaded,
        Self::Revoked,
        Self::Canceled,
        Self::Ended,
        Self::Disconnected,
        Self::Unimplemented,
        Self::Failed,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::Limit => "limit reached",
            Self::Overloaded => "overloaded",
            Self::Revoked => "revoked",
            Self::Canceled => "canceled",
            Self::Ended => "already ended",
            Self::Disconnected => "disconnected",
            Self::Unimplemented => "unimplemented",
            Self::Failed => "failed",
        }
    }
}

/// The words for all kinds, as [`Error::kind`] gives them.
#[cfg(feature = "metrics")]
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::word)
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into().into_boxed_str(),
        }
    }

    /// A value that the caller passed can't be used. `text` names it and says what is allowed.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }

    /// A peer sent what it must not send. `text` names the field.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, text)
    }

    /// A limit was reached. `text` names the limit and its value.
    pub fn limit(text: impl Into<String>) -> Self {
        Self::new(Kind::Limit, text)
    }

    /// Too much at once; the same may succeed later.
    pub fn overloaded(text: impl Into<String>) -> Self {
        Self::new(Kind::Overloaded, text)
    }

    /// The capability was taken back. `text` is the reason that was given.
    pub fn revoked(text: impl Into<String>) -> Self {
        Self::new(Kind::Revoked, text)
    }

    /// Whoever asked for it no longer wants it.
    pub fn canceled(text: impl Into<String>) -> Self {
        Self::new(Kind::Canceled, text)
    }

    /// The span or session is over.
    pub fn ended(text: impl Into<String>) -> Self {
        Self::new(Kind::Ended, text)
    }

    /// The connection was lost.
    pub fn disconnected(text: impl Into<String>) -> Self {
        Self::new(Kind::Disconnected, text)
    }

    /// The other side does not know how.
    pub fn unimplemented(text: impl Into<String>) -> Self {
        Self::new(Kind::Unimplemented, text)
    }

    /// Anything else.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Kind::Failed, text)
    }

    /// The word for its kind: `failed`, `overloaded`, `disconnected`, …
    pub fn kind(&self) -> &'static str {
        self.kind.word()
    }

    /// What happened, without the word for its kind.
    pub fn reason(&self) -> &str {
        &self.text
    }

    /// Did the caller pass a value that can't be used?
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// Did a peer send what it must not send?
    pub fn is_peer_fault(&self) -> bool {
        self.kind == Kind::Malformed
    }

    /// Was a limit reached that will not go away by waiting?
    pub fn is_limit(&self) -> bool {
        self.kind == Kind::Limit
    }

    /// Was it too much at once, so that the same may succeed later?
    pub fn is_overloaded(&self) -> bool {
        self.kind == Kind::Overloaded
    }

    /// Was a capability taken back?
    pub fn is_revoked(&self) -> bool {
        self.kind == Kind::Revoked
    }

    /// Was it no longer wanted?
    pub fn is_canceled(&self) -> bool {
        self.kind == Kind::Canceled
    }

    /// Is the span or session over?
    pub fn is_ended(&self) -> bool {
        self.kind == Kind::Ended
    }

    /// Was the connection lost?
    pub fn is_disconnected(&self) -> bool {
        self.kind == Kind::Disconnected
    }

    /// Does the other side not know how?
    pub fn is_unimplemented(&self) -> bool {
        self.kind == Kind::Unimplemented
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Failed => f.write_str(&self.text),
            kind => write!(f, "{}: {}", kind.word(), self.text),
        }
    }
}

impl std::error::Error for Error {}

/// What `capnp` has a kind for keeps its kind; the rest keeps its word in the text.
impl From<Error> for capnp::Error {
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::Disconnected => Self::disconnected(error.text.into_string()),
            Kind::Overloaded => Self::overloaded(error.text.into_string()),
            Kind::Unimplemented => Self::unimplemented(error.text.into_string()),
            Kind::Failed => Self::failed(error.text.into_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<capnp::Error> for Error {
    fn from(error: capnp::Error) -> Self {
        match error.kind {
            capnp::ErrorKind::Disconnected => Self::disconnected(error.extra),
            capnp::ErrorKind::Overloaded => Self::overloaded(error.extra),
            capnp::ErrorKind::Unimplemented => Self::unimplemented(error.extra),
            capnp::ErrorKind::Failed => Self::failed(error.extra),
            // Every other kind is about the encoding of a message.
            _ => Self::malformed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_capnp_knows_survive_the_way_there_and_back() {
        for error in [
            Error::disconnected("a"),
            Error::overloaded("b"),
            Error::unimplemented("c"),
            Error::failed("d"),
        ] {
            assert_eq!(Error::from(capnp::Error::from(error.clone())), error);
        }
    }

    #[test]
    fn other_kinds_keep_their_word_in_the_text() {
        let error = capnp::Error::from(Error::revoked("the lease is over"));
        assert_eq!(error.kind, capnp::ErrorKind::Failed);
        assert_eq!(error.extra, "revoked: the lease is over");
    }

    #[test]
    fn a_malformed_message_is_the_peers_fault() {
        let error = capnp::Error::from_kind(capnp::ErrorKind::MessageContainsNullCapabilityPointer);
        assert!(Error::from(error).is_peer_fault());
    }
}
