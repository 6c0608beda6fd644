//! Objects that do what they are told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::FromClientHook;

use super::bundle;
use super::events::{Circle, when_over};
use super::gate::Gate;
use crate::probe_capnp::{cursor, probe};

/// The objects of one side of a test: makes them, counts them, and sees what they see.
///
/// Clones are handles to the same world.
#[derive(Clone)]
pub struct World {
    shared: Rc<Shared>,
}

type OnDrop = Rc<dyn Fn(&str)>;

#[derive(Default)]
struct Shared {
    live: Cell<usize>,
    addresses: RefCell<HashMap<String, usize>>,
    calls: Cell<usize>,
    gate: Gate,
    watching: Cell<bool>,
    seen: RefCell<Vec<probe::Client>>,
    on_drop: RefCell<Option<OnDrop>>,
    slots: RefCell<Vec<Weak<Slot>>>,
}

/// What an object keeps.
type Slot = RefCell<Option<probe::Client>>;

impl Circle for Shared {
    fn end(&self) {
        drop(self.seen.take());
        for slot in self.slots.take() {
            let kept = slot.upgrade().and_then(|slot| slot.take());
            drop(kept);
        }
    }
}

impl Default for World {
    fn default() -> Self {
        let shared = Rc::<Shared>::default();
        let weak = Rc::downgrade(&shared);
        when_over(weak);
        Self { shared }
    }
}

impl World {
    /// A world with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new object, that answers to `label`.
    pub fn probe(&self, label: &str) -> probe::Client {
        self.shared.live.set(self.live() + 1);
        let slot = Rc::<Slot>::default();
        self.shared.slots.borrow_mut().push(Rc::downgrade(&slot));
        let object: probe::Client = capnp_rpc::new_client(Object {
            label: label.to_owned(),
            slot,
            pushed: Cell::default(),
            world: self.clone(),
        });
        let address = object.as_client_hook().get_ptr();
        self.shared
            .addresses
            .borrow_mut()
            .insert(label.to_owned(), address);
        object
    }

    /// The address (`get_ptr`) of the last object that was made with `label`, without a wrapper.
    ///
    /// # Panics
    /// Where none was.
    pub fn address(&self, label: &str) -> usize {
        self.shared.addresses.borrow()[label]
    }

    /// How many of its objects are alive, cursors among them.
    pub fn live(&self) -> usize {
        self.shared.live.get()
    }

    /// How many calls its objects are working on. A call that was cancelled is none.
    pub fn calls(&self) -> usize {
        self.shared.calls.get()
    }

    /// What makes `wait`, `early` and `promise` go on.
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// From now on keeps every capability that its objects are passed, to be had by [`seen`](Self::seen).
    pub fn watch(&self) {
        self.shared.watching.set(true);
    }

    /// What its objects were passed since it was asked last.
    pub fn seen(&self) -> Vec<probe::Client> {
        self.shared.seen.take()
    }

    /// Runs `run` with its label whenever an object is dropped, within that drop.
    pub fn on_drop(&self, run: impl Fn(&str) + 'static) {
        *self.shared.on_drop.borrow_mut() = Some(Rc::new(run));
    }

    /// Lets its objects forget what they were given to store, and what they saw, so that circles end.
    pub fn empty(&self) {
        self.shared.end();
    }

    fn see(&self, cap: &probe::Client) {
        if self.shared.watching.get() {
            self.shared.seen.borrow_mut().push(cap.clone());
        }
    }

    /// Counts a call for as long as the guard lives.
    fn working(&self) -> Working {
        self.shared.calls.set(self.calls() + 1);
        Working(self.clone())
    }

    fn dropped(&self, label: &str) {
        self.shared.live.set(self.live() - 1);
        let run = self.shared.on_drop.borrow().clone();
        if let Some(run) = run {
            run(label);
        }
    }
}

struct Working(World);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.shared.calls.set(self.0.calls() - 1);
    }
}

