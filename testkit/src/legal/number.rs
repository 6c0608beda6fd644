//! The objects of one side.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::Error;
use capnp::capability::{FromClientHook as _, Request};
use futures::future::try_join_all;

use super::told::{Listener, Told};
use super::{MODULUS, turns};
use crate::legal_capnp::{Settled, function, number};

/// What makes the objects of one side, and counts those that are alive. Clones share it.
#[derive(Clone, Default)]
pub struct Vat {
    live: Rc<Cell<usize>>,
    listener: Option<Listener>,
}

impl Vat {
    /// With no object in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that remembers what its objects are told.
    pub fn listening() -> Self {
        Self {
            listener: Some(Listener::default()),
            ..Self::default()
        }
    }

    /// What its objects were told, where it listens.
    pub fn told(&self) -> Told {
        self.listener
            .as_ref()
            .map(Listener::told)
            .unwrap_or_default()
    }

    /// How many of its objects are alive.
    pub fn live(&self) -> usize {
        self.live.get()
    }

    /// An object that stands for `value`.
    pub fn number(&self, value: u32) -> number::Client {
        self.born("number", value)
    }

    fn born(&self, kind: &'static str, value: u32) -> number::Client {
        let value = value % MODULUS;
        self.once_more(kind, value, || "is made".into());
        capnp_rpc::new_client(Number {
            kind,
            value,
            next: Cell::default(),
            pushed: Cell::default(),
            kept: RefCell::default(),
            alive: self.one_more(),
        })
    }

    /// `factor * value + 1`.
    pub(super) fn function(&self, factor: u32) -> function::Client {
        capnp_rpc::new_client(Function {
            factor,
            alive: self.one_more(),
        })
    }

    /// An object whose kind and value these are is told something; in which order does not matter.
    fn once_more(&self, kind: &str, value: u32, call: impl FnOnce() -> String) {
        if let Some(listener) = &self.listener {
            listener.once_more(format!("{kind} {value}"), call());
        }
    }

    fn one_more(&self) -> Alive {
        self.live.set(self.live() + 1);
        Alive(self.clone())
    }
}

/// What a [`function`](Vat::function) gives.
pub(super) fn apply(factor: u32, value: u32) -> u32 {
    let product = u64::from(factor) * u64::from(value) + 1;
    (product % u64::from(MODULUS)) as u32
}

/// An object that is counted.
struct Alive(Vat);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.live.set(self.0.live() - 1);
    }
}

struct Function {
    factor: u32,
    alive: Alive,
}

impl function::Server for Function {
    async fn call(
        self: Rc<Self>,
        params: function::CallParams,
        mut results: function::CallResults,
    ) -> Result<(), Error> {
        let Self { factor, alive } = &*self;
        let value = params.get()?.get_value();
        alive
            .0
            .once_more("function", *factor, || format!("call {value}"));
        let value = apply(*factor, value);
        results.get().set_value(value);
        Ok(())
    }
}

struct Number {
    /// What made it.
    kind: &'static str,
    value: u32,
    next: Cell<u32>,
    pushed: Cell<u32>,
    kept: RefCell<Option<number::Client>>,
    alive: Alive,
}

impl Number {
    fn vat(&self) -> &Vat {
        &self.alive.0
    }

    fn is_told(&self, call: impl FnOnce() -> String) {
        self.vat().once_more(self.kind, self.value, call);
    }

    fn is_told_in_order(&self, call: impl FnOnce() -> String) {
        if let Some(listener) = &self.vat().listener {
            listener.in_order(format!("{} {}", self.kind, self.value), call());
        }
    }

    /// What `settle` returns in the end, and a promise of it resolves to.
    fn settled(
        &self,
        settled: Settled,
        other: Option<number::Client>,
    ) -> Result<number::Client, Error> {
        let other = || other.ok_or_else(|| Error::failed("no other number was given".into()));
        match settled {
            Settled::Own => Ok(self.vat().born("settled", self.value)),
            Settled::Given => other(),
            Settled::Answer => {
                let mut plus = other()?.plus_request();
                plus.get().set_other(self.vat().born("asker", self.value));
                let sent = plus.send();
                let sum = sent.pipeline.get_sum();
                // What is pipelined on it does not resolve if nobody waits for the answer, or the pipeline is gone by then.
                tokio::task::spawn_local(async move {
                    let _waits_for_it = sent.pipeline;
                    sent.promise.await
                });
                Ok(sum)
            }
            Settled::Broken => Err(Error::failed("broken".into())),
        }
    }
}

