//! A client and a service, and what stands between them.

use std::rc::Rc;

use capspan::Tasks;
use capspan::guard::Connection;
use capspan::trace::{FastClock, MemoryObserver, Outcome, Tracer};
use capspan_testkit::legal::{Caller, Vat, assert_nothing_refused};
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

/// An end of the whole.
pub(super) struct Side {
    pub(super) connection: Connection,
    pub(super) driver: JoinHandle<Result<(), capspan::Error>>,
    pub(super) objects: Vat,
}

impl Setting {
    pub(super) fn new(seed: u64) -> Self {
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
            client: Side::connected(above.client),
            service: Side::serving(below.server),
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
            connection,
            objects,
            ..
        } = &self.client;
        Caller::new(connection.bootstrap(), SERVICE, objects.clone())
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
        drop((client.connection, service.connection, self.cutters));
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
    pub(super) fn new(seed: u64) -> Self {
        let link = pieces(seed);
        Self {
            client: Side::connected(link.client),
            service: Side::serving(link.server),
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
        drop((client.connection, service.connection, cutter));
        until_idle().await;
        let alive = (client.objects.live(), service.objects.live());
        assert_eq!(alive, (0, 0), "objects of the client, and of the service");
    }
}

impl Side {
    fn connected((reader, writer): End) -> Self {
        Self::new(|_| Connection::connect(reader, writer))
    }

    fn serving((reader, writer): End) -> Self {
        Self::new(|objects| Connection::serve(reader, writer, |_| objects.number(SERVICE).client))
    }

    pub(super) fn assert_nothing_refused(&self) {
        assert_nothing_refused(&self.connection);
    }

    fn new<D>(begin: impl FnOnce(&Vat) -> (Connection, D)) -> Self
    where
        D: Future<Output = Result<(), capspan::Error>> + 'static,
    {
        let objects = Vat::listening();
        let (connection, driver) = begin(&objects);
        Self {
            connection,
            driver: spawn_local(driver),
            objects,
        }
    }
}

fn halves((reader, writer): End) -> Halves {
    let reader: Box<dyn tokio::io::AsyncRead + Unpin> = Box::new(reader.into_inner());
    let writer: Box<dyn tokio::io::AsyncWrite + Unpin> = Box::new(writer.into_inner());
    (reader.compat(), writer.compat_write())
}
