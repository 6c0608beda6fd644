//! Where the demo's caller waits and its callee comes to.
//!
//! The caller listens before it starts the callee, so that a place which is taken is told at once,
//! and the callee never has to try twice.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::args::{CalleePlace, DemoArgs};
use crate::failure::Failure;

/// A socket that listens, does not block, and is ready for `tokio`'s `from_std`.
#[derive(Debug)]
pub enum Socket {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP socket of this machine.
    Tcp(TcpListener),
}

/// The place of a [`Socket`], for as long as it is held: dropping it removes a Unix socket's file
/// and the folder that was made for it.
#[derive(Debug)]
pub struct Place {
    at: At,
    /// Only this user may enter it. Without it the file is removed by [`Drop`].
    folder: Option<TempDir>,
}

#[derive(Debug)]
enum At {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Listens where `args` say.
pub fn listen(args: &DemoArgs) -> Result<(Socket, Place), Failure> {
    match (args.tcp, &args.socket) {
        (Some(address), _) => listen_tcp(address),
        (None, Some(path)) => listen_unix(path, None),
        (None, None) => {
            let folder = tempfile::Builder::new()
                .prefix("capspan-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()
                .map_err(|error| Failure::told(format!("temporary folder: {error}")))?;
            listen_unix(&folder.path().join("demo"), Some(folder))
        }
    }
}

impl Place {
    /// What the callee is to be told.
    pub fn for_callee(&self) -> CalleePlace {
        match &self.at {
            At::Unix(path) => CalleePlace {
                socket: Some(path.clone()),
                tcp: None,
            },
            At::Tcp(address) => CalleePlace {
                socket: None,
                tcp: Some(*address),
            },
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (At::Unix(path), None) = (&self.at, &self.folder) {
            // Somebody else may have removed it already, and there is nobody to tell.
            let _ = fs::remove_file(path);
        }
    }
}

fn listen_unix(path: &Path, folder: Option<TempDir>) -> Result<(Socket, Place), Failure> {
    let listener = UnixListener::bind(path).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => refused(path.display(), "something is there already"),
        _ => refused(path.display(), error),
    })?;
    let place = Place {
        at: At::Unix(path.to_owned()),
        folder,
    };
    listener
        .set_nonblocking(true)
        .map_err(|error| refused(path.display(), error))?;
    Ok((Socket::Unix(listener), place))
}

fn listen_tcp(address: SocketAddr) -> Result<(Socket, Place), Failure> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let at = At::Tcp(listener.local_addr()?);
        Ok((Socket::Tcp(listener), Place { at, folder: None }))
    };
    listen().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => refused(address, "in use"),
        _ => refused(address, error),
    })
}

fn refused(place: impl std::fmt::Display, why: impl std::fmt::Display) -> Failure {
    Failure::told(format!("socket {place}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::args::End;

    fn args(socket: Option<&Path>, tcp: Option<SocketAddr>) -> DemoArgs {
        DemoArgs {
            input: None,
            socket: socket.map(Path::to_owned),
            tcp,
            json: false,
            otlp: None,
            end: End::Finish,
        }
    }

    #[test]
    fn a_place_of_its_own_is_for_this_user_and_goes_with_its_folder() {
        let (socket, place) = listen(&args(None, None)).unwrap();
        let path = place.for_callee().socket.unwrap();
        let folder = path.parent().unwrap().to_owned();
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        UnixStream::connect(&path).unwrap();

        drop((socket, place));
        assert!(!folder.exists());
    }

    #[test]
    fn a_socket_that_is_asked_for_goes_when_its_place_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_socket, place) = listen(&args(Some(&path), None)).unwrap();
        assert_eq!(place.for_callee().socket.as_deref(), Some(&*path));
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_busy_socket_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _held = listen(&args(Some(&path), None)).unwrap();
        let failure = listen(&args(Some(&path), None)).unwrap_err();
        let expected = format!("socket {}: something is there already", path.display());
        assert_eq!(failure.to_string(), expected);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_path_that_can_not_be_is_refused() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(matches!(
            listen(&args(Some(&long), None)),
            Err(Failure::Told(_))
        ));
    }

    #[test]
    fn a_tcp_port_is_found_and_a_busy_one_refused() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (_socket, place) = listen(&args(None, Some(any))).unwrap();
        let found = place.for_callee().tcp.unwrap();
        TcpStream::connect(found).unwrap();
        let failure = listen(&args(None, Some(found))).unwrap_err();
        assert_eq!(failure.to_string(), format!("socket {found}: in use"));
    }
}
