//! What is this side's own and the peer gives back, where `capnp-rpc` could not bear it.
//!
//! Promises: what a call of the peer's own will return, or a promise that it got, in place of a capability.
//! Of each `capnp-rpc` makes the promise itself, which it can't stand in three places: where a service makes the
//! promise its own end, whoever looks for that looks for ever; while a promise resolves, it can't be asked what it
//! is, not even for the parameters of the calls that waited for it; and a call that waits can't go if that lets
//! another one of the same promise go. So a hook of the guard's own stands for such a promise (`stand_in.rs`).
//! It asks nothing of the promise but from here, where `capnp-rpc` is not busy with it, breaks where it would
//! lead back to itself, and is taken apart here, too.
//!
//! Objects, where they are among the parameters of a call that waits: who gives the call up may have the last
//! reference to one of them, which may keep another call in the same queue, and `capnp-rpc` can't let that go
//! meanwhile. A hook of the guard's own lets go of the object later.
//!
//! A hook gets among those of `capnp-rpc` by a call only. The guard makes it, on the bootstrap object and in the
//! peer's name: it brings the capability, and what it returns is put in that one's place (`rules/promised.rs`).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use capnp::Error;
use capnp::capability::Client;
use capnp::private::capability::{ParamsHook, ResultsHook};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::parts::Parts;
use super::stand_in::{Hook, Watch, keeper, stand_in, standing_of};
use super::way::{innermost, is_promise};

/// Those that stand for promises and objects.
pub(super) struct Relay {
    myself: Weak<Self>,
    /// Is what `capnp-rpc` reads next the guard's own?
    is_asked: Cell<bool>,
    /// Those that wait.
    watches: RefCell<FuturesUnordered<Watch>>,
    new: RefCell<Vec<Watch>>,
    /// What is left of those that are gone, until `capnp-rpc` is not busy, and all its life after the
    /// connection's end.
    parts: RefCell<Vec<Parts>>,
    /// Who comes to take them.
    pub(super) waker: RefCell<Option<Waker>>,
    circles: Cell<u64>,
    /// Is there any of these?
    has_any: Cell<bool>,
    is_over: Cell<bool>,
    has_stopped: Cell<bool>,
}

impl Relay {
    pub(super) fn new() -> Rc<Self> {
        Rc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            is_asked: Cell::default(),
            watches: RefCell::default(),
            new: RefCell::default(),
            parts: RefCell::default(),
            waker: RefCell::default(),
            circles: Cell::default(),
            has_any: Cell::default(),
            is_over: Cell::default(),
            has_stopped: Cell::default(),
        })
    }

    /// What `capnp-rpc` reads next is the guard's own, or it is not.
    pub(super) fn ask(&self, is_asked: bool) {
        self.is_asked.set(is_asked);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.get()
    }

    /// Answers the guard's own call.
    pub(super) fn answer(
        &self,
        params: &dyn ParamsHook,
        results: &mut dyn ResultsHook,
    ) -> Result<(), Error> {
        self.is_asked.set(false);
        let cap: Client = params.get()?.get_as_capability()?;
        let stands = self.stand_in(cap.hook);
        results.get()?.set_as_capability(stands);
        results.set_pipeline()
    }

    fn stand_in(&self, hook: Hook) -> Hook {
        if self.is_over.get() {
            return hook;
        }
        // What has become something else is stood for no more: else each round would put one more around it.
        let hook = innermost(hook);
        if standing_of(&*hook).is_some_and(|standing| standing.is_of(&self.myself)) {
            return hook;
        }
        if !is_promise(&hook) {
            return keeper(hook, self.myself.clone());
        }
        let (stands, watch) = stand_in(hook, self.myself.clone());
        self.new.borrow_mut().push(watch);
        self.has_any.set(true);
        stands
    }

    /// Lets those go on whose promises have resolved. To be called where `capnp-rpc` is not busy with any.
    pub(super) fn poll(&self, cx: &mut Context<'_>) {
        loop {
            drop(self.parts.take());
            let new = self.new.take();
            // Whatever they do, it may make more of them.
            let mut watches = self.watches.take();
            watches.extend(new);
            while let Poll::Ready(Some(())) = watches.poll_next_unpin(cx) {}
            if self.is_over.get() {
                let over = crate::Error::disconnected("the connection is over");
                return break_off(watches.iter(), &over);
            }
            *self.watches.borrow_mut() = watches;
            if self.new.borrow().is_empty() && self.parts.borrow().is_empty() {
                self.has_any.set(!self.watches.borrow().is_empty());
                return;
            }
        }
    }

    /// Is there any?
    pub(super) fn has_any(&self) -> bool {
        self.has_any.get()
    }

    /// Takes what is left of one, to be dropped later.
    pub(super) fn take_apart(&self, parts: Parts) {
        if self.has_stopped.get() {
            return parts.let_go();
        }
        self.parts.borrow_mut().push(parts);
        self.has_any.set(true);
        let waker = self.waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// The connection is over: none waits any more, and no circle keeps itself. Parts are taken by who runs what is
    /// left of it.
    pub(super) fn end(&self, reason: &crate::Error) {
        self.is_over.set(true);
        let (watches, new) = (self.watches.take(), self.new.take());
        break_off(watches.iter().chain(&new), reason);
    }

    /// Drops what is left of those that are gone, after the end.
    pub(super) fn clear(&self) {
        loop {
            let parts = self.parts.take();
            if parts.is_empty() {
                return;
            }
        }
    }

    /// Drops what is left now, and later at once: `capnp-rpc` has let go of its tasks.
    pub(super) fn stop(&self) {
        self.has_stopped.set(true);
        self.clear();
    }

    pub(super) fn found_circle(&self) {
        self.circles.set(self.circles.get() + 1);
    }

    /// How many circles were found since this was asked last.
    pub(super) fn circles(&self) -> u64 {
        self.circles.take()
    }
}

