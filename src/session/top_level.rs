//! The top-level capability of a session that nobody observes here, in process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};

/// What `hook` promises, without the detour by the promise once it has resolved: through the queue of
/// `capnp-rpc`'s a call takes twice as long as directly. What is not of this process is left as it is.
pub(super) fn direct(hook: Box<dyn ClientHook>) -> Box<dyn ClientHook> {
    match hook.get_brand() {
        0 => Box::new(TopLevel(Rc::new(Promised {
            hook: RefCell::new(hook),
            has_resolved: Cell::new(false),
            is_settled: Cell::new(false),
        }))),
        _ => hook,
    }
}

/// How many steps of promises that resolve to promises are taken at once.
const MAX_RESOLUTION_HOPS: u32 = 64;

struct TopLevel(Rc<Promised>);

struct Promised {
    /// The promise, or what it has resolved to.
    hook: RefCell<Box<dyn ClientHook>>,
    has_resolved: Cell<bool>,
    /// Will it never resolve to anything else?
    is_settled: Cell<bool>,
}

impl Promised {
    /// Finds out what the promise has resolved to.
    fn settle(&self) {
        for _ in 0..MAX_RESOLUTION_HOPS {
            if self.is_settled.get() {
                return;
            }
            let hook = self.hook.borrow().add_ref();
            match hook.get_resolved() {
                // What was before goes where nothing is borrowed.
                Some(resolved) => {
                    drop(self.hook.replace(resolved));
                    self.has_resolved.set(true);
                }
                // The promise itself may be asked in vain many times.
                None if !self.has_resolved.get() => return,
                None => match hook.when_more_resolved() {
                    Some(_) => return,
                    None => self.is_settled.set(true),
                },
            }
        }
    }

    /// Uses what calls go to.
    fn with<T>(&self, f: impl FnOnce(&dyn ClientHook) -> T) -> T {
        self.settle();
        match self.is_settled.get() {
            // Nobody puts anything else there any more, whatever `f` comes to.
            true => f(&**self.hook.borrow()),
            false => {
                let hook = self.hook.borrow().add_ref();
                f(&*hook)
            }
        }
    }
}

impl ClientHook for TopLevel {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Self(self.0.clone()))
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        self.0
            .with(|hook| hook.new_call(interface_id, method_id, size_hint))
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        self.0
            .with(|hook| hook.call(interface_id, method_id, params, results))
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }

    /// Always something: this is only a way to what it stands for.
    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        self.0.settle();
        Some(self.0.hook.borrow().add_ref())
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        self.get_resolved().map(Promise::ok)
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        self.0.with(|hook| hook.when_resolved())
    }
}
