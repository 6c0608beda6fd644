//! The kinds of exchanges.

use capnp::Error;
use capnp::capability::FromClientHook as _;
use futures::future::{join, try_join_all};

use super::caller::{Caller, Held, is, resolved};
use super::number::{apply, forwarded};
use super::{MODULUS, turns};
use crate::legal_capnp::{Settled, number};
use crate::random::Random;

impl Caller {
    /// One exchange.
    pub(super) async fn exchange(&self, random: &mut Random) -> Result<(), Error> {
        match random.below(32) {
            0..3 => self.read(random).await,
            3..7 => self.chain(random).await,
            7..10 => self.same(random).await,
            10..14 => self.promise(random, Ask::Promise).await,
            14..16 => self.promise(random, Ask::Settle).await,
            16..18 => {
                let way = self.way(random);
                self.promise(random, way).await
            }
            18..20 => self.broken(random).await,
            20..22 => self.functions(random).await,
            22 => self.fail(random).await,
            23..25 => self.give_up(random).await,
            25..27 => self.keep(random).await,
            27 => self.push(random).await,
            28 => self.all(random).await,
            29 | 30 => self.order(random).await,
            _ => self.promise_of_ours(random).await,
        }
    }

    async fn read(&self, random: &mut Random) -> Result<(), Error> {
        let theirs = self.theirs(random);
        let sent = send!(theirs.number, read_request, set_turns(random.turns()));
        let got = sent.promise.await?.get()?.get_value();
        is("what is read", got, theirs.value)
    }

    /// Sums of sums, each asked for before the one before it is known.
    async fn chain(&self, random: &mut Random) -> Result<(), Error> {
        let mut value = random.value();
        let made = send!(self.theirs(random).number, make_request, set_value(value));
        let (mut sum, mut promises) = (made.pipeline.get_number(), Vec::new());
        for _ in 0..random.below(5) {
            let other = self.any(random);
            value = (value + other.value) % MODULUS;
            let sent = send!(sum, plus_request, set_other(other.number));
            sum = sent.pipeline.get_sum();
            promises.push(sent.promise);
        }
        let read = read(&sum);
        let (made, sums, read) = futures::join!(made.promise, try_join_all(promises), read);
        is("a sum", read?, value)?;
        let (made, sums) = (made?, sums?);
        let last = match sums.last() {
            Some(sum) => sum.get()?.get_sum()?,
            None => made.get()?.get_number()?,
        };
        self.hold(random, last, value);
        Ok(())
    }

    /// What is passed comes back.
    async fn same(&self, random: &mut Random) -> Result<(), Error> {
        let (theirs, other) = (self.theirs(random), self.any(random));
        let sent = send!(theirs.number, same_request, set_other(other.number.clone()));
        if random.below(2) == 0 {
            let (response, read) = join(sent.promise, read(&sent.pipeline.get_number())).await;
            response?;
            return is("what came back", read?, other.value);
        }
        let same = sent.promise.await?.get()?.get_number()?;
        is("what came back", read(&same).await?, other.value)
    }

    /// Promises that resolve to something of the peer's, of ours, or to what is pipelined on one of both; or returns
    /// that do.
    async fn promise(&self, random: &mut Random, ask: Ask) -> Result<(), Error> {
        let (theirs, other) = (self.theirs(random), self.any(random));
        let last = ask.last(&theirs);
        let (settled, value, is_ours) = match random.below(3) {
            0 => (Settled::Own, last.value, last.is_own),
            1 => (Settled::Given, other.value, other.is_own),
            _ => (
                Settled::Answer,
                (last.value + other.value) % MODULUS,
                other.is_own,
            ),
        };
        let given = match settled {
            Settled::Own => None,
            _ => Some(other.number),
        };
        let count = random.turns();
        let promised = promised(&theirs, settled, given, count, ask);
        let early = random.below(4);
        let reads = (0..early).map(|_| read(&promised.number));
        let reads = try_join_all(reads.collect::<Vec<_>>());
        let late = async {
            turns(random.turns()).await;
            let promise = promised.answer.await?;
            Ok::<_, Error>((read(&promise).await?, promise))
        };
        let (reads, late) = futures::join!(reads, late);
        let (late, promise) = late?;
        for got in reads?.into_iter().chain([late]) {
            is("what was promised", got, value)?;
        }
        if !is_ours && random.below(2) == 0 {
            resolved(&promise).await?;
            let held = send!(promise, same_request, set_other(theirs.number))
                .promise
                .await?;
            self.hold(random, held.get()?.get_number()?, theirs.value);
        }
        Ok(())
    }

    /// To be asked by way of theirs and ours.
    fn way(&self, random: &mut Random) -> Ask {
        Ask::Forward((0..random.below(4)).map(|_| self.any(random)).collect())
    }

