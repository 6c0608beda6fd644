//! A wrapper: the hook that stands for a capability on the other side.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use futures::FutureExt;

use super::Direction;
use super::call::{self, Noted, Pipelined};
use super::inspect::{Introducing, Mark, Record, Wrapped};
use super::policy::{Call, Policy, Verdict};
use super::state::{Ref, broken};
use super::turn::{MAX_REDIRECTS, Redirect};
use super::wrappers::Key;
use crate::depth::{self, depth_of};

/// One capability, wrapped. All references to the wrapper share it.
pub(super) struct Node {
    // Before the reference to the membrane: that one is complete when this is gone. It is there until
    // the drop takes it out.
    target: RefCell<Option<Box<dyn ClientHook>>>,
    /// What a promise has resolved to, for this side. Once known it stays, also after a revocation:
    /// where it is of this side, nothing crosses any more.
    resolution: OnceCell<Box<dyn ClientHook>>,
    /// That it is being found out.
    resolving: Cell<bool>,
    key: Key,
    /// Does what is wrapped tell how many wrappers lie in it? If not, it isn't asked: it may be busy.
    tells_depth: bool,
    /// Where the membrane is inspected.
    record: Option<Box<Record>>,
    membrane: Ref,
}

/// A reference to a wrapper.
///
/// What else it holds is what it is asked for most.
pub(super) struct Wrapper {
    node: Rc<Node>,
    brand: usize,
    direction: Direction,
}

impl Node {
    pub(super) fn new(
        target: Box<dyn ClientHook>,
        key: Key,
        tells_depth: bool,
        record: Option<Box<Record>>,
        membrane: Ref,
    ) -> Self {
        Self {
            target: RefCell::new(Some(target)),
            resolution: OnceCell::new(),
            resolving: Cell::new(false),
            key,
            tells_depth,
            record,
            membrane,
        }
    }

    pub(super) fn wrapped(&self) -> Option<(Wrapped, Option<Mark>)> {
        let record = self.record.as_ref()?;
        Some((record.wrapped(self.direction()), record.mark().cloned()))
    }

