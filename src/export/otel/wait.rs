//! Waiting for a future in a thread that has nothing else to do.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// No time is longer: sums of moments must not overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The moment when `duration` will be over.
pub(super) fn from_now(duration: Duration) -> Instant {
    Instant::now() + duration.min(LONGEST)
}

/// Runs `future` in this thread until `deadline`; `None` if it is not done then, and dropped.
pub(super) fn block_on<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
