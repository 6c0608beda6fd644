//! A client and a service, and what stands between them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::message::ReaderOptions;
use capnp_rpc::{Disconnector, RpcSystem, rpc_twoparty_capnp as rpc, twoparty};
use capspan::Tasks;
use capspan::guard::{Connection, ConnectionDriver};
use capspan::trace::{FastClock, MemoryObserver, Outcome, Tracer};
use capspan_testkit::legal::{Caller, Vat, assert_nothing_refused};
use capspan_testkit::legal_capnp::number;
use capspan_testkit::link::{Cutter, End, pieces};
use capspan_testkit::run::until_idle;
use capspan_testkit::story::assert_closed_once;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use crate::proxy::config::Config;
use crate::proxy::event_loop::{Here, Phase};
use crate::proxy::relay::between;
use crate::proxy::stream::{Halves, Peer};

/// What the number that is served stands for.
const SERVICE: u32 = 7;

/// All three. Bytes arrive in pieces, as the seed says.
pub(super) struct Setting {
    pub(super) client: Side,
    pub(super) service: Side,
    /// What parts the relay from the client, and from the service.
    pub(super) cutters: [Cutter; 2],
    pub(super) phase: watch::Sender<Phase>,
    spans: MemoryObserver,
    here: Rc<Here>,
    relay: JoinHandle<()>,
    tasks: JoinHandle<()>,
}

/// How a client and a service are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Guarded, so that it is seen whether anything is refused.
    Guarded,
    /// With nothing but `capnp-rpc`, as those that know nothing of the relay.
    Plain,
}

/// An end of the whole.
pub(super) struct Side {
    /// What the service serves.
    pub(super) served: number::Client,
    /// Where it is guarded.
    connection: Option<Connection>,
    pub(super) driver: JoinHandle<Result<(), capspan::Error>>,
    pub(super) objects: Vat,
}

impl Setting {
    pub(super) fn new(seed: u64) -> Self {
        Self::of(Made::Guarded, seed)
    }

    pub(super) fn of(made: Made, seed: u64) -> Self {
        let address = || "unix:/nowhere".parse().expect("an address");
        let config = Config {
            is_quiet: true,
            ..Config::new(address(), address())
        };
        let (tasks, driver) = Tasks::new();
        let (phase, phases) = watch::channel(Phase::Running);
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone()).with_clock(FastClock::new());
        let here = Rc::new(Here::observed(config, phases, tracer, &tasks));
        let (above, below) = (pieces(2 * seed), pieces(2 * seed + 1));
        let (client, service) = (halves(above.server), halves(below.client));
        let relay = between(Peer::Unknown, client, service, here.clone());
        Self {
            client: Side::connected(made, above.client),
            service: Side::serving(made, below.server),
            cutters: [above.cutter, below.cutter],
            phase,
            spans,
            here,
            relay: spawn_local(relay),
            tasks: spawn_local(driver),
        }
    }

    /// Who calls the service.
    pub(super) fn caller(&self) -> Caller {
        let Side {
            served, objects, ..
        } = &self.client;
        Caller::new(served.clone(), SERVICE, objects.clone())
    }

    pub(super) fn assert_nothing_refused(&self) {
        self.client.assert_nothing_refused();
        self.service.assert_nothing_refused();
    }

    /// The client goes, and nobody holds anything any more. Then nothing is left of it, with the service neither, and
    /// each span is closed. Gives how the session has ended.
    pub(super) async fn finish(self) -> Outcome {
        let Self {
            client,
            service,
            here,
            spans,
            ..
        } = self;
        client.driver.abort();
        self.relay.await.expect("it does not panic");
        // Where it was not killed it has seen the end of its connection.
        let _ended_or_killed = service.driver.await;
        drop((client.served, client.connection));
        drop((service.served, service.connection, self.cutters));
        until_idle().await;
        let alive = (client.objects.live(), service.objects.live());
        assert_eq!(alive, (0, 0), "objects of the client, and of the service");
        assert!(here.live().is_empty());
        assert!(spans.open().is_empty(), "{:?}", spans.open());
        assert_closed_once(&spans);
        drop((here, self.phase));
        self.tasks.await.expect("it does not panic");
        let closed = spans.closed();
        let mut sessions = closed.iter().filter(|span| span.name() == "session");
        let session = sessions.next().expect("there is a session");
        assert!(sessions.next().is_none());
        session.outcome().expect("it has ended")
    }
}

