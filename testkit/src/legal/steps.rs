//! What a program does in a step.

use capnp::Error;
use capnp::capability::FromClientHook as _;
use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::join;
use tokio::task::spawn_local;

use super::caller::resolved;
use super::kinds::read;
use super::number::forwarded;
use super::program::{Answer, Program, shown};
use super::turns;
use crate::legal_capnp::{Settled, function, number};

impl Program {
    pub(super) fn step(&mut self) {
        match self.random.below(16) {
            0 => self.read(),
            1 | 2 => self.make(),
            3 => self.plus(),
            4 => self.same(),
            5 | 6 => self.settle(),
            7 => self.promise_of_ours(),
            8 => self.functions(),
            9 => self.fail(),
            10 => self.keep(),
            11 => self.push(),
            12 => self.all(),
            13 => self.order(),
            14 => self.never(),
            _ => self.let_go(),
        }
    }

    fn read(&mut self) {
        let (target, count) = (self.target(), self.random.turns());
        let sent = send!(target, read_request, set_turns(count));
        self.note("read", async move {
            Ok(sent.promise.await?.get()?.get_value().to_string())
        });
    }

    fn make(&mut self) {
        let (is_theirs, value) = (self.random.below(2) == 0, self.next_value());
        let target = if is_theirs {
            self.theirs()
        } else {
            self.target()
        };
        let sent = send!(target, make_request, set_value(value));
        let (answered, answer) = oneshot::channel();
        let answer = if is_theirs {
            Answer::Awaited(answer)
        } else {
            Answer::Promise
        };
        self.hold(sent.pipeline.get_number(), answer);
        self.note("make", async move {
            let number = sent.promise.await?.get()?.get_number()?;
            let _let_go = answered.send(number.clone());
            Ok(read(&number).await?.to_string())
        });
    }

    fn plus(&mut self) {
        let (target, other) = (self.theirs(), self.argument());
        let sent = send!(target, plus_request, set_other(other));
        let (answered, answer) = oneshot::channel();
        self.hold(sent.pipeline.get_sum(), Answer::Awaited(answer));
        self.note("plus", async move {
            let sum = sent.promise.await?.get()?.get_sum()?;
            let _let_go = answered.send(sum.clone());
            Ok(read(&sum).await?.to_string())
        });
    }

    fn same(&mut self) {
        let (target, other) = (self.theirs(), self.argument());
        let sent = send!(target, same_request, set_other(other));
        let early = read(&sent.pipeline.get_number());
        self.note("same", async move {
            let (response, early) = join(sent.promise, early).await;
            let same = response?.get()?.get_number()?;
            Ok(format!("{} and {}", early?, read(&same).await?))
        });
    }

    /// A promise, a return that is as late, or one by way of others.
    fn settle(&mut self) {
        let settled = match self.random.below(4) {
            0 => Settled::Own,
            1 => Settled::Given,
            2 => Settled::Answer,
            _ => Settled::Broken,
        };
        let other = [Settled::Given, Settled::Answer].contains(&settled);
        let other = other.then(|| self.argument());
        let (count, by_way) = (self.random.turns(), self.random.below(3) == 0);
        let target = match other.is_some() || by_way {
            true => self.theirs(),
            false => self.target(),
        };
        macro_rules! sent {
            ($what:literal, $request:expr) => {{
                let sent = $request.send();
                let (pipelined, promise) = (sent.pipeline.get_number(), sent.promise);
                let answer = async move { promise.await?.get()?.get_number() };
                self.promised($what, settled, pipelined, answer);
            }};
        }
        macro_rules! ask {
            ($what:literal, $method:ident) => {{
                let mut request = target.$method();
                let mut params = request.get();
                params.set_to(settled);
                params.set_turns(count);
                if let Some(other) = other {
                    params.set_other(other);
                }
                sent!($what, request)
            }};
        }
        match self.random.below(2) {
            _ if by_way => {
                let way = (0..self.random.below(4)).map(|_| self.argument()).collect();
                sent!("forward", forwarded(&target, way, settled, other, count));
            }
            0 => ask!("promise", promise_request),
            _ => ask!("settle", settle_request),
        }
    }

    fn promised(
        &mut self,
        what: &str,
        settled: Settled,
        pipelined: number::Client,
        answer: impl Future<Output = Result<number::Client, Error>> + 'static,
    ) {
        let early = self.random.below(3);
        let early: Vec<_> = (0..early).map(|_| read(&pipelined)).collect();
        let count = self.random.turns();
        self.hold(pipelined, Answer::Promise);
        for early in early {
            self.note("early", async move { Ok(early.await?.to_string()) });
        }
        self.note(&format!("{what} {settled:?}"), async move {
            let promise = answer.await?;
            turns(count).await;
            let value = read(&promise).await?;
            resolved(&promise).await?;
            Ok(format!("{value} and {}", read(&promise).await?))
        });
    }

    /// A promise of ours, which the peer is given once.
    fn promise_of_ours(&mut self) {
        let (target, other) = (self.theirs(), self.argument());
        let (count, breaks) = (self.random.turns(), self.random.below(4) == 0);
        let promise = capnp_rpc::new_future_client(async move {
            turns(count).await;
            match breaks {
                true => Err(Error::overloaded("a promise of ours is broken".into())),
                false => Ok(other),
            }
        });
        let sent = send!(target, plus_request, set_other(promise));
        self.note("plus a promise of ours", async move {
            let sum = sent.promise.await?.get()?.get_sum()?;
            Ok(read(&sum).await?.to_string())
        });
    }

