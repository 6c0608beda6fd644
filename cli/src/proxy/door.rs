//! Takes connections, and hands each to the event loop that has the fewest.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::time::sleep;

use super::address::Address;
use super::event_loop::EventLoop;
use super::listen::Listen;
use super::reports::Reports;
use super::stream::{Incoming, Listener, unix_name};
use super::systemd::Inherited;
use crate::failure::Failure;

/// How long it waits when the system has no more files for it.
const NO_ROOM: Duration = Duration::from_millis(100);

/// Where connections come. Dropping it closes its sockets, and removes their files.
pub(super) struct Door {
    listeners: Vec<(Listener, Address)>,
    files: Vec<SocketFile>,
}

impl Door {
    /// Listens at all of `places`, some of which may be `inherited`.
    pub(super) async fn open(places: &[Listen], mut inherited: Inherited) -> Result<Self, Failure> {
        let mut door = Self {
            listeners: Vec::new(),
            files: Vec::new(),
        };
        for place in places {
            let failed = |error| Failure::told(format!("listening at {place}: {error}"));
            match place {
                Listen::At(address) => door.listen(address).await.map_err(failed)?,
                Listen::Systemd(name) => {
                    let taken = inherited.take(name.as_deref()).map_err(failed)?;
                    door.listeners.extend(taken);
                }
            }
        }
        match inherited.names().next() {
            // Who connects there would wait for ever.
            Some(name) => Err(Failure::told(format!(
                "systemd passes a socket '{name}', and no --listen systemd:{name} takes it"
            ))),
            None => Ok(door),
        }
    }

    async fn listen(&mut self, address: &Address) -> io::Result<()> {
        let (listener, at) = match address {
            Address::Unix(path) => {
                let name = unix_name(path);
                let is_abstract = name != *path;
                let listener = match UnixListener::bind(&name) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && !is_abstract => {
                        remove_if_stale(path).await?;
                        UnixListener::bind(&name)?
                    }
                    bound => bound?,
                };
                if !is_abstract {
                    self.files.push(SocketFile(path.clone()));
                }
                (Listener::Unix(listener), address.clone())
            }
            Address::Tcp { host, port } => {
                let listener = TcpListener::bind((&**host, *port)).await?;
                let at = listener.local_addr()?;
                let at = Address::Tcp {
                    host: at.ip().to_string(),
                    port: at.port(),
                };
                (Listener::Tcp(listener), at)
            }
        };
        self.listeners.push((listener, at));
        Ok(())
    }

    /// Where it listens, with the ports that were found.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().map(|(_, address)| address)
    }

    /// Takes connections as long as it is polled, `max` at once.
    pub(super) async fn take(&self, loops: &[EventLoop], max: usize, reports: &Reports) {
        let taking = self.listeners.iter().map(|(listener, address)| async move {
            loop {
                match listener.accept().await {
                    Ok(incoming) => hand_over(incoming, loops, max, reports),
                    Err(error) => {
                        reports.log(&format!("taking a connection at {address}: {error}"));
                        sleep(NO_ROOM).await;
                    }
                }
            }
        });
        futures::future::join_all(taking).await;
    }
}

fn hand_over(incoming: Incoming, loops: &[EventLoop], max: usize, reports: &Reports) {
    let open: usize = loops.iter().map(EventLoop::open).sum();
    if open >= max {
        reports.refused_connection(max);
        return;
    }
    if let Some(idlest) = loops.iter().min_by_key(|it| it.open()) {
        idlest.serve(incoming);
    }
}

/// Removes a socket's file that nobody listens at any more, as a process leaves it that was killed.
async fn remove_if_stale(path: &Path) -> io::Result<()> {
    let in_use = || io::Error::new(io::ErrorKind::AddrInUse, "something is there already");
    if !std::fs::metadata(path)?.file_type().is_socket() {
        return Err(in_use());
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(in_use()),
    }
}

/// A socket's file, which goes with it.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}
