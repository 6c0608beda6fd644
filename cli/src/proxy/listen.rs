//! Where the proxy listens.

use std::fmt;
use std::str::FromStr;

use super::address::Address;

/// A socket of the proxy's own, or one that it is handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// One that it makes.
    At(Address),
    /// Those that systemd has made for it: all, or those with this name (`FileDescriptorName=`).
    Systemd(Option<String>),
}

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Self::At(address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "systemd" => Ok(Self::Systemd(None)),
            Some(("systemd", "")) => Err("systemd: is followed by a socket's name".into()),
            Some(("systemd", name)) => Ok(Self::Systemd(Some(name.into()))),
            _ => text.parse().map(Self::At),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_was_read() {
        for text in ["tcp:127.0.0.1:0", "unix:/run/a", "systemd", "systemd:front"] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
        }
        Listen::from_str("systemd:").unwrap_err();
        Listen::from_str("systemd2").unwrap_err();
    }
}
