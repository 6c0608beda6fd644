//! A service on plain `capnp-rpc` and a client that forgets a capability, neither of which knows of capspan: to be
//! looked at through `capspan proxy` (docs/proxy.md).
//!
//! ```sh
//! cargo run --release -p capspan-cli --example leaky -- serve /tmp/leaky.sock
//! cargo run --release -p capspan-cli --example leaky -- call /tmp/front.sock
//! ```

use std::env;
use std::future::Future;

use capnp::capability::{Client, FromClientHook as _};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Duration, sleep};
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", path] => block_on(serve(path)),
        ["call", path] => block_on(call(path)),
        _ => Err("usage: leaky serve PATH, or leaky call PATH".into()),
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
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
    let world = World::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let thing = Client::new(world.thing().into_client_hook());
        spawn_local(system(stream, Side::Server, Some(thing)));
    }
}

/// Makes things, uses each, and lets go of it, but for one.
async fn call(path: &str) -> Result<()> {
    let mut system = system(UnixStream::connect(path).await?, Side::Client, None);
    let factory: thing::Client = system.bootstrap(Side::Server);
    spawn_local(system);
    let forgotten = factory.make_request().send().promise.await?;
    loop {
        let made = factory.make_request().send().pipeline.get_thing();
        for _ in 0..3 {
            made.number_request().send().promise.await?;
        }
        drop(made);
        sleep(Duration::from_millis(500)).await;
        // Nobody can say what it is kept for.
        let _still_there = &forgotten;
    }
}