/// A call that asks `first` to settle, or to have the last on the `way` do that.
pub fn forwarded(
    first: &number::Client,
    way: Vec<number::Client>,
    to: Settled,
    other: Option<number::Client>,
    count: u8,
) -> Request<number::forward_params::Owned, number::forward_results::Owned> {
    let mut request = first.forward_request();
    let mut params = request.get();
    params.set_to(to);
    params.set_turns(count);
    if let Some(other) = other {
        params.set_other(other);
    }
    let mut rest = params.init_way(way.len() as u32);
    for (index, number) in (0..).zip(way) {
        rest.set(index, number.into_client_hook());
    }
    request
}

async fn read(number: &number::Client) -> Result<u32, Error> {
    let response = number.read_request().send().promise.await?;
    Ok(response.get()?.get_value())
}

/// What a text says: an error of the kind that it begins with, else one that has failed.
fn failure(text: String) -> Error {
    match text.split(' ').next() {
        Some("overloaded") => Error::overloaded(text),
        Some("disconnected") => Error::disconnected(text),
        Some("unimplemented") => Error::unimplemented(text),
        _ => Error::failed(text),
    }
}

/// A call that is never answered, for as long as somebody waits.
struct GivenUp(Rc<Number>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.is_told(|| "never, given up".into());
    }
}

impl number::Server for Number {
    async fn read(
        self: Rc<Self>,
        params: number::ReadParams,
        mut results: number::ReadResults,
    ) -> Result<(), Error> {
        self.is_told(|| "read".into());
        turns(params.get()?.get_turns()).await;
        results.get().set_value(self.value);
        Ok(())
    }

    async fn make(
        self: Rc<Self>,
        params: number::MakeParams,
        mut results: number::MakeResults,
    ) -> Result<(), Error> {
        let value = params.get()?.get_value();
        self.is_told(|| format!("make {value}"));
        results.get().set_number(self.vat().born("made", value));
        Ok(())
    }

    async fn plus(
        self: Rc<Self>,
        params: number::PlusParams,
        mut results: number::PlusResults,
    ) -> Result<(), Error> {
        self.is_told(|| "plus".into());
        let other = read(&params.get()?.get_other()?).await?;
        let sum = self.vat().born("sum", self.value + other);
        results.get().set_sum(sum);
        Ok(())
    }

    async fn same(
        self: Rc<Self>,
        params: number::SameParams,
        mut results: number::SameResults,
    ) -> Result<(), Error> {
        self.is_told(|| "same".into());
        results.get().set_number(params.get()?.get_other()?);
        Ok(())
    }

    async fn settle(
        self: Rc<Self>,
        params: number::SettleParams,
        mut results: number::SettleResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let settled = params.get_to()?;
        self.is_told(|| format!("settle {settled:?}"));
        turns(params.get_turns()).await;
        let other = params.has_other().then(|| params.get_other()).transpose()?;
        results.get().set_number(self.settled(settled, other)?);
        Ok(())
    }

    async fn promise(
        self: Rc<Self>,
        params: number::PromiseParams,
        mut results: number::PromiseResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let (settled, count) = (params.get_to()?, params.get_turns());
        self.is_told(|| format!("promise {settled:?}"));
        let other = params.has_other().then(|| params.get_other()).transpose()?;
        let promise = capnp_rpc::new_future_client(async move {
            turns(count).await;
            self.settled(settled, other)
        });
        results.get().set_number(promise);
        Ok(())
    }

    async fn apply(
        self: Rc<Self>,
        params: number::ApplyParams,
        mut results: number::ApplyResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let (function, mut value) = (params.get_function()?, self.value);
        let times = params.get_times();
        self.is_told(|| format!("apply {times} times"));
        for _ in 0..times {
            let mut call = function.call_request();
            call.get().set_value(value);
            value = call.send().promise.await?.get()?.get_value();
        }
        results.get().set_value(value);
        Ok(())
    }

