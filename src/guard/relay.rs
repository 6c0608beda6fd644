//! Capabilities that the peer gives as what a call of its own will return, while that has not returned.
//!
//! Of each `capnp-rpc` makes a promise, which becomes what the call returns. Where the service returns that
//! promise, it becomes itself, and whoever looks for what it is looks for ever. No message shows it: what is
//! returned is some promise of this side's. So a hook of the guard's own stands for such a promise. It looks
//! where that leads before it says so, and breaks where that is back to itself.
//!
//! A hook gets among those of `capnp-rpc` by a call only. The guard makes it, on the bootstrap object and in the
//! peer's name: it brings the promise, and what it returns is put in the promise's place (`rules/promised.rs`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, MessageSize};
use futures::channel::oneshot;
use futures::future::{Either, select};

use super::rules::Serial;

/// As many as may lead to each other.
const MAX_HOPS: usize = 64;

/// Those that are gone are looked for when there are that many more than were found alive.
const SPARE: usize = 64;

type Hook = Box<dyn ClientHook>;

/// Those that stand for promises, by the call that is to return.
#[derive(Default)]
pub(super) struct Relay {
    /// The guard calls next: for the results of which call.
    asked: Cell<Option<Serial>>,
    waiting: RefCell<HashMap<Serial, Vec<Weak<Inner>>>>,
    settled: RefCell<Vec<Weak<Inner>>>,
    /// How many of the settled were alive when they were counted.
    alive: Cell<usize>,
    circles: Rc<Cell<u64>>,
}

/// Stands for a promise.
struct StandIn {
    inner: Rc<Inner>,
}

struct Inner {
    hook: RefCell<Hook>,
    state: Cell<State>,
    /// Calls that came while `capnp-rpc` was about to resolve the promise.
    calls: RefCell<Vec<Call>>,
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
    circles: Rc<Cell<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It does what the promise does.
    Follows,
    /// The call returns, or may return unseen: `capnp-rpc` is busy with the promise, which can't be asked.
    Busy,
    /// It leads nowhere any more.
    Broken,
}

struct Call {
    interface_id: u64,
    method_id: u16,
    params: Box<dyn ParamsHook>,
    results: Box<dyn ResultsHook>,
    begun: oneshot::Sender<Promise<(), Error>>,
}

impl Relay {
    /// What `capnp-rpc` reads next is the guard's own, or it is not.
    pub(super) fn ask(&self, what: Option<Serial>) {
        self.asked.set(what);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.get().is_some()
    }

    /// Answers the guard's own call.
    pub(super) fn answer(
        &self,
        params: &dyn ParamsHook,
        results: &mut dyn ResultsHook,
    ) -> Result<(), Error> {
        let call = self.asked.take().unwrap_or_default();
        let promise: Client = params.get()?.get_as_capability()?;
        let stands = self.stand_in(call, promise.into_client_hook());
        results.get()?.set_as_capability(stands);
        results.set_pipeline()
    }

    fn stand_in(&self, call: Serial, hook: Hook) -> Hook {
        // What is there already leads nowhere else; and what is the peer's is to be seen as that.
        let is_promise = hook.get_brand() == 0
            && hook.get_resolved().is_none()
            && hook.when_more_resolved().is_some();
        if !is_promise {
            return hook;
        }
        let inner = Rc::new(Inner {
            hook: RefCell::new(hook),
            state: Cell::new(State::Follows),
            calls: RefCell::default(),
            waiters: RefCell::default(),
            circles: self.circles.clone(),
        });
        let mut waiting = self.waiting.borrow_mut();
        waiting.entry(call).or_default().push(Rc::downgrade(&inner));
        Box::new(StandIn { inner })
    }

    /// A call is about to return, or was finished, so that nothing is sent before it does.
    pub(super) fn returns(&self, call: Serial) {
        if let Some(waiting) = self.waiting.borrow().get(&call) {
            for inner in waiting.iter().filter_map(Weak::upgrade) {
                inner.state.set(State::Busy);
            }
        }
    }

    /// It has returned: those who waited for it look where they lead.
    pub(super) fn returned(&self, call: Serial) {
        let waited = self.waiting.borrow_mut().remove(&call).unwrap_or_default();
        let held: Vec<_> = waited.iter().filter_map(Weak::upgrade).collect();
        held.iter().for_each(|inner| inner.go_on());
        // A promise of this side's may still become one of them.
        let mut settled = self.settled.borrow_mut();
        settled.extend(waited);
        if settled.len() > 2 * self.alive.get() + SPARE {
            settled.retain(|inner| inner.strong_count() > 0);
            self.alive.set(settled.len());
        }
    }

