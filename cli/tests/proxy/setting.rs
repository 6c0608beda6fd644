//! A service, the proxy's process before it, and clients.

use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

/// Runs a test that has to do with processes, and so with real time.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// How client, proxy and service are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Unix,
    Tcp,
}

/// Runs `test` over sockets of both kinds.
pub(crate) fn over_both(test: impl AsyncFn(Over)) {
    for over in [Over::Unix, Over::Tcp] {
        eprintln!("over: {over:?}");
        run(test(over));
    }
}

/// A service on plain `capnp-rpc`, which knows nothing of capspan.
pub(crate) struct Service {
    pub(crate) address: String,
    /// Its connections and what takes them.
    tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl Service {
    /// Serves what `bootstrap` gives each connection.
    pub(crate) async fn start(
        over: Over,
        folder: &TempDir,
        bootstrap: impl Fn() -> Client + 'static,
    ) -> Self {
        let tasks = Rc::<RefCell<Vec<JoinHandle<()>>>>::default();
        let kept = tasks.clone();
        let serve = move |stream: Box<dyn Stream>| {
            let task = spawn_local(serve(stream, bootstrap()));
            kept.borrow_mut().push(task);
        };
        let (address, taking) = match over {
            Over::Unix => {
                let path = folder.path().join("service");
                let address = format!("unix:{}", path.display());
                let listener = UnixListener::bind(path).unwrap();
                let taking = spawn_local(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        serve(Box::new(stream));
                    }
                });
                (address, taking)
            }
            Over::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = format!("tcp:{}", listener.local_addr().unwrap());
                let taking = spawn_local(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        serve(Box::new(stream));
                    }
                });
                (address, taking)
            }
        };
        tasks.borrow_mut().push(taking);
        Self { address, tasks }
    }

    /// Gives each connection an object of `world`.
    pub(crate) async fn of(world: &World, over: Over, folder: &TempDir) -> Self {
        let world = world.clone();
        let bootstrap = move || Client::new(world.thing().into_client_hook());
        Self::start(over, folder, bootstrap).await
    }

    /// It is gone, with all of its connections.
    pub(crate) fn kill(&self) {
        for task in self.tasks.take() {
            task.abort();
        }
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn serve(stream: Box<dyn Stream>, bootstrap: Client) {
    let (reader, writer) = tokio::io::split(stream);
    let network = twoparty::VatNetwork::new(
        reader.compat(),
        writer.compat_write(),
        Side::Server,
        Default::default(),
    );
    let system = RpcSystem::new(Box::new(network), Some(bootstrap));
    let _ended = system.await;
}

/// A client on plain `capnp-rpc`. Dropping it closes its connection.
pub(crate) struct Caller<C = thing::Client> {
    pub(crate) client: C,
    driver: JoinHandle<()>,
}

impl<C: FromClientHook> Caller<C> {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream: Box<dyn Stream> = match address.split_once(':') {
            Some(("unix", path)) => Box::new(UnixStream::connect(path).await.unwrap()),
            Some(("tcp", place)) => Box::new(TcpStream::connect(place).await.unwrap()),
            _ => panic!("{address}"),
        };
        let (reader, writer) = tokio::io::split(stream);
        let network = twoparty::VatNetwork::new(
            reader.compat(),
            writer.compat_write(),
            Side::Client,
            Default::default(),
        );
        let mut system = RpcSystem::new(Box::new(network), None);
        let client = system.bootstrap(Side::Server);
        let driver = spawn_local(async move {
            let _ended = system.await;
        });
        Self { client, driver }
    }

    /// Waits until the other end has closed the connection.
    pub(crate) async fn closed(&mut self) {
        (&mut self.driver).await.unwrap();
    }
}

impl<C> Drop for Caller<C> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The proxy's process.
pub(crate) struct Proxy {
    process: Child,
    pub(crate) address: String,
    errors: Lines<BufReader<ChildStderr>>,
    records: PathBuf,
}

impl Proxy {
    /// Starts it before the service at `upstream`, and waits until it listens.
    pub(crate) async fn start(
        over: Over,
        folder: &TempDir,
        upstream: &str,
        words: &[&str],
    ) -> Self {
        let records = folder.path().join("records.jsonl");
        let listen = match over {
            Over::Unix => format!("unix:{}", folder.path().join("proxy").display()),
            Over::Tcp => "tcp:127.0.0.1:0".into(),
        };
        let mut process = Command::new(env!("CARGO_BIN_EXE_capspan"))
            .args(["proxy", "--listen", &listen, "--upstream", upstream])
            .arg("--json")
            .arg(&records)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let errors = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut proxy = Self {
            process,
            address: String::new(),
            errors,
            records,
        };
        let line = proxy.says("listening at ").await;
        let address = line.split("listening at ").nth(1).unwrap();
        proxy.address = address.split(", for").next().unwrap().into();
        proxy
    }

    /// Waits for a line of its standard error that has `text` in it.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        loop {
            let line = self.errors.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended without having said '{text}'"));
            eprintln!("{line}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.process.id().unwrap().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(status.unwrap().success());
    }

    /// Lets it end; gives its span records, in the order in which they were written.
    pub(crate) async fn finish(mut self) -> Vec<Json> {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Waits until it has ended well; gives its span records.
    pub(crate) async fn ended(&mut self) -> Vec<Json> {
        while let Some(line) = self.errors.next_line().await.unwrap() {
            eprintln!("{line}");
        }
        let status = self.process.wait().await.unwrap();
        assert!(status.success(), "{status}");
        let text = std::fs::read_to_string(&self.records).unwrap();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        records.collect()
    }
}

/// The only record of this name.
pub(crate) fn named<'a>(records: &'a [Json], name: &str) -> &'a Json {
    let mut found = records.iter().filter(|record| record["name"] == name);
    let record = found
        .next()
        .unwrap_or_else(|| panic!("no '{name}' in {records:#?}"));
    assert!(
        found.next().is_none(),
        "more than one '{name}' in {records:#?}"
    );
    record
}

/// None of them is open.
pub(crate) fn assert_closed(records: &[Json]) {
    for record in records {
        assert!(record.get("open").is_none(), "{record:#}");
    }
}