    async fn function(
        self: Rc<Self>,
        params: number::FunctionParams,
        mut results: number::FunctionResults,
    ) -> Result<(), Error> {
        let factor = params.get()?.get_factor();
        self.is_told(|| format!("function {factor}"));
        results.get().set_function(self.vat().function(factor));
        Ok(())
    }

    async fn keep(
        self: Rc<Self>,
        params: number::KeepParams,
        _results: number::KeepResults,
    ) -> Result<(), Error> {
        self.is_told_in_order(|| "keep".into());
        let kept = params.get()?.get_number()?;
        let before = self.kept.replace(Some(kept));
        drop(before);
        Ok(())
    }

    async fn take(
        self: Rc<Self>,
        _params: number::TakeParams,
        mut results: number::TakeResults,
    ) -> Result<(), Error> {
        self.is_told_in_order(|| "take".into());
        let kept = self.kept.take();
        let kept = kept.ok_or_else(|| Error::failed("nothing was kept".into()))?;
        results.get().set_number(kept);
        Ok(())
    }

    async fn next(
        self: Rc<Self>,
        _params: number::NextParams,
        mut results: number::NextResults,
    ) -> Result<(), Error> {
        self.is_told_in_order(|| "next".into());
        let count = self.next.get();
        self.next.set(count + 1);
        results.get().set_count(count);
        Ok(())
    }

    async fn push(self: Rc<Self>, params: number::PushParams) -> Result<(), Error> {
        let value = params.get()?.get_value();
        self.is_told_in_order(|| format!("push {value}"));
        let sum = self.pushed.get() + value;
        self.pushed.set(sum % MODULUS);
        Ok(())
    }

    async fn pushed(
        self: Rc<Self>,
        _params: number::PushedParams,
        mut results: number::PushedResults,
    ) -> Result<(), Error> {
        self.is_told_in_order(|| "pushed".into());
        results.get().set_sum(self.pushed.get());
        Ok(())
    }

    async fn all(
        self: Rc<Self>,
        params: number::AllParams,
        mut results: number::AllResults,
    ) -> Result<(), Error> {
        let numbers = params.get()?.get_numbers()?;
        let numbers = numbers.iter().collect::<Result<Vec<number::Client>, _>>()?;
        self.is_told(|| format!("all {}", numbers.len()));
        let values = try_join_all(numbers.iter().map(read)).await?;
        let sum = values
            .into_iter()
            .fold(0, |sum, value| (sum + value) % MODULUS);
        let mut results = results.get();
        results.set_sum(sum);
        let mut all = results.init_numbers(numbers.len() as u32);
        for (index, number) in (0..).zip(numbers) {
            all.set(index, number.into_client_hook());
        }
        Ok(())
    }

    async fn fail(
        self: Rc<Self>,
        params: number::FailParams,
        _results: number::FailResults,
    ) -> Result<(), Error> {
        let text = params.get()?.get_text()?.to_string()?;
        self.is_told(|| format!("fail {text}"));
        Err(failure(text))
    }

    async fn never(
        self: Rc<Self>,
        params: number::NeverParams,
        results: number::NeverResults,
    ) -> Result<(), Error> {
        self.is_told(|| "never".into());
        let _held = (params, results, GivenUp(self));
        std::future::pending().await
    }

    async fn forward(
        self: Rc<Self>,
        params: number::ForwardParams,
        mut results: number::ForwardResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let (to, count) = (params.get_to()?, params.get_turns());
        let way = params.get_way()?.len();
        self.is_told(|| format!("forward {way} {to:?}"));
        turns(count).await;
        let other = params.has_other().then(|| params.get_other()).transpose()?;
        let mut way = params
            .get_way()?
            .iter()
            .collect::<Result<Vec<number::Client>, _>>()?;
        let number = match way.is_empty() {
            true => self.settled(to, other)?,
            false => {
                let next = way.remove(0);
                let given = forwarded(&next, way, to, other, count).send();
                given.promise.await?.get()?.get_number()?
            }
        };
        results.get().set_number(number);
        Ok(())
    }
}
