//! A random program, which gives the same wherever it runs: what a step does is drawn by its seed alone, and nothing that
//! it asks for depends on who is first.

use capnp::Error;
use futures::channel::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use super::kinds::read;
use super::number::Vat;
use super::turns;
use crate::legal_capnp::number;
use crate::random::Random;

/// How many steps a program has.
const STEPS: u8 = 16;

/// How many numbers it holds at a time.
const HELD: usize = 12;

/// Runs the program of `seed` on a service, with objects of its own in `vat`. Gives what became of each call, in the order
/// of the calls. In the end nothing is under way, but for calls that are never answered: these go with the last of what is
/// given.
pub async fn run_program(
    service: number::Client,
    vat: &Vat,
    seed: u64,
) -> (Vec<String>, Unanswered) {
    let mut program = Program {
        vat: vat.clone(),
        // With seeds that follow each other, a generator gives what the next one gives, one number later.
        random: Random::new(Random::new(seed).next()),
        held: vec![Held {
            number: service,
            answer: Answer::Known,
        }],
        outcomes: Vec::new(),
        unanswered: Unanswered::default(),
        made: 0,
    };
    for _ in 0..STEPS {
        program.step();
        match program.random.below(8) {
            0..4 => {}
            4..7 => turns(program.random.turns()).await,
            _ => program.wait().await,
        }
    }
    program.finish().await
}

/// Calls that are never answered, and what waits for them.
#[derive(Default)]
pub struct Unanswered(pub(super) Vec<JoinHandle<String>>);

impl Unanswered {
    /// Somebody else ends them: what became of each.
    pub async fn outcomes(self) -> Vec<String> {
        let mut outcomes = Vec::new();
        for call in self.0 {
            outcomes.push(call.await.expect("it does not panic"));
        }
        outcomes
    }

    /// Nobody waits for them any more.
    pub fn give_up(self) {
        self.0.into_iter().for_each(|call| call.abort());
    }
}

/// A number that is held.
struct Held {
    number: number::Client,
    answer: Answer,
}

/// What a number is.
pub(super) enum Answer {
    /// The peer's, which may be passed to the peer.
    Known,
    /// Pipelined on a call which will bring such a one.
    Awaited(oneshot::Receiver<number::Client>),
    /// A promise, or what is pipelined on one, which may come home. With `capnp-rpc` 0.27.3 it can't be passed, nor called
    /// with a capability, and calls that wait for it come in any order.
    Promise,
}

pub(super) struct Program {
    pub(super) vat: Vat,
    pub(super) random: Random,
    held: Vec<Held>,
    outcomes: Vec<JoinHandle<String>>,
    pub(super) unanswered: Unanswered,
    /// How many numbers it has made, which have that for a value: so each has one of its own.
    made: u32,
}

impl Program {
    /// Waits for the numbers that are awaited: from now on they may be passed.
    async fn wait(&mut self) {
        for held in &mut self.held {
            if let Answer::Awaited(answer) = &mut held.answer {
                // What has failed is held as it is: it fails again.
                match answer.await {
                    Ok(number) => (held.number, held.answer) = (number, Answer::Known),
                    Err(_) => held.answer = Answer::Promise,
                }
            }
        }
    }

    async fn finish(mut self) -> (Vec<String>, Unanswered) {
        let mut outcomes = Vec::new();
        for outcome in self.outcomes.drain(..) {
            outcomes.push(outcome.await.expect("it does not panic"));
        }
        // What was sent before this has arrived.
        let last = shown(read(&self.service()).await.map(|value| value.to_string()));
        outcomes.push(format!("last: {last}"));
        (outcomes, self.unanswered)
    }

    pub(super) fn service(&self) -> number::Client {
        self.held[0].number.clone()
    }

    /// Any number that is held.
    pub(super) fn target(&mut self) -> number::Client {
        let place = usize::from(self.random.below(HELD as u8)) % self.held.len();
        self.held[place].number.clone()
    }

    /// One that does not come home.
    pub(super) fn theirs(&mut self) -> number::Client {
        let not_promised = |held: &&Held| !matches!(held.answer, Answer::Promise);
        let theirs: Vec<_> = self.held.iter().filter(not_promised).collect();
        theirs[usize::from(self.random.below(HELD as u8)) % theirs.len()]
            .number
            .clone()
    }

    /// A number of the peer's that may be passed, or one of its own.
    pub(super) fn argument(&mut self) -> number::Client {
        match self.random.below(2) {
            0 => {
                let is_known = |held: &&Held| matches!(held.answer, Answer::Known);
                let known: Vec<_> = self.held.iter().filter(is_known).collect();
                known[usize::from(self.random.below(HELD as u8)) % known.len()]
                    .number
                    .clone()
            }
            _ => {
                let value = self.next_value();
                self.vat.number(value)
            }
        }
    }

    pub(super) fn hold(&mut self, number: number::Client, answer: Answer) {
        let new = Held { number, answer };
        if self.held.len() < HELD {
            self.held.push(new);
        } else {
            let place = 1 + usize::from(self.random.below(HELD as u8 - 1));
            self.held[place] = new;
        }
    }

    pub(super) fn let_go(&mut self) {
        if self.held.len() > 1 {
            let place = 1 + usize::from(self.random.below(HELD as u8)) % (self.held.len() - 1);
            self.held.remove(place);
        }
    }

    pub(super) fn next_value(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    pub(super) fn note(
        &mut self,
        what: &str,
        outcome: impl Future<Output = Result<String, Error>> + 'static,
    ) {
        let what = format!("{}: {what}", self.outcomes.len());
        let outcome = async move { format!("{what}: {}", shown(outcome.await)) };
        self.outcomes.push(spawn_local(outcome));
    }
}

pub(super) fn shown(outcome: Result<String, Error>) -> String {
    match outcome {
        Ok(value) => value,
        // `capnp-rpc` says of what has come over a connection that it was remote. What a promise is asked for may
        // come over one or not, if the promise comes home meanwhile.
        Err(error) => {
            let text = error.extra.strip_prefix("remote exception: ");
            format!("{:?}, {}", error.kind, text.unwrap_or(&error.extra))
        }
    }
}
