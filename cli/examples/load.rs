//! What the proxy costs: one service on plain `capnp-rpc`, asked directly and through `capspan proxy`, each in a
//! process of its own. Rounds alternate; the figures are medians.
//!
//! ```sh
//! cargo build --release -p capspan-cli --bins --examples && target/release/examples/load
//! ```

use std::cell::Cell;
use std::env;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use capnp::capability::{Client, FromClientHook as _};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

const ROUNDS: usize = 15;
/// Of each round.
const CALLS: usize = 20_000;
const CONNECTIONS: usize = 5_000;
/// Microseconds: Linux counts hundredths of a second for programs.
const TICK: f64 = 10_000.0;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", path] => block_on(serve(path)),
        [] => block_on(measure()),
        _ => Err("usage: load".into()),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}

fn system(stream: UnixStream, side: Side, bootstrap: Option<Client>) -> RpcSystem<Side> {
    let (reader, writer) = stream.into_split();
    let (reader, writer) = (reader.compat(), writer.compat_write());
    let network = twoparty::VatNetwork::new(reader, writer, side, Default::default());
    RpcSystem::new(Box::new(network), bootstrap)
}

async fn serve(path: &str) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    println!("ready");
    let world = World::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let thing = Client::new(world.thing().into_client_hook());
        spawn_local(system(stream, Side::Server, Some(thing)));
    }
}

struct Connection {
    thing: thing::Client,
    driver: JoinHandle<std::result::Result<(), capnp::Error>>,
}

impl Connection {
    async fn to(path: &Path) -> Result<Self> {
        let mut system = system(UnixStream::connect(path).await?, Side::Client, None);
        let thing = system.bootstrap(Side::Server);
        let driver = spawn_local(system);
        Ok(Self { thing, driver })
    }

    async fn call(&self) -> Result<()> {
        self.thing.number_request().send().promise.await?;
        Ok(())
    }

    /// Time a call, with so many in flight.
    async fn time(&self, in_flight: usize) -> Result<Duration> {
        let left = Rc::new(Cell::new(CALLS));
        let start = Instant::now();
        let workers: FuturesUnordered<_> = (0..in_flight)
            .map(|_| async {
                while let Some(less) = left.get().checked_sub(1) {
                    left.set(less);
                    self.call().await?;
                }
                Result::Ok(())
            })
            .collect();
        for result in workers.collect::<Vec<_>>().await {
            result?;
        }
        Ok(start.elapsed() / CALLS as u32)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn start(mut command: Command, ready: &str) -> Result<Child> {
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (out, errors) = (process.stdout.take(), process.stderr.take());
    let (Some(out), Some(errors)) = (out, errors) else {
        return Err("a process without its pipes".into());
    };
    let (mut out, mut errors) = (BufReader::new(out).lines(), BufReader::new(errors).lines());
    loop {
        let line = tokio::select! {
            Ok(Some(line)) = out.next_line() => line,
            Ok(Some(line)) = errors.next_line() => line,
            else => return Err("a process ended early".into()),
        };
        if line.contains(ready) {
            break;
        }
    }
    spawn_local(async move { while let Ok(Some(_)) = errors.next_line().await {} });
    Ok(process)
}

async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (service_path, proxy_path) = (folder.path().join("service"), folder.path().join("proxy"));
    let me = env::current_exe()?;
    let mut command = Command::new(&me);
    command.arg("serve").arg(&service_path);
    let service = start(command, "ready").await?;
    let program: PathBuf = me.ancestors().nth(2).ok_or("no folder")?.join("capspan");
    let mut command = Command::new(program);
    command
        .arg("proxy")
        .arg(format!("--listen=unix:{}", proxy_path.display()))
        .arg(format!("--upstream=unix:{}", service_path.display()))
        .args(
            env::var("PROXY_OPTIONS")
                .unwrap_or_default()
                .split_whitespace(),
        );
    let proxy = start(command, "listening").await?;
    let (direct, proxied) = (
        Connection::to(&service_path).await?,
        Connection::to(&proxy_path).await?,
    );
    for in_flight in [1, 64] {
        let (mut bare, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (one, other) = (
                direct.time(in_flight).await?,
                proxied.time(in_flight).await?,
            );
            // The first one warms up.
            if round > 0 {
                bare.push(one.as_secs_f64() * 1e6);
                with.push(other.as_secs_f64() * 1e6);
                ratios.push(one.as_secs_f64() / other.as_secs_f64());
            }
        }
        let (bare, with, ratio) = (median(bare), median(with), median(ratios));
        let spent = (ticks(&service)?, ticks(&proxy)?);
        proxied.time(in_flight).await?;
        let per_call = |before: u64, after: u64| (after - before) as f64 * TICK / CALLS as f64;
        let service_spent = per_call(spent.0, ticks(&service)?);
        let proxy_spent = per_call(spent.1, ticks(&proxy)?);
        println!(
            "{in_flight:>2} in flight: {bare:.1} µs a call direct, {with:.1} through the proxy \
             (added {:.1}, {:.2} times); throughput {ratio:.3} of direct; processor time through it: \
             service {service_spent:.1} µs a call, proxy {proxy_spent:.1}",
            with - bare,
            with / bare,
        );
    }
    let before = resident(&proxy)?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::to(&proxy_path).await?);
    }
    for connection in &connections {
        connection.call().await?;
    }
    let after = resident(&proxy)?;
    println!("{CONNECTIONS} connections: {after} MiB resident, {before} before");
    drop(connections);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time that a process has taken, in ticks.
fn ticks(process: &Child) -> Result<u64> {
    let id = process.id().ok_or("it has ended")?;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // After the name, which may hold anything: the state, and ten more numbers.
    let after_name = stat.rsplit(')').next().ok_or("no name")?;
    let mut numbers = after_name.split_whitespace().skip(11);
    let mut next = || numbers.next().and_then(|number| number.parse::<u64>().ok());
    Ok(next()
        .zip(next())
        .map(|(user, system)| user + system)
        .ok_or("no times")?)
}

/// MiB.
fn resident(process: &Child) -> Result<u64> {
    let id = process.id().ok_or("it has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? / 1024)
}
