//! Real objects and services, which do what they are ordered to.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::{Client, FromClientHook};
use capspan::pipeline::{CustomEvent, EventContext, RunResult, Scheduled, Service};
use capspan::trace::{SpanEvent, SpanStatus, SpanUpdate};
use futures::channel::oneshot;

use super::orders::{Gives, Order};
use super::spans::{MANY, SHOWN, What, Writing, long_name};
use crate::testkit_capnp::thing;

/// What the objects and services of all vats share. Clones are handles to the same.
#[derive(Clone, Default)]
pub(super) struct Stage {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    live: [Cell<usize>; 3],
    /// By the number of the call or event that is to follow them.
    orders: RefCell<HashMap<u32, Order>>,
    gates: RefCell<HashMap<u32, oneshot::Sender<()>>>,
    /// What was delivered, by number.
    events: RefCell<HashMap<u32, EventContext>>,
    objects: RefCell<HashMap<u32, Weak<Object>>>,
    /// The numbers of the events, by their places.
    numbers: RefCell<Vec<u32>>,
}

impl Stage {
    /// How many objects of a vat are alive.
    pub(super) fn live(&self, vat: u8) -> usize {
        self.inner.live[usize::from(vat)].get()
    }

    /// What is to be done for the call or event with this number.
    pub(super) fn order(&self, number: u32, order: Order) {
        self.inner.orders.borrow_mut().insert(number, order);
    }

    /// The next event has this number.
    pub(super) fn number(&self, number: u32) {
        self.inner.numbers.borrow_mut().push(number);
    }

    /// Lets one go on who waits.
    pub(super) fn let_go_on(&self, number: u32) {
        let gate = self.inner.gates.borrow_mut().remove(&number);
        let _who_was_given_up = gate.map(|gate| gate.send(()));
    }

    /// The number of an event.
    pub(super) fn number_of(&self, event: usize) -> Option<u32> {
        self.inner.numbers.borrow().get(event).copied()
    }

    /// An event that was delivered.
    pub(super) fn event(&self, event: usize) -> Option<EventContext> {
        let number = self.number_of(event)?;
        self.inner.events.borrow().get(&number).cloned()
    }

    /// An object lets go of what it keeps.
    pub(super) fn forget(&self, object: u32) {
        let object = self.inner.objects.borrow().get(&object).cloned();
        let kept = object.and_then(|object| object.upgrade()?.kept.take());
        drop(kept);
    }

    /// Nobody waits any more, and no event is remembered.
    pub(super) fn clear(&self) {
        self.inner.gates.take();
        self.inner.events.take();
    }

    fn object(&self, vat: u8, number: u32, kept: Option<thing::Client>) -> thing::Client {
        let live = &self.inner.live[usize::from(vat)];
        live.set(live.get() + 1);
        let object = Rc::new(Object {
            stage: self.clone(),
            vat,
            number,
            kept: RefCell::new(kept),
        });
        let weak = Rc::downgrade(&object);
        self.inner.objects.borrow_mut().insert(number, weak);
        capnp_rpc::new_client_from_rc(object)
    }

    fn ordered(&self, number: u32) -> Result<Order, Error> {
        let orders = self.inner.orders.borrow();
        let order = orders.get(&number).copied();
        order.ok_or_else(|| Error::failed(format!("nothing was ordered for {number}")))
    }

    async fn wait(&self, number: u32) {
        let (gate, opens) = oneshot::channel();
        self.inner.gates.borrow_mut().insert(number, gate);
        let _opened_or_gone = opens.await;
    }

    fn write(&self, number: u32, order: &Order) {
        let Some((event, writing)) = order.writes else {
            return;
        };
        if let Some(event) = self.event(event) {
            write(&event, writing);
            let (what, number) = (What::Shown, number.into());
            write(&event, Writing { what, number });
        }
    }

    /// What all handlers of events have in common.
    async fn handle(&self, event: &EventContext) -> Result<(u32, Order), Error> {
        let number = event.metadata().application().unwrap_or_default();
        let number = number
            .parse()
            .map_err(|_| Error::failed("no number".into()))?;
        let mark = i64::from(number);
        event.update(&SpanUpdate::new().attribute("event", mark));
        self.inner.events.borrow_mut().insert(number, event.clone());
        let order = self.ordered(number)?;
        if order.waits {
            self.wait(number).await;
        }
        self.write(number, &order);
        match order.fails {
            true => Err(Error::failed("as it was ordered to".into())),
            false => Ok((number, order)),
        }
    }
}

