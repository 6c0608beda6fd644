//! Random legal exchanges with a program of another language, `peer`, that is started as
//!
//! - `peer serve SOCKET`: it says `listening`, serves one connection, and says how many of its objects are alive then;
//! - `peer call SOCKET SEED COUNT`: it makes exchanges, and says how many.

use capspan::guard::Connection;
use capspan_testkit::legal::{Caller, Vat, assert_nothing_refused};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::spawn_local;

use crate::{Program, halves};

/// What the number that is served stands for.
const SERVICE: u32 = 7;

/// The first seed of the exchanges that `peer` makes.
const SEED: u64 = 1_000_000;

/// Makes exchanges with a `peer` that serves.
///
/// # Panics
///
/// Where one does not give what it must, is refused, or something is alive in the end.
pub async fn call(mut peer: Command, exchanges: u64) {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let socket = folder.path().join("socket");
    peer.arg("serve").arg(&socket);
    let mut peer = Program::start(peer);
    assert_eq!(peer.line().await, "listening");
    let stream = UnixStream::connect(&socket).await.expect("it listens");
    let (reader, writer) = halves(stream);
    let (connection, driver) = Connection::connect(reader, writer);
    let driver = spawn_local(driver);

    let vat = Vat::new();
    let caller = Caller::new(connection.bootstrap(), SERVICE, vat.clone());
    caller.exchanges(0..exchanges).await;
    assert_nothing_refused(&connection);
    drop((caller, connection));
    driver.abort();
    assert_eq!(peer.line().await, "alive 0");
    peer.finish().await;
    assert_eq!(vat.live(), 0, "objects of the caller are alive");
}

/// Serves a `peer` that makes exchanges.
///
/// # Panics
///
/// Where one does not give what it must, is refused, or something is alive in the end.
pub async fn serve(mut peer: Command, exchanges: u64) {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    peer.arg("call").arg(&socket);
    peer.arg(SEED.to_string()).arg(exchanges.to_string());
    let mut peer = Program::start(peer);
    let (stream, _) = listener.accept().await.expect("it connects");
    let (reader, writer) = halves(stream);
    let vat = Vat::new();
    let (connection, driver) = Connection::serve(reader, writer, |_| vat.number(SERVICE).client);
    let driver = spawn_local(driver);

    assert_eq!(peer.line().await, format!("exchanges {exchanges}, alive 0"));
    peer.finish().await;
    // The caller has gone, and with it the connection.
    let _ = driver.await.expect("it does not panic");
    assert_nothing_refused(&connection);
    drop(connection);
    assert_eq!(vat.live(), 0, "objects of the callee are alive");
}