    /// The connection is over: none waits any more, and no circle keeps itself.
    pub(super) fn end(&self, reason: &crate::Error) {
        for inner in self.waiting.take().into_values().flatten() {
            if let Some(inner) = inner.upgrade() {
                inner.break_off(reason.clone().into());
                inner.settle();
            }
        }
        for inner in self.settled.take() {
            drop(inner.upgrade().and_then(|inner| inner.resolved()));
        }
    }

    /// How many circles were found since this was asked last.
    pub(super) fn circles(&self) -> u64 {
        self.circles.take()
    }
}

thread_local! {
    /// Is one of them looking where it leads?
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

/// One of them looks, until this is dropped.
struct Looks;

impl Looks {
    fn begin() -> Self {
        LOOKS.set(true);
        Self
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        LOOKS.set(false);
    }
}

impl Inner {
    fn hook(&self) -> Hook {
        self.hook.borrow().add_ref()
    }

    /// What the promise has become, if that is known.
    fn resolved(&self) -> Option<Hook> {
        match self.state.get() {
            State::Busy => return None,
            State::Broken => return Some(self.hook()),
            State::Follows => {}
        }
        let next = self.hook.borrow().get_resolved()?;
        // Who looks passes each of the others once.
        if LOOKS.get() || !self.is_at_the_end_of(next.add_ref()) {
            return Some(next);
        }
        drop(next);
        self.circles.set(self.circles.get() + 1);
        let text = "a capability is what a call returns, and that is the capability itself";
        self.break_off(Error::failed(text.to_owned()));
        Some(self.hook())
    }

    /// A way that is too long counts as one that leads back.
    fn is_at_the_end_of(&self, mut way: Hook) -> bool {
        let _looks = Looks::begin();
        for _ in 0..MAX_HOPS {
            if way.get_brand() == brand() && way.get_ptr() == self.address() {
                return true;
            }
            match way.get_resolved() {
                Some(next) => way = next,
                None => return false,
            }
        }
        true
    }

    fn break_off(&self, reason: Error) {
        self.state.set(State::Broken);
        let broken = capnp_rpc::new_broken_cap(reason).hook;
        let promise = self.hook.replace(broken);
        drop(promise);
    }

    /// Waits for what [`settle`](Self::settle) sends. That drives the call, too, which the peer may have
    /// finished: then nobody else does.
    async fn once_settled<T>(&self, settles: oneshot::Receiver<T>) -> Option<T> {
        // Not before it is polled: then `capnp-rpc` is done with the promise.
        let becomes = self.hook.borrow().when_more_resolved();
        let drives = async {
            if let Some(becomes) = becomes {
                let _whatever = becomes.await;
            }
            self.go_on();
        };
        match select(pin!(drives), settles).await {
            Either::Left(((), settles)) => settles.await.ok(),
            Either::Right((sent, _)) => sent.ok(),
        }
    }

    /// The call has returned.
    fn go_on(&self) {
        if self.state.get() == State::Busy {
            self.state.set(State::Follows);
        }
        self.settle();
    }

    /// What waited for the end of [`State::Busy`] goes on, in its order.
    fn settle(&self) {
        let to = self.resolved().unwrap_or_else(|| self.hook());
        for call in self.calls.take() {
            let Call {
                interface_id,
                method_id,
                params,
                results,
                begun,
            } = call;
            let promise = to.call(interface_id, method_id, params, results);
            let _it_was_canceled = begun.send(promise);
        }
        for waiter in self.waiters.take() {
            let _nobody_waits = waiter.send(());
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// What all of them have, and no other hook.
fn brand() -> usize {
    static BRAND: u8 = 0;
    (&raw const BRAND).addr()
}

impl ClientHook for StandIn {
    fn add_ref(&self) -> Hook {
        let inner = self.inner.clone();
        Box::new(Self { inner })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        let hook = self.inner.resolved().unwrap_or_else(|| self.inner.hook());
        hook.new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        if self.inner.state.get() != State::Busy {
            let hook = self.inner.resolved().unwrap_or_else(|| self.inner.hook());
            return hook.call(interface_id, method_id, params, results);
        }
        let (begun, begins) = oneshot::channel();
        self.inner.calls.borrow_mut().push(Call {
            interface_id,
            method_id,
            params,
            results,
            begun,
        });
        let inner = self.inner.clone();
        Promise::from_future(async move {
            let over = || Error::disconnected("the connection is over".to_owned());
            inner.once_settled(begins).await.ok_or_else(over)?.await
        })
    }

    fn get_brand(&self) -> usize {
        brand()
    }

    fn get_ptr(&self) -> usize {
        self.inner.address()
    }

    fn get_resolved(&self) -> Option<Hook> {
        self.inner.resolved()
    }

    fn when_more_resolved(&self) -> Option<Promise<Hook, Error>> {
        if let Some(resolved) = self.inner.resolved() {
            return Some(Promise::ok(resolved));
        }
        let (waiter, settles) = oneshot::channel();
        self.inner.waiters.borrow_mut().push(waiter);
        let inner = self.inner.clone();
        Some(Promise::from_future(async move {
            inner.once_settled(settles).await;
            Ok(inner.resolved().unwrap_or_else(|| inner.hook()))
        }))
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        let more = self.when_more_resolved();
        Promise::from_future(async move {
            match more {
                Some(more) => more.await?.when_resolved().await,
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    type Fulfil = oneshot::Sender<Result<Client, Error>>;

    /// A promise, and what stands for it.
    fn promise(relay: &Relay, call: Serial) -> (Fulfil, Hook) {
        let (fulfil, becomes) = oneshot::channel();
        let promise: Client = capnp_rpc::new_future_client(async move {
            becomes
                .await
                .unwrap_or_else(|_| Err(Error::failed("nobody fulfils it".to_owned())))
        });
        (fulfil, relay.stand_in(call, promise.hook))
    }

    fn becomes((fulfil, stands): (Fulfil, &Hook), to: &Hook) {
        let drives = stands.when_more_resolved();
        assert!(fulfil.send(Ok(Client::new(to.add_ref()))).is_ok());
        let _whatever = drives.and_then(|drives| drives.now_or_never());
        assert!(stands.get_resolved().is_some());
    }

    fn object() -> Hook {
        capnp_rpc::new_broken_cap(Error::failed("an object".to_owned())).hook
    }

    fn end_of(hook: &Hook) -> Hook {
        let mut at = hook.add_ref();
        for _ in 0..1_000 {
            match at.get_resolved() {
                Some(next) => at = next,
                None => return at,
            }
        }
        panic!("it goes round");
    }

    #[test]
    fn it_is_what_the_promise_becomes() {
        let (relay, object) = (Relay::default(), object());
        let (fulfil, stands) = promise(&relay, 1);
        assert!(stands.get_resolved().is_none());
        becomes((fulfil, &stands), &object);
        assert_eq!(end_of(&stands).get_ptr(), object.get_ptr());
        assert_eq!(relay.circles(), 0);
    }

    #[test]
    fn what_is_there_already_needs_none() {
        let (relay, object) = (Relay::default(), object());
        let stands = relay.stand_in(1, object.add_ref());
        assert_eq!(stands.get_ptr(), object.get_ptr());
    }

    #[test]
    fn one_that_becomes_itself_is_broken_and_counted_once() {
        let relay = Relay::default();
        let (fulfil, stands) = promise(&relay, 1);
        becomes((fulfil, &stands), &stands);
        for _ in 0..2 {
            let end = end_of(&stands);
            assert!(end.get_brand() != brand() && end.when_more_resolved().is_none());
        }
        assert_eq!((relay.circles(), relay.circles()), (1, 0));
    }

    #[test]
    fn those_that_become_each_other_are_broken() {
        let relay = Relay::default();
        let made: Vec<_> = (0..5).map(|call| promise(&relay, call)).collect();
        let hooks: Vec<Hook> = made.iter().map(|(_, hook)| hook.add_ref()).collect();
        for (at, (fulfil, stands)) in made.into_iter().enumerate() {
            becomes((fulfil, &stands), &hooks[(at + 1) % 5]);
        }
        for hook in &hooks {
            assert!(end_of(hook).when_more_resolved().is_none());
        }
        assert_eq!(relay.circles(), 1);
    }

    #[test]
    fn a_circle_that_nobody_looks_at_does_not_keep_itself() {
        let relay = Relay::default();
        let (fulfil, stands) = promise(&relay, 7);
        let weak = relay.waiting.borrow()[&7][0].clone();
        let drives = stands.when_more_resolved();
        assert!(fulfil.send(Ok(Client::new(stands))).is_ok());
        let _whatever = drives.map(FutureExt::now_or_never);
        relay.returned(7);
        assert_eq!((relay.circles(), weak.strong_count()), (1, 0));
    }

    #[test]
    fn the_end_breaks_those_that_wait() {
        let relay = Relay::default();
        let (_fulfil, stands) = promise(&relay, 1);
        relay.end(&crate::Error::disconnected("over"));
        assert!(end_of(&stands).when_more_resolved().is_none());
        assert_eq!(relay.circles(), 0);
    }
}
