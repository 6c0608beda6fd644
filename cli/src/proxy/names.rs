//! What interfaces and methods are called, from their schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use capspan::session::CallSpans;

/// The names of the interfaces of one or several schemas. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    interfaces: Arc<BTreeMap<u64, Interface>>,
}

/// An interface, and its methods in the order of their ordinals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, with that of its scopes.
    pub name: String,
    /// Its methods' names.
    pub methods: Vec<String>,
}

impl Names {
    /// Those that are given.
    pub fn new(interfaces: BTreeMap<u64, Interface>) -> Self {
        Self {
            interfaces: Arc::new(interfaces),
        }
    }

    /// What spans of calls are called.
    pub fn call_spans(&self) -> CallSpans {
        let named = self.interfaces.iter();
        named.fold(CallSpans::new(), |spans, (id, interface)| {
            spans.interface_by_id(*id, &interface.name, &interface.methods)
        })
    }

    /// The interface with this id, if a schema has one.
    pub fn interface(&self, id: u64) -> Option<&Interface> {
        self.interfaces.get(&id)
    }

    /// `Interface/method`, or their ids.
    pub fn method(&self, interface_id: u64, method_id: u16) -> String {
        let interface = self.interface(interface_id);
        let method = interface.and_then(|interface| {
            let method = interface.methods.get(usize::from(method_id))?;
            Some(format!("{}/{method}", interface.name))
        });
        method.unwrap_or_else(|| format!("{interface_id:#x}/{method_id}"))
    }
}