    /// Functions of ours, which the peer calls; functions of the peer's, which we call, or it calls itself; and what is none.
    fn functions(&mut self) {
        let (target, times) = (self.theirs(), self.random.below(5));
        let factor = self.next_value();
        let mut request = target.apply_request();
        request.get().set_times(times);
        match self.random.below(4) {
            0 | 1 => {
                request.get().set_function(self.vat.function(factor));
                let applied = request.send().promise;
                self.note("our function", async move {
                    Ok(applied.await?.get()?.get_value().to_string())
                });
            }
            2 => {
                let made = send!(self.theirs(), function_request, set_factor(factor));
                let function = made.pipeline.get_function();
                let called = send!(function, call_request, set_value(factor)).promise;
                request.get().set_function(function);
                let applied = request.send().promise;
                self.note("their function", async move {
                    let (made, called, applied) = futures::join!(made.promise, called, applied);
                    made?;
                    let called = called?.get()?.get_value();
                    Ok(format!("{called} and {}", applied?.get()?.get_value()))
                });
            }
            _ => {
                let wrong = function::Client {
                    client: self.target().client,
                };
                let called = send!(wrong, call_request, set_value(factor)).promise;
                self.note("no function", async move {
                    Ok(called.await?.get()?.get_value().to_string())
                });
            }
        }
    }

    fn fail(&mut self) {
        let kinds = ["failed", "overloaded", "disconnected", "unimplemented"];
        let kind = kinds[usize::from(self.random.below(4))];
        let text = format!("{kind} as it must, {}", self.random.value());
        let failed = send!(self.target(), fail_request, set_text(&text[..]));
        let pipelined = read(&failed.pipeline.get_number());
        self.note("fail", async move {
            let (failed, pipelined) = join(failed.promise, pipelined).await;
            let pipelined = pipelined.map(|value| value.to_string());
            failed.map(|_| format!("no failure, and {}", shown(pipelined)))
        });
    }

    /// What is kept may be taken.
    fn keep(&mut self) {
        let (value, other) = (self.next_value(), self.argument());
        let made = send!(self.theirs(), make_request, set_value(value));
        let keeper = made.pipeline.get_number();
        let kept = send!(keeper, keep_request, set_number(other)).promise;
        let taken = (self.random.below(4) > 0).then(|| send!(keeper, take_request).promise);
        let twice = (self.random.below(4) == 0).then(|| send!(keeper, take_request).promise);
        self.note("keep", async move {
            made.promise.await?;
            kept.await?;
            let mut values = Vec::new();
            for taken in [taken, twice].into_iter().flatten() {
                let taken = taken.await?.get()?.get_number()?;
                values.push(read(&taken).await?);
            }
            Ok(format!("{values:?}"))
        });
    }

    fn push(&mut self) {
        let value = self.next_value();
        let made = send!(self.theirs(), make_request, set_value(value));
        let number = made.pipeline.get_number();
        let mut pushes = Vec::new();
        for _ in 0..self.random.below(9) {
            pushes.push(send!(number, push_request, set_value(self.random.value())));
        }
        let pushed = send!(number, pushed_request).promise;
        self.note("push", async move {
            // Given up before it is answered, it would take what is pipelined on it along: or not, whoever is first.
            made.promise.await?;
            for push in pushes {
                push.await?;
            }
            Ok(pushed.await?.get()?.get_sum().to_string())
        });
    }

    /// A list of theirs and ours.
    fn all(&mut self) {
        let given: Vec<_> = (0..self.random.below(8)).map(|_| self.argument()).collect();
        let mut request = self.theirs().all_request();
        let mut numbers = request.get().init_numbers(given.len() as u32);
        for (index, number) in (0..).zip(given) {
            numbers.set(index, number.into_client_hook());
        }
        let response = request.send().promise;
        self.note("all", async move {
            let response = response.await?;
            let response = response.get()?;
            let mut values = Vec::new();
            for number in response.get_numbers()? {
                values.push(read(&number?).await?);
            }
            Ok(format!("{values:?}, {}", response.get_sum()))
        });
    }

    /// Calls on a promise, which resolves to one of ours, or on what has been made: they arrive as they were made.
    fn order(&mut self) {
        let value = self.next_value();
        let (number, answer) = match self.random.below(2) {
            0 => {
                let own = self.vat.number(value);
                let mut request = self.service().promise_request();
                request.get().set_to(Settled::Given);
                request.get().set_other(own);
                request.get().set_turns(self.random.turns());
                let sent = request.send();
                let answer = async move { sent.promise.await?.get()?.get_number() };
                (sent.pipeline.get_number(), answer.boxed_local())
            }
            _ => {
                let sent = send!(self.service(), make_request, set_value(value));
                let answer = async move { sent.promise.await?.get()?.get_number() };
                (sent.pipeline.get_number(), answer.boxed_local())
            }
        };
        let calls: Vec<_> = (0..self.random.below(12))
            .map(|_| (self.random.below(3), number.clone()))
            .collect();
        self.note("order", async move {
            let mut asked = Vec::new();
            for (count, number) in calls {
                asked.push(send!(number, next_request).promise);
                turns(count).await;
            }
            answer.await?;
            let mut counts = Vec::new();
            for next in asked {
                counts.push(next.await?.get()?.get_count());
            }
            Ok(format!("{counts:?}"))
        });
    }

    /// A call that is never answered; given up before the program ends, or not.
    fn never(&mut self) {
        let sent = send!(self.service(), never_request, set_other(self.argument()));
        let waits =
            spawn_local(async move { shown(sent.promise.await.map(|_| "answered".into())) });
        self.unanswered.0.push(waits);
    }
}
