//! What a client gets first: what it is given here, until the connection ends; and what it gets there.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::{Client, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, MessageSize};

use super::ending::{OnEnd, Registration};
use super::handle::Guard;
use super::relay::Relay;

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
    relay: Rc<Relay>,
}

/// `object`, until the connection's end. Without one, there is nobody to call.
pub(super) fn until_the_end(guard: &Guard, object: Option<Client>) -> Client {
    let nobody = || {
        let text = "no bootstrap capability".to_owned();
        capnp_rpc::new_broken_cap(Error::failed(text))
    };
    let object = object.unwrap_or_else(nobody);
    let inner = Rc::new(Inner {
        hook: RefCell::new(object.hook),
        registration: RefCell::default(),
        relay: guard.inner.relay.clone(),
    });
    let watcher: Weak<dyn OnEnd> = Rc::<Inner>::downgrade(&inner);
    guard.inner.ledger.borrow_mut().takes_promises();
    inner
        .registration
        .replace(Some(guard.ending().register(watcher)));
    Client::new(Box::new(Bootstrap { inner }))
}

impl OnEnd for Inner {
    fn connection_ended(&self, reason: &crate::Error) {
        let nobody = capnp_rpc::new_broken_cap(reason.clone().into());
        let object = self.hook.replace(nobody.hook);
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
        mut results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        if self.inner.relay.is_asked() {
            let answered = self.inner.relay.answer(&*params, &mut *results);
            // What was asked for is in the pipeline, and needs no `Return`.
            let over = Error::failed("it is in the pipeline".to_owned());
            return Promise::err(answered.err().unwrap_or(over));
        }
        self.hook().call(interface_id, method_id, params, results)
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.inner).addr()
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        if self.inner.relay.is_asked() {
            // The guard asks for what can be called, which is not to be taken for the object.
            return None;
        }
        Some(self.hook())
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, Error>> {
        if self.inner.relay.is_asked() {
            return None;
        }
        Some(Promise::ok(self.hook()))
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        self.hook().when_resolved()
    }
}

/// What a peer serves, as a capability that is no promise.
///
/// `capnp-rpc` 0.27.3 has a promise in its place, which calls pass without waiting and which never resolves. Whoever
/// waited for that would wait for ever; passed on to another peer it would be a promise there.
struct Served {
    promise: Box<dyn ClientHook>,
    /// Asked once: `capnp-rpc` asks for them under its borrows.
    brand: usize,
    ptr: usize,
}

/// What the peer serves, of which `promise` is the promise.
pub(super) fn served(promise: Client) -> Client {
    let promise = promise.hook;
    Client::new(Box::new(Served {
        brand: promise.get_brand(),
        ptr: promise.get_ptr(),
        promise,
    }))
}

/// By brand and pointer `capnp-rpc` takes it for its own, so that it is the peer's object again where it is passed to the
/// peer.
impl ClientHook for Served {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Self {
            promise: self.promise.add_ref(),
            ..*self
        })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        self.promise.new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        self.promise.call(interface_id, method_id, params, results)
    }

    fn get_brand(&self) -> usize {
        self.brand
    }

    fn get_ptr(&self) -> usize {
        self.ptr
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        None
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, Error>> {
        None
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        Promise::ok(())
    }
}
