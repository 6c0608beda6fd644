//! All boards of a process, asked together.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::FutureExt;
use futures::channel::{mpsc, oneshot};

use super::board::{Board, Job, State};
use crate::drive::Tasks;

/// How many questions may wait for one board.
const MAX_WAITING: usize = 16;

/// All boards of a process. The lock is held only while the list is looked at, by those who make boards and
/// those who ask.
#[derive(Clone, Default)]
pub(super) struct Boards {
    list: Arc<Mutex<Vec<Known>>>,
}

/// A board on another thread.
struct Known {
    name: Arc<str>,
    jobs: mpsc::Sender<Job>,
}

/// What a board has answered.
pub(super) struct Answer<T> {
    pub(super) board: Arc<str>,
    /// `None` where it has not answered in time.
    pub(super) said: Option<T>,
}

impl Boards {
    pub(super) fn add(&self, name: &str, tasks: &Tasks) -> Board {
        let (jobs, questions) = mpsc::channel(MAX_WAITING);
        let board = Board::new(tasks, questions);
        self.with(|list| {
            list.push(Known {
                name: name.into(),
                jobs,
            });
        });
        board
    }

    /// What each board says, in the order in which they were made. Those that have not answered when `time_is_up`
    /// are not waited for.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&State) -> T + Clone + Send + 'static,
        time_is_up: impl Future<Output = ()>,
    ) -> Vec<Answer<T>> {
        let (names, mut waiting): (Vec<_>, Vec<_>) = self.put(&question).into_iter().unzip();
        let mut said: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
        let mut time_is_up = pin!(time_is_up.fuse());
        poll_fn(|cx| {
            for (waiting, said) in waiting.iter_mut().zip(&mut said) {
                let Some(receiver) = waiting else { continue };
                if let Poll::Ready(answer) = Pin::new(receiver).poll(cx) {
                    // Where the loop is gone, or has too much to answer, there is none.
                    *said = answer.ok();
                    *waiting = None;
                }
            }
            match waiting.iter().all(Option::is_none) {
                true => Poll::Ready(()),
                false => time_is_up.as_mut().poll(cx),
            }
        })
        .await;
        let answers = names.into_iter().zip(said);
        answers
            .map(|(board, said)| Answer { board, said })
            .collect()
    }

    /// Puts a question to each, and forgets those that are gone.
    fn put<T: Send + 'static>(
        &self,
        question: &(impl Fn(&State) -> T + Clone + Send + 'static),
    ) -> Vec<(Arc<str>, Option<oneshot::Receiver<T>>)> {
        self.with(|list| {
            list.retain(|known| !known.jobs.is_closed());
            let asked = list.iter_mut().map(|known| {
                let (answer, receiver) = oneshot::channel();
                let question = question.clone();
                let job: Job = Box::new(move |state| {
                    // Who has stopped waiting costs nothing.
                    if !answer.is_canceled() {
                        drop(answer.send(question(state)));
                    }
                });
                let is_full = known.jobs.try_send(job).is_err();
                (known.name.clone(), (!is_full).then_some(receiver))
            });
            asked.collect()
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Known>) -> T) -> T {
        // Nothing that panics is done with the list.
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    fn one_turn(driver: &mut crate::Driver) {
        assert!(driver.now_or_never().is_none());
    }

    #[test]
    fn each_board_answers_on_its_own_loop_and_who_does_not_is_not_waited_for() {
        let boards = Boards::default();
        let (tasks, mut driver) = Tasks::new();
        let (other_tasks, _never_polled) = Tasks::new();
        let _kept = (boards.add("a", &tasks), boards.add("b", &other_tasks));
        one_turn(&mut driver);
        let mut asked = Box::pin(boards.ask(|_| 7, pending()));
        assert!((&mut asked).now_or_never().is_none());
        one_turn(&mut driver);
        assert!((&mut asked).now_or_never().is_none(), "b says nothing");
        drop(asked);

        let (up, is_up) = oneshot::channel::<()>();
        let mut asked = Box::pin(boards.ask(|_| 8, is_up.map(drop)));
        assert!((&mut asked).now_or_never().is_none());
        one_turn(&mut driver);
        drop(up);
        let answers = asked.now_or_never().expect("the time is up");
        let said: Vec<_> = answers.iter().map(|a| (&*a.board, a.said)).collect();
        assert_eq!(said, [("a", Some(8)), ("b", None)]);
    }

    #[test]
    fn what_waits_for_a_loop_that_stands_still_is_limited() {
        let boards = Boards::default();
        let (tasks, _never_polled) = Tasks::new();
        let _board = boards.add("a", &tasks);
        let mut taken = 0;
        for _ in 0..100 {
            let asked = boards.put(&|_| ());
            taken += asked
                .iter()
                .filter(|(_, receiver)| receiver.is_some())
                .count();
        }
        // As many as fit, and one for the only sender.
        assert_eq!(taken, MAX_WAITING + 1);
        let answers = boards.ask(|_| (), pending()).now_or_never();
        assert!(answers.is_some_and(|answers| answers[0].said.is_none()));
    }

    #[test]
    fn a_board_goes_with_the_last_of_its_handles_and_keeps_no_driver() {
        let boards = Boards::default();
        let (tasks, mut driver) = Tasks::new();
        let board = boards.add("a", &tasks);
        let other = board.clone();
        drop((board, tasks));
        one_turn(&mut driver);
        let observer = other.observer();
        drop(other);
        assert!(driver.now_or_never().is_some(), "the driver has ended");
        let answers = boards.ask(|_| (), ready(())).now_or_never();
        assert!(answers.is_some_and(|answers| answers.is_empty()));
        drop(observer);
    }
}
