//! Wrap a capability so that everything that passes through it is wrapped, too.
//!
//! Alice wants to give Bob access to Carol, and to know and rule what comes of it. A wrapper around
//! Carol is not enough: a call on her may return a capability to Dave, and Bob may pass Carol one of
//! his own; then they talk past Alice. A *membrane* is a wrapper that wraps whatever passes through it,
//! in either direction, and so on. What is wrapped first, and what comes of it, is *inside*.
//!
//! ```
//! # use capspan::membrane::Membrane;
//! # use capspan::pipeline_capnp::rpc_session;
//! # fn example(carol: rpc_session::Client) {
//! let membrane = Membrane::new();
//! let completion = membrane.completion();
//! let for_bob: rpc_session::Client = membrane.export(carol);
//! // Bob may do with it what Carol lets him; Alice may take it all back …
//! membrane.downgrade().revoke(capspan::Error::revoked("Bob has left"));
//! // … and learns when nothing is left.
//! drop((membrane, for_bob));
//! assert!(completion.is_complete());
//! # }
//! # example(capnp::capability::FromClientHook::new(capnp_rpc::new_broken_cap(capnp::Error::failed(String::new())).hook));
//! ```
//!
//! What holds (the names are those of the tests):
//!
//! - M1 *Closure*: no capability crosses unwrapped: not in parameters, in results, pipelined, by the
//!   resolution of a promise; however deep in a message it lies.
//! - M2 *Identity*: the same capability crossing twice is the same wrapper. What passes out and back
//!   in is the original. (So Bob, who gets a capability from Carol and passes it back to her, passes
//!   it in for good: that is as in C++, and what services expect.)
//! - M3 *Promises*: a promise that has crossed and resolves behaves as what it resolved to.
//! - M6 *Completion*: a future that resolves once, when nothing refers through the membrane any more.
//! - M7 *No copy*: a call costs the same whatever data it carries (but for a request that was begun before
//!   a promise resolved off its connection and is sent after); pointers that may lead to a
//!   capability are looked at, and with no capability in a request nothing is.
//! - M8 *Fail closed*: a capability that can't be wrapped is unusable, never bare.
//!
//! What is to pass is decided by a [`Policy`], such as an [`AllowList`], or several in a [`Chain`]; how much
//! at once, by [`Limits`]. A policy is told of the end of calls ([`CallWatch`]), and an inspected membrane
//! tells what is [alive](Membrane::wrapped) in it.
//!
//! Where it reaches its limits: looking at pointers counts against the traversal limit of a message
//! that was received, so a message needs up to twice the limit that it needs without; a list of structs
//! counts twice against its nesting limit; and messages of calls over a connection, or through several
//! membranes, received or not yet sent, keep what is in them after a revocation while somebody holds them.
//!
//! The design is that of C++'s `capnp/membrane.h`.

mod allow_list;
mod call;
mod cap_table;
mod client;
mod completion;
mod copy;
mod cross;
mod inspect;
mod leaving;
mod limits;
#[cfg(feature = "meter")]
mod meter;
mod pipeline;
mod policy;
mod state;
mod turn;
mod wrappers;

use std::any::Any;
use std::fmt;
use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::{FromClientHook, FromServer};
use capnp::traits::{Owned, SetterInput};
use futures::future::{self, Either};

pub use allow_list::AllowList;
pub use completion::{Completed, Completion};
pub use inspect::{IntroducedBy, Mark, Wrapped};
use limits::Limited;
pub use limits::{Limits, Refused};
#[cfg(feature = "meter")]
pub use meter::{Calls, Meter, Method};
pub use policy::{Call, CallWatch, Chain, Crossing, Passage, Policy, Scope, Verdict};
use state::{Options, Ref, State};

use crate::clock::Clock;
use crate::drive::Tasks;
use crate::error::{Error, Result};

/// How often a promise may resolve to another promise when it crosses.
const MAX_RESOLUTION_HOPS: u32 = 64;

/// Which way calls on a wrapper cross the membrane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    /// From outside in: the wrapper stands for something inside.
    Inbound,
    /// From inside out: the wrapper stands for something outside.
    Outbound,
}

impl Direction {
    fn reverse(self) -> Self {
        match self {
            Self::Inbound => Self::Outbound,
            Self::Outbound => Self::Inbound,
        }
    }
}

/// A membrane. Holding it keeps it from being complete, as holding any of its wrappers does. Clones are
/// handles to the same membrane.
#[derive(Clone)]
pub struct Membrane {
    membrane: Ref,
}

/// Whom a membrane tells what becomes of it.
pub(crate) trait Watch {
    /// A call that crosses has ended, one begins that goes out, or a capability is let go, and the other side
    /// does not know yet.
    fn before_return(&self);

    /// What the work of a call that crosses runs in, where nobody else says.
    fn scope(self: Rc<Self>, is_inbound: bool) -> Option<Rc<dyn Scope>>;

    /// A call that crosses has failed. Tables of `capnp-rpc` may be borrowed.
    fn call_failed(self: Rc<Self>);