fn break_off<'a>(watches: impl Iterator<Item = &'a Watch>, reason: &crate::Error) {
    let waiting: Vec<_> = watches.filter_map(Watch::standing).collect();
    for standing in waiting {
        standing.settle(capnp_rpc::new_broken_cap(reason.clone().into()).hook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::capability::Promise;
    use capspan_testkit::membrane::raw;
    use futures::channel::oneshot;

    type Fulfil = oneshot::Sender<Result<Client, Error>>;

    fn unfulfilled() -> (Fulfil, Hook) {
        let (fulfil, becomes) = oneshot::channel();
        let promise: Client = capnp_rpc::new_future_client(async move {
            becomes
                .await
                .unwrap_or_else(|_| Err(Error::failed("nobody fulfils it".to_owned())))
        });
        (fulfil, promise.hook)
    }

    /// A promise, and what stands for it.
    fn promise(relay: &Relay) -> (Fulfil, Hook) {
        let (fulfil, promise) = unfulfilled();
        (fulfil, relay.stand_in(promise))
    }

    fn fulfil(fulfil: Fulfil, to: &Hook) {
        assert!(fulfil.send(Ok(Client::new(to.add_ref()))).is_ok());
    }

    fn poll(relay: &Relay) {
        relay.poll(&mut Context::from_waker(Waker::noop()));
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

    fn is_broken(hook: &Hook) -> bool {
        end_of(hook).when_more_resolved().is_none()
    }

    #[test]
    fn it_is_what_the_promise_becomes() {
        let (relay, object) = (Relay::new(), object());
        let (fulfils, stands) = promise(&relay);
        assert!(stands.get_resolved().is_none());
        fulfil(fulfils, &object);
        poll(&relay);
        assert_eq!(end_of(&stands).get_ptr(), object.get_ptr());
        assert_eq!((relay.circles(), relay.has_any()), (0, false));
    }

    /// An object that says when nobody has it any more, and what stands for it.
    fn kept(relay: &Relay) -> (oneshot::Receiver<()>, Hook) {
        let (is_there, is_gone) = oneshot::channel();
        let object = raw::object(move |_, _, _| {
            let _it_has = &is_there;
            Promise::ok(())
        });
        (is_gone, relay.stand_in(object.hook))
    }

    fn is_gone(is_gone: &mut oneshot::Receiver<()>) -> bool {
        !matches!(is_gone.try_recv(), Ok(None))
    }

    #[test]
    fn an_object_is_let_go_of_later() {
        let relay = Relay::new();
        let (mut gone, stands) = kept(&relay);
        assert!(stands.get_resolved().is_some() && !relay.has_any());
        drop(stands);
        assert!(!is_gone(&mut gone) && relay.has_any());
        poll(&relay);
        assert!(is_gone(&mut gone) && !relay.has_any());
    }

    #[test]
    fn after_the_end_an_object_waits_for_the_tasks() {
        let relay = Relay::new();
        let (mut first, stands) = kept(&relay);
        let (mut second, stands_next) = kept(&relay);
        relay.end(&crate::Error::disconnected("over"));
        drop(stands);
        assert!(!is_gone(&mut first));
        relay.stop();
        assert!(is_gone(&mut first));
        drop(stands_next);
        assert!(is_gone(&mut second), "nobody comes any more");
    }

    #[test]
    fn it_waits_for_the_end_of_a_chain() {
        let (relay, object) = (Relay::new(), object());
        let (fulfils, stands) = promise(&relay);
        let (fulfils_next, next) = unfulfilled();
        fulfil(fulfils, &next);
        poll(&relay);
        assert!(stands.get_resolved().is_none(), "that is a promise, too");
        fulfil(fulfils_next, &object);
        poll(&relay);
        assert_eq!(end_of(&stands).get_ptr(), object.get_ptr());
    }

    #[test]
    fn one_that_becomes_itself_is_broken_and_counted_once() {
        let relay = Relay::new();
        let (fulfils, stands) = promise(&relay);
        fulfil(fulfils, &stands);
        poll(&relay);
        assert!(is_broken(&stands) && is_broken(&stands));
        assert_eq!((relay.circles(), relay.circles()), (1, 0));
    }

    #[test]
    fn those_that_become_each_other_are_broken() {
        let relay = Relay::new();
        let (made, hooks): (Vec<_>, Vec<_>) = (0..5).map(|_| promise(&relay)).unzip();
        for (at, fulfils) in made.into_iter().enumerate() {
            fulfil(fulfils, &hooks[(at + 1) % 5]);
        }
        poll(&relay);
        assert!(hooks.iter().all(is_broken));
        assert_eq!(relay.circles(), 1);
    }

    #[test]
    fn a_circle_that_nobody_looks_at_does_not_keep_itself() {
        let relay = Relay::new();
        let (fulfils, stands) = promise(&relay);
        let weak = Rc::downgrade(&relay.new.borrow()[0].standing().expect("it is alive"));
        assert!(fulfils.send(Ok(Client::new(stands))).is_ok());
        poll(&relay);
        assert_eq!((relay.circles(), weak.strong_count()), (1, 0));
    }

    #[test]
    fn one_that_is_let_go_of_is_taken_apart_later() {
        let relay = Relay::new();
        let (fulfils, stands) = promise(&relay);
        poll(&relay);
        drop(stands);
        assert!(!fulfils.is_canceled() && relay.has_any());
        poll(&relay);
        assert!(fulfils.is_canceled() && !relay.has_any());
    }

    #[test]
    fn one_that_has_settled_holds_nothing_when_it_is_gone() {
        let relay = Relay::new();
        let (fulfils, stands) = promise(&relay);
        let (still, promised) = unfulfilled();
        fulfil(fulfils, &relay.stand_in(promised));
        poll(&relay);
        drop(stands);
        poll(&relay);
        assert!(still.is_canceled() && !relay.has_any());
        let (fulfils, stands) = promise(&relay);
        let object = capnp_rpc::new_broken_cap(Error::failed(String::new()));
        fulfil(fulfils, &object.hook);
        poll(&relay);
        drop(stands);
        poll(&relay);
        assert!(!relay.has_any());
    }

    /// The second holds the first, and they wait for the same.
    #[test]
    fn calls_of_this_sides_that_hold_each_other_are_let_go_of() {
        let relay = Relay::new();
        let (_fulfils, stands) = promise(&relay);
        let first = stands.new_call(0, 0, None).send();
        let promised = first.pipeline.get_pointer_field(0).as_cap();
        drop(first);
        let mut second = stands.new_call(0, 0, None);
        second.get().set_as_capability(promised);
        drop(second.send());
        drop(stands);
        poll(&relay);
        assert!(!relay.has_any());
    }

    #[test]
    fn the_end_breaks_those_that_wait() {
        let relay = Relay::new();
        let (fulfils, stands) = promise(&relay);
        relay.end(&crate::Error::disconnected("over"));
        assert!(is_broken(&stands) && fulfils.is_canceled());
        assert_eq!(relay.circles(), 0);
    }
}