/// Writes to the caller's span.
pub(super) fn write(event: &EventContext, writing: Writing) {
    match writing.what {
        What::Many => {
            for _ in 0..MANY {
                event.enricher().set_attribute("many", MANY);
            }
        }
        _ => event.enricher().update(update(writing)),
    }
}

/// What is written, but for what is many.
pub(super) fn update(writing: Writing) -> SpanUpdate {
    let (update, number) = (SpanUpdate::new(), writing.number);
    match writing.what {
        What::Name => update.name(format!("n{number}")),
        What::LongName => update.name(long_name(number)),
        What::Attribute(key) => update.attribute(format!("k{key}"), number),
        What::Event => update.event(SpanEvent::new(format!("v{number}"))),
        What::NamelessEvent => update.event(SpanEvent::new("")),
        What::Fails => update.status(SpanStatus::error(format!("failed at {number}"))),
        What::Succeeds => update.status(SpanStatus::Ok),
        What::Reserved => update.attribute("capspan.k", number),
        What::Callers => update.attribute("faas.trigger", number),
        What::NoKey => update.attribute("", number),
        What::Nothing => update,
        What::Several => {
            let update = update.name(format!("n{number}")).attribute(SHOWN, number);
            update.event(SpanEvent::new(format!("v{number}")))
        }
        What::Many => (0..MANY).fold(update, |update, _| update.attribute("many", MANY)),
        What::Shown => update.attribute(SHOWN, number),
    }
}

/// The service at the end of a route.
pub(super) struct Script {
    pub(super) stage: Stage,
    pub(super) vat: u8,
    pub(super) _alive: Rc<()>,
}

impl Service for Script {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, Error> {
        let (number, _) = self.stage.handle(&event).await?;
        let given = self.stage.object(self.vat, number, None);
        Ok(Client::new(given.into_client_hook()))
    }

    async fn scheduled(
        self: Rc<Self>,
        _run: Scheduled,
        event: EventContext,
    ) -> Result<RunResult, Error> {
        self.stage.handle(&event).await?;
        Ok(RunResult::Done)
    }

    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        event: EventContext,
    ) -> Result<(), Error> {
        let (number, order) = self.stage.handle(&event).await?;
        let given = custom.payload()?.get_as_capability().ok();
        let cap: thing::Client = match (order.gives, given) {
            (Gives::Given, Some(given)) => given,
            (Gives::New, given) => {
                let given = given.filter(|_| order.keeps);
                self.stage.object(self.vat, number, given)
            }
            _ => return Ok(()),
        };
        custom.result().set_as_capability(cap.into_client_hook());
        Ok(())
    }
}

struct Object {
    stage: Stage,
    vat: u8,
    number: u32,
    kept: RefCell<Option<thing::Client>>,
}

impl Drop for Object {
    fn drop(&mut self) {
        let live = &self.stage.inner.live[usize::from(self.vat)];
        live.set(live.get() - 1);
    }
}

impl thing::Server for Object {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> Result<(), Error> {
        results.get().set_number(self.number);
        Ok(())
    }

    /// Follows the order whose number is the data.
    async fn echo_with(
        self: Rc<Self>,
        params: thing::EchoWithParams,
        mut results: thing::EchoWithResults,
    ) -> Result<(), Error> {
        let params = params.get()?;
        let number = params.get_data()?.try_into();
        let number = u32::from_le_bytes(number.map_err(|_| Error::failed("no number".into()))?);
        let order = self.stage.ordered(number)?;
        let given = match params.has_thing() {
            true => Some(params.get_thing()?),
            false => None,
        };
        if order.keeps {
            let old = self.kept.replace(given.clone());
            drop(old);
        }
        if let Some(given) = given.as_ref().filter(|_| order.calls_back) {
            let response = given.number_request().send().promise.await?;
            let called = response.get()?.get_number();
            results.get().set_data(&called.to_le_bytes());
        }
        if order.waits {
            self.stage.wait(number).await;
        }
        self.stage.write(number, &order);
        if order.fails {
            return Err(Error::failed("as it was ordered to".into()));
        }
        let cap = match order.gives {
            Gives::Nothing => None,
            Gives::New => Some(self.stage.object(self.vat, number, None)),
            Gives::Kept => self.kept.borrow().clone(),
            Gives::Given => given,
        };
        if let Some(cap) = cap {
            results.get().set_thing(cap);
        }
        Ok(())
    }
}