    /// A promise that breaks.
    async fn broken(&self, random: &mut Random) -> Result<(), Error> {
        let (theirs, count) = (self.theirs(random), random.turns());
        let ask = match random.below(4) {
            0 | 1 => Ask::Promise,
            2 => Ask::Settle,
            _ => self.way(random),
        };
        let promised = promised(&theirs, Settled::Broken, None, count, ask);
        let early = read(&promised.number);
        let (early, answer) = join(early, promised.answer).await;
        fails_with("broken", early)?;
        match answer {
            Ok(promise) => fails_with("broken", read(&promise).await),
            Err(error) => fails_with("broken", Err::<(), _>(error)),
        }
    }

    /// Functions of ours, which the peer calls; functions of the peer's, which we call, or it calls itself.
    async fn functions(&self, random: &mut Random) -> Result<(), Error> {
        let (theirs, factor, times) = (self.theirs(random), random.value(), random.below(5));
        let want = (0..times).fold(theirs.value, |value, _| apply(factor, value));
        let mut request = theirs.number.apply_request();
        request.get().set_times(times);
        if random.below(2) == 0 {
            request.get().set_function(self.vat.function(factor));
            let got = request.send().promise.await?.get()?.get_value();
            return is("a function of ours", got, want);
        }
        let made = send!(
            self.theirs(random).number,
            function_request,
            set_factor(factor)
        );
        let function = made.pipeline.get_function();
        let call = send!(function, call_request, set_value(theirs.value));
        request.get().set_function(function);
        let (made, called, applied) =
            futures::join!(made.promise, call.promise, request.send().promise);
        made?;
        is(
            "a function of theirs",
            called?.get()?.get_value(),
            apply(factor, theirs.value),
        )?;
        is("their function, by them", applied?.get()?.get_value(), want)
    }

    async fn fail(&self, random: &mut Random) -> Result<(), Error> {
        let text = format!("as it must {}", random.value());
        let failed = send!(
            self.theirs(random).number,
            fail_request,
            set_text(&text[..])
        );
        let (failed, read) = join(failed.promise, read(&failed.pipeline.get_number())).await;
        fails_with(&text, failed)?;
        fails_with(&text, read)
    }

    /// Calls that are given up at any time.
    async fn give_up(&self, random: &mut Random) -> Result<(), Error> {
        let (theirs, other) = (self.theirs(random).number, self.any(random).number);
        let wait = random.turns();
        macro_rules! give_up {
            ($sent:expr) => {{
                let sent = $sent;
                tokio::select! {
                    biased;
                    _ = sent.promise => {}
                    () = turns(wait) => {}
                }
            }};
        }
        match random.below(20) {
            0 => give_up!(send!(theirs, never_request, set_other(other))),
            16.. => {
                let (way, count) = (self.way(random).way(), random.turns());
                let request = forwarded(&theirs, way, Settled::Given, Some(other), count);
                give_up!(request.send());
            }
            1..4 => give_up!(send!(theirs, plus_request, set_other(other))),
            4..7 => give_up!(send!(theirs, same_request, set_other(other))),
            7..10 => give_up!(send!(theirs, make_request, set_value(random.value()))),
            _ => give_up!(send!(theirs, read_request, set_turns(random.turns()))),
        }
        Ok(())
    }

    /// What is kept may be taken.
    async fn keep(&self, random: &mut Random) -> Result<(), Error> {
        let value = random.value();
        let made = send!(self.theirs(random).number, make_request, set_value(value));
        let (keeper, other) = (made.pipeline.get_number(), self.any(random));
        let kept = send!(keeper, keep_request, set_number(other.number.clone()));
        if random.below(4) == 0 {
            // It goes with its keeper.
            kept.promise.await?;
            return Ok(());
        }
        let (kept, taken) = join(kept.promise, send!(keeper, take_request).promise).await;
        kept?;
        let taken = taken?.get()?.get_number()?;
        is("what was kept", read(&taken).await?, other.value)
    }

    async fn push(&self, random: &mut Random) -> Result<(), Error> {
        let made = send!(self.theirs(random).number, make_request, set_value(0));
        let (number, mut sum) = (made.pipeline.get_number(), 0);
        let pushes = (0..random.below(9)).map(|_| {
            let value = random.value();
            sum = (sum + value) % MODULUS;
            send!(number, push_request, set_value(value))
        });
        let pushes = pushes.collect::<Vec<_>>();
        let pushed = send!(number, pushed_request).promise;
        let (pushes, pushed) = join(try_join_all(pushes), pushed).await;
        pushes?;
        is("what was pushed", pushed?.get()?.get_sum(), sum)
    }

