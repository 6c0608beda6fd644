//! A membrane in each place where one can be.

use capnp::capability::{Client, FromClientHook};
use capspan::membrane::{Completion, Membrane, WeakMembrane};
use capspan::{Driver, Tasks};

use crate::link;
use crate::testkit_capnp::thing;
use crate::world::World;

/// Where a membrane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Caller and callee are in one process.
    InProcess,
    /// At the callee's end of a connection.
    AtServer,
    /// At the caller's end of a connection.
    AtClient,
}

/// Every place.
pub const PLACES: [Place; 3] = [Place::InProcess, Place::AtServer, Place::AtClient];

/// An object inside a membrane, seen from outside, and a world on each side.
pub struct Membraned {
    /// The objects inside.
    pub inside: World,
    /// The objects outside.
    pub outside: World,
    /// The object inside, as the outside has it.
    pub object: thing::Client,
    /// The same object, as the inside has it.
    pub bare: thing::Client,
    /// The membrane, which this does not keep from being complete.
    pub membrane: WeakMembrane,
    /// Its end.
    pub completion: Completion,
}

impl Membraned {
    /// Without a driver: what is inside is dropped with its wrappers.
    pub async fn new(place: Place) -> Self {
        Self::of(Membrane::new(), place).await
    }

    /// With a driver, which runs as a task.
    pub async fn driven(place: Place) -> Self {
        let (tasks, driver): (Tasks, Driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        Self::of(Membrane::builder().tasks(&tasks).build(), place).await
    }

    async fn of(membrane: Membrane, place: Place) -> Self {
        let (inside, outside) = (World::new(), World::new());
        let bare = inside.thing();
        let object = match place {
            Place::InProcess => membrane.export(bare.clone()),
            Place::AtServer => through_a_door(membrane.export(bare.clone())).await,
            Place::AtClient => membrane.export(through_a_door(bare.clone()).await),
        };
        Self {
            inside,
            outside,
            object,
            bare,
            membrane: membrane.downgrade(),
            completion: membrane.completion(),
        }
    }
}

/// What a client gets of `thing` over a connection. A bootstrap capability would never be let go: the
/// connection holds it. So there is an object that hands `thing` out, once.
async fn through_a_door(thing: thing::Client) -> thing::Client {
    let door = World::new().thing();
    let mut request = door.store_request();
    request.get().set_thing(thing);
    let stored = request.send().promise.await;
    let door: thing::Client = link::plain(link::direct(), Client::new(door.into_client_hook()));
    let taken = door.take_request().send().promise.await;
    let taken = taken.and_then(|taken| taken.get()?.get_thing());
    match (stored, taken) {
        (Ok(_), Ok(thing)) => thing,
        (stored, taken) => panic!("the door is stuck: {:?} {:?}", stored.err(), taken.err()),
    }
}

/// The number that `thing` says it has.
pub async fn number(thing: &thing::Client) -> capnp::Result<u32> {
    let response = thing.number_request().send().promise.await?;
    Ok(response.get()?.get_number())
}

/// What `thing` has resolved to by now. (`capnp::capability::get_resolved_cap` waits for ever where a
/// promise of `capnp-rpc`'s has resolved already.)
pub fn resolved(thing: &thing::Client) -> thing::Client {
    let mut hook = thing.as_client_hook().add_ref();
    while let Some(resolved) = hook.get_resolved() {
        hook = resolved;
    }
    FromClientHook::new(hook)
}

/// The address of what `thing` has resolved to by now.
pub fn identity(thing: &thing::Client) -> (usize, usize) {
    let resolved = resolved(thing);
    let hook = resolved.as_client_hook();
    (hook.get_brand(), hook.get_ptr())
}
