//! Connections of either kind, and who is at their other end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use capspan::trace::SpanUpdate;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use tokio::time::sleep;

use super::address::Address;

/// How often it is looked whether a client is still there that has sent something and waits.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// After how long without a word, and how often then, the system asks whether the other machine is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);

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
                let stream = TcpStream::connect((&**host, *port)).await?;
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

    pub(super) fn into_halves(self) -> Halves {
        let (reader, writer): (Box<dyn AsyncRead + Unpin>, Box<dyn AsyncWrite + Unpin>) = match self
        {
            Self::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Self::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (Box::new(reader), Box::new(writer))
            }
        };
        (reader.compat(), writer.compat_write())
    }
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
