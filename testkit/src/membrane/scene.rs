//! One membrane, wherever it may stand.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::membrane::{Builder, Completion, Membrane, Policy, WeakMembrane};
use capspan::trace::ManualClock;
use capspan::{Error, Tasks};

use super::events::soon;
use super::{Connected, World, connect, idle, run};
use crate::probe_capnp::probe;

/// Where a membrane stands, seen from the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between two objects of one process.
    InProcess,
    /// Before a service, at the server's end of a connection: the outside is beyond the connection.
    ServerEnd,
    /// At the client's end of a connection: the inside is beyond the connection.
    ClientEnd,
}

/// A membrane with one object inside and somebody outside who has its wrapper.
pub struct Scene {
    /// Where the membrane stands.
    pub place: Place,
    /// The objects inside. One is there at first, `inner`.
    pub inside: World,
    /// The objects outside.
    pub outside: World,
    /// What the outside has of `inner`.
    pub wrapper: probe::Client,
    /// A handle of the membrane: it keeps it from being complete.
    pub membrane: Membrane,
    /// The membrane's clock.
    pub clock: ManualClock,
    connection: Option<Connected<probe::Client>>,
}

/// Runs a test once for each place that a membrane may stand in, with a driver and without one.
pub fn everywhere<F: AsyncFn(Scene)>(test: F) {
    at(
        &[Place::InProcess, Place::ServerEnd, Place::ClientEnd],
        test,
    );
}

/// Runs a test once for each of `places`, with a driver and without one.
pub fn at<F: AsyncFn(Scene)>(places: &[Place], test: F) {
    for &place in places {
        for driven in [false, true] {
            // For the reader of a failure.
            eprintln!(
                "{place:?}, {} a driver",
                if driven { "with" } else { "without" }
            );
            run(async {
                let inside = World::new();
                let inner = inside.probe("inner");
                test(Scene::new(place, driven, inside, inner).await).await;
            });
        }
    }
}

/// Runs a test once for each place, with a driver and without one, with a policy that `rule` makes.
pub fn ruled<P: Policy, F: AsyncFn(Scene)>(rule: impl Fn(&Worlds) -> P, test: F) {
    everywhere_with(|worlds| Membrane::builder().policy(rule(worlds)), test);
}

/// Runs a test once for each place, with a driver and without one, with what `builder` makes.
pub fn everywhere_with<F: AsyncFn(Scene)>(builder: impl Fn(&Worlds) -> Builder, test: F) {
    for place in [Place::InProcess, Place::ServerEnd, Place::ClientEnd] {
        for driven in [false, true] {
            eprintln!(
                "{place:?}, {} a driver",
                if driven { "with" } else { "without" }
            );
            run(async {
                let worlds = Worlds::default();
                let builder = builder(&worlds);
                let inner = worlds.inside.probe("inner");
                test(Scene::built(place, driven, worlds, inner, builder).await).await;
            });
        }
    }
}

/// The objects on both sides of a membrane.
#[derive(Clone, Default)]
pub struct Worlds {
    /// Those inside.
    pub inside: World,
    /// Those outside.
    pub outside: World,
}

impl Scene {
    /// A membrane in `place` around `inner`, an object of `inside`.
    pub async fn new(place: Place, driven: bool, inside: World, inner: probe::Client) -> Self {
        let outside = World::new();
        let worlds = Worlds { inside, outside };
        Self::built(place, driven, worlds, inner, Membrane::builder()).await
    }

    /// What `builder` makes in `place` around `inner`, an object of the world inside.
    pub async fn built(
        place: Place,
        driven: bool,
        worlds: Worlds,
        inner: probe::Client,
        builder: Builder,
    ) -> Self {
        let Worlds { inside, outside } = worlds;
        let clock = ManualClock::default();
        let mut membrane = builder.clock(Rc::new(clock.clone()) as Rc<_>);
        if driven {
            let (tasks, driver) = Tasks::new();
            tokio::task::spawn_local(driver);
            membrane = membrane.tasks(&tasks);
        }
        let membrane = membrane.build();
        let (wrapper, connection) = match place {
            Place::InProcess => (membrane.export(inner), None),
            Place::ServerEnd => {
                let (wrapper, connection) = handed_over(membrane.export(inner)).await;
                (wrapper, Some(connection))
            }
            Place::ClientEnd => {
                let (bare, connection) = handed_over(inner).await;
                (membrane.export(bare), Some(connection))
            }
        };
        idle().await;
        Self {
            place,
            inside,
            outside,
            wrapper,
            membrane,
            clock,
            connection,
        }
    }

    /// The membrane, for who must not keep it from being complete.
    pub fn weak(&self) -> WeakMembrane {
        self.membrane.downgrade()
    }

    /// The membrane's end.
    pub fn completion(&self) -> Completion {
        self.membrane.completion()
    }

    /// Takes everything back.
    pub fn revoke(&self) {
        assert!(self.weak().revoke(Error::revoked(REASON)));
    }

    /// Cuts the connection, where there is one.
    pub fn cut(&self) {
        if let Some(connection) = &self.connection {
            connection.link.cut();
        }
    }

    /// Lets go of the wrapper and of the membrane. The connection stays.
    pub fn leave(self) -> Left {
        Left {
            _connection: self.connection,
        }
    }
}

/// What [`Scene::leave`] leaves: the connection, which is cut when this is dropped.
pub struct Left {
    _connection: Option<Connected<probe::Client>>,
}

/// Why [`Scene::revoke`] takes everything back.
pub const REASON: &str = "the lease is over";

/// Hands `cap` over a connection. The far side keeps no reference but the connection's own.
pub(super) async fn handed_over(cap: probe::Client) -> (probe::Client, Connected<probe::Client>) {
    // Not the bootstrap object: that one stays alive as long as the connection.
    let door = World::new().probe("door");
    let mut store = door.store_request();
    store.get().set_cap(cap);
    soon(store.send().promise).await.expect("the door is local");
    let connection = connect(door);
    let stored = connection.bootstrap.stored_request().send().promise;
    let cap = soon(stored).await.expect("the door is there");
    let cap = cap
        .get()
        .and_then(|stored| stored.get_cap())
        .expect("it was stored");
    soon(connection.bootstrap.store_request().send().promise)
        .await
        .expect("the door lets it go");
    (cap, connection)
}

/// Who it is that answers, or why nobody does.
pub async fn label(cap: &probe::Client) -> Result<String, capnp::Error> {
    let response = soon(cap.label_request().send().promise).await?;
    Ok(response.get()?.get_label()?.to_string()?)
}

/// Checks that `cap` was taken back by [`Scene::revoke`].
pub async fn assert_revoked(what: &str, cap: &probe::Client) {
    let error = label(cap).await.expect_err(what);
    assert!(error.extra.contains(REASON), "{what}: {error}");
}

/// Are these two references to one and the same capability, as far as `capnp` can tell?
pub fn same(one: &probe::Client, other: &probe::Client) -> bool {
    identity(one) == identity(other)
}

/// The address of what `cap` has resolved to, and whose that is.
pub fn identity(cap: &probe::Client) -> (usize, usize) {
    let mut hook = cap.as_client_hook().add_ref();
    while let Some(resolved) = hook.get_resolved() {
        hook = resolved;
    }
    (hook.get_brand(), hook.get_ptr())
}

/// The client of a schema for an untyped one.
pub fn typed(client: Client) -> probe::Client {
    client.hook.cast_to()
}
