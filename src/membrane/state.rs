//! What all handles of one membrane share, and how it is known that none is left.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

use capnp::private::capability::ClientHook;
use capnp::private::layout::CapTable;

use super::call::{Calls, Local, Pipelined, Received, Sent};
use super::client::Node;
use super::completion::{Completed, Completer, Completion};
use super::inspect::{Inspection, Mark, Wrapped};
use super::leaving::{Leaving, LeavingCall, LeavingRef};
use super::limits::{Limited, Limits};
use super::policy::{Policy, Scope};
use super::wrappers::Wrappers;
use super::{Direction, Watch};
use crate::clock::{Clock, Timestamp};
use crate::drive::Tasks;

/// How many tables that are not in use are kept at most, and for how many capabilities each.
const MAX_SPARE_TABLES: usize = 4;
const MAX_SPARE_CAPABILITIES: usize = 64;

/// What a membrane is made with.
#[derive(Default)]
pub(super) struct Options {
    pub(super) root: Option<Ref>,
    pub(super) policy: Option<Rc<dyn Policy>>,
    pub(super) limits: Option<Limits>,
    pub(super) is_inspected: bool,
    pub(super) tasks: Option<Tasks>,
    pub(super) clock: Option<Rc<dyn Clock>>,
}

/// One membrane. It lives as long as a [`Ref`] does; that it goes is its completion.
pub(super) struct State {
    /// The membrane that this one is a part of, with a policy of its own.
    root: Option<Ref>,
    /// Its parts.
    parts: RefCell<Vec<Weak<State>>>,
    policy: Option<Rc<dyn Policy>>,
    pub(super) limited: Option<Box<Limited>>,
    inspection: Option<Box<Inspection>>,
    pub(super) wrappers: RefCell<Wrappers>,
    /// The calls in flight that stay in this process and were begun here.
    pub(super) local: Calls<Local>,
    /// Those that were sent by a request of somebody else's.
    pub(super) sent: Calls<Sent>,
    /// Those that were received, or belong to a stream.
    pub(super) received: Calls<Received>,
    /// The number of the last that was received.
    pub(super) last_received: Cell<u64>,
    /// How many of those that were received are none, but wait for a promise to resolve.
    pub(super) waits: Cell<usize>,
    /// Empty capability tables that are not in use, for what they have allocated.
    spare_tables: RefCell<Vec<CapTable>>,
    revoked: OnceCell<capnp::Error>,
    introduction: Introduction,
    watcher: OnceCell<Rc<dyn Watch>>,
    attachments: RefCell<Vec<Box<dyn Any>>>,
    tasks: Option<Tasks>,
    clock: Option<Rc<dyn Clock>>,
    /// The last number of a call.
    last_number: Cell<u32>,
    /// How many [`Redirect`](super::turn::Redirect)s there are, one in the other.
    pub(super) redirects: Cell<u32>,
    /// How many [`Turn`](super::turn::Turn)s there are, one in the other.
    pub(super) turns: Cell<usize>,
    /// What wrappers wrapped, to be dropped at the end of the turn.
    pub(super) leaving_hooks: RefCell<Vec<Box<dyn ClientHook>>>,
    /// How many references are held only by what waits to be dropped.
    pub(super) leaving: Cell<usize>,
    last_drop: Cell<Option<Timestamp>>,
    completer: Completer,
}

/// How a wrapper is recognised behind `dyn ClientHook`, which can't be downcast: it is asked for its
/// address, and while the question is open it leaves itself here as well.
#[derive(Default)]
struct Introduction {
    asked: Cell<bool>,
    answer: RefCell<Option<Rc<Node>>>,
}

impl State {
    /// Whose wrapper a hook is: the address of its membrane's state, the same for all of its parts.
    pub(super) fn brand(&self) -> usize {
        std::ptr::from_ref(self.whole()) as usize
    }

