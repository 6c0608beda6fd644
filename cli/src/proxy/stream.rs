//! Connections of either kind, and who is at their other end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use capspan::trace::SpanUpdate;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use tokio::time::sleep;

use super::address::Address;
use super::busy_poll::{self, BusyPoll};

/// How often it is looked whether a client is still there that has sent something and waits.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// After how long without a word, and how often then, the system asks whether the other machine is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);

/// How long one of a name's addresses has for itself before the next one is tried as well.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection that no event loop has yet.
#[derive(Debug)]
pub(super) enum Incoming {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

/// A connection on its event loop.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The two directions of one, as a guarded connection wants them.
pub(super) type Halves = (
    Compat<Box<dyn AsyncRead + Unpin>>,
    Compat<Box<dyn AsyncWrite + Unpin>>,
);

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A process of this machine, as far as the system tells.
    Process {
        pid: Option<i32>,
        uid: Option<u32>,
    },
    Tcp {
        address: String,
        port: u16,
    },
    Unknown,
}

impl Listener {
    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<Incoming> {
        Ok(match self {
            Self::Unix(listener) => Incoming::Unix(listener.accept().await?.0.into_std()?),
            Self::Tcp(listener) => Incoming::Tcp(listener.accept().await?.0.into_std()?),
        })
    }
}

impl Incoming {
    /// Gives it to the event loop that this runs on.
    pub(super) fn enter(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
            Self::Tcp(stream) => {
                tend(&stream)?;
                Stream::Tcp(TcpStream::from_std(stream)?)
            }
        })
    }
}

/// A name's addresses as the resolver has sorted them, but IPv6 and IPv4 in turns: a network that does not work costs one
/// attempt, however many addresses are in it ([RFC 8305](https://www.rfc-editor.org/rfc/rfc8305#section-4)).
fn alternating(addresses: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut addresses = addresses.peekable();
    let begins_with_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.partition(|address| address.is_ipv6() == begins_with_v6);
    let mut turns = [first.into_iter(), second.into_iter()];
    let mut turn = 0;
    std::iter::from_fn(move || {
        turn = 1 - turn;
        let next = turns[1 - turn].next();
        next.or_else(|| turns[turn].next())
    })
}

/// Connects to one of a name's addresses. One that does not answer does not keep the others waiting for long
/// ([RFC 8305](https://www.rfc-editor.org/rfc/rfc8305#section-5)).
async fn first_of<T, F: Future<Output = io::Result<T>>>(
    mut addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = FuturesUnordered::new();
    let mut error = None;
    loop {
        let next = addresses.next();
        let has_more = next.is_some();
        attempts.extend(next.map(&connect));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(failed)) => error = Some(failed),
                None => return Err(error.unwrap_or_else(none)),
            },
            () = sleep(NEXT_ADDRESS), if has_more => {}
        }
    }
}

/// A call is not to wait for the next one; and a machine that vanishes is noticed.
fn tend(stream: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&stream, true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE_AGAIN)?;
    Ok(())
}

impl Stream {
    /// Connects once.
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Unix(path) => Self::Unix(UnixStream::connect(unix_name(path)).await?),
            Address::Tcp { host, port } => {
                let addresses = lookup_host((&**host, *port)).await?;
                let stream = first_of(alternating(addresses), TcpStream::connect).await?;
                tend(&stream)?;
                Self::Tcp(stream)
            }
        })
    }

    /// Waits until who is at the other end has closed it. What has come before stays to be read.
    pub(super) async fn is_left(&self) {
        loop {
            let ready = match self {
                Self::Unix(stream) => stream.ready(Interest::READABLE).await,
                Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
            };
            if ready.is_ok_and(|ready| ready.is_read_closed()) {
                return;
            }
            // There is something to be read, and the end may come behind it.
            sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Unix(stream) => match stream.peer_cred() {
                Ok(peer) => Peer::Process {
                    pid: peer.pid(),
                    uid: Some(peer.uid()),
                },
                Err(_) => Peer::Unknown,
            },
            Self::Tcp(stream) => match stream.peer_addr() {
                Ok(peer) => Peer::Tcp {
                    address: peer.ip().to_string(),
                    port: peer.port(),
                },
                Err(_) => Peer::Unknown,
            },
        }
    }

    /// Its two directions. Its event loop waits for what comes without sleeping, as far as that is worth it.
    pub(super) fn into_halves(self, wait: &Rc<BusyPoll>) -> Halves {
        match self {
            Self::Unix(stream) => halves(stream.into_split(), wait),
            Self::Tcp(stream) => halves(stream.into_split(), wait),
        }
    }
}