    /// It is complete: told in a turn of the driver's, where there is one.
    fn complete(&self, completed: Completed);
}

/// Makes a [`Membrane`] with what is not the default.
#[derive(Default)]
pub struct Builder {
    policy: Option<Rc<dyn Policy>>,
    limits: Option<Limits>,
    is_inspected: bool,
    tasks: Option<Tasks>,
    clock: Option<Rc<dyn Clock>>,
}

/// A handle that does not keep the membrane from being complete.
#[derive(Clone)]
pub struct WeakMembrane {
    membrane: Weak<State>,
}

impl Membrane {
    /// A membrane with nothing inside.
    #[expect(clippy::new_without_default, reason = "two defaults are two membranes")]
    pub fn new() -> Self {
        Builder::default().build()
    }

    /// A membrane with what is not the default.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What stands outside for `inside`, which is inside.
    pub fn export<C: FromClientHook>(&self, inside: C) -> C {
        self.cross(inside, Direction::Inbound)
    }

    /// What stands outside for a server, which is inside: `membrane.export_server::<greeter::Client, _>(it)`.
    pub fn export_server<C, S>(&self, server: S) -> C
    where
        C: FromClientHook + FromServer<S>,
    {
        self.export(capnp_rpc::new_client(server))
    }

    /// What stands inside for a server, which is outside.
    pub fn import_server<C, S>(&self, server: S) -> C
    where
        C: FromClientHook + FromServer<S>,
    {
        self.import(capnp_rpc::new_client(server))
    }

    /// What stands inside for `outside`, which is outside.
    pub fn import<C: FromClientHook>(&self, outside: C) -> C {
        self.cross(outside, Direction::Outbound)
    }

    /// What stands outside for a pipeline that is inside: what is asked of it crosses. A revocation cuts
    /// it off. What a pipeline of `capnp-rpc`'s does where a capability that is not there is asked for late
    /// (0.27.3 panics) it does here, too: ask early.
    pub fn export_pipeline(&self, inside: any_pointer::Pipeline) -> any_pointer::Pipeline {
        pipeline::cross(inside, &self.membrane, Direction::Inbound)
    }

    /// What stands inside for a pipeline that is outside.
    pub fn import_pipeline(&self, outside: any_pointer::Pipeline) -> any_pointer::Pipeline {
        pipeline::cross(outside, &self.membrane, Direction::Outbound)
    }

    /// Copies a value from outside to `to`, which is inside: a struct, a list, any pointer. The
    /// capabilities in it cross. For redirect targets; calls cross without being copied. What `to` held
    /// before must be without capabilities: `capnp` 0.27.3 panics when one is overwritten.
    ///
    /// # Errors
    /// Those of a deep copy: `from` is malformed, or larger than its reader's limits; or it has more
    /// capabilities than [`Limits`] let a message have.
    pub fn copy_into<T: Owned>(
        &self,
        from: impl SetterInput<T>,
        to: any_pointer::Builder<'_>,
    ) -> Result<()> {
        Ok(copy::copy(from, to, &self.membrane, Direction::Outbound)?)
    }

    /// Copies a value from inside to `to`, which is outside. See [`copy_into`](Self::copy_into).
    ///
    /// # Errors
    /// As there.
    pub fn copy_out_of<T: Owned>(
        &self,
        from: impl SetterInput<T>,
        to: any_pointer::Builder<'_>,
    ) -> Result<()> {
        Ok(copy::copy(from, to, &self.membrane, Direction::Inbound)?)
    }

    /// Keeps `value` until the membrane is complete, and drops it just before: something that what is
    /// inside needs, such as a lease, a directory, a connection.
    pub fn attach(&self, value: impl Any) {
        self.membrane.attach(Box::new(value));
    }

    /// A part of the whole membrane in which `policy` decides. What crosses by a wrapper of a part belongs
    /// to the part, and each part has wrappers of its own; what went out through one part and comes in
    /// through another is the original all the same, and the part that it comes in by is asked. The whole
    /// is complete when all of its parts are; revoking it revokes them. A part of a part is a part of the
    /// whole.
    ///
    /// It is for what C++'s `rootPolicy` is for: one root, and policies that share it.
    pub fn part(&self, policy: impl Policy) -> Self {
        Self {
            membrane: self.membrane.part(Rc::new(policy)),
        }
    }

    /// The wrappers that are alive, in no order; none where it is not [inspected](Builder::inspected).
    /// Those of its parts are not among them.
    pub fn wrapped(&self) -> Vec<Wrapped> {
        let wrapped = self.membrane.wrapped().into_iter();
        wrapped.map(|(wrapped, _)| wrapped).collect()
    }

    /// The same, with what the calls that introduced them are marked with.
    pub(crate) fn marked(&self) -> Vec<(Wrapped, Option<Mark>)> {
        self.membrane.wrapped()
    }

    /// How many capabilities have crossed and are held, inspected or not.
    pub(crate) fn held(&self) -> usize {
        self.membrane.held()
    }

