//! Where a membrane stands, and what is switched on.

use capspan::Tasks;
use capspan::membrane::{AllowList, Builder, Chain, Limits, Membrane};
use capspan_testkit::membrane::{Connected, connect};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

use super::Kind;

/// Where a membrane stands, seen from the caller. Over a connection it has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Between two objects of one process, without a driver.
    InProcess,
    /// The same with a driver.
    Driven,
    /// The same with a driver, a policy, a meter, limits and inspection.
    Observed,
    /// Before the service, at the server's end of a connection.
    ServerEnd,
    /// At the client's end of a connection.
    ClientEnd,
    /// At the server's end, with all that [`Observed`](Self::Observed) has.
    ObservedServerEnd,
    /// At the client's end, with all that [`Observed`](Self::Observed) has.
    ObservedClientEnd,
}

/// Far more than the objects that are alive at a time.
const MANY: usize = 1_000;

/// A membrane with a service inside and callers outside.
pub(crate) struct Setting {
    pub(crate) place: Place,
    inside: World,
    outside: World,
    service: thing::Client,
    membrane: Membrane,
    reached: Reached,
}

/// The service as callers have it, and the connection to it where there is one.
struct Reached {
    service: thing::Client,
    connection: Option<Connected<thing::Client>>,
}

impl Place {
    /// Within an event loop.
    pub(crate) fn set_up(self) -> Setting {
        let (inside, outside) = (World::new(), World::new());
        // Nobody waits at it: who would wait goes through a turn later.
        inside.open_gate();
        let service = inside.thing();
        let membrane = self.builder().build();
        grow(&membrane);
        let reached = self.reach(&membrane, service.clone());
        Setting {
            place: self,
            inside,
            outside,
            service,
            membrane,
            reached,
        }
    }

    fn builder(self) -> Builder {
        let builder = Membrane::builder();
        if self == Self::InProcess {
            return builder;
        }
        let (tasks, driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        let builder = builder.tasks(&tasks);
        match self {
            Self::Observed | Self::ObservedServerEnd | Self::ObservedClientEnd => {
                let limits = Limits::default().capabilities(10 * MANY).calls(100);
                builder.policy(policy()).limits(limits).inspected()
            }
            _ => builder,
        }
    }

    fn has_connection(self) -> bool {
        !matches!(self, Self::InProcess | Self::Driven | Self::Observed)
    }

    fn reach(self, membrane: &Membrane, service: thing::Client) -> Reached {
        if !self.has_connection() {
            return Reached {
                service: membrane.export(service),
                connection: None,
            };
        }
        let is_at_client = matches!(self, Self::ClientEnd | Self::ObservedClientEnd);
        let (service, connection) = if is_at_client {
            let connection = connect(service);
            (membrane.export(connection.bootstrap.clone()), connection)
        } else {
            let connection = connect(membrane.export(service));
            (connection.bootstrap.clone(), connection)
        };
        Reached {
            service,
            connection: Some(connection),
        }
    }
}

/// Lets the tables of a membrane grow to more than they will need. A hash table grows also when too few
/// of its places were never used, which depends on where its entries happen to lie.
fn grow(membrane: &Membrane) {
    let world = World::new();
    let many = (0..MANY).map(|_| {
        (
            membrane.export(world.thing()),
            membrane.import(world.thing()),
        )
    });
    drop(many.collect::<Vec<_>>());
}

/// It allows all, and counts where it can.
fn policy() -> Chain {
    let chain = Chain::new().with(AllowList::new().interface::<thing::Client>());
    #[cfg(feature = "meter")]
    {
        // Its clock stands still, or a call that takes longer than all before would make it grow.
        let clock = std::rc::Rc::new(capspan::trace::ManualClock::default());
        chain.with(capspan::membrane::Meter::new(clock))
    }
    #[cfg(not(feature = "meter"))]
    chain
}

impl Setting {
    /// Makes calls of one kind until so many have reached an object.
    pub(crate) async fn calls(&self, kind: Kind, count: usize) {
        // `capnp-rpc` 0.27.3 keeps a slot at both ends of a connection for each call that is finished
        // before it has returned, until they part. So such calls have a connection of their own.
        if self.place.has_connection() && kind.is_canceled() {
            let reached = self.place.reach(&self.membrane, self.service.clone());
            self.calls_on(&reached.service, kind, count).await;
            reached.close().await;
        } else {
            self.calls_on(&self.reached.service, kind, count).await;
        }
    }

    async fn calls_on(&self, service: &thing::Client, kind: Kind, count: usize) {
        let wanted = self.reached() + count;
        let mut turn = 0;
        while self.reached() < wanted {
            if let Err(error) = kind.call(service, &self.outside).await {
                panic!("{:?}, {kind:?}: {error}", self.place);
            }
            turn += 1;
            if turn % 16 == 0 {
                // For what goes on beside it.
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(self.reached(), wanted, "{kind:?}");
    }

    /// How many calls have reached an object so far.
    fn reached(&self) -> usize {
        self.inside.calls() + self.outside.calls()
    }

    /// Lets all go. Gives how many calls have reached an object.
    pub(crate) async fn end(self) -> usize {
        let (calls, inside, outside) = (self.reached(), self.inside, self.outside);
        self.reached.close().await;
        drop((self.service, self.membrane));
        capspan_testkit::run::until_idle().await;
        assert_eq!((inside.live(), outside.live()), (0, 0), "{:?}", self.place);
        calls
    }
}

impl Reached {
    async fn close(self) {
        drop(self.service);
        if let Some(connection) = self.connection {
            drop(connection.bootstrap);
            connection.disconnector.await.expect("it was connected");
            for system in [connection.client, connection.server] {
                // Whichever sees the other go first may say that it is gone.
                let _how_it_ended = system.await.expect("it does not panic");
            }
        }
    }
}