    pub(super) fn direction(&self) -> Direction {
        self.key.direction
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn membrane(&self) -> &Ref {
        &self.membrane
    }

    /// Tells of a call on this wrapper whoever wants to know.
    #[inline]
    pub(super) fn call_begins(self: &Rc<Self>, method: (u64, u16)) -> Noted {
        if self.direction() == Direction::Outbound {
            self.membrane.before_return();
        }
        match (self.membrane.policy(), &self.record) {
            (None, None) => Noted::default(),
            (policy, record) => self.note(policy, record.as_deref(), method),
        }
    }

    fn note(
        self: &Rc<Self>,
        policy: Option<&Rc<dyn Policy>>,
        record: Option<&Record>,
        method @ (interface_id, method_id): (u64, u16),
    ) -> Noted {
        let call = Call {
            interface_id,
            method_id,
            direction: self.direction(),
            target: &|| self.target(),
            record,
            membrane: &self.membrane,
        };
        let watch = policy.and_then(|policy| policy.call_begins(&call));
        let mut noted = Noted::new(watch, method, record.is_some());
        if let Some(record) = record {
            record.count_call(method);
            // What it is pipelined on goes on for it, whatever else refers to that.
            if record
                .kept()
                .is_some_and(|call| call.is_kept(&self.membrane))
            {
                noted.on = Some(self.clone());
            }
        }
        noted
    }

    /// What is wrapped.
    pub(super) fn target(&self) -> Box<dyn ClientHook> {
        match &*self.target.borrow() {
            Some(target) => target.add_ref(),
            None => broken(gone()),
        }
    }

    /// Uses what is wrapped. It may come to a revocation within, which then ends with this use.
    pub(super) fn with_target<T>(&self, f: impl FnOnce(&dyn ClientHook) -> T) -> T {
        let result = match &*self.target.borrow() {
            Some(target) => f(&**target),
            None => f(&*broken(gone())),
        };
        if let Some(reason) = self.membrane.revoked() {
            self.replace(broken(reason.clone()));
        }
        result
    }

    /// Where calls go now that the promise has resolved: another wrapper, or the original where the
    /// resolution is on this side. `None`: it is no promise, or not resolved.
    pub(super) fn resolution(&self) -> Option<Box<dyn ClientHook>> {
        if let Some(resolution) = self.resolution.get() {
            return Some(resolution.add_ref());
        }
        let resolved = self.with_target(|target| target.get_resolved())?;
        Some(self.resolve(resolved))
    }

    /// Does it keep a call that has not ended?
    pub(super) fn keeps_call(&self) -> bool {
        let kept = self.record.as_ref().and_then(|record| record.kept());
        kept.is_some_and(|call| call.is_kept(&self.membrane))
    }

    /// Keeps a call until the wrapper is gone, in the place of one that has ended. False where it can keep none.
    pub(super) fn keep(&self, call: Pipelined) -> bool {
        let record = self.record.as_ref();
        record.map(|record| record.keep(call)).is_some()
    }

    /// Lets a promise that can resolve do so now.
    pub(super) fn settle(&self) {
        let more = self.with_target(|target| target.when_more_resolved());
        let _resolved = more.and_then(|more| more.now_or_never());
    }

    /// How many wrappers lie one in the other here, this one included. A promise may have got deeper than it was.
    fn depth(&self) -> u32 {
        if let Some(resolution) = self.resolution.get() {
            return depth_of(&**resolution);
        }
        if !self.tells_depth {
            return 1;
        }
        let target = self.target.try_borrow().ok();
        let target = target.as_ref().and_then(|target| target.as_deref());
        let below = target.map_or(0, depth_of);
        below.saturating_add(1)
    }

    fn resolve(&self, resolved: Box<dyn ClientHook>) -> Box<dyn ClientHook> {
        if self.resolving.replace(true) {
            return broken(capnp::Error::failed("a promise resolved to itself".into()));
        }
        let crossed = {
            let _introducing = self.introducing();
            self.membrane.cross(resolved, self.direction())
        };
        self.resolving.set(false);
        self.resolution.get_or_init(|| crossed).add_ref()
    }

    /// While it lives, what crosses is introduced by the call that has introduced this one.
    fn introducing(&self) -> Option<Introducing<'_>> {
        let origin = self.record.as_ref()?.origin()?;
        Some(self.membrane.inspection()?.introducing(origin))
    }

    /// Lets go what is wrapped: `broken` takes its place.
    pub(super) fn replace(&self, broken: Box<dyn ClientHook>) {
        let Ok(mut target) = self.target.try_borrow_mut() else {
            // In use further up the stack: `with_target` comes here again.
            return;
        };
        let old = target.replace(broken);
        drop(target);
        drop(old);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.membrane.forget_wrapper(self);
        if let Some(call) = self.record.as_ref().and_then(|record| record.kept()) {
            self.membrane.let_go_call(call);
        }
        if let Some(target) = self.target.take() {
            self.membrane.let_go(target);
        }
        // A wrapper of this membrane's goes now, and lets go of its own: it is a reference through it.
        if let Some(resolution) = self.resolution.take()
            && resolution.get_brand() != self.membrane.brand()
        {
            self.membrane.let_go(resolution);
        }
    }
}

impl Wrapper {
    pub(super) fn new(node: Rc<Node>) -> Self {
        Self {
            brand: node.membrane.brand(),
            direction: node.direction(),
            node,
        }
    }
}

impl Wrapper {
    /// Where the policy wants a call to go, or `None`: on. What has resolved is to be judged as what it resolved
    /// to.
    #[inline]
    fn judge(&self, interface_id: u64, method_id: u16) -> Option<Box<dyn ClientHook>> {
        let policy = self.node.membrane.policy()?;
        self.judge_by(policy, interface_id, method_id)
    }

    /// Calls `other` in place of what is wrapped. A policy may redirect to a wrapper, whose call is judged
    /// in turn: in the end it must be a call.
    fn redirect<T>(&self, other: &dyn ClientHook, call: impl FnOnce(&dyn ClientHook) -> T) -> T {
        match Redirect::begin(&self.node.membrane) {
            Some(_redirect) => call(other),
            None => call(&*broken(capnp::Error::failed(format!(
                "a call was redirected {MAX_REDIRECTS} times without an end; the limit of redirects is \
                 {MAX_REDIRECTS}"
            )))),
        }
    }

