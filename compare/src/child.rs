//! The process of one way: it reads how often it is to call, and says how long that took.

use std::error::Error;
use std::io::stdin;
use std::time::Instant;

use futures::future::try_join_all;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::way::Way;
use super::{grpc, rpc, sink};

/// What is sent, and comes back.
pub(crate) const PAYLOAD: &[u8] = &[7; 64];

pub(crate) type Failure = Box<dyn Error>;

/// Somebody who makes a call.
pub(crate) trait Caller {
    async fn call(&self) -> Result<(), Failure>;
}

pub(crate) fn run(way: Way) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket");
    // Current-thread loops, as both would have: one for each thread.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let is_traced = way.is_traced();
        match way {
            Way::TonicBare | Way::TonicTraced => {
                let export = is_traced.then(grpc::set_up_tracing).transpose()?;
                grpc::serve(&socket, is_traced)?;
                let calls = take_turns(&grpc::connect(&socket, is_traced).await?).await?;
                if let Some(export) = export {
                    export.shutdown()?;
                }
                say_arrived(calls);
            }
            Way::CapnpBare => {
                rpc::serve_plain(&socket)?;
                say_arrived(take_turns(&rpc::connect_plain(&socket).await?).await?);
            }
            Way::CapspanBare => {
                rpc::serve_bare(&socket)?;
                say_arrived(take_turns(&rpc::connect_bare(&socket).await?).await?);
            }
            Way::CapspanTraced => {
                let otel = rpc::set_up_export()?;
                rpc::serve(&socket, &otel)?;
                let calls = take_turns(&rpc::connect(&socket, &otel).await?).await?;
                otel.shutdown(std::time::Duration::from_secs(5)).await;
                say_arrived(calls);
            }
        }
        Ok(())
    })
}

/// Both sides of each call have a span.
fn say_arrived(calls: u64) {
    let (arrived, children) = sink::arrived();
    let wanted = 2 * calls;
    println!("{arrived} of {wanted} spans have arrived, {children} of them have a parent");
}

/// How many calls it made.
async fn take_turns(caller: &impl Caller) -> Result<u64, Failure> {
    let mut all = 0;
    // Nothing else is to be done on this loop while it waits for the next line.
    for line in stdin().lines() {
        let line = line?;
        let (in_flight, calls) = line.split_once(' ').ok_or("not two numbers")?;
        let (in_flight, calls): (usize, usize) = (in_flight.parse()?, calls.parse()?);
        let each = calls.div_ceil(in_flight);
        let began = Instant::now();
        let callers = (0..in_flight).map(async |_| {
            for _ in 0..each {
                caller.call().await?;
            }
            Ok::<_, Failure>(())
        });
        try_join_all(callers).await?;
        let made = each * in_flight;
        println!("{}", began.elapsed().as_nanos() as f64 / made as f64);
        all += made as u64;
    }
    Ok(all)
}
