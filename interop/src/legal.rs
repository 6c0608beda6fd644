//! Random legal exchanges with a program of another language, `peer`, that is started as
//!
//! - `peer serve SOCKET`: it says `listening`, serves one connection, and says how many of its objects are alive then;
//! - `peer call SOCKET SEED COUNT`: it makes exchanges, and says how many.

use capspan::Error;
use capspan::guard::Connection;
use capspan_testkit::legal::{Caller, Vat, assert_nothing_refused};
use capspan_testkit::legal_capnp::number;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::{JoinHandle, spawn_local};

use crate::{Program, Tails};

/// What the number that is served stands for.
pub const SERVICE: u32 = 7;

/// The first seed of the exchanges that `peer` makes.
const SEED: u64 = 1_000_000;

/// A `peer` that serves, and the connection to it.
pub struct Callee {
    program: Program,
    connection: Connection,
    driver: JoinHandle<Result<(), Error>>,
    vat: Vat,
    tails: Tails,
}

impl Callee {
    /// Starts it, and connects.
    ///
    /// # Panics
    ///
    /// Where that can't be done.
    pub async fn start(mut peer: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let socket = folder.path().join("socket");
        peer.arg("serve").arg(&socket);
        let mut program = Program::start(peer);
        assert_eq!(program.line().await, "listening");
        let stream = UnixStream::connect(&socket).await.expect("it listens");
        let tails = Tails::default();
        let (reader, writer) = tails.of(stream);
        let (connection, driver) = Connection::connect(reader, writer);
        Self {
            program,
            connection,
            driver: spawn_local(driver),
            vat: Vat::new(),
            tails,
        }
    }

    /// The number that it serves.
    pub fn service(&self) -> number::Client {
        self.connection.bootstrap()
    }

    /// What the numbers of this side are in.
    pub fn vat(&self) -> &Vat {
        &self.vat
    }

    /// The connection to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Its tail calls.
    pub fn tails(&self) -> &Tails {
        &self.tails
    }

    /// Ends the connection.
    ///
    /// # Panics
    ///
    /// Where anything was refused, or is alive.
    pub async fn finish(self) {
        let Self {
            mut program,
            connection,
            driver,
            vat,
            tails: _,
        } = self;
        assert_nothing_refused(&connection);
        drop(connection);
        driver.abort();
        assert_eq!(program.line().await, "alive 0");
        program.finish().await;
        assert_eq!(vat.live(), 0, "objects of the caller are alive");
    }
}

/// Makes exchanges with a `peer` that serves; gives how many tail calls that made.
///
/// # Panics
///
/// Where one does not give what it must, is refused, or something is alive in the end.
pub async fn call(peer: Command, exchanges: u64) -> usize {
    let callee = Callee::start(peer).await;
    let caller = Caller::new(callee.service(), SERVICE, callee.vat().clone());
    caller.exchanges(0..exchanges).await;
    drop(caller);
    let tails = callee.tails().clone();
    callee.finish().await;
    tails.taken()
}

/// Serves a `peer` that makes exchanges; gives how many tail calls that made.
///
/// # Panics
///
/// Where one does not give what it must, is refused, or something is alive in the end.
pub async fn serve(mut peer: Command, exchanges: u64) -> usize {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    peer.arg("call").arg(&socket);
    peer.arg(SEED.to_string()).arg(exchanges.to_string());
    let mut peer = Program::start(peer);
    let (stream, _) = listener.accept().await.expect("it connects");
    let tails = Tails::default();
    let (reader, writer) = tails.of(stream);
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
    tails.taken()
}