    /// The membrane that this is a part of, or this.
    fn whole(&self) -> &Self {
        match &self.root {
            Some(root) => root.whole(),
            None => self,
        }
    }

    #[inline]
    pub(super) fn limited(&self) -> Option<&Limited> {
        self.limited.as_deref()
    }

    pub(super) fn inspection(&self) -> Option<&Inspection> {
        self.inspection.as_deref()
    }

    /// The wrappers alive, and what the calls that introduced them are marked with.
    pub(super) fn wrapped(&self) -> Vec<(Wrapped, Option<Mark>)> {
        let nodes: Vec<_> = self.wrappers.borrow().nodes().collect();
        nodes.iter().filter_map(|node| node.wrapped()).collect()
    }

    /// How many wrappers there are.
    pub(super) fn held(&self) -> usize {
        self.wrappers.borrow().len()
    }

    /// How many calls are in flight.
    pub(super) fn calls(&self) -> usize {
        let calls = self.local.len() + self.sent.len() + self.received.len();
        calls - self.waits.get()
    }

    pub(super) fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.now())
    }

    /// May there be one more call in flight?
    #[inline]
    pub(super) fn admit_call(&self) -> Result<(), capnp::Error> {
        match &self.limited {
            None => Ok(()),
            Some(limited) => limited.admit_call(self.calls()),
        }
    }

    #[inline]
    pub(super) fn policy(&self) -> Option<&Rc<dyn Policy>> {
        self.policy.as_ref()
    }

    pub(super) fn revoked(&self) -> Option<&capnp::Error> {
        self.revoked.get()
    }

    /// What the work of a call in `direction` runs in, where nobody else says.
    pub(super) fn scope(&self, direction: Direction) -> Option<Rc<dyn Scope>> {
        let is_inbound = direction == Direction::Inbound;
        self.whole().watcher.get()?.clone().scope(is_inbound)
    }

    /// Fails where it is revoked.
    #[inline]
    pub(super) fn check_revoked(&self) -> capnp::Result<()> {
        match self.revoked() {
            None => Ok(()),
            Some(reason) => Err(reason.clone()),
        }
    }

    /// Called by a wrapper that is asked for its address.
    pub(super) fn introduce(&self, node: &Rc<Node>) {
        let introduction = &self.whole().introduction;
        if introduction.asked.get() {
            *introduction.answer.borrow_mut() = Some(node.clone());
        }
    }

    /// The wrapper of this membrane that `hook` is, if it is one.
    pub(super) fn recognise(&self, hook: &dyn ClientHook) -> Option<Rc<Node>> {
        if hook.get_brand() != self.brand() {
            return None;
        }
        let introduction = &self.whole().introduction;
        introduction.asked.set(true);
        hook.get_ptr();
        introduction.asked.set(false);
        introduction.answer.borrow_mut().take()
    }

    fn remember_part(&self, part: Weak<State>) {
        let mut parts = self.parts.borrow_mut();
        // Those that are gone go when there is no room left: it never has twice as many as are alive.
        if parts.len() == parts.capacity() {
            parts.retain(|part| part.strong_count() > 0);
        }
        parts.push(part);
    }

    pub(super) fn tasks(&self) -> Option<&Tasks> {
        self.tasks.as_ref()
    }

    /// Tells calls apart that come to be in the same place, one soon after the other. Never zero.
    pub(super) fn next_number(&self) -> u32 {
        let next = self.last_number.get().checked_add(1).unwrap_or(1);
        self.last_number.set(next);
        next
    }

    pub(super) fn forget_wrapper(&self, node: &Node) {
        self.wrappers.borrow_mut().remove(node);
    }

    /// An empty table, with room if one is spare.
    pub(super) fn spare_table(&self) -> CapTable {
        self.spare_tables.borrow_mut().pop().unwrap_or_default()
    }

    /// Drops what is in `table` and keeps it for another message.
    #[inline]
    pub(super) fn recycle(&self, table: CapTable) {
        if table.capacity() > 0 {
            self.recycle_used(table);
        }
    }

    fn recycle_used(&self, mut table: CapTable) {
        // What is let go may run anybody's code, which may come back here.
        table.clear();
        if table.capacity() <= MAX_SPARE_CAPABILITIES {
            let mut spare = self.spare_tables.borrow_mut();
            if spare.len() < MAX_SPARE_TABLES {
                spare.push(table);
            }
        }
    }

    /// A call has ended, or a capability is let go, and the other side does not know yet.
    pub(super) fn before_return(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.before_return();
        }
    }

    /// A call has failed.
    pub(super) fn call_failed(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.clone().call_failed();
        }
    }

    pub(super) fn watch(&self, watcher: Rc<dyn Watch>) {
        let _only_the_first = self.watcher.set(watcher);
    }

    pub(super) fn attach(&self, value: Box<dyn Any>) {
        self.attachments.borrow_mut().push(value);
    }

    pub(super) fn completion(&self) -> Completion {
        self.completer.completion()
    }

    /// See `Membrane::revoke`. False where it was revoked before.
    pub(super) fn revoke(&self, reason: capnp::Error) -> bool {
        if self.revoked.set(reason.clone()).is_err() {
            return false;
        }
        // What is let go may run anybody's code, which may come back here: nothing is borrowed then.
        let wrappers: Vec<_> = self.wrappers.take().into_nodes().collect();
        self.local.revoke(&reason);
        self.sent.revoke(&reason);
        self.received.revoke(&reason);
        // One for all: the reason may be long, and they may be many.
        let broken = broken(reason.clone());
        for wrapper in wrappers {
            wrapper.replace(broken.add_ref());
        }
        for part in self.parts.take() {
            if let Some(part) = Ref::upgrade(&part) {
                part.revoke(reason.clone());
            }
        }
        true
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let completed = Completed::new(self.last_drop.get());
        drop(self.attachments.take());
        if let Some(watcher) = self.watcher.get() {
            watcher.complete(completed);
        }
        self.completer.complete(completed);
    }
}

