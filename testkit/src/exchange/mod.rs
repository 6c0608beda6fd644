//! What benches measure: the same exchange with a membrane in between and without.
//!
//! - [`Row`]: what is exchanged, and where the other side is.
//! - [`Exchange`]: a row, set up, to be done as often as is wanted.
//! - [`Loop`]: the event loop on which it is done, in real time.
//!
//! - [`allocations`](fn@allocations): how much one allocates.
//! - `least`: what no membrane can do without.
//! - `sessions`: whole sessions, and the same exchange between plain servers.

mod allocations;
mod least;
mod sessions;

use std::any::Any;
use std::future::Future;

use capnp::Error;
use capnp::capability::{Client, FromClientHook};
use capnp::private::capability::ClientHook;
use capspan::Tasks;
use capspan::membrane::Membrane;
use capspan::session::Session;
use capspan::trace::{NoopObserver, Tracer};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::link;
use crate::testkit_capnp::thing;
use crate::world::World;
pub use allocations::allocations;
use least::Least;
use sessions::{Plain, Spanned};

/// A payload of this size is what the rows with data have.
pub const MIB: usize = 1024 * 1024;

/// Where the other side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the same event loop, called directly.
    InProcess,
    /// On the same event loop, at the other end of an in-memory connection. The membrane is at the
    /// server's end.
    Connection,
}

/// What is done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A call without a capability.
    None,
    /// A call with one in and the same one out.
    Caps,
    /// A call with 1 MiB in and the same out.
    Mib,
    /// A call with 1 MiB and a capability, in and out.
    MibWithCap,
    /// A membrane is made around an object, which is called once, and all is let go.
    Life,
    /// A session is opened, one call is made, and all is let go; its spans are recorded.
    Session,
    /// The same with nobody to see the spans.
    UnobservedSession,
    /// A call without a capability in an open session, recorded as a span on both sides.
    CallSpan,
    /// The same with nobody to see the spans.
    UnobservedCall,
    /// A call without a capability to a server whose end of the connection is guarded.
    Guarded,
    /// One with a capability in and the same one out.
    GuardedCaps,
}

/// One line of a table of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the other side is.
    pub place: Place,
    /// What is done.
    pub work: Work,
}

impl Row {
    /// All that make sense.
    pub const ALL: [Self; 19] = {
        use Place::{Connection, InProcess};
        use Work::{
            CallSpan, Caps, Guarded, GuardedCaps, Life, Mib, MibWithCap, None, Session,
            UnobservedCall, UnobservedSession,
        };
        [
            Self::new(InProcess, None),
            Self::new(InProcess, Caps),
            Self::new(InProcess, Mib),
            Self::new(InProcess, MibWithCap),
            Self::new(Connection, None),
            Self::new(Connection, Caps),
            Self::new(Connection, Mib),
            Self::new(Connection, MibWithCap),
            Self::new(InProcess, Life),
            Self::new(InProcess, Session),
            Self::new(Connection, Session),
            Self::new(InProcess, UnobservedSession),
            Self::new(Connection, UnobservedSession),
            Self::new(InProcess, CallSpan),
            Self::new(Connection, CallSpan),
            Self::new(InProcess, UnobservedCall),
            Self::new(Connection, UnobservedCall),
            Self::new(Connection, Guarded),
            Self::new(Connection, GuardedCaps),
        ]
    };

    const fn new(place: Place, work: Work) -> Self {
        Self { place, work }
    }

