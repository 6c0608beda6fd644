//! A plain event loop that can be told how far to go, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// As many rounds as anything may take to come to rest: far more than any exchange does.
const MAX_TURNS: usize = 10_000;

/// Tasks of one thread. No time passes here.
#[derive(Default)]
pub(super) struct Turns {
    tasks: Vec<Option<Task>>,
}

struct Task {
    future: LocalBoxFuture<'static, ()>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Turns {
    /// Adds a task; the number that it is known by.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> usize {
        self.tasks.push(Some(Task {
            future: task.boxed_local(),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        }));
        self.tasks.len() - 1
    }

    /// Drops a task.
    pub(super) fn abort(&mut self, task: usize) {
        self.tasks[task] = None;
    }

    /// Polls each task once that was woken; whether there was one.
    pub(super) fn turn(&mut self) -> bool {
        let mut had_any = false;
        for slot in &mut self.tasks {
            let Some(task) = slot else { continue };
            if !task.woken.0.swap(false, Ordering::Relaxed) {
                continue;
            }
            had_any = true;
            let waker = Waker::from(task.woken.clone());
            if (task.future.as_mut().poll(&mut Context::from_waker(&waker))).is_ready() {
                *slot = None;
            }
        }
        had_any
    }

    /// Polls until all tasks wait.
    ///
    /// # Panics
    ///
    /// Where they never do.
    pub(super) fn rest(&mut self) {
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < MAX_TURNS, "the event loop never comes to rest");
        }
    }
}
