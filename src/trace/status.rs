//! How the work that a span stands for went, in OpenTelemetry's words.

/// What somebody has said about how the work went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Nobody has said; taken for a success. Setting it changes nothing.
    #[default]
    Unset,
    /// Somebody has said that it is a success. Final for whoever set it, so that a later error of theirs
    /// does not replace it; the span's owner always has the last word.
    Ok,
    /// It failed, for this reason; empty if there is none to give.
    Error(Box<str>),
}

impl SpanStatus {
    /// An error with a message for people.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error(message.into().into_boxed_str())
    }

    /// Would `later`, of the same author, be a change?
    pub(super) fn yields_to(&self, later: &Self) -> bool {
        *self != Self::Ok && *later != Self::Unset && self != later
    }

    /// The length of the message in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Error(message) => message.len(),
            Self::Unset | Self::Ok => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_is_final_and_unset_changes_nothing() {
        let error = SpanStatus::error("x");
        assert!(SpanStatus::Unset.yields_to(&error));
        assert!(error.yields_to(&SpanStatus::Ok));
        assert!(error.yields_to(&SpanStatus::error("y")));
        assert!(!SpanStatus::Ok.yields_to(&error));
        assert!(!error.yields_to(&SpanStatus::Unset));
    }
}
