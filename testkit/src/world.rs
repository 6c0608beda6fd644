//! The objects of a service.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use capnp::Error;

use crate::testkit_capnp::{bundle, thing};

/// What the objects of a service share. Clones share it, too.
#[derive(Clone, Default)]
pub struct World {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    live: Cell<usize>,
    made: Cell<u32>,
    calls: Cell<usize>,
    is_open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl World {
    /// With no object in it and a closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new object.
    pub fn thing(&self) -> thing::Client {
        capnp_rpc::new_client(self.server())
    }

    fn server(&self) -> Thing {
        let number = self.inner.made.get() + 1;
        self.inner.made.set(number);
        self.inner.live.set(self.inner.live.get() + 1);
        Thing {
            world: self.clone(),
            number,
            stored: RefCell::default(),
            pushed: Cell::default(),
        }
    }

    /// How many objects are alive.
    pub fn live(&self) -> usize {
        self.inner.live.get()
    }

    /// How many calls have reached the objects.
    pub fn calls(&self) -> usize {
        self.inner.calls.get()
    }

    /// Opens the gate, for all who wait and for ever.
    pub fn open_gate(&self) {
        self.inner.is_open.set(true);
        for waker in self.inner.waiting.take() {
            waker.wake();
        }
    }

    async fn gate(&self) {
        poll_fn(|cx| {
            if self.inner.is_open.get() {
                return Poll::Ready(());
            }
            self.inner.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn called(&self) {
        self.inner.calls.set(self.inner.calls.get() + 1);
    }
}

struct Thing {
    world: World,
    number: u32,
    stored: RefCell<Option<thing::Client>>,
    pushed: Cell<u64>,
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.world.inner.live.set(self.world.inner.live.get() - 1);
    }
}

impl thing::Server for Thing {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> Result<(), Error> {
        self.world.called();
        results.get().set_number(self.number);
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        params: thing::EchoParams,
        mut results: thing::EchoResults,
    ) -> Result<(), Error> {
        self.world.called();
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }

    async fn echo_with(
        self: Rc<Self>,
        params: thing::EchoWithParams,
        mut results: thing::EchoWithResults,
    ) -> Result<(), Error> {
        self.world.called();
        let params = params.get()?;
        let mut results = results.get();
        results.set_data(params.get_data()?);
        results.set_thing(params.get_thing()?);
        Ok(())
    }

    async fn swap(
        self: Rc<Self>,
        params: thing::SwapParams,
        mut results: thing::SwapResults,
    ) -> Result<(), Error> {
        self.world.called();
        results.get().set_thing(params.get()?.get_thing()?);
        Ok(())
    }

    async fn make(
        self: Rc<Self>,
        _params: thing::MakeParams,
        mut results: thing::MakeResults,
    ) -> Result<(), Error> {
        self.world.called();
        results.get().set_thing(self.world.thing());
        Ok(())
    }

    async fn store(
        self: Rc<Self>,
        params: thing::StoreParams,
        _results: thing::StoreResults,
    ) -> Result<(), Error> {
        self.world.called();
        let stored = params.get()?.get_thing()?;
        let old = self.stored.replace(Some(stored));
        drop(old);
        Ok(())
    }

    async fn take(
        self: Rc<Self>,
        _params: thing::TakeParams,
        mut results: thing::TakeResults,
    ) -> Result<(), Error> {
        self.world.called();
        if let Some(stored) = self.stored.take() {
            results.get().set_thing(stored);
        }
        Ok(())
    }

    async fn reflect(
        self: Rc<Self>,
        params: thing::ReflectParams,
        mut results: thing::ReflectResults,
    ) -> Result<(), Error> {
        self.world.called();
        let bundle: bundle::Reader<'_> = params.get()?.get_bundle()?;
        results.get().set_bundle(bundle)
    }

    async fn call(
        self: Rc<Self>,
        params: thing::CallParams,
        mut results: thing::CallResults,
    ) -> Result<(), Error> {
        self.world.called();
        let thing = params.get()?.get_thing()?;
        let response = thing.number_request().send().promise.await?;
        results.get().set_number(response.get()?.get_number());
        Ok(())
    }

    async fn never(
        self: Rc<Self>,
        params: thing::NeverParams,
        results: thing::NeverResults,
    ) -> Result<(), Error> {
        self.world.called();
        std::future::pending::<()>().await;
        drop((params, results));
        Ok(())
    }

    async fn gated(
        self: Rc<Self>,
        params: thing::GatedParams,
        mut results: thing::GatedResults,
    ) -> Result<(), Error> {
        self.world.called();
        self.world.gate().await;
        results.get().set_thing(self.world.thing());
        drop(params);
        Ok(())
    }

    async fn early(
        self: Rc<Self>,
        _params: thing::EarlyParams,
        mut results: thing::EarlyResults,
    ) -> Result<(), Error> {
        self.world.called();
        results.get().set_thing(self.world.thing());
        results.set_pipeline()?;
        self.world.gate().await;
        Ok(())
    }

    async fn fail(
        self: Rc<Self>,
        params: thing::FailParams,
        _results: thing::FailResults,
    ) -> Result<(), Error> {
        self.world.called();
        let params = params.get()?;
        let text = params.get_text()?.to_string()?;
        Err(match params.get_kind() {
            0 => Error::failed(text),
            1 => Error::overloaded(text),
            2 => Error::disconnected(text),
            _ => Error::unimplemented(text),
        })
    }

    async fn push(self: Rc<Self>, params: thing::PushParams) -> Result<(), Error> {
        self.world.called();
        let length = params.get()?.get_data()?.len() as u64;
        self.pushed.set(self.pushed.get() + length);
        Ok(())
    }

    async fn pushed(
        self: Rc<Self>,
        _params: thing::PushedParams,
        mut results: thing::PushedResults,
    ) -> Result<(), Error> {
        self.world.called();
        results.get().set_bytes(self.pushed.get());
        Ok(())
    }

    async fn promise(
        self: Rc<Self>,
        params: thing::PromiseParams,
        mut results: thing::PromiseResults,
    ) -> Result<(), Error> {
        self.world.called();
        let params = params.get()?;
        let given = match params.has_thing() {
            true => Some(params.get_thing()?),
            false => None,
        };
        let world = self.world.clone();
        results
            .get()
            .set_thing(capnp_rpc::new_future_client(async move {
                world.gate().await;
                Ok(given.unwrap_or_else(|| world.thing()))
            }));
        Ok(())
    }

    async fn broken(
        self: Rc<Self>,
        _params: thing::BrokenParams,
        mut results: thing::BrokenResults,
    ) -> Result<(), Error> {
        self.world.called();
        let world = self.world.clone();
        results
            .get()
            .set_thing(capnp_rpc::new_future_client::<thing::Client>(async move {
                world.gate().await;
                Err(Error::failed("it could not be made".into()))
            }));
        Ok(())
    }

    async fn many(
        self: Rc<Self>,
        params: thing::ManyParams,
        mut results: thing::ManyResults,
    ) -> Result<(), Error> {
        use capnp::capability::FromClientHook;
        self.world.called();
        let count = params.get()?.get_count();
        let mut things = results.get().init_things(count);
        for index in 0..count {
            things.set(index, self.world.thing().into_client_hook());
        }
        Ok(())
    }

    async fn nothing(
        self: Rc<Self>,
        _params: thing::NothingParams,
        _results: thing::NothingResults,
    ) -> Result<(), Error> {
        self.world.called();
        Ok(())
    }

    async fn panics(
        self: Rc<Self>,
        _params: thing::PanicsParams,
        _results: thing::PanicsResults,
    ) -> Result<(), Error> {
        panic!("as it was asked to");
    }
}