    /// A list of theirs and ours.
    async fn all(&self, random: &mut Random) -> Result<(), Error> {
        let given: Vec<_> = (0..random.below(12)).map(|_| self.any(random)).collect();
        let mut request = self.theirs(random).number.all_request();
        let mut numbers = request.get().init_numbers(given.len() as u32);
        for (index, held) in (0..).zip(&given) {
            numbers.set(index, held.number.clone().into_client_hook());
        }
        let response = request.send().promise.await?;
        let response = response.get()?;
        let sum = given
            .iter()
            .fold(0, |sum, held| (sum + held.value) % MODULUS);
        is("the sum of all", response.get_sum(), sum)?;
        let numbers = response.get_numbers()?;
        let numbers = numbers.iter().collect::<Result<Vec<number::Client>, _>>()?;
        let values = try_join_all(numbers.iter().map(read)).await?;
        let want: Vec<_> = given.iter().map(|held| held.value).collect();
        is("what came back of a list", values, want)
    }

    /// Calls on a promise arrive as they were made, whatever it resolves to meanwhile. With `capnp-rpc` 0.27.3 on the other
    /// side that is so where it resolves to one of ours, and not where it resolves to one of theirs.
    async fn order(&self, random: &mut Random) -> Result<(), Error> {
        let target = self.own(random).number;
        let count = random.turns();
        let theirs = self.theirs(random);
        let promised = promised(&theirs, Settled::Given, Some(target), count, Ask::Promise);
        let mut calls = Vec::new();
        for _ in 0..random.below(12) {
            calls.push(send!(promised.number, next_request).promise);
            turns(random.below(3)).await;
        }
        let (calls, answer) = join(try_join_all(calls), promised.answer).await;
        answer?;
        for (want, call) in (0..).zip(calls?) {
            is("the order", call.get()?.get_count(), want)?;
        }
        Ok(())
    }

    /// A promise of ours, which the peer is given once: it resolves to one of ours, or to one of theirs.
    async fn promise_of_ours(&self, random: &mut Random) -> Result<(), Error> {
        let (theirs, other, count) = (self.theirs(random), self.any(random), random.turns());
        let (number, value) = (other.number, other.value);
        let promise = capnp_rpc::new_future_client(async move {
            turns(count).await;
            Ok(number)
        });
        let want = (theirs.value + value) % MODULUS;
        let sum = send!(theirs.number, plus_request, set_other(promise));
        let (sum, read) = join(sum.promise, read(&sum.pipeline.get_sum())).await;
        let sum = sum?.get()?.get_sum()?;
        is("the sum with a promise of ours", read?, want)?;
        self.hold(random, sum, want);
        Ok(())
    }
}

/// How a number is asked for what it settles.
enum Ask {
    /// For a promise, which is there at once.
    Promise,
    /// For a return, which is as late.
    Settle,
    /// For one that comes from the last on this way.
    Forward(Vec<Held>),
}

impl Ask {
    /// Who settles, where `first` is asked.
    fn last<'a>(&'a self, first: &'a Held) -> &'a Held {
        match self {
            Self::Forward(way) => way.last().unwrap_or(first),
            Self::Promise | Self::Settle => first,
        }
    }

    fn way(self) -> Vec<number::Client> {
        match self {
            Self::Forward(way) => way.into_iter().map(|held| held.number).collect(),
            Self::Promise | Self::Settle => Vec::new(),
        }
    }
}

/// What was promised: pipelined, and from the answer.
struct Promised {
    number: number::Client,
    answer: std::pin::Pin<Box<dyn Future<Output = Result<number::Client, Error>>>>,
}

fn promised(
    theirs: &Held,
    settled: Settled,
    given: Option<number::Client>,
    count: u8,
    ask: Ask,
) -> Promised {
    macro_rules! sent {
        ($request:expr) => {{
            let sent = $request.send();
            let promise = sent.promise;
            Promised {
                number: sent.pipeline.get_number(),
                answer: Box::pin(async move { promise.await?.get()?.get_number() }),
            }
        }};
    }
    macro_rules! ask {
        ($method:ident) => {{
            let mut request = theirs.number.$method();
            let mut params = request.get();
            params.set_to(settled);
            params.set_turns(count);
            if let Some(given) = given {
                params.set_other(given);
            }
            sent!(request)
        }};
    }
    match ask {
        Ask::Promise => ask!(promise_request),
        Ask::Settle => ask!(settle_request),
        Ask::Forward(_) => sent!(forwarded(&theirs.number, ask.way(), settled, given, count)),
    }
}

/// Reads a number; the call leaves at once.
pub(super) fn read(number: &number::Client) -> impl Future<Output = Result<u32, Error>> + use<> {
    let sent = number.read_request().send();
    async move { Ok(sent.promise.await?.get()?.get_value()) }
}

/// Has it failed as it must?
fn fails_with<T>(text: &str, result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.extra.contains(text) => Ok(()),
        Err(error) => Err(Error::failed(format!("fails with {error}, not {text}"))),
        Ok(_) => Err(Error::failed(format!("does not fail with {text}"))),
    }
}
