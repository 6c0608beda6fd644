//! Connections in memory.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, RpcSystem, twoparty};
use capspan::guard::{Connection, Ending};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::random::Random;

/// One end of a link: a reader and a writer.
pub type End = (
    Compat<ReadHalf<DuplexStream>>,
    Compat<WriteHalf<DuplexStream>>,
);

/// As much as a link holds before its writer has to wait.
const BUFFER: usize = 16 * 1024 * 1024;

/// Two ends, and the means to part them.
pub struct Link {
    /// The client's end.
    pub client: End,
    /// The server's end.
    pub server: End,
    /// Parts them.
    pub cutter: Cutter,
}

/// Parts the ends of a link: both see the end of the stream.
#[derive(Clone, Default)]
pub struct Cutter {
    pumps: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl Cutter {
    /// Parts the ends. What is on its way is lost.
    pub fn cut(&self) {
        for pump in self.pumps.take() {
            pump.abort();
        }
    }
}

/// A link on which bytes arrive `latency` after they were sent, in each direction. Without latency they
/// still pass through a task, so that the link can be cut.
pub fn link(latency: Duration) -> Link {
    let (client, client_far) = tokio::io::duplex(BUFFER);
    let (server, server_far) = tokio::io::duplex(BUFFER);
    let (from_client, to_client) = tokio::io::split(client_far);
    let (from_server, to_server) = tokio::io::split(server_far);
    let cutter = Cutter::default();
    for (from, to) in [(from_client, to_server), (from_server, to_client)] {
        let pump = tokio::task::spawn_local(pump(from, to, latency));
        cutter.pumps.borrow_mut().push(pump);
    }
    Link {
        client: end(client),
        server: end(server),
        cutter,
    }
}

/// A link on which bytes arrive in pieces, of any sizes and with pauses between them: all as `seed` says.
pub fn pieces(seed: u64) -> Link {
    let (client, client_far) = tokio::io::duplex(BUFFER);
    let (server, server_far) = tokio::io::duplex(BUFFER);
    let (from_client, to_client) = tokio::io::split(client_far);
    let (from_server, to_server) = tokio::io::split(server_far);
    let cutter = Cutter::default();
    let mut random = Random::new(seed);
    for (from, to) in [(from_client, to_server), (from_server, to_client)] {
        let random = Random::new(u64::from(random.value()));
        let pump = tokio::task::spawn_local(pump_pieces(from, to, random));
        cutter.pumps.borrow_mut().push(pump);
    }
    Link {
        client: end(client),
        server: end(server),
        cutter,
    }
}

async fn pump_pieces(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    mut random: Random,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let most = match random.below(8) {
            0 => 1 + usize::from(random.below(8)),
            1 | 2 => 1 + usize::from(random.below(200)),
            3 => 8 * (1 + usize::from(random.below(40))),
            _ => 1 + usize::from(random.below(255)) * 256,
        };
        let Ok(length @ 1..) = from.read(&mut buffer[..most]).await else {
            break;
        };
        for _ in 0..random.below(4) {
            tokio::task::yield_now().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _closed_already = to.shutdown().await;
}

/// Two ends with nothing between them.
pub fn direct() -> (End, End) {
    narrow(BUFFER)
}

/// The same, with room for so many bytes each way before the writer has to wait.
pub fn narrow(bytes: usize) -> (End, End) {
    let (client, server) = tokio::io::duplex(bytes);
    (end(client), end(server))
}

fn end(stream: DuplexStream) -> End {
    let (reader, writer) = tokio::io::split(stream);
    (reader.compat(), writer.compat_write())
}

async fn pump(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    latency: Duration,
) {
    let (on_its_way, mut arrives) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let send = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let arrival = Instant::now() + latency;
            if on_its_way
                .send((arrival, buffer[..length].to_vec()))
                .is_err()
            {
                return;
            }
        }
    };
    let receive = async move {
        while let Some((arrival, bytes)) = arrives.recv().await {
            if !latency.is_zero() {
                tokio::time::sleep_until(arrival).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _closed_already = to.shutdown().await;
    };
    tokio::join!(send, receive);
}

/// Plain `capnp-rpc` over `ends`: what the client gets of `bootstrap`. Both sides run as tasks.
pub fn plain<C: FromClientHook>(ends: (End, End), bootstrap: Client) -> C {
    closable(ends, bootstrap).0
}

/// The same, and what ends the connection: it does not end when its tasks are dropped, and is leaked.
pub fn closable<C: FromClientHook>(
    (client, server): (End, End),
    bootstrap: Client,
) -> (C, Disconnector<Side>) {
    let options = capnp::message::ReaderOptions::default();
    let server = twoparty::VatNetwork::new(server.0, server.1, Side::Server, options);
    tokio::task::spawn_local(RpcSystem::new(Box::new(server), Some(bootstrap)));
    let client = twoparty::VatNetwork::new(client.0, client.1, Side::Client, options);
    let mut system = RpcSystem::new(Box::new(client), None);
    let (bootstrap, disconnector) = (system.bootstrap(Side::Server), system.get_disconnector());
    tokio::task::spawn_local(system);
    (bootstrap, disconnector)
}

/// A guarded server and a plain client over `ends`: what the client gets of `bootstrap`. Both sides run as
/// tasks.
pub fn guarded<C: FromClientHook>(
    (client, server): (End, End),
    bootstrap: impl FnOnce(&Ending) -> Client,
) -> C {
    let (_, driver) = Connection::serve(server.0, server.1, bootstrap);
    tokio::task::spawn_local(driver);
    let options = capnp::message::ReaderOptions::default();
    let client = twoparty::VatNetwork::new(client.0, client.1, Side::Client, options);
    let mut system = RpcSystem::new(Box::new(client), None);
    let bootstrap = system.bootstrap(Side::Server);
    tokio::task::spawn_local(system);
    bootstrap
}

/// Plain `capnp-rpc` that serves `bootstrap` at one end, as a task.
pub fn plain_server(end: End, bootstrap: Client) -> JoinHandle<Result<(), capnp::Error>> {
    let options = capnp::message::ReaderOptions::default();
    let network = twoparty::VatNetwork::new(end.0, end.1, Side::Server, options);
    tokio::task::spawn_local(RpcSystem::new(Box::new(network), Some(bootstrap)))
}

/// Guarded connections over `ends`, the client's first. Both sides run as tasks.
pub fn watched(
    (client, server): (End, End),
    bootstrap: impl FnOnce(&Ending) -> Client,
) -> (Connection, Connection) {
    let (server, driver) = Connection::serve(server.0, server.1, bootstrap);
    tokio::task::spawn_local(driver);
    let (client, driver) = Connection::connect(client.0, client.1);
    tokio::task::spawn_local(driver);
    (client, server)
}