struct Object {
    label: String,
    slot: Rc<Slot>,
    pushed: Cell<(u64, u64)>,
    world: World,
}

impl Drop for Object {
    fn drop(&mut self) {
        self.slot.take();
        self.world.dropped(&self.label);
    }
}

impl Object {
    fn child(&self) -> probe::Client {
        self.world.probe(&format!("{}'s child", self.label))
    }

    /// A promise that resolves when the gate opens.
    fn promise(&self, to: probe::Target, given: Option<probe::Client>) -> probe::Client {
        let (opened, world) = (self.world.gate().opened(), self.world.clone());
        let label = format!("{}'s promise", self.label);
        capnp_rpc::new_future_client(async move {
            opened.await;
            match to {
                probe::Target::Inside => Ok(world.probe(&label)),
                probe::Target::Given => given.ok_or_else(|| Error::failed("none given".into())),
                probe::Target::Error => Err(Error::failed("the promise is broken".into())),
                probe::Target::Promise => {
                    let opened = world.gate().opened();
                    Ok(capnp_rpc::new_future_client(async move {
                        opened.await;
                        Ok(world.probe(&label))
                    }))
                }
            }
        })
    }
}

impl probe::Server for Object {
    async fn echo(
        self: Rc<Self>,
        params: probe::EchoParams,
        mut results: probe::EchoResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        results.get().set_data(params.get()?.get_data()?);
        Ok(())
    }

    async fn swap(
        self: Rc<Self>,
        params: probe::SwapParams,
        mut results: probe::SwapResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        if params.has_cap() {
            self.world.see(&params.get_cap()?);
        }
        results.get().set_cap(self.child());
        Ok(())
    }

    async fn label(
        self: Rc<Self>,
        _params: probe::LabelParams,
        mut results: probe::LabelResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        results.get().set_label(&self.label[..]);
        Ok(())
    }

    async fn make(
        self: Rc<Self>,
        params: probe::MakeParams,
        mut results: probe::MakeResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let label = params.get()?.get_label()?.to_str()?;
        results.get().set_probe(self.world.probe(label));
        Ok(())
    }

    async fn store(
        self: Rc<Self>,
        params: probe::StoreParams,
        _results: probe::StoreResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        let cap = if params.has_cap() {
            let cap = params.get_cap()?;
            self.world.see(&cap);
            Some(cap)
        } else {
            None
        };
        let old = self.slot.replace(cap);
        drop(old);
        Ok(())
    }

    async fn stored(
        self: Rc<Self>,
        _params: probe::StoredParams,
        mut results: probe::StoredResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        if let Some(cap) = &*self.slot.borrow() {
            results.get().set_cap(cap.clone());
        }
        Ok(())
    }

    async fn bundle(
        self: Rc<Self>,
        params: probe::BundleParams,
        mut results: probe::BundleResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        for (_place, cap) in bundle::caps(params.get_bundle()?)? {
            self.world.see(&cap);
        }
        if params.get_swap() {
            bundle::fill(results.get().init_bundle(), |place| self.world.probe(place))
        } else {
            results.get().set_bundle(params.get_bundle()?)
        }
    }

    async fn many(
        self: Rc<Self>,
        params: probe::ManyParams,
        mut results: probe::ManyResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        let given = params.get_caps()?;
        let mut caps = results.get().init_caps(given.len() + params.get_count());
        for at in 0..given.len() {
            let cap = given.get(at)?;
            self.world.see(&cap);
            caps.set(at, cap.into_client_hook());
        }
        for at in given.len()..caps.len() {
            caps.set(at, self.child().into_client_hook());
        }
        Ok(())
    }

    async fn hang(
        self: Rc<Self>,
        params: probe::HangParams,
        results: probe::HangResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let _held = (params, results);
        std::future::pending().await
    }

