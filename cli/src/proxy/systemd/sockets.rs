//! Sockets that listen already when the proxy starts.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::path::PathBuf;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::super::address::Address;
use super::super::stream::Listener;
use crate::failure::Failure;

/// More than anybody passes.
const MAX_SOCKETS: usize = 1024;

/// The sockets that were passed, until they are taken.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Inherited {
    sockets: Vec<Passed>,
}

/// A socket, and what systemd calls it.
#[derive(Debug)]
struct Passed {
    name: String,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

impl Inherited {
    /// Takes what was passed to this process. No other thread may run yet: the variables that say so are removed, and
    /// so a program that the proxy starts does not take them for its own.
    ///
    /// # Errors
    /// Where what was passed can't be listened at.
    pub(in crate::proxy) fn from_env() -> Result<Self, Failure> {
        let count = std::env::var("LISTEN_FDS").unwrap_or_default();
        if count.parse().is_ok_and(|count: usize| count > MAX_SOCKETS) {
            return Err(Failure::told(format!(
                "LISTEN_FDS says {count}: nobody passes as many sockets"
            )));
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..passed.len() {
            let name = match names.next() {
                None | Some("") => "unknown".to_owned(),
                Some(name) => name.to_owned(),
            };
            let socket = take(&mut passed, place)
                .map_err(|error| Failure::told(format!("socket '{name}' of systemd: {error}")))?;
            sockets.push(Passed { name, socket });
        }
        Ok(Self { sockets })
    }

    /// Takes all that are left, or those with this name.
    pub(in crate::proxy) fn take(
        &mut self,
        name: Option<&str>,
    ) -> io::Result<Vec<(Listener, Address)>> {
        let is_meant = |passed: &mut Passed| name.is_none_or(|name| passed.name == name);
        let taken: Vec<_> = self.sockets.extract_if(.., is_meant).collect();
        if taken.is_empty() {
            let left: Vec<_> = self.names().collect();
            let left = match &*left {
                [] => "it passes none that is not taken already".to_owned(),
                names => format!("it passes {}", names.join(", ")),
            };
            let which = name.unwrap_or("any");
            let error = format!("systemd passes no such socket ({which}): {left}");
            return Err(io::Error::new(io::ErrorKind::NotFound, error));
        }
        taken.into_iter().map(|it| it.socket.listener()).collect()
    }

    /// The names of those that nobody has taken.
    pub(in crate::proxy) fn names(&self) -> impl Iterator<Item = &str> {
        self.sockets.iter().map(|passed| &*passed.name)
    }
}

fn take(passed: &mut ListenFd, place: usize) -> io::Result<Socket> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let socket = match passed.take_unix_listener(place) {
        Ok(socket) => socket.map(Socket::Unix),
        Err(_) => {
            let socket = passed.take_tcp_listener(place);
            let socket = socket.map_err(|_| wrong("neither a Unix socket nor one of TCP"))?;
            socket.map(Socket::Tcp)
        }
    };
    let socket = socket.ok_or_else(|| wrong("it was taken already"))?;
    let listens = match &socket {
        Socket::Unix(socket) => socket_acceptconn(socket.as_fd()),
        Socket::Tcp(socket) => socket_acceptconn(socket.as_fd()),
    };
    match listens? {
        true => Ok(socket),
        false => Err(wrong("it does not listen (Accept=yes is not for this)")),
    }
}

impl Socket {
    fn listener(self) -> io::Result<(Listener, Address)> {
        match self {
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                let at = socket.local_addr()?;
                let name = at.as_abstract_name().map(|name| {
                    let name = String::from_utf8_lossy(name);
                    PathBuf::from(format!("@{name}"))
                });
                let path = at.as_pathname().map(ToOwned::to_owned);
                let address = Address::Unix(name.or(path).unwrap_or_default());
                let socket = tokio::net::UnixListener::from_std(socket)?;
                Ok((Listener::Unix(socket), address))
            }
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let at = socket.local_addr()?;
                let address = Address::Tcp {
                    host: at.ip().to_string(),
                    port: at.port(),
                };
                let socket = tokio::net::TcpListener::from_std(socket)?;
                Ok((Listener::Tcp(socket), address))
            }
        }
    }
}
