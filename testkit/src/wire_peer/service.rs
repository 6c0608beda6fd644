//! What a raw peer talks to: objects below the level of a schema.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use capnp::Error;
use capnp::capability::{Client, FromClientHook, Promise, RemotePromise};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{any_pointer, any_pointer_list};
use capnp_rpc::new_future_client;
use futures::FutureExt;
use futures::channel::oneshot;

use crate::membrane::raw::object;
use crate::testkit_capnp::thing;

/// What the objects do, whatever the interface.
///
/// Parameters and results are structs with one capability, or none.
#[allow(missing_docs)]
pub mod method {
    /// Gives back the capability that it gets.
    pub const ECHO: u16 = 0;
    /// Keeps the capability, with those that it has.
    pub const STORE: u16 = 1;
    /// Lets go of all that it keeps.
    pub const DROP: u16 = 2;
    /// Gives what it stored last.
    pub const STORED: u16 = 3;
    /// Calls [`ECHO`] on what it stored last, without a capability, and returns when that returns.
    pub const CALL_STORED: u16 = 4;
    /// Calls [`ECHO`] on what it stored last, with the capability, and returns what that returns.
    pub const PASS: u16 = 5;
    /// Never returns, and holds its parameters.
    pub const NEVER: u16 = 6;
    /// Returns a text.
    pub const TEXT: u16 = 7;
    /// Gives a new object.
    pub const MAKE: u16 = 8;
    /// Gives a promise at once.
    pub const PROMISE: u16 = 9;
    /// Fulfils the oldest promise that is open with the capability; breaks it, where there is none.
    pub const FULFIL: u16 = 10;
    /// Calls [`ECHO`] on the capability, with a new object, and [`ECHO`] on what that promises to return.
    /// Returns when both have returned.
    pub const CALL_BACK: u16 = 11;
    /// As [`ECHO`], but returns when [`OPEN`] is called.
    pub const WAIT: u16 = 12;
    /// Lets all that [`WAIT`] return.
    pub const OPEN: u16 = 13;
    /// As [`PROMISE`], and calls [`ECHO`] on it, for as long as the object lives.
    pub const CALLED_PROMISE: u16 = 14;
    /// Gives all that it keeps, in a list.
    pub const LIST: u16 = 15;
    /// As [`LIST`], but returns when [`OPEN`] is called.
    pub const LIST_LATER: u16 = 16;
}

/// Makes objects, and knows how many of them are alive. Clones share that.
#[derive(Clone, Default)]
pub struct Service {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: Cell<usize>,
    live: Cell<usize>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    promises: RefCell<Vec<oneshot::Sender<Result<Client, Error>>>>,
}

/// An object, and what it keeps.
struct Object {
    service: Service,
    stored: RefCell<Vec<Box<dyn ClientHook>>>,
    calls: RefCell<Vec<RemotePromise<any_pointer::Owned>>>,
}

impl Service {
    /// Without an object.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new object.
    pub fn object(&self) -> Client {
        self.shared.live.set(self.shared.live.get() + 1);
        let this = Rc::new(Object {
            service: self.clone(),
            stored: RefCell::default(),
            calls: RefCell::default(),
        });
        object(move |method, params, results| this.clone().answer(method, params, results))
    }

    /// Lets an object of this process store a capability.
    pub async fn store(&self, object: &Client, cap: Box<dyn ClientHook>) {
        let mut request = object.hook.new_call(0, method::STORE, None);
        let mut params: thing::swap_params::Builder<'_> = request.get().init_as();
        params.set_thing(thing::Client::new(cap));
        let stored = request.send().promise.await;
        stored.expect("an object of this process stores what it gets");
    }

    async fn opened(&self) {
        let (open, opened) = oneshot::channel();
        self.shared.waiting.borrow_mut().push(open);
        let _the_service_is_gone = opened.await;
    }

    /// How many objects are alive.
    pub fn live(&self) -> usize {
        self.shared.live.get()
    }

    /// How many calls have reached the objects.
    pub fn calls(&self) -> usize {
        self.shared.calls.get()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let live = &self.service.shared.live;
        live.set(live.get() - 1);
    }
}