fn halves(
    (reader, writer): (
        impl AsyncRead + Unpin + 'static,
        impl AsyncWrite + Unpin + 'static,
    ),
    wait: &Rc<BusyPoll>,
) -> Halves {
    let reader: Box<dyn AsyncRead + Unpin> = Box::new(busy_poll::Reader::new(reader, wait));
    let writer: Box<dyn AsyncWrite + Unpin> = Box::new(writer);
    (reader.compat(), writer.compat_write())
}

/// As Linux wants a name of its abstract namespace, which users write with an `@`.
pub(super) fn unix_name(path: &std::path::Path) -> std::path::PathBuf {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => {
            let bytes = [&[0], name].concat();
            std::ffi::OsString::from_vec(bytes).into()
        }
        _ => path.to_owned(),
    }
}

impl Peer {
    /// As a guard and people are told of it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Process { pid: Some(pid), .. } => format!("process {pid}"),
            Self::Tcp { address, port } if address.contains(':') => format!("[{address}]:{port}"),
            Self::Tcp { address, port } => format!("{address}:{port}"),
            Self::Process { pid: None, .. } | Self::Unknown => "a client".into(),
        }
    }

    /// As it stands on a session's span.
    pub(super) fn describe(&self, update: SpanUpdate) -> SpanUpdate {
        match self {
            Self::Process { pid, uid } => {
                let update = update.attribute("network.transport", "unix");
                let update = match pid {
                    Some(pid) => update.attribute("capspan.peer.pid", i64::from(*pid)),
                    None => update,
                };
                match uid {
                    Some(uid) => update.attribute("capspan.peer.uid", i64::from(*uid)),
                    None => update,
                }
            }
            Self::Tcp { address, port } => update
                .attribute("network.transport", "tcp")
                .attribute("network.peer.address", &**address)
                .attribute("network.peer.port", i64::from(*port)),
            Self::Unknown => update,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::future::pending;
    use tokio::time::Instant;

    /// Tries addresses with these last numbers. Zero never answers, 9 does after ten seconds, an even one refuses, and
    /// the others take it. Gives which was connected to, which were tried, and how long that took.
    async fn tried(numbers: &[u16]) -> (Result<u16, String>, Vec<u16>, Duration) {
        let tried = RefCell::new(Vec::new());
        let start = Instant::now();
        let addresses = numbers
            .iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let connected = first_of(addresses, async |address: SocketAddr| {
            let port = address.port();
            tried.borrow_mut().push(port);
            match port {
                0 => pending().await,
                9 => sleep(Duration::from_secs(10)).await,
                even if even % 2 == 0 => return Err(io::Error::other(format!("{even} refuses"))),
                _ => {}
            }
            Ok(port)
        });
        let connected = connected.await.map_err(|error| error.to_string());
        (connected, tried.into_inner(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_keeps_nobody_waiting() {
        let millis = Duration::from_millis;
        assert_eq!(tried(&[1, 3]).await, (Ok(1), vec![1], millis(0)));
        assert_eq!(tried(&[0, 3]).await, (Ok(3), vec![0, 3], millis(250)));
        let (connected, tried_first, took) = tried(&[0, 2, 4, 5, 7]).await;
        assert_eq!((connected, tried_first), (Ok(5), vec![0, 2, 4, 5]));
        assert_eq!(took, millis(250));
        // Who is late is still taken, if nobody else is there.
        assert_eq!(tried(&[9, 0]).await, (Ok(9), vec![9, 0], millis(10_000)));
        let refused = Err("4 refuses".to_owned());
        assert_eq!(tried(&[2, 4]).await, (refused, vec![2, 4], millis(0)));
        let (nothing, _, _) = tried(&[]).await;
        assert_eq!(nothing, Err("the name has no address".into()));
    }

    #[test]
    fn a_network_that_does_not_work_costs_one_attempt() {
        let sorted = |text: &str| {
            let addresses = text.split(' ').map(|ip| format!("{ip}:1").parse().unwrap());
            let sorted = alternating(addresses).map(|address| address.to_string());
            sorted.collect::<Vec<_>>().join(" ").replace(":1", "")
        };
        assert_eq!(
            sorted("[::a] [::b] [::c] 127.0.0.2"),
            "[::a] 127.0.0.2 [::b] [::c]"
        );
        assert_eq!(
            sorted("127.0.0.2 127.0.0.3 [::a] [::b]"),
            "127.0.0.2 [::a] 127.0.0.3 [::b]"
        );
        assert_eq!(sorted("127.0.0.2 127.0.0.3"), "127.0.0.2 127.0.0.3");
        assert_eq!(sorted("[::a]"), "[::a]");
    }
}
