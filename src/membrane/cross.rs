//! What a capability is on the other side.

use std::rc::Rc;

use capnp::private::capability::ClientHook;
use capnp::private::layout::CapTable;

use super::client::{Node, Wrapper};
use super::policy::{Crossing, Passage, Policy};
use super::state::{Ref, broken};
use super::wrappers::Key;
use super::{Direction, MAX_RESOLUTION_HOPS};
use crate::depth::{MAX_WRAPPERS, address_and_depth};

impl Ref {
    /// Lets `hook` cross, so that calls on what is given back go in `direction`.
    ///
    /// What comes back to the side it is from is the original; what crossed before is the wrapper that
    /// it got then, while that is alive; what can't be wrapped is broken, never bare.
    pub(super) fn cross(
        &self,
        mut hook: Box<dyn ClientHook>,
        direction: Direction,
    ) -> Box<dyn ClientHook> {
        let mut hops = 0;
        while let Some(resolved) = hook.get_resolved() {
            hook = resolved;
            hops += 1;
            if hops == MAX_RESOLUTION_HOPS {
                return broken(capnp::Error::failed(format!(
                    "a promise resolved {MAX_RESOLUTION_HOPS} times without an end; the limit of \
                     resolution hops is {MAX_RESOLUTION_HOPS}"
                )));
            }
        }
        if let Some(node) = self.recognise(&*hook)
            && node.direction() != direction
        {
            let original = node.target();
            let policy = self.policy();
            return policy
                .and_then(|policy| judge(self, &**policy, &*original, direction, true))
                .unwrap_or(original);
        }
        if let Some(reason) = self.revoked() {
            return broken(reason.clone());
        }
        let (address, below) = address_and_depth(&*hook);
        if let Some(below) = below
            && below >= MAX_WRAPPERS
        {
            return broken(capnp::Error::failed(format!(
                "a capability has come through {below} membranes; the limit of membranes is {MAX_WRAPPERS}"
            )));
        }
        let key = Key {
            brand: hook.get_brand(),
            address,
            direction,
        };
        if (self.policy().is_some() || self.limited.is_some()) && !self.wrappers.borrow().has(&key)
        {
            if let Some(policy) = self.policy()
                && let Some(other) = judge(self, &**policy, &*hook, direction, false)
            {
                return other;
            }
            let alive = self.wrappers.borrow().len();
            if let Some(limited) = &self.limited
                && let Err(error) = limited.admit_capability(alive)
            {
                return broken(error);
            }
            // The policy may have revoked it.
            if let Some(reason) = self.revoked() {
                return broken(reason.clone());
            }
        }
        match self.wrapper_of(hook, key, below.is_some()) {
            Ok(node) => Box::new(Wrapper::new(node)),
            Err(reason) => broken(reason),
        }
    }

    /// Lets all capabilities of a message cross. Fails where they are more than the limit; then the
    /// message is not to be used.
    pub(super) fn cross_table(
        &self,
        table: &mut CapTable,
        direction: Direction,
    ) -> capnp::Result<()> {
        if let Some(limited) = self.limited() {
            limited.admit_message(table.len())?;
        }
        for entry in table {
            *entry = entry.take().map(|hook| self.cross(hook, direction));
        }
        Ok(())
    }

    fn wrapper_of(
        &self,
        hook: Box<dyn ClientHook>,
        key: Key,
        tells_depth: bool,
    ) -> capnp::Result<Rc<Node>> {
        let record = match self.inspection() {
            Some(inspection) if !self.wrappers.borrow().has(&key) => {
                let record = inspection.record(self.now());
                // The clock and the call's watch may be anybody's code: they may have revoked it.
                self.check_revoked()?;
                Some(Box::new(record))
            }
            _ => None,
        };
        // Dropped before `hook`: where that is not needed, its drop may run anybody's code.
        let mut wrappers = self.wrappers.borrow_mut();
        let place = wrappers.place(key);
        if let Some(node) = place.upgrade() {
            return Ok(node);
        }
        let node = Rc::new(Node::new(hook, key, tells_depth, record, self.clone()));
        *place = Rc::downgrade(&node);
        Ok(node)
    }
}

/// What the policy wants to be handed over in the place of `hook`, or `None`: what is usual. `is_back`:
/// it goes back to the side it is from.
fn judge(
    membrane: &Ref,
    policy: &dyn Policy,
    hook: &dyn ClientHook,
    direction: Direction,
    is_back: bool,
) -> Option<Box<dyn ClientHook>> {
    let crossing = Crossing { hook, membrane };
    // Calls on what goes out come in.
    let passage = match (direction, is_back) {
        (Direction::Inbound, false) => policy.export_internal(&crossing),
        (Direction::Outbound, false) => policy.import_external(&crossing),
        (Direction::Inbound, true) => policy.export_external(&crossing),
        (Direction::Outbound, true) => policy.import_internal(&crossing),
    };
    match passage {
        Passage::Usual => None,
        Passage::Instead(other) => Some(other.hook),
        Passage::Refuse(error) => Some(broken(error.into())),
    }
}