/// A counted reference to a membrane: while one is held, the membrane is not complete.
pub(super) struct Ref {
    state: Rc<State>,
}

impl Ref {
    pub(super) fn new(options: Options) -> Self {
        let Options {
            root,
            policy,
            limits,
            is_inspected,
            tasks,
            clock,
        } = options;
        Self {
            // Not for a cycle: like this it is made where it stays.
            state: Rc::new_cyclic(|_| State {
                root,
                parts: RefCell::default(),
                policy,
                inspection: is_inspected.then(Box::default),
                limited: limits.map(|limits| Box::new(Limited::new(limits))),
                wrappers: RefCell::default(),
                local: Calls::default(),
                sent: Calls::default(),
                received: Calls::default(),
                last_received: Cell::new(0),
                waits: Cell::new(0),
                spare_tables: RefCell::default(),
                revoked: OnceCell::new(),
                introduction: Introduction::default(),
                watcher: OnceCell::new(),
                attachments: RefCell::default(),
                tasks,
                clock,
                last_number: Cell::new(0),
                redirects: Cell::new(0),
                turns: Cell::new(0),
                leaving_hooks: RefCell::default(),
                leaving: Cell::new(0),
                last_drop: Cell::new(None),
                completer: Completer::default(),
            }),
        }
    }

    /// A part of this membrane with a policy of its own.
    pub(super) fn part(&self, policy: Rc<dyn Policy>) -> Self {
        let root = self.state.root.as_ref().unwrap_or(self);
        let part = Self::new(Options {
            root: Some(root.clone()),
            policy: Some(policy),
            limits: root.limited().map(|limited| limited.limits),
            is_inspected: root.inspection.is_some(),
            tasks: root.tasks.clone(),
            clock: root.clock.clone(),
        });
        match root.revoked() {
            Some(reason) => {
                part.revoke(reason.clone());
            }
            None => root.remember_part(part.downgrade()),
        }
        part
    }

