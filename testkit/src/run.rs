//! A test on an event loop of its own.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// Runs `test` on a current-thread runtime with paused time. Whatever would wait for ever fails: with
/// nothing else to do, time leaps to the end of an hour.
///
/// # Panics
///
/// Where the test does, or waits for ever.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing that could be missing");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match tokio::time::timeout(Duration::from_secs(3600), test).await {
            Ok(result) => result,
            Err(_) => panic!("the test waits for something that never comes"),
        }
    })
}

/// Lets everything run that can: returns when all tasks wait. Paused time moves a millisecond.
pub async fn until_idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Lets `time` pass, which is paused: nobody waits for it.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The timer of [`run`], without the library's feature for it.
#[derive(Clone, Copy)]
pub struct PausedTime;

impl capspan::Timer for PausedTime {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep_until(deadline.into()).boxed_local()
    }
}
