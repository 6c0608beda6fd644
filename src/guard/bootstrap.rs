//! What a client gets first, until the connection ends.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, MessageSize};

use super::ending::{Ending, OnEnd, Registration};

/// Stands for a bootstrap object, and lets go of it at the end of the connection.
///
/// `capnp-rpc` keeps the object for as long as anybody has a capability of the connection. So an object that
/// has one would keep itself.
struct Bootstrap {
    inner: Rc<Inner>,
}

struct Inner {
    hook: RefCell<Box<dyn ClientHook>>,
    registration: RefCell<Option<Registration>>,
}

/// `object`, until `ending`.
pub(super) fn until(ending: &Ending, object: Client) -> Client {
    let inner = Rc::new(Inner {
        hook: RefCell::new(object.hook),
        registration: RefCell::default(),
    });
    let watcher: Weak<dyn OnEnd> = Rc::<Inner>::downgrade(&inner);
    inner.registration.replace(Some(ending.register(watcher)));
    Client::new(Box::new(Bootstrap { inner }))
}

impl OnEnd for Inner {
    fn connection_ended(&self, reason: &crate::Error) {
        let reason: Error = reason.clone().into();
        let none: Client = capnp_rpc::new_future_client(async move { Err(reason) });
        let object = self.hook.replace(none.into_client_hook());
        drop(object);
    }
}

impl Bootstrap {
    fn hook(&self) -> Box<dyn ClientHook> {
        self.inner.hook.borrow().add_ref()
    }
}

/// Whoever asks is shown through to the object itself, so that nothing else has to do with this.
impl ClientHook for Bootstrap {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        let inner = self.inner.clone();
        Box::new(Self { inner })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        self.hook().new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        self.hook().call(interface_id, method_id, params, results)
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.inner).addr()
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        Some(self.hook())
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, Error>> {
        Some(Promise::ok(self.hook()))
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        self.hook().when_resolved()
    }
}
