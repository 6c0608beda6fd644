//! A policy that lets through what is on a list.

use std::collections::HashMap;

use capnp::traits::HasTypeId;

use super::policy::{Call, Policy, Verdict};
use crate::error::Error;

/// Lets through calls of the interfaces and methods that are on it, in both directions, and refuses all
/// others. It is asked about the interface that a call names: one that a listed interface extends is to be
/// listed itself.
///
/// ```
/// # use capspan::membrane::{AllowList, Membrane};
/// # use capspan::pipeline_capnp::{pipeline, rpc_session};
/// let policy = AllowList::new()
///     .interface::<rpc_session::Client>()
///     .method::<pipeline::Client>(0);
/// let membrane = Membrane::builder().policy(policy).build();
/// # drop(membrane);
/// ```
#[derive(Clone, Debug)]
pub struct AllowList {
    interfaces: HashMap<u64, Methods>,
}

#[derive(Clone, Debug)]
enum Methods {
    All,
    These(Vec<u16>),
}

impl AllowList {
    /// A list with nothing on it: no call passes.
    #[expect(clippy::new_without_default, reason = "an empty list is seldom meant")]
    pub fn new() -> Self {
        Self {
            interfaces: HashMap::new(),
        }
    }

    /// Adds all methods of the interface that `C` is the client of.
    #[must_use]
    pub fn interface<C: HasTypeId>(self) -> Self {
        self.interface_id(C::TYPE_ID)
    }

    /// Adds all methods of an interface.
    #[must_use]
    pub fn interface_id(mut self, interface_id: u64) -> Self {
        self.interfaces.insert(interface_id, Methods::All);
        self
    }

    /// Adds one method, by its ordinal, of the interface that `C` is the client of.
    #[must_use]
    pub fn method<C: HasTypeId>(self, method_id: u16) -> Self {
        self.method_id(C::TYPE_ID, method_id)
    }

    /// Adds one method, by its ordinal, of an interface.
    #[must_use]
    pub fn method_id(mut self, interface_id: u64, method_id: u16) -> Self {
        let methods = self
            .interfaces
            .entry(interface_id)
            .or_insert_with(|| Methods::These(Vec::new()));
        if let Methods::These(methods) = methods {
            methods.push(method_id);
        }
        self
    }

    /// Is a method on it?
    pub fn allows(&self, interface_id: u64, method_id: u16) -> bool {
        match self.interfaces.get(&interface_id) {
            None => false,
            Some(Methods::All) => true,
            Some(Methods::These(methods)) => methods.contains(&method_id),
        }
    }

    fn judge(&self, call: &Call<'_>) -> Verdict {
        let (interface_id, method_id) = (call.interface_id(), call.method_id());
        match self.allows(interface_id, method_id) {
            true => Verdict::Forward,
            false => Verdict::Refuse(Error::failed(format!(
                "method {method_id} of interface {interface_id:#x} is not on the allow-list of this \
                 membrane"
            ))),
        }
    }
}

impl Policy for AllowList {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        self.judge(call)
    }

    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        self.judge(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_allowed_and_nothing_else() {
        let list = AllowList::new()
            .interface_id(1)
            .method_id(2, 5)
            .method_id(2, 6);
        assert!(list.allows(1, 0) && list.allows(1, 9));
        assert!(list.allows(2, 5) && list.allows(2, 6));
        assert!(!list.allows(2, 4) && !list.allows(3, 0));
        assert!(!AllowList::new().allows(1, 0));
    }

    #[test]
    fn a_whole_interface_stays_whole() {
        let list = AllowList::new().interface_id(1).method_id(1, 5);
        assert!(list.allows(1, 0));
        let list = AllowList::new().method_id(1, 5).interface_id(1);
        assert!(list.allows(1, 0));
    }
}
