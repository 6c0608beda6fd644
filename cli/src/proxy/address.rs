//! Where something listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place of a socket, as users write it: `unix:/run/service.sock`, or `tcp:127.0.0.1:4000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A path, or after `@` a name of Linux's abstract namespace.
    Unix(PathBuf),
    /// A host and a port. What a name stands for is looked up each time.
    Tcp {
        /// A name, or an address without brackets.
        host: String,
        /// Zero to listen is any that is free.
        port: u16,
    },
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is no address: write unix:/run/service.sock or tcp:127.0.0.1:4000")
        };
        match text.split_once(':') {
            Some(("unix", "" | "@")) => Err("unix: is followed by a path".into()),
            Some(("unix", path)) if path.len() > MAX_PATH => Err(format!(
                "the path of a Unix socket has at most {MAX_PATH} bytes, and this one has {}",
                path.len()
            )),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("tcp", place)) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().map_err(|_| wrong())?;
                let bare = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'));
                match bare {
                    None if host.is_empty() || host.contains(':') => Err(wrong()),
                    _ => Ok(Self::Tcp {
                        host: bare.unwrap_or(host).into(),
                        port,
                    }),
                }
            }
            _ => Err(wrong()),
        }
    }
}

/// What Linux has room for, and a zero byte.
const MAX_PATH: usize = 107;

impl Address {
    /// As span attributes name it (`network.transport`).
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp { .. } => "tcp",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_was_read() {
        for text in [
            "unix:/run/a b.sock",
            "unix:@abstract",
            "tcp:127.0.0.1:4000",
            "tcp:[::1]:0",
            "tcp:service.internal:65535",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "",
            "/run/a.sock",
            "127.0.0.1:4000",
            "tcp:4000",
            "tcp::4000",
            "tcp:::1:4000",
            "tcp:a:65536",
            "tcp:a:",
            "udp:a:1",
        ] {
            let error = Address::from_str(text).unwrap_err();
            assert!(error.contains("tcp:127.0.0.1:4000"), "{text}: {error}");
        }
        let long = format!("unix:/{}", "x".repeat(MAX_PATH));
        let error = Address::from_str(&long).unwrap_err();
        assert!(
            error.contains("at most 107 bytes, and this one has 108"),
            "{error}"
        );
    }
}