/// A client and a service with nothing but a stream between them.
pub(super) struct Direct {
    pub(super) client: Side,
    pub(super) service: Side,
    cutter: Cutter,
}

impl Direct {
    pub(super) fn of(made: Made, seed: u64) -> Self {
        let link = pieces(seed);
        Self {
            client: Side::connected(made, link.client),
            service: Side::serving(made, link.server),
            cutter: link.cutter,
        }
    }

    /// As [`Setting::finish`].
    pub(super) async fn finish(self) {
        let Self {
            client,
            service,
            cutter,
        } = self;
        client.driver.abort();
        let _ended_or_killed = service.driver.await;
        drop((client.served, client.connection));
        drop((service.served, service.connection, cutter));
        until_idle().await;
        let alive = (client.objects.live(), service.objects.live());
        assert_eq!(alive, (0, 0), "objects of the client, and of the service");
    }
}

impl Side {
    fn connected(made: Made, (reader, writer): End) -> Self {
        let objects = Vat::listening();
        match made {
            Made::Guarded => Self::guarded(Connection::connect(reader, writer), objects),
            Made::Plain => Self::plain((reader, writer), rpc::Side::Client, objects),
        }
    }

    fn serving(made: Made, (reader, writer): End) -> Self {
        let objects = Vat::listening();
        match made {
            Made::Guarded => {
                let service = objects.number(SERVICE).client;
                let connection = Connection::serve(reader, writer, |_| service);
                Self::guarded(connection, objects)
            }
            Made::Plain => Self::plain((reader, writer), rpc::Side::Server, objects),
        }
    }

    pub(super) fn assert_nothing_refused(&self) {
        self.connection.iter().for_each(assert_nothing_refused);
    }

    fn guarded((connection, driver): (Connection, ConnectionDriver), objects: Vat) -> Self {
        Self {
            served: connection.bootstrap(),
            connection: Some(connection),
            driver: spawn_local(driver),
            objects,
        }
    }

    fn plain((reader, writer): End, side: rpc::Side, objects: Vat) -> Self {
        let network = twoparty::VatNetwork::new(reader, writer, side, ReaderOptions::default());
        let service = (side == rpc::Side::Server).then(|| objects.number(SERVICE).client);
        let mut system = RpcSystem::new(Box::new(network), service);
        let served = system.bootstrap(rpc::Side::Server);
        let disconnector = system.get_disconnector();
        Self {
            served,
            connection: None,
            driver: spawn_local(PlainDriver {
                system,
                disconnector,
            }),
            objects,
        }
    }
}

/// Runs a connection of `capnp-rpc`'s.
struct PlainDriver {
    system: RpcSystem<rpc::Side>,
    disconnector: Disconnector<rpc::Side>,
}

impl Future for PlainDriver {
    type Output = Result<(), capspan::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = Pin::new(&mut self.system).poll(cx);
        ended.map_err(capspan::Error::from)
    }
}

impl Drop for PlainDriver {
    /// Else `capnp-rpc` keeps what is in flight for ever.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.disconnector).poll(&mut cx);
    }
}

fn halves((reader, writer): End) -> Halves {
    let reader: Box<dyn tokio::io::AsyncRead + Unpin> = Box::new(reader.into_inner());
    let writer: Box<dyn tokio::io::AsyncWrite + Unpin> = Box::new(writer.into_inner());
    (reader.compat(), writer.compat_write())
}
