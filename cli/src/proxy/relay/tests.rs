//! One client, one service, and the proxy between them in memory, whose streams break anywhere.

use std::rc::Rc;

use capspan::Tasks;
use capspan::guard::Connection;
use capspan::trace::{FastClock, MemoryObserver, Tracer};
use capspan_testkit::legal::{Caller, Vat, assert_nothing_refused};
use capspan_testkit::link::{Cutter, End, pieces};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::story::assert_closed_once;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use super::super::config::Config;
use super::super::event_loop::{Here, Phase};
use super::super::stream::{Halves, Peer};
use super::between;

/// A proxy for one connection.
struct Proxy {
    /// The client's end.
    client: End,
    /// The service's end.
    service: End,
    cutters: [Cutter; 2],
    spans: MemoryObserver,
    here: Rc<Here>,
    phase: watch::Sender<Phase>,
    relay: JoinHandle<()>,
    driver: JoinHandle<()>,
}

impl Proxy {
    fn new(seed: u64) -> Self {
        let address: super::super::Address = "unix:/nowhere".parse().expect("an address");
        let config = Config {
            is_quiet: true,
            ..Config::new(address, "unix:/the/service".parse().expect("an address"))
        };
        let (tasks, driver) = Tasks::new();
        let driver = spawn_local(driver);
        let (phase, phases) = watch::channel(Phase::Running);
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone()).with_clock(FastClock::new());
        let here = Rc::new(Here::observed(config, phases, tracer, &tasks));
        let (above, below) = (pieces(2 * seed), pieces(2 * seed + 1));
        let relay = spawn_local(between(
            Peer::Unknown,
            halves(above.server),
            halves(below.client),
            here.clone(),
        ));
        Self {
            client: above.client,
            service: below.server,
            cutters: [above.cutter, below.cutter],
            spans,
            here,
            phase,
            relay,
            driver,
        }
    }
}

fn halves((reader, writer): End) -> Halves {
    let reader: Box<dyn tokio::io::AsyncRead + Unpin> = Box::new(reader.into_inner());
    let writer: Box<dyn tokio::io::AsyncWrite + Unpin> = Box::new(writer.into_inner());
    (reader.compat(), writer.compat_write())
}

async fn exchanges(seed: u64, each: u64) {
    let proxy = Proxy::new(seed);
    let (callers, callees) = (Vat::new(), Vat::new());
    let (server, driver) = Connection::serve(proxy.service.0, proxy.service.1, |_| {
        callees.number(7).client
    });
    let server_driver = spawn_local(driver);
    let (client, driver) = Connection::connect(proxy.client.0, proxy.client.1);
    let client_driver = spawn_local(driver);
    let caller = Caller::new(client.bootstrap(), 7, callers.clone());
    caller.exchanges(seed * each..(seed + 1) * each).await;
    assert_nothing_refused(&client);
    assert_nothing_refused(&server);
    drop((caller, client, server));
    client_driver.abort();
    proxy.relay.await.expect("it does not panic");
    server_driver.await.expect("it does not panic").ok();
    until_idle().await;
    assert_eq!((callers.live(), callees.live()), (0, 0));
    assert!(proxy.here.live().is_empty());
    assert_closed_once(&proxy.spans);
    assert!(proxy.spans.open().is_empty());
    drop((proxy.here, proxy.phase, proxy.cutters));
    proxy.driver.await.expect("it does not panic");
}

#[test]
fn legal_exchanges_give_what_they_must_however_the_streams_break() {
    for seed in 0..40 {
        eprintln!("seed {seed}");
        run(exchanges(seed, 25));
    }
}
