//! A hook that stands for a promise of this side's, or for an object: see `relay.rs` for why.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use capnp::any_pointer;
use capnp::capability::{Client, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, MessageSize};
use futures::FutureExt;
use futures::channel::oneshot;

use super::parts::Parts;
use super::relay::Relay;
use super::waiting_calls::{Call, Calls};
use super::way::Way;
use crate::depth::{self, MAX_WRAPPERS, address_and_depth, depth_of};

pub(super) type Hook = Box<dyn ClientHook>;

/// Over so many that stand for each other it is looked how deep the last is.
const MAX_STANDING: usize = 1024;

/// From so many on, those who do not wait any more are looked for.
const MANY: usize = 64;

/// What stands for `promise`, and what lets it go on.
pub(super) fn stand_in(promise: Hook, relay: Weak<Relay>) -> (Hook, Watch) {
    let (is_there, is_gone) = oneshot::channel();
    let mut standing = Standing::new(promise.add_ref(), State::Waits, relay);
    standing.way = RefCell::new(Some(Way::from(promise)));
    standing.is_there = Some(is_there);
    let standing = Rc::new(standing);
    let watch = Watch {
        standing: Rc::downgrade(&standing),
        is_gone,
    };
    let bare = StandIn {
        standing: standing.clone(),
        face: None,
    };
    let face = Some(face_of(Box::new(bare)));
    (Box::new(StandIn { standing, face }), watch)
}

/// What makes requests for a hook: a promise that has resolved to it. Before that it would keep calls in a queue of
/// `capnp-rpc`'s.
fn face_of(hook: Hook) -> Client {
    let face: Client = capnp_rpc::new_future_client(async move { Ok(Client::new(hook)) });
    if let Some(mut resolves) = face.hook.when_more_resolved() {
        let _is_there_at_once = resolves.poll_unpin(&mut Context::from_waker(Waker::noop()));
    }
    face
}

/// What stands for an object: only what lets go of it is another one.
pub(super) fn keeper(object: Hook, relay: Weak<Relay>) -> Hook {
    let standing = Rc::new(Standing::new(object, State::Settled, relay));
    let face = None;
    Box::new(StandIn { standing, face })
}

/// Stands for a promise, or for what it has become.
struct StandIn {
    standing: Rc<Standing>,
    /// What makes requests, for `capnp-rpc` lets nobody else make those that are for this process: a promise of it.
    /// That itself needs none.
    face: Option<Client>,
}

/// What all that stand for one promise have in common.
pub(super) struct Standing {
    /// The promise, or what it has become.
    hook: RefCell<Hook>,
    state: Cell<State>,
    /// Does it tell how many wrappers lie in it?
    tells_depth: Cell<bool>,
    /// The way to its end. It is not there while somebody goes on it, nor afterwards.
    way: RefCell<Option<Way>>,
    /// Calls that have not been made.
    calls: RefCell<Rc<Calls>>,
    /// Is one being made?
    is_calling: Cell<bool>,
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
    relay: Weak<Relay>,
    /// Tells its watch that it is gone.
    is_there: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls wait.
    Waits,
    /// It has become something that is not of this process, as far as `capnp-rpc` knows, and not settled: calls
    /// are passed on.
    PassesOn,
    /// It is what it has become.
    Settled,
}

thread_local! {
    /// How one is recognised behind `dyn ClientHook`: it is asked for its address, and while the question is open
    /// leaves itself here as well.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
    static ANSWER: RefCell<Option<Rc<Standing>>> = const { RefCell::new(None) };
}

/// Lets one go on when its promise resolves. It ends with that, or when nobody has it any more.
pub(super) struct Watch {
    standing: Weak<Standing>,
    is_gone: oneshot::Receiver<()>,
}