    /// Where its numbers stand in a report.
    pub fn path(self) -> &'static [&'static str] {
        match (self.place, self.work) {
            (Place::InProcess, Work::None) => &["in_process", "none"],
            (Place::InProcess, Work::Caps) => &["in_process", "caps"],
            (Place::InProcess, Work::Mib) => &["in_process", "mib"],
            (Place::InProcess, Work::MibWithCap) => &["in_process", "mib_with_cap"],
            (Place::Connection, Work::None) => &["connection", "none"],
            (Place::Connection, Work::Caps) => &["connection", "caps"],
            (Place::Connection, Work::Mib) => &["connection", "mib"],
            (Place::Connection, Work::MibWithCap) => &["connection", "mib_with_cap"],
            (_, Work::Life) => &["life"],
            (Place::InProcess, Work::Session) => &["session", "in_process"],
            (Place::Connection, Work::Session) => &["session", "connection"],
            (Place::InProcess, Work::UnobservedSession) => &["session_unobserved", "in_process"],
            (Place::Connection, Work::UnobservedSession) => &["session_unobserved", "connection"],
            (Place::InProcess, Work::CallSpan) => &["call_span", "in_process"],
            (Place::Connection, Work::CallSpan) => &["call_span", "connection"],
            (Place::InProcess, Work::UnobservedCall) => &["call_unobserved", "in_process"],
            (Place::Connection, Work::UnobservedCall) => &["call_unobserved", "connection"],
            (_, Work::Guarded) => &["guarded", "none"],
            (_, Work::GuardedCaps) => &["guarded", "caps"],
        }
    }
}

/// A row, set up one way.
pub struct Exchange {
    kind: Kind,
}

enum Kind {
    Calls(Calls),
    BareLife(thing::Client),
    Life(thing::Client),
    Plain(Plain),
    Spanned(Spanned),
    InSession(Session<thing::Client>),
}

impl Exchange {
    /// Without anything of ours. On a [`Loop`].
    pub fn bare(row: Row) -> Self {
        let kind = match row.work {
            Work::Life => Kind::BareLife(World::new().thing()),
            Work::Session => Kind::Plain(Plain::new(row.place, true)),
            Work::UnobservedSession => Kind::Plain(Plain::new(row.place, false)),
            // Sessions have connections that are guarded: so have these calls.
            Work::CallSpan | Work::UnobservedCall if row.place == Place::Connection => {
                let served = as_client(World::new().thing());
                let (client, _server) = link::watched(link::direct(), |_| served);
                Kind::Calls(Calls::on(client.bootstrap(), Place::InProcess, Work::None))
            }
            work => Kind::Calls(Calls::bare(row.place, work)),
        };
        Self { kind }
    }

    /// Through a membrane, or as a session. On a [`Loop`].
    pub fn ours(row: Row) -> Self {
        Self::ours_by(row, Tracer::new(NoopObserver))
    }

    /// The same with spans by another tracer, whose clock may not be the system's.
    pub fn ours_by(row: Row, tracer: Tracer) -> Self {
        let kind = match row.work {
            Work::Life => Kind::Life(World::new().thing()),
            Work::Session => Kind::Spanned(Spanned::new(row.place, tracer, false)),
            Work::CallSpan => Kind::InSession(Spanned::new(row.place, tracer, true).open()),
            Work::UnobservedSession => {
                Kind::Spanned(Spanned::new(row.place, Tracer::unobserved(), false))
            }
            Work::UnobservedCall => {
                Kind::InSession(Spanned::new(row.place, Tracer::unobserved(), true).open())
            }
            work @ (Work::Guarded | Work::GuardedCaps) => Kind::Calls(Calls::guarded(work)),
            work => Kind::Calls(Calls::membraned(row.place, work)),
        };
        Self { kind }
    }

    /// Through the least that could be called a membrane, where there is such a thing: calls over a
    /// connection. On a [`Loop`].
    pub fn least(row: Row) -> Option<Self> {
        let swaps = match (row.place, row.work) {
            (Place::Connection, Work::None) => false,
            (Place::Connection, Work::Caps) => true,
            _ => return None,
        };
        let least: Box<dyn ClientHook> = Box::new(Least::new(World::new().thing(), swaps));
        let calls = Calls::on(FromClientHook::new(least), row.place, row.work);
        Some(Self {
            kind: Kind::Calls(calls),
        })
    }

