//! A connection's driver that is dropped while `capnp-rpc` is busy with another connection, of whose peer it keeps a
//! capability and has a call in flight.

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use capnp::capability::{Client, FromClientHook, Promise};
use capspan::guard::{Connection, ConnectionDriver, GuardObserver, GuardOptions, Refusal};
use capspan_testkit::link::direct;
use capspan_testkit::membrane::{idle, raw, run};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::wire_peer::{Cap, Message, Peer, Service, Target, call, finish, method};
use tokio::task::spawn_local;

use crate::harness::BOOTSTRAP;

/// Gives the object of the other connection a capability to store.
const GIVE: u16 = 100;
/// Drops the other connection's driver.
const CUT: u16 = 101;

/// What runs a connection, until somebody drops it.
#[derive(Clone, Default)]
struct Slot(Rc<RefCell<Option<ConnectionDriver>>>);

impl Slot {
    fn cut(&self) {
        let driver = self.0.take();
        drop(driver);
    }

    async fn run(self) {
        poll_fn(|cx| match &mut *self.0.borrow_mut() {
            Some(driver) => Pin::new(driver).poll(cx).map(drop),
            None => Poll::Ready(()),
        })
        .await;
    }
}

impl GuardObserver for Slot {
    fn refused(&self, _: &Refusal<'_>) {
        self.cut();
    }
}

/// Drops the driver when it is dropped, where it is set.
#[derive(Default)]
struct Last(OnceCell<Slot>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.get().into_iter().for_each(Slot::cut);
    }
}

struct Two {
    peer: Peer,
    other: Peer,
    /// The service of the other connection.
    service: Service,
    slot: Slot,
    /// It is dropped with the bootstrap object.
    last: std::rc::Weak<Last>,
}

fn serve(options: impl Into<GuardOptions>, bootstrap: Client) -> (Peer, ConnectionDriver) {
    let (client, server) = direct();
    let (_, driver) = Connection::serve_with(server.0, server.1, options, |_| bootstrap);
    (Peer::new(client), driver)
}

/// A call of the other connection's waits for the peer.
async fn two() -> Two {
    let (service, slot, last) = (Service::new(), Slot::default(), Rc::new(Last::default()));
    let weak = Rc::downgrade(&last);
    let object = service.object();
    let (mut other, driver) = serve(GuardOptions::default(), object.clone());
    slot.0.replace(Some(driver));
    spawn_local(slot.clone().run());
    let (cuts, stores) = (slot.clone(), service.clone());
    let object = RefCell::new(Some(object));
    let bootstrap = raw::object(move |method, params, _| {
        let _it_goes_with_the_object = &last;
        match (method, object.take()) {
            (GIVE, Some(object)) => {
                let stores = stores.clone();
                Promise::from_future(async move {
                    let params: thing::swap_params::Reader<'_> = params.get()?.get_as()?;
                    let cap = params.get_thing()?.into_client_hook();
                    stores.store(&object, cap).await;
                    Ok(())
                })
            }
            (CUT, _) => {
                cuts.cut();
                Promise::ok(())
            }
            _ => Promise::ok(()),
        }
    });
    let options = GuardOptions::default().observer(slot.clone());
    let (mut peer, driver) = serve(options, bootstrap);
    spawn_local(async {
        let _its_end_is_told_to_the_peer = driver.await;
    });
    assert_eq!((peer.bootstrap().await, other.bootstrap().await), (0, 0));
    let give = call(1, BOOTSTRAP, GIVE);
    peer.say(give.with([Cap::Hosted(5)])).await;
    peer.returned(1).await;
    peer.say(finish(1)).await;
    other.say(call(1, BOOTSTRAP, method::CALL_STORED)).await;
    assert_eq!(peer.called().await.target, Target::Cap(5));
    other.say(call(2, BOOTSTRAP, method::NEVER)).await;
    idle().await;
    Two {
        peer,
        other,
        service,
        slot,
        last: weak,
    }
}

impl Two {
    async fn is_cut(&mut self) {
        idle().await;
        assert!(self.slot.0.borrow().is_none());
        assert_eq!(self.service.live(), 0);
        self.other.ended().await;
    }
}

#[test]
fn a_driver_that_a_method_of_another_connection_drops() {
    run(async {
        let mut two = two().await;
        two.peer.say(call(2, BOOTSTRAP, CUT)).await;
        two.is_cut().await;
        two.peer.returned(2).await;
        let is_let_go = |message: &Message| matches!(message, Message::Release { id: 5, .. });
        two.peer.find(is_let_go).await;
        two.peer.say(call(3, BOOTSTRAP, method::ECHO)).await;
        two.peer.returned(3).await;
    });
}

#[test]
fn a_driver_that_an_object_of_another_connection_drops_at_its_end() {
    run(async {
        let mut two = two().await;
        let last = two.last.upgrade().expect("the connection has it");
        assert!(last.0.set(two.slot.clone()).is_ok());
        drop(last);
        drop(std::mem::replace(&mut two.peer, Peer::new(direct().0)));
        two.is_cut().await;
        assert_eq!(two.last.strong_count(), 0);
    });
}

#[test]
fn a_driver_that_an_observer_of_another_connection_drops() {
    run(async {
        let mut two = two().await;
        two.peer.say(finish(99)).await;
        two.is_cut().await;
        two.peer.aborted().await;
        assert_eq!(two.last.strong_count(), 0);
    });
}