impl Watch {
    pub(super) fn standing(&self) -> Option<Rc<Standing>> {
        self.standing.upgrade()
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_gone.poll_unpin(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.standing() {
            Some(standing) => standing.go_on(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Standing {
    fn new(hook: Hook, state: State, relay: Weak<Relay>) -> Self {
        Self {
            tells_depth: Cell::new(address_and_depth(&*hook).1.is_some()),
            hook: RefCell::new(hook),
            state: Cell::new(state),
            way: RefCell::default(),
            calls: RefCell::default(),
            is_calling: Cell::default(),
            waiters: RefCell::default(),
            relay,
            is_there: None,
        }
    }

    fn hook(&self) -> Hook {
        self.hook.borrow().add_ref()
    }

    /// Is it what it has become, with no calls that go there first?
    fn is_through(&self) -> bool {
        self.state.get() == State::Settled && self.calls.borrow().is_empty()
    }

    /// What it has become, over those that stand for something as well.
    fn end(&self) -> Hook {
        let hook = self.hook();
        if hook.get_brand() != brand() {
            return hook;
        }
        let end = end_of(hook);
        let before = self.hook.replace(end.add_ref());
        drop(before);
        end
    }

    /// Does `relay` let go of it?
    pub(super) fn is_of(&self, relay: &Weak<Relay>) -> bool {
        self.relay.ptr_eq(relay)
    }

    /// Goes as far as the promise has become something.
    fn go_on(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut way) = self.way.take() else {
            return Poll::Ready(());
        };
        let hops = way.hops;
        let polled = way.poll(cx);
        if self.state.get() == State::Settled {
            return Poll::Ready(());
        }
        let Poll::Ready(end) = polled else {
            let state = match way.at.get_brand() {
                0 => State::Waits,
                _ => State::PassesOn,
            };
            let at = (way.hops > hops).then(|| way.at.add_ref());
            if let Some(at) = &at
                && depth_of(&**at) >= MAX_WRAPPERS
            {
                drop(way);
                self.settle(broken(Error::failed(format!(
                    "a promise has come through {MAX_WRAPPERS} membranes, which is the limit"
                ))));
                return Poll::Ready(());
            }
            self.way.replace(Some(way));
            self.becomes(at, state);
            return Poll::Pending;
        };
        match end.map(end_of) {
            Ok(end) if end.get_brand() == brand() && end.get_ptr() == self.address() => {
                self.break_circle();
            }
            Ok(end) => self.settle(end),
            Err(error) => self.settle(broken(error)),
        }
        Poll::Ready(())
    }

    fn break_circle(&self) {
        if let Some(relay) = self.relay.upgrade() {
            relay.found_circle();
        }
        let text = "a capability is what it was to become, which is the capability itself";
        self.settle(broken(Error::failed(text.to_owned())));
    }

    /// It is `end` from now on.
    pub(super) fn settle(&self, end: Hook) {
        drop(self.way.take());
        let next = standing_of(&*end);
        self.becomes(Some(end), State::Settled);
        let waiters = self.waiters.take();
        match next.filter(|next| next.state.get() != State::Settled) {
            Some(next) => next.take_waiters(waiters),
            None => waiters.into_iter().for_each(|waiter| _ = waiter.send(())),
        }
    }

    /// They wait on, as what they are waiting for has become this.
    fn take_waiters(&self, mut others: Vec<oneshot::Sender<()>>) {
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() < others.len() {
            std::mem::swap(&mut *waiters, &mut others);
        }
        waiters.append(&mut others);
    }

    fn becomes(&self, hook: Option<Hook>, state: State) {
        self.state.set(state);
        if let Some(hook) = hook {
            self.tells_depth.set(address_and_depth(&*hook).1.is_some());
            let before = self.hook.replace(hook);
            drop(before);
        }
        self.pass_on();
    }

    /// Makes the calls that wait, in their order, if there is something to make them on.
    fn pass_on(&self) {
        if self.state.get() == State::Waits || self.is_calling.get() {
            return;
        }
        while !self.calls.borrow().is_empty() {
            let end = self.end();
            if let Some(next) = standing_of(&*end) {
                next.take_over(self);
                return next.pass_on();
            }
            let Some(call) = self.calls().pop() else {
                return;
            };
            let Call {
                interface_id,
                method_id,
                params,
                results,
                begun,
                ..
            } = call;
            self.is_calling.set(true);
            let promise = end.call(interface_id, method_id, params, results);
            self.is_calling.set(false);
            let _it_was_canceled = begun.send(promise);
        }
    }

    pub(super) fn calls(&self) -> Rc<Calls> {
        self.calls.borrow().clone()
    }

    pub(super) fn replace_calls(&self, calls: Rc<Calls>) -> Rc<Calls> {
        self.calls.replace(calls)
    }

    fn wait(&self, waiter: oneshot::Sender<()>) {
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() >= MANY && waiters.len().is_power_of_two() {
            waiters.retain(|waiter| !waiter.is_canceled());
        }
        waiters.push(waiter);
    }

    /// How many wrappers lie one in the other behind it, as far as it has become something.
    fn depth(&self) -> u32 {
        let mut at = self.hook();
        // A promise of `capnp-rpc` that resolves just now can't be asked.
        let mut may_be_asked = self.may_be_asked();
        for _ in 0..MAX_STANDING {
            match standing_of(&*at) {
                Some(next) => (at, may_be_asked) = (next.hook(), next.may_be_asked()),
                None if may_be_asked => return depth_of(&*at),
                None => return 0,
            }
        }
        MAX_WRAPPERS
    }

    fn may_be_asked(&self) -> bool {
        self.tells_depth.get() || self.state.get() == State::Settled
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(self.is_there.take());
        let nothing = broken(Error::failed(String::new()));
        let hook = self.hook.replace(nothing);
        let parts = Parts::new(hook, self.way.take(), self.calls.take());
        match self.relay.upgrade() {
            Some(relay) => relay.take_apart(parts),
            None => parts.let_go(),
        }
    }
}

fn broken(error: Error) -> Hook {
    capnp_rpc::new_broken_cap(error).hook
}

/// What all of them have, and no other hook.
pub(super) fn brand() -> usize {
    static BRAND: u8 = 0;
    (&raw const BRAND).addr()
}

/// What `hook` is one of, if it stands for something.
pub(super) fn standing_of(hook: &dyn ClientHook) -> Option<Rc<Standing>> {
    if hook.get_brand() != brand() {
        return None;
    }
    IS_ASKED.set(true);
    hook.get_ptr();
    IS_ASKED.set(false);
    ANSWER.try_with(RefCell::take).ok().flatten()
}

/// What `hook` has become, over all that stand for something and have become another: the last that has not, or what
/// does not stand for anything. All on the way know it from then on.
pub(super) fn end_of(hook: Hook) -> Hook {
    let mut at = hook;
    let mut passed = Vec::new();
    while let Some(standing) = standing_of(&*at).filter(|standing| standing.is_through()) {
        at = standing.hook();
        passed.push(standing);
    }
    // The last one knows.
    passed.pop();
    for standing in passed {
        let before = standing.hook.replace(at.add_ref());
        drop(before);
    }
    at
}

/// What it becomes at last: whoever went from one to the next would be as deep in calls as there are steps.
async fn settled(mut standing: Rc<Standing>) -> Result<Hook, Error> {
    loop {
        if standing.state.get() != State::Settled {
            let (waiter, settles) = oneshot::channel();
            standing.wait(waiter);
            settles.await.map_err(over)?;
        }
        let end = standing.end();
        match standing_of(&*end) {
            Some(next) => standing = next,
            None => return Ok(end),
        }
    }
}

fn over(_: oneshot::Canceled) -> Error {
    Error::disconnected("the connection is over".to_owned())
}

impl ClientHook for StandIn {
    fn add_ref(&self) -> Hook {
        let (standing, face) = (self.standing.clone(), self.face.clone());
        Box::new(Self { standing, face })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        if self.standing.state.get() == State::Settled {
            let end = self.standing.end();
            return end.new_call(interface_id, method_id, size_hint);
        }
        match &self.face {
            Some(face) => face.hook.new_call(interface_id, method_id, size_hint),
            None => {
                let face = face_of(self.add_ref());
                face.hook.new_call(interface_id, method_id, size_hint)
            }
        }
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        let standing = &self.standing;
        if standing.is_calling.get() {
            // It has come back while it was passed on. That ends here.
            standing.break_circle();
        }
        if standing.is_through() {
            let end = standing.end();
            return end.call(interface_id, method_id, params, results);
        }
        let (waits, begins) = standing.push(interface_id, method_id, params, results);
        Promise::from_future(async move {
            // Not before it is polled: then `capnp-rpc` is done with the promise.
            waits.standing().pass_on();
            begins.await.map_err(over)?.await
        })
    }

    fn get_brand(&self) -> usize {
        brand()
    }

    fn get_ptr(&self) -> usize {
        if IS_ASKED.get() {
            let _nobody_is_there_where_a_thread_ends =
                ANSWER.try_with(|answer| answer.replace(Some(self.standing.clone())));
        }
        depth::tell(|| self.standing.depth());
        self.standing.address()
    }

    fn get_resolved(&self) -> Option<Hook> {
        let is_settled = self.standing.state.get() == State::Settled;
        is_settled.then(|| self.standing.end())
    }

    fn when_more_resolved(&self) -> Option<Promise<Hook, Error>> {
        if let Some(resolved) = self.get_resolved() {
            return Some(Promise::ok(resolved));
        }
        Some(Promise::from_future(settled(self.standing.clone())))
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        let settles = settled(self.standing.clone());
        Promise::from_future(async move { settles.await?.when_resolved().await })
    }
}