    fn judge_by(
        &self,
        policy: &Rc<dyn Policy>,
        interface_id: u64,
        method_id: u16,
    ) -> Option<Box<dyn ClientHook>> {
        if self.node.membrane.revoked().is_some() {
            return None;
        }
        let call = Call {
            interface_id,
            method_id,
            direction: self.direction,
            target: &|| self.node.target(),
            record: self.node.record.as_deref(),
            membrane: &self.node.membrane,
        };
        let verdict = match self.direction {
            Direction::Inbound => policy.inbound_call(&call),
            Direction::Outbound => policy.outbound_call(&call),
        };
        match verdict {
            Verdict::Forward => None,
            Verdict::Refuse(error) => Some(broken(error.into())),
            Verdict::Redirect(other) if !policy.should_resolve_before_redirecting() => {
                Some(other.hook)
            }
            Verdict::Redirect(other) => Some(match self.when_more_resolved() {
                None => other.hook,
                // Asked again when it is known where it leads.
                Some(more) => queue(more),
            }),
        }
    }
}

/// What calls can be made on before it is there.
fn queue(promise: Promise<Box<dyn ClientHook>, capnp::Error>) -> Box<dyn ClientHook> {
    let queue: Client = capnp_rpc::new_future_client(async { Ok(Client::new(promise.await?)) });
    queue.hook
}

impl ClientHook for Wrapper {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Self {
            node: self.node.clone(),
            ..*self
        })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        let node = &self.node;
        // Without a reference of its own, where that is known.
        if let Some(resolution) = node.resolution.get() {
            return resolution.new_call(interface_id, method_id, size_hint);
        }
        if let Some(resolution) = node.resolution() {
            return resolution.new_call(interface_id, method_id, size_hint);
        }
        if let Some(other) = self.judge(interface_id, method_id) {
            return self.redirect(&*other, |other| {
                other.new_call(interface_id, method_id, size_hint)
            });
        }
        let inner = node.with_target(|target| match target.get_brand() {
            // Of this process, and no wrapper.
            0 => None,
            _ => Some(target.new_call(interface_id, method_id, size_hint)),
        });
        Request::new(match inner {
            None => call::local_request(node.clone(), interface_id, method_id),
            Some(inner) => call::request(inner.hook, node.clone(), interface_id, method_id),
        })
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        if let Some(resolution) = self.node.resolution() {
            return resolution.call(interface_id, method_id, params, results);
        }
        if let Some(other) = self.judge(interface_id, method_id) {
            return self.redirect(&*other, |other| {
                other.call(interface_id, method_id, params, results)
            });
        }
        call::deliver(
            params,
            results,
            &self.node,
            (interface_id, method_id),
            |params, results| {
                self.node
                    .with_target(|target| target.call(interface_id, method_id, params, results))
            },
        )
    }

    // `capnp-rpc` asks these three while its tables are borrowed: they touch nothing that is wrapped.

    fn get_brand(&self) -> usize {
        self.brand
    }

    fn get_ptr(&self) -> usize {
        self.node.membrane.introduce(&self.node);
        depth::tell(|| self.node.depth());
        Rc::as_ptr(&self.node) as usize
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        self.node.resolution()
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        // First, because a promise of `capnp-rpc` that has resolved already never says so again.
        if let Some(resolution) = self.node.resolution() {
            return Some(Promise::ok(resolution));
        }
        let more = self
            .node
            .with_target(|target| target.when_more_resolved())?;
        let node = self.node.clone();
        let resolves = call::wait_until_revoked(
            &self.node.membrane,
            Promise::from_future(async move {
                node.resolve(more.await?);
                Ok(())
            }),
        );
        let node = self.node.clone();
        Some(Promise::from_future(async move {
            resolves.await?;
            Ok(node.resolution().unwrap_or_else(|| broken(gone())))
        }))
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        match self.when_more_resolved() {
            None => Promise::ok(()),
            Some(more) => Promise::from_future(async move { more.await?.when_resolved().await }),
        }
    }
}

fn gone() -> capnp::Error {
    capnp::Error::disconnected("the wrapper is gone".into())
}
