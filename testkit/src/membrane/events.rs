//! An event loop whose time stands still.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet};

/// Runs a test to its end on an event loop of its own, where `spawn_local` works.
///
/// Time is paused: it moves only when nothing else can, to the next timer. No test waits for real, and
/// a test that would wait for ever is found out, for it has no timer left: see [`idle`].
///
/// After it, circles end that are no fault of a membrane's, so that what is still alive was leaked:
/// connections are cut, as what `capnp-rpc` 0.27.3 keeps for one refers to itself until its end, and not
/// until its system is dropped; objects forget what they were given.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime with nothing but timers");
    LocalSet::new().block_on(&runtime, async {
        let output = test.await;
        let over = OVER.take();
        if !over.is_empty() {
            over.iter()
                .filter_map(Weak::upgrade)
                .for_each(|it| it.end());
            idle().await;
        }
        output
    })
}

thread_local! {
    static OVER: RefCell<Vec<Weak<dyn Circle>>> = RefCell::default();
}

/// What may refer to itself.
pub(super) trait Circle {
    /// Lets go of what it refers to.
    fn end(&self);
}

/// Ends `circle` when the test is over, if it is still there.
pub(super) fn when_over(circle: Weak<dyn Circle>) {
    OVER.with_borrow_mut(|over| {
        over.retain(|circle| circle.strong_count() > 0);
        over.push(circle);
    });
}

/// Waits until nothing can be done: every task waits for something that has not happened.
///
/// It is a timer of a millisecond of paused time, which runs out only when the event loop is idle. So
/// what a [`Link`](super::Link) with latency has under way may still be.
pub async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The outcome of `future`, which must come before the event loop is idle.
///
/// # Panics
/// Where it does not: `future` waits for what will never happen.
pub async fn soon<F: Future>(future: F) -> F::Output {
    // A second of paused time: beyond all latency that tests simulate.
    match tokio::time::timeout(Duration::from_secs(1), future).await {
        Ok(output) => output,
        Err(_) => panic!("the event loop is idle and the future is still pending"),
    }
}

/// Starts `future` and lets it run whether or not anybody waits for it; a local call begins no sooner
/// than it is waited for. Dropping what is given back cancels it.
pub fn start<F>(future: F) -> Started<F::Output>
where
    F: Future + 'static,
{
    Started(tokio::task::spawn_local(future))
}

/// What [`start`] started: a future of its outcome.
pub struct Started<T>(JoinHandle<T>);

impl<T> Started<T> {
    /// Has it come to its end?
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Started<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let outcome = std::task::ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.expect("it neither panics nor is it cancelled"))
    }
}

impl<T> Drop for Started<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