    pub(super) fn downgrade(&self) -> Weak<State> {
        Rc::downgrade(&self.state)
    }

    /// A reference from a weak one, unless all that is left only waits to be dropped.
    pub(super) fn upgrade(weak: &Weak<State>) -> Option<Self> {
        let state = weak.upgrade()?;
        let is_referenced = Rc::strong_count(&state) > state.leaving.get() + 1;
        // Not `then_some`: what it does not give is dropped, as a reference.
        is_referenced.then(|| Self { state })
    }

    /// Lets go of a call, by the driver, whose wrapper is gone.
    pub(super) fn let_go_call(&self, call: Pipelined) {
        if let Some(tasks) = &self.tasks
            && call.is_kept(self)
        {
            tasks.drop_later(LeavingCall::new(call, self));
        }
    }

    /// Drops `hook` where that is safe: with a driver at the end of the [`Turn`](super::turn::Turn), or by the driver; without
    /// one, here.
    pub(super) fn let_go(&self, hook: Box<dyn ClientHook>) {
        if let Some(tasks) = &self.tasks {
            // What waits already goes first.
            if self.turns.get() > 0 && tasks.has_no_garbage() {
                self.leaving_hooks.borrow_mut().push(hook);
                return;
            }
            tasks.drop_later(Leaving::new(hook, self));
        }
    }
}

impl Ref {
    /// Its memory, with no reference to the membrane.
    pub(super) fn memory(&self) -> Rc<State> {
        self.state.clone()
    }
}

impl std::ops::Deref for Ref {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl Clone for Ref {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
        }
    }
}

impl Drop for Ref {
    /// Notes when the last reference goes; the membrane is complete when what waits is gone, too.
    fn drop(&mut self) {
        if Rc::strong_count(&self.state) == self.leaving.get() + 1 {
            self.last_drop.set(self.now());
            // What waits already, waits in a queue of the driver's.
            if let Some(tasks) = &self.tasks
                && self.leaving.get() == 0
            {
                tasks.drop_later(LeavingRef::new(self));
            }
        }
    }
}

/// A capability that answers everything with `error`.
pub(super) fn broken(error: capnp::Error) -> Box<dyn ClientHook> {
    capnp_rpc::new_broken_cap(error).hook
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacities(state: &State) -> Vec<usize> {
        let spare = state.spare_tables.borrow();
        spare.iter().map(Vec::capacity).collect()
    }

    #[test]
    fn tables_are_kept_for_use_again_if_they_are_few_and_small() {
        let membrane = Ref::new(Options::default());
        membrane.recycle(CapTable::new());
        membrane.recycle(CapTable::with_capacity(MAX_SPARE_CAPABILITIES + 1));
        assert!(capacities(&membrane).is_empty());
        for _ in 0..2 * MAX_SPARE_TABLES {
            let mut table = CapTable::with_capacity(MAX_SPARE_CAPABILITIES);
            table.push(None);
            membrane.recycle(table);
        }
        assert_eq!(
            capacities(&membrane),
            [MAX_SPARE_CAPABILITIES; MAX_SPARE_TABLES]
        );
        let table = membrane.spare_table();
        assert_eq!(table.capacity(), MAX_SPARE_CAPABILITIES);
        assert!(table.is_empty());
        assert_eq!(capacities(&membrane).len(), MAX_SPARE_TABLES - 1);
    }

    #[test]
    fn parts_that_are_gone_are_forgotten() {
        struct Forwards;
        impl Policy for Forwards {}
        let whole = Ref::new(Options::default());
        let stays = whole.part(Rc::new(Forwards));
        for _ in 0..1_000 {
            drop(whole.part(Rc::new(Forwards)));
        }
        assert!(whole.parts.borrow().len() < 10);
        whole.revoke(capnp::Error::failed("enough".into()));
        assert!(stays.revoked().is_some());
    }
}
