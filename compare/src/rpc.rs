//! The echo by Cap'n Proto: by plain `capnp-rpc`, over a guarded connection, and in a session.

use std::path::Path;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use capspan::Tasks;
use capspan::export::Otel;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::session::{CallSpans, Session};
use capspan::trace::Tracer;
use capspan_testkit::testkit_capnp::thing;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use super::child::{Caller, Failure, PAYLOAD};
use super::sink::Sink;

type Ends = (Compat<OwnedReadHalf>, Compat<OwnedWriteHalf>);

struct Echo;

impl thing::Server for Echo {
    async fn echo(
        self: Rc<Self>,
        params: thing::EchoParams,
        mut results: thing::EchoResults,
    ) -> capnp::Result<()> {
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }
}

impl Service for Echo {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        Ok(Client::new(echo().into_client_hook()))
    }
}

fn echo() -> thing::Client {
    new_client(Echo)
}

fn ends(stream: UnixStream) -> Ends {
    let (reader, writer) = stream.into_split();
    (reader.compat(), writer.compat_write())
}

/// Serves one connection in a thread of its own.
fn serve_one<F>(
    socket: &Path,
    serve: impl FnOnce(Ends) -> F + Send + 'static,
) -> Result<(), Failure>
where
    F: Future,
{
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            let (stream, _) = UnixListener::from_std(listener)?.accept().await?;
            serve(ends(stream)).await;
            Ok::<_, std::io::Error>(())
        })
    });
    Ok(())
}

pub(crate) fn serve_plain(socket: &Path) -> Result<(), Failure> {
    serve_one(socket, |(reader, writer)| {
        let network = VatNetwork::new(reader, writer, Side::Server, ReaderOptions::default());
        let bootstrap = Client::new(echo().into_client_hook());
        RpcSystem::new(Box::new(network), Some(bootstrap))
    })
}

pub(crate) async fn connect_plain(socket: &Path) -> Result<impl Caller, Failure> {
    let (reader, writer) = ends(UnixStream::connect(socket).await?);
    let network = VatNetwork::new(reader, writer, Side::Client, ReaderOptions::default());
    let mut system = RpcSystem::new(Box::new(network), None);
    let thing: thing::Client = system.bootstrap(Side::Server);
    spawn_local(system);
    Ok(thing)
}

pub(crate) fn serve_bare(socket: &Path) -> Result<(), Failure> {
    serve_one(socket, |(reader, writer)| {
        let bootstrap = |_: &_| Client::new(echo().into_client_hook());
        let (connection, driver) = Connection::serve(reader, writer, bootstrap);
        async move {
            let _connection = connection;
            driver.await
        }
    })
}

pub(crate) async fn connect_bare(socket: &Path) -> Result<impl Caller, Failure> {
    let (reader, writer) = ends(UnixStream::connect(socket).await?);
    let (connection, driver) = Connection::connect(reader, writer);
    spawn_local(driver);
    Ok(Held {
        thing: connection.bootstrap(),
        _connection: connection,
    })
}

pub(crate) fn set_up_export() -> Result<Otel, Failure> {
    Ok(Otel::builder().build_with(Sink, Sink)?)
}

fn calls() -> CallSpans {
    CallSpans::new().interface::<thing::Client>("Thing", ["number", "echo"])
}

pub(crate) fn serve(socket: &Path, otel: &Otel) -> Result<(), Failure> {
    let otel = otel.clone();
    serve_one(socket, move |(reader, writer)| async move {
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let tracer = Tracer::new(otel.observer()).with_service("server");
        let callee = Callee::new(Echo, &tasks).tracer(tracer).call_spans(calls());
        let (_connection, driver) =
            Connection::serve(reader, writer, |ending| callee.bootstrap(ending));
        driver.await
    })
}

pub(crate) async fn connect(socket: &Path, otel: &Otel) -> Result<impl Caller, Failure> {
    let (reader, writer) = ends(UnixStream::connect(socket).await?);
    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    let (connection, driver) = Connection::connect(reader, writer);
    spawn_local(driver);
    let pipeline = Pipeline::over(&connection, &tasks).call_spans(calls());
    let tracer = Tracer::new(otel.observer()).with_service("client");
    let event = pipeline.event("compare").parent(tracer.root());
    let session: Session<thing::Client> = event.open_session();
    Ok(InSession {
        session,
        _connection: connection,
    })
}

struct Held {
    thing: thing::Client,
    _connection: Connection,
}

impl Caller for Held {
    async fn call(&self) -> Result<(), Failure> {
        self.thing.call().await
    }
}

struct InSession {
    session: Session<thing::Client>,
    _connection: Connection,
}

impl Caller for thing::Client {
    async fn call(&self) -> Result<(), Failure> {
        let mut request = self.echo_request();
        request.get().set_data(PAYLOAD);
        let response = request.send().promise.await?;
        match response.get()?.get_data()? == PAYLOAD {
            true => Ok(()),
            false => Err("not what was sent".into()),
        }
    }
}

impl Caller for InSession {
    async fn call(&self) -> Result<(), Failure> {
        self.session.top_level().call().await
    }
}
