//! What is compared.

use std::str::FromStr;

/// One way to make the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    TonicBare,
    TonicTraced,
    CapnpBare,
    CapspanBare,
    CapspanTraced,
}

impl Way {
    /// All of them, in the order of their turns.
    pub(crate) const ALL: [Self; 5] = [
        Self::TonicBare,
        Self::TonicTraced,
        Self::CapnpBare,
        Self::CapspanBare,
        Self::CapspanTraced,
    ];

    /// What is compared: a line's name, the bare way, the traced one.
    pub(crate) const LINES: [(&'static str, Self, Self); 3] = [
        ("tonic", Self::TonicBare, Self::TonicTraced),
        (
            "capspan, beside plain capnp-rpc",
            Self::CapnpBare,
            Self::CapspanTraced,
        ),
        (
            "capspan, beside its own connection without spans",
            Self::CapspanBare,
            Self::CapspanTraced,
        ),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TonicBare => "tonic-bare",
            Self::TonicTraced => "tonic-traced",
            Self::CapnpBare => "capnp-bare",
            Self::CapspanBare => "capspan-bare",
            Self::CapspanTraced => "capspan-traced",
        }
    }

    pub(crate) fn is_traced(self) -> bool {
        matches!(self, Self::TonicTraced | Self::CapspanTraced)
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut ways = Self::ALL.into_iter();
        let way = ways.find(|way| way.name() == name);
        way.ok_or_else(|| format!("no such way: {name}"))
    }
}
