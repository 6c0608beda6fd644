//! How caller and callee find each other.
//!
//! Every process of this machine can connect to a loopback port. So the caller gives its callee a
//! random token, and serves only whoever sends that first.

use std::fs::File;
use std::io::{self, Read as _};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use crate::args::CalleePlace;
use crate::failure::Failure;
use crate::place::Socket;

/// How many characters a token has: 128 bits in hexadecimal digits.
pub(super) const TOKEN_LENGTH: usize = 32;

/// How many may stand at the door at once without having said the token.
const MAX_STRANGERS: usize = 64;

/// A connection of either kind.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// A stream between caller and callee, past the token.
pub(super) type Stream = Box<dyn Duplex>;

/// The caller's side: a listening socket.
pub(super) enum Door {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Door {
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
            Socket::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
        })
    }

    /// Waits for whoever knows `token`. Others are let go, and none of them keeps it waiting.
    pub(super) async fn accept(&self, token: &str) -> io::Result<Stream> {
        let mut strangers = FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = self.accept_any(), if strangers.len() < MAX_STRANGERS => {
                    strangers.push(check(stream?, token));
                }
                Some(checked) = strangers.next(), if !strangers.is_empty() => {
                    if let Some(stream) = checked {
                        return Ok(stream);
                    }
                }
            }
        }
    }

    async fn accept_any(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(without_delay(listener.accept().await?.0)?),
        })
    }
}

/// A token that nobody can guess.
pub(super) fn new_token() -> io::Result<String> {
    let mut random = [0; TOKEN_LENGTH / 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

async fn check(mut stream: Stream, token: &str) -> Option<Stream> {
    let mut line = [0; TOKEN_LENGTH + 1];
    stream.read_exact(&mut line).await.ok()?;
    let (said, end) = line.split_at(TOKEN_LENGTH);
    (said == token.as_bytes() && end == b"\n").then_some(stream)
}

/// The callee's side: goes where its caller waits, and says the token.
pub(super) async fn connect(place: &CalleePlace, token: &str) -> Result<Stream, Failure> {
    let connected = async {
        let mut stream: Stream = match place {
            CalleePlace {
                socket: Some(path), ..
            } => Box::new(UnixStream::connect(path).await?),
            CalleePlace { tcp: Some(at), .. } => {
                Box::new(without_delay(TcpStream::connect(at).await?)?)
            }
            // The command line demands one of them.
            _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        stream.write_all(format!("{token}\n").as_bytes()).await?;
        Ok(stream)
    };
    connected
        .await
        .map_err(|error: io::Error| Failure::told(format!("connecting to the caller: {error}")))
}

/// A call is not to wait for the next one.
fn without_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The two directions of `stream`, as a connection wants them.
pub(super) fn halves(
    stream: Stream,
) -> (
    impl futures::AsyncRead + Unpin + 'static,
    impl futures::AsyncWrite + Unpin + 'static,
) {
    let (reader, writer) = tokio::io::split(stream);
    (reader.compat(), writer.compat_write())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::block_on;

    #[test]
    fn a_token_is_new_each_time() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), TOKEN_LENGTH);
    }

    /// Strangers who say something else, nothing, or too little come before the callee.
    #[test]
    fn only_who_knows_the_token_comes_in() {
        let met = block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let (token, other) = (new_token().unwrap(), new_token().unwrap());
            let place = CalleePlace {
                socket: None,
                tcp: Some(at),
            };
            let _wrong = connect(&place, &other).await?;
            let _silent = TcpStream::connect(at).await.unwrap();
            let _short = connect(&place, &token[1..]).await?;
            let mut callee = connect(&place, &token).await?;

            let door = Door::Tcp(listener);
            let accepted = tokio::time::timeout(Duration::from_secs(10), door.accept(&token));
            let mut stream = accepted.await.unwrap().unwrap();
            callee.write_all(b"hello").await.unwrap();
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            Ok(said)
        });
        assert_eq!(met, Ok(*b"hello"));
    }
}