impl Object {
    fn answer(
        self: Rc<Self>,
        method: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        let calls = &self.service.shared.calls;
        calls.set(calls.get() + 1);
        match method {
            method::ECHO => done(cap_of(&*params).and_then(|cap| give(results, cap))),
            method::STORE => done(cap_of(&*params).map(|cap| self.stored.borrow_mut().extend(cap))),
            method::DROP => {
                drop(self.stored.take());
                Promise::ok(())
            }
            method::STORED => done(self.last().and_then(|last| give(results, Some(last)))),
            method::CALL_STORED => later(async move {
                echo(&*self.last()?, None).promise.await?;
                Ok(())
            }),
            method::PASS => later(async move {
                let response = echo(&*self.last()?, cap_of(&*params)?).promise.await?;
                give(results, cap_in(response.get()?)?)
            }),
            method::NEVER => later(async move {
                let _held = (params, results);
                futures::future::pending().await
            }),
            method::TEXT => done(text(results)),
            method::MAKE => done(give(results, Some(self.service.object().hook))),
            method::PROMISE => done(give(results, Some(self.promise()))),
            method::CALLED_PROMISE => {
                let promise = self.promise();
                self.calls.borrow_mut().push(echo(&*promise, None));
                done(give(results, Some(promise)))
            }
            method::FULFIL => done(cap_of(&*params).map(|cap| self.fulfil(cap))),
            method::CALL_BACK => later(async move {
                let Some(cap) = cap_of(&*params)? else {
                    return Err(Error::failed("nothing to call back".into()));
                };
                let first = echo(&*cap, Some(self.service.object().hook));
                let promised = first.pipeline.get_pointer_field(0).as_cap();
                let second = echo(&*promised, None);
                let (first, second) = futures::join!(first.promise, second.promise);
                first.and(second).map(drop)
            }),
            method::WAIT => later(async move {
                let cap = cap_of(&*params)?;
                self.service.opened().await;
                give(results, cap)
            }),
            method::OPEN => {
                for waits in self.service.shared.waiting.take() {
                    let _it_was_canceled = waits.send(());
                }
                Promise::ok(())
            }
            method::LIST => done(self.list(results)),
            method::LIST_LATER => later(async move {
                self.service.opened().await;
                self.list(results)
            }),
            _ => Promise::err(Error::unimplemented("no such method".into())),
        }
    }

    fn last(&self) -> Result<Box<dyn ClientHook>, Error> {
        let stored = self.stored.borrow();
        let last = stored.last().map(|cap| cap.add_ref());
        last.ok_or_else(|| Error::failed("nothing is stored".into()))
    }

    fn list(&self, mut results: Box<dyn ResultsHook>) -> Result<(), Error> {
        let stored = self.stored.borrow();
        let list = results.get()?;
        let mut list = list.initn_as::<any_pointer_list::Builder<'_>>(stored.len() as u32);
        for (at, cap) in (0..).zip(&*stored) {
            let mut place = list.reborrow().get(at);
            place.set_as_capability(cap.add_ref());
        }
        Ok(())
    }

    fn promise(&self) -> Box<dyn ClientHook> {
        let (fulfil, promise) = oneshot::channel();
        self.service.shared.promises.borrow_mut().push(fulfil);
        let nobody = || Err(Error::failed("nobody fulfils it any more".into()));
        let promise: Client =
            new_future_client(promise.map(move |it| it.unwrap_or_else(|_| nobody())));
        promise.hook
    }

    fn fulfil(&self, cap: Option<Box<dyn ClientHook>>) {
        let mut promises = self.service.shared.promises.borrow_mut();
        if !promises.is_empty() {
            let broken = || Error::failed("it was broken".into());
            let _nobody_waits = promises
                .remove(0)
                .send(cap.map(Client::new).ok_or_else(broken));
        }
    }
}

fn done(result: Result<(), Error>) -> Promise<(), Error> {
    match result {
        Ok(()) => Promise::ok(()),
        Err(error) => Promise::err(error),
    }
}

fn later(work: impl Future<Output = Result<(), Error>> + 'static) -> Promise<(), Error> {
    Promise::from_future(work)
}

/// Calls [`method::ECHO`], as an application does.
pub fn echo(
    target: &dyn ClientHook,
    cap: Option<Box<dyn ClientHook>>,
) -> RemotePromise<any_pointer::Owned> {
    let mut request = target.new_call(0, method::ECHO, None);
    if let Some(cap) = cap {
        let mut params: thing::swap_params::Builder<'_> = request.get().init_as();
        params.set_thing(thing::Client::new(cap));
    }
    request.send()
}

fn cap_of(params: &dyn ParamsHook) -> Result<Option<Box<dyn ClientHook>>, Error> {
    cap_in(params.get()?)
}

fn cap_in(content: any_pointer::Reader<'_>) -> Result<Option<Box<dyn ClientHook>>, Error> {
    if content.is_null() {
        return Ok(None);
    }
    let content: thing::swap_params::Reader<'_> = content.get_as()?;
    match content.has_thing() {
        true => Ok(Some(content.get_thing()?.into_client_hook())),
        false => Ok(None),
    }
}

fn give(mut results: Box<dyn ResultsHook>, cap: Option<Box<dyn ClientHook>>) -> Result<(), Error> {
    let mut content: thing::swap_results::Builder<'_> = results.get()?.init_as();
    if let Some(cap) = cap {
        content.set_thing(thing::Client::new(cap));
    }
    Ok(())
}

fn text(mut results: Box<dyn ResultsHook>) -> Result<(), Error> {
    results.get()?.set_as("a text, and no struct")
}