    /// How many calls are in flight, in either direction; those in its parts are not among them.
    pub fn calls(&self) -> usize {
        self.membrane.calls()
    }

    /// What its limits have refused so far.
    pub fn refused(&self) -> Refused {
        self.membrane
            .limited()
            .map(Limited::refused)
            .unwrap_or_default()
    }

    /// Its end.
    pub fn completion(&self) -> Completion {
        self.membrane.completion()
    }

    /// Takes back everything that has crossed, for good. See [`WeakMembrane::revoke`].
    pub fn revoke(&self, reason: Error) -> bool {
        self.membrane.revoke(reason.into())
    }

    /// A handle that does not keep it from being complete.
    pub fn downgrade(&self) -> WeakMembrane {
        WeakMembrane {
            membrane: self.membrane.downgrade(),
        }
    }

    /// Lets `watcher` know what becomes of it. Only the first one counts.
    pub(crate) fn watch(&self, watcher: Rc<dyn Watch>) {
        self.membrane.watch(watcher);
    }

    fn of(membrane: &Ref) -> Self {
        Self {
            membrane: membrane.clone(),
        }
    }

    fn cross<C: FromClientHook>(&self, client: C, direction: Direction) -> C {
        C::new(self.membrane.cross(client.into_client_hook(), direction))
    }
}

impl Builder {
    /// Lets `tasks` drop what is inside when its last wrapper goes.
    ///
    /// Without, it is dropped together with the wrapper, which may be while `capnp-rpc`'s tables are
    /// borrowed: then a service whose `Drop` sends something panics.
    pub fn tasks(mut self, tasks: &Tasks) -> Self {
        self.tasks = Some(tasks.clone());
        self
    }

    /// Lets [`Completed::at`] tell the time.
    pub fn clock(mut self, clock: impl Into<Option<Rc<dyn Clock>>>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Lets `policy` decide about what passes through it.
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Some(Rc::new(policy));
        self
    }

    /// Notes of each wrapper what [`Membrane::wrapped`] tells. It costs an allocation for each; membranes
    /// that are not inspected note nothing.
    pub fn inspected(mut self) -> Self {
        self.is_inspected = true;
        self
    }

    /// Sets limits to what passes through it at once; by default there are none.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The membrane.
    pub fn build(self) -> Membrane {
        let Self {
            policy,
            limits,
            is_inspected,
            tasks,
            clock,
        } = self;
        Membrane {
            membrane: Ref::new(Options {
                root: None,
                policy,
                limits,
                is_inspected,
                tasks,
                clock,
            }),
        }
    }
}

impl WeakMembrane {
    /// The membrane, unless it is complete, or about to be.
    pub fn upgrade(&self) -> Option<Membrane> {
        Ref::upgrade(&self.membrane).map(|membrane| Membrane { membrane })
    }

    /// Takes back everything that has crossed, for good.
    ///
    /// When it returns, each wrapper fails with `reason`, each call in flight will say so to its
    /// caller, and what both held on the other side has been dropped; what is in use further up the
    /// stack is dropped when that use ends. Beyond its reach are messages that somebody holds, and what a
    /// policy has put in the place of a call's target or of a capability. Of several revocations the first counts: `false` where it
    /// was revoked before, or is complete.
    pub fn revoke(&self, reason: Error) -> bool {
        match Ref::upgrade(&self.membrane) {
            Some(membrane) => membrane.revoke(reason.into()),
            None => false,
        }
    }

    /// Takes back everything when `reason` resolves, which says why: a deadline, a cancellation token, a
    /// message from somebody. Ends then, or when the membrane is complete; to be spawned.
    ///
    /// ```
    /// # use capspan::{Error, membrane::Membrane};
    /// # async fn example(tasks: &capspan::Tasks, token: tokio_util::sync::CancellationToken) {
    /// let membrane = Membrane::new();
    /// let canceled = async move {
    ///     token.cancelled().await;
    ///     Error::revoked("the plug-in was removed")
    /// };
    /// tasks.spawn(membrane.downgrade().revoke_when(canceled));
    /// # }
    /// ```
    pub fn revoke_when<F>(&self, reason: F) -> impl Future<Output = ()> + use<F>
    where
        F: Future<Output = Error> + 'static,
    {
        let completion = Ref::upgrade(&self.membrane).map(|membrane| membrane.completion());
        let weak = self.clone();
        let mut reason = Box::pin(reason);
        async move {
            let Some(completion) = completion else { return };
            match future::select(reason.as_mut(), completion).await {
                Either::Left((reason, _)) => {
                    weak.revoke(reason);
                }
                Either::Right(_complete) => {}
            }
        }
    }

    /// Is nothing left that refers through it, but for what waits to be dropped?
    pub fn is_unreferenced(&self) -> bool {
        Ref::upgrade(&self.membrane).is_none()
    }
}

impl fmt::Debug for Membrane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membrane").finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakMembrane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakMembrane").finish_non_exhaustive()
    }
}