    /// Does it `times` times, one after the other.
    pub async fn run(&self, times: usize) -> Result<(), Error> {
        for _ in 0..times {
            match &self.kind {
                Kind::Calls(calls) => calls.call().await?,
                Kind::BareLife(thing) => number(thing).await?,
                Kind::Life(thing) => number(&Membrane::new().export(thing.clone())).await?,
                Kind::Plain(sessions) => sessions.exchange().await?,
                Kind::Spanned(sessions) => sessions.exchange().await?,
                Kind::InSession(session) => number(session.top_level()).await?,
            }
        }
        Ok(())
    }
}

/// Sessions that have been opened and used once, until they are dropped.
pub type Held = Vec<Box<dyn Any>>;

impl Exchange {
    /// Opens `count` sessions at once, where the row is about such.
    ///
    /// # Errors
    /// Those of a call in one.
    pub async fn hold(&self, count: usize) -> Result<Held, Error> {
        let mut held = Held::with_capacity(count);
        for _ in 0..count {
            held.push(match &self.kind {
                Kind::Plain(sessions) => Box::new(sessions.open().await?),
                Kind::Spanned(sessions) => {
                    let session = sessions.open();
                    number(session.top_level()).await?;
                    Box::new(session)
                }
                _ => return Err(Error::failed("the row is not about sessions".into())),
            });
        }
        Ok(held)
    }
}

struct Calls {
    target: thing::Client,
    given: thing::Client,
    work: Work,
    data: Vec<u8>,
}

impl Calls {
    fn bare(place: Place, work: Work) -> Self {
        Self::on(World::new().thing(), place, work)
    }

    fn membraned(place: Place, work: Work) -> Self {
        let membrane = match place {
            Place::InProcess => Membrane::new(),
            Place::Connection => {
                let (tasks, driver) = Tasks::new();
                tokio::task::spawn_local(driver);
                Membrane::builder().tasks(&tasks).build()
            }
        };
        Self::on(membrane.export(World::new().thing()), place, work)
    }

    fn on(served: thing::Client, place: Place, work: Work) -> Self {
        Self {
            target: match place {
                Place::InProcess => served,
                Place::Connection => link::plain(link::direct(), as_client(served)),
            },
            given: World::new().thing(),
            work,
            data: vec![7; MIB],
        }
    }

    fn guarded(work: Work) -> Self {
        let served = as_client(World::new().thing());
        let client = link::guarded(link::direct(), |_| served);
        Self::on(client, Place::InProcess, work)
    }

    async fn call(&self) -> Result<(), Error> {
        match self.work {
            Work::Caps | Work::GuardedCaps => {
                let mut request = self.target.swap_request();
                request.get().set_thing(self.given.clone());
                let response = request.send().promise.await?;
                response.get()?.get_thing()?;
            }
            Work::Mib => {
                let mut request = self.target.echo_request();
                request.get().set_data(&self.data);
                let response = request.send().promise.await?;
                response.get()?.get_data()?;
            }
            Work::MibWithCap => {
                let mut request = self.target.echo_with_request();
                request.get().set_data(&self.data);
                request.get().set_thing(self.given.clone());
                let response = request.send().promise.await?;
                response.get()?.get_data()?;
                response.get()?.get_thing()?;
            }
            _ => number(&self.target).await?,
        }
        Ok(())
    }
}

async fn number(thing: &thing::Client) -> Result<(), Error> {
    let response = thing.number_request().send().promise.await?;
    response.get()?.get_number();
    Ok(())
}

fn as_client<C: FromClientHook>(typed: C) -> Client {
    Client::new(typed.into_client_hook())
}

/// An event loop in real time, for one row after the other.
pub struct Loop {
    local: LocalSet,
    runtime: Runtime,
}

impl Loop {
    /// A new one.
    ///
    /// # Panics
    ///
    /// Never: it needs nothing that could be missing.
    #[expect(clippy::new_without_default, reason = "it starts a runtime")]
    pub fn new() -> Self {
        Self {
            local: LocalSet::new(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime without I/O needs nothing that could be missing"),
        }
    }

    /// Lets `work` run beside what is run.
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
        self.local.spawn_local(work)
    }

    /// Runs `work` to its end, and beside it what was spawned.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.local.block_on(&self.runtime, work)
    }
}