    async fn wait(
        self: Rc<Self>,
        params: probe::WaitParams,
        mut results: probe::WaitResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        if params.get()?.has_cap() {
            self.world.see(&params.get()?.get_cap()?);
        }
        self.world.gate().opened().await;
        results.get().set_cap(self.child());
        Ok(())
    }

    async fn fail(
        self: Rc<Self>,
        params: probe::FailParams,
        mut results: probe::FailResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        // It was about to give something, and nobody may get it.
        results.get().set_cap(self.child());
        Err(Error::failed(params.get()?.get_reason()?.to_string()?))
    }

    async fn early(
        self: Rc<Self>,
        _params: probe::EarlyParams,
        mut results: probe::EarlyResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        results.get().set_cap(self.child());
        results.set_pipeline()?;
        self.world.gate().opened().await;
        results.get().set_late(self.child());
        Ok(())
    }

    async fn push(self: Rc<Self>, params: probe::PushParams) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        if params.has_cap() {
            self.world.see(&params.get_cap()?);
        }
        let bytes = params.get_data()?.len() as u64;
        if bytes == 0 {
            return Err(Error::failed("an empty push".into()));
        }
        let (calls, sum) = self.pushed.get();
        self.pushed.set((calls + 1, sum + bytes));
        Ok(())
    }

    async fn pushed(
        self: Rc<Self>,
        _params: probe::PushedParams,
        mut results: probe::PushedResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let (calls, bytes) = self.pushed.get();
        results.get().set_calls(calls);
        results.get().set_bytes(bytes);
        Ok(())
    }

    async fn promise(
        self: Rc<Self>,
        params: probe::PromiseParams,
        mut results: probe::PromiseResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        let given = params.has_cap().then(|| params.get_cap()).transpose()?;
        let promise = Object::promise(&self, params.get_to()?, given);
        results.get().set_cap(promise);
        Ok(())
    }

    async fn open(
        self: Rc<Self>,
        params: probe::OpenParams,
        mut results: probe::OpenResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let text = params.get()?.get_text()?.to_str()?;
        self.world.shared.live.set(self.world.live() + 1);
        results.get().set_cursor(capnp_rpc::new_client(Words {
            left: RefCell::new(text.split_whitespace().rev().map(str::to_owned).collect()),
            world: self.world.clone(),
        }));
        Ok(())
    }

    async fn call(
        self: Rc<Self>,
        params: probe::CallParams,
        mut results: probe::CallResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        let to = params.get_to()?;
        self.world.see(&to);
        let mut request = to.echo_request();
        request.get().set_data(params.get_data()?);
        let response = request.send().promise.await?;
        results.get().set_data(response.get()?.get_data()?);
        Ok(())
    }

    async fn relay(
        self: Rc<Self>,
        params: probe::RelayParams,
        mut results: probe::RelayResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        let params = params.get()?;
        let (to, cap) = (params.get_to()?, params.get_cap()?);
        self.world.see(&to);
        self.world.see(&cap);
        let mut request = to.swap_request();
        request.get().set_cap(cap);
        let cap = request.send().promise.await?.get()?.get_cap()?;
        self.world.see(&cap);
        results.get().set_cap(cap);
        Ok(())
    }

    async fn any(
        self: Rc<Self>,
        params: probe::AnyParams,
        mut results: probe::AnyResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        results.get().get_any().set_as(params.get()?.get_any())
    }
}

/// The words of a text that have not been read.
struct Words {
    left: RefCell<Vec<String>>,
    world: World,
}

impl cursor::Server for Words {
    async fn next(
        self: Rc<Self>,
        _params: cursor::NextParams,
        mut results: cursor::NextResults,
    ) -> Result<(), Error> {
        let _working = self.world.working();
        match self.left.borrow_mut().pop() {
            Some(word) => results.get().set_word(&word[..]),
            None => results.get().set_done(true),
        }
        Ok(())
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        self.world.dropped("a cursor");
    }
}
