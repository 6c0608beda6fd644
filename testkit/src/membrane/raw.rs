//! Objects below the level of a schema, and hooks that misbehave.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{
    Client, DispatchCallResult, FromClientHook, FromServer, Params, Promise, Request, Results,
    Server,
};
use capnp::private::capability::{ClientHook, ParamsHook, PipelineHook, RequestHook, ResultsHook};

/// What answers a call: it gets the method and the hooks as they come.
pub type Answer =
    dyn Fn(u16, Box<dyn ParamsHook>, Box<dyn ResultsHook>) -> Promise<(), capnp::Error>;

/// A local object that leaves every call, of whatever interface, to `answer`.
pub fn object(
    answer: impl Fn(u16, Box<dyn ParamsHook>, Box<dyn ResultsHook>) -> Promise<(), capnp::Error>
    + 'static,
) -> Client {
    let untyped: Untyped = capnp_rpc::new_client(Object(Box::new(answer)));
    Client::new(untyped.0)
}

struct Object(Box<Answer>);

/// `capnp-rpc` makes local objects only of what a schema could have made.
struct Untyped(Box<dyn ClientHook>);

struct Dispatch(Rc<Object>);

impl FromClientHook for Untyped {
    fn new(hook: Box<dyn ClientHook>) -> Self {
        Self(hook)
    }

    fn into_client_hook(self) -> Box<dyn ClientHook> {
        self.0
    }

    fn as_client_hook(&self) -> &dyn ClientHook {
        &*self.0
    }
}

impl FromServer<Object> for Untyped {
    type Dispatch = Dispatch;

    fn from_server(object: Rc<Object>) -> Dispatch {
        Dispatch(object)
    }
}

impl Deref for Dispatch {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.0
    }
}

impl Clone for Dispatch {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Server for Dispatch {
    fn dispatch_call(
        self,
        _interface_id: u64,
        method_id: u16,
        params: Params<any_pointer::Owned>,
        results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let promise = (self.0.0)(method_id, params.hook, results.hook);
        DispatchCallResult::new(promise, false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

/// A promise that resolved to itself, as hostile peers can make one.
///
/// It counts how often it was asked, so that a test can tell that somebody stopped asking.
#[derive(Clone, Default)]
pub struct Ouroboros {
    /// How often it was asked for its resolution.
    pub asked: Rc<Cell<u32>>,
}

impl Ouroboros {
    fn ask(&self) -> Box<dyn ClientHook> {
        self.asked.set(self.asked.get() + 1);
        assert!(self.asked.get() < 100_000, "it will never end");
        self.add_ref()
    }
}

impl ClientHook for Ouroboros {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(self.clone())
    }

    fn new_call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        panic!("nobody can call a promise that resolved to itself")
    }

    fn call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _params: Box<dyn ParamsHook>,
        _results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        panic!("nobody can call a promise that resolved to itself")
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        Rc::as_ptr(&self.asked) as usize
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        Some(self.ask())
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        Some(Promise::ok(self.ask()))
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        panic!("nobody can wait for a promise that resolved to itself")
    }
}

/// Results that nobody will see.
pub struct NoResults;

impl ResultsHook for NoResults {
    fn get(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        Err(capnp::Error::failed("there are no results".into()))
    }

    fn set_pipeline(&mut self) -> capnp::Result<()> {
        Err(capnp::Error::failed("there is no pipeline".into()))
    }

    fn allow_cancellation(&self) {}

    fn tail_call(self: Box<Self>, _request: Box<dyn RequestHook>) -> Promise<(), capnp::Error> {
        Promise::err(capnp::Error::unimplemented("no tail calls".into()))
    }

    fn direct_tail_call(
        self: Box<Self>,
        _request: Box<dyn RequestHook>,
    ) -> (Promise<(), capnp::Error>, Box<dyn PipelineHook>) {
        unimplemented!("no tail calls")
    }
}
