//! Waiting without sleeping, while messages come quickly one after the other.
//!
//! To wake a thread that sleeps, often on a core that sleeps as well, takes several times as long as all that a
//! proxy does with a message. So an event loop that has been getting messages at short intervals looks for the
//! next one for as long as such an interval may take, and sleeps only then; as the kernel's busy polling does
//! for sockets. Between two looks it gives way to whoever else wants its core.
//!
//! What that may cost is bounded: one interval for each time that something comes, and a core in all. And it is for
//! machines that have a core left for those who are talked to: with none, it would only be in their way, or use up what
//! the process may have of the processor.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::yield_now;

/// So many messages in a row have to come quickly before it is believed that the next one will.
const STREAK: u8 = 4;

/// How long each of `threads` event loops is to look, of what is wanted.
pub(super) fn window(wanted: Duration, threads: NonZeroUsize) -> Duration {
    // It knows what a container may have.
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    match cores > threads {
        true => wanted,
        false => Duration::ZERO,
    }
}

/// How one event loop waits for what comes.
pub(super) struct BusyPoll {
    /// What is quick, and how long it looks; zero is not at all.
    window: Cell<Duration>,
    /// When something came last.
    last: Cell<Option<Instant>>,
    /// How often in a row that was quick, up to [`STREAK`].
    streak: Cell<u8>,
    /// Who looks, while it sleeps.
    waker: Cell<Option<Waker>>,
}

impl BusyPoll {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window: Cell::new(window),
            last: Cell::default(),
            streak: Cell::default(),
            waker: Cell::default(),
        }
    }

    /// How long it looks from now on.
    pub(super) fn configure(&self, window: Duration) {
        self.window.set(window);
        self.streak.set(0);
    }

    /// Looks for what comes, again and again, as long as that is worth it. It never ends.
    pub(super) async fn run(self: Rc<Self>) {
        loop {
            poll_fn(|cx| self.poll_worth_it(cx)).await;
            while self.is_worth_it(Instant::now()) {
                thread::yield_now();
                // The runtime looks at its sockets before this goes on.
                yield_now().await;
            }
        }
    }

    fn poll_worth_it(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_worth_it(Instant::now()) {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Something has come.
    fn came(&self) {
        if self.window.get().is_zero() {
            return;
        }
        self.came_at(Instant::now());
        if self.streak.get() == STREAK
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn came_at(&self, now: Instant) {
        let last = self.last.replace(Some(now));
        let is_quick = last.is_some_and(|last| now - last < self.window.get());
        let streak = self.streak.get();
        self.streak.set(match is_quick {
            true => STREAK.min(streak + 1),
            false => 0,
        });
    }

    /// Is something to be expected at this moment?
    fn is_worth_it(&self, now: Instant) -> bool {
        let is_soon = |last| now - last < self.window.get();
        self.streak.get() == STREAK && self.last.get().is_some_and(is_soon)
    }
}

/// What comes of a connection.
pub(super) struct Reader<R> {
    stream: R,
    wait: Rc<BusyPoll>,
}

impl<R> Reader<R> {
    pub(super) fn new(stream: R, wait: &Rc<BusyPoll>) -> Self {
        let wait = wait.clone();
        Self { stream, wait }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.wait.came();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{LocalSet, spawn_local};

    const WINDOW: Duration = Duration::from_micros(100);

    /// One that something has come to after each of these times, in microseconds; and the last moment.
    fn after(waits: &[u64]) -> (BusyPoll, Instant) {
        let poll = BusyPoll::new(WINDOW);
        let mut now = Instant::now();
        for wait in waits {
            now += Duration::from_micros(*wait);
            poll.came_at(now);
        }
        (poll, now)
    }

    #[test]
    fn what_comes_quickly_several_times_is_waited_for_and_not_for_long() {
        let (poll, now) = after(&[0, 99, 1, 50, 99]);
        assert!(poll.is_worth_it(now));
        assert!(poll.is_worth_it(now + WINDOW - Duration::from_nanos(1)));
        assert!(!poll.is_worth_it(now + WINDOW));
    }

    #[test]
    fn one_that_comes_late_has_to_be_followed_by_others() {
        for waits in [
            &[][..],
            &[0],
            &[0, 1, 1, 1],
            &[0, 1, 1, 1, 1, 100],
            &[0, 1, 1, 1, 1, 100, 1, 1, 1],
        ] {
            let (poll, now) = after(waits);
            assert!(!poll.is_worth_it(now), "{waits:?}");
        }
        let (poll, now) = after(&[0, 100, 1, 1, 1, 1]);
        assert!(poll.is_worth_it(now));
    }

    #[test]
    fn it_is_for_machines_that_have_a_core_left() {
        assert_eq!(window(WINDOW, NonZeroUsize::MAX), Duration::ZERO);
        let cores = thread::available_parallelism().unwrap();
        assert_eq!(window(WINDOW, cores), Duration::ZERO);
        if let Some(fewer) = NonZeroUsize::new(cores.get() - 1) {
            assert_eq!(window(WINDOW, fewer), WINDOW);
        }
    }

    #[test]
    fn it_looks_while_that_is_worth_it_and_sleeps_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let turns = async || {
            for _ in 0..4 {
                yield_now().await;
            }
        };
        LocalSet::new().block_on(&runtime.unwrap(), async {
            let poll = Rc::new(BusyPoll::new(Duration::from_secs(3600)));
            let sleeps = || {
                let waker = poll.waker.take();
                let sleeps = waker.is_some();
                poll.waker.set(waker);
                sleeps
            };
            spawn_local(poll.clone().run());
            turns().await;
            assert!(sleeps());
            for _ in 0..STREAK {
                poll.came();
            }
            turns().await;
            assert!(sleeps(), "the first has nothing before it");
            poll.came();
            turns().await;
            assert!(!sleeps());
            poll.configure(Duration::ZERO);
            turns().await;
            assert!(sleeps());
            for _ in 0..=STREAK {
                poll.came();
            }
            turns().await;
            assert!(sleeps(), "it is not to look at all");
        });
    }
}
