//! One interface for whoever makes a call and does not care what on: a service, a capability at hand, or
//! something that is reached by names from one of these.
//!
//! A dynamic caller, such as a script's `users.get(7)`, knows a chain of names and what it begins with. If
//! that is a service, the call needs a session; if it is a capability that a call gave before, it does not.
//! [`ClientProvider::client_for_one_call`] tells the two apart in one place: what it gives has a session, with
//! a span that can be written to, or it has none.
//!
//! - [`Binding`]: a service. Each call opens a session.
//! - [`Stub`]: a capability at hand. No session.
//! - [`Property`]: a name, behind any other.
//! - [`Path`]: the names that lead to the method, gathered on the way.
//! - [`Provided`]: what a provider gives.
//!
//! ```
//! # use std::rc::Rc;
//! # use capnp::capability::{Client, FromClientHook};
//! # use capspan::pipeline::{Binding, Callee, CallOptions, ClientProvider, EventContext, Path, Pipeline, Service, Stub};
//! # use capspan::trace::SpanUpdate;
//! # use capspan_testkit::{greeter_capnp::greeter, testkit_capnp::thing, world::World};
//! # struct Things(World);
//! # impl Service for Things {
//! #     async fn open_session(self: Rc<Self>, _: EventContext) -> Result<Client, capnp::Error> {
//! #         Ok(Client::new(self.0.thing().into_client_hook()))
//! #     }
//! # }
//! async fn call(on: &dyn ClientProvider) -> capspan::Result<u32> {
//!     let mut path = Path::new();
//!     let provided = on.client_for_one_call(&mut path, &CallOptions::new())?;
//!     if let Some(session) = provided.session() {
//!         let method = path.names().join(".");
//!         session.update(&SpanUpdate::new().attribute("rpc.method", &*method));
//!     }
//!     let thing: thing::Client = provided.into_client();
//!     Ok(thing.number_request().send().promise.await?.get()?.get_number())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { capspan_testkit::run::run(async {
//! # let (tasks, driver) = capspan::Tasks::new();
//! # tokio::task::spawn_local(driver);
//! # let world = World::new();
//! # let held: thing::Client = world.thing();
//! # let pipeline = Pipeline::new(Callee::new(Things(world), &tasks).pipeline(), &tasks);
//! let users = Binding::new(pipeline, "users").property("stats")?.property("count")?;
//! call(&users).await?; // in a session of its own
//! call(&Stub::new(held)).await?; // in none
//! # Ok(()) }) }
//! ```

mod binding;
mod path;
mod property;
mod provided;
mod stub;

use std::rc::Rc;

pub use binding::Binding;
pub use path::Path;
pub use property::Property;
pub use provided::Provided;
pub use stub::Stub;

use crate::error::Result;
use crate::session::Channels;
use crate::trace::SpanParent;

/// Gives the capability for one call, and says how the method is reached from it.
///
/// A factory of services (of actors, say) implements it to open sessions its own way. If it makes a span of
/// its own around the call, that is to be the session's: [`Event::span`](super::Event::span) takes it over, so
/// that there are not two for one thing.
///
/// # Contract
///
/// An implementation adds to `path` the names that lead from the capability which it gives to what it stands
/// for, and nothing else. Where it fails, it leaves nothing behind: `path` is as it was, no session is open.
/// So what can fail comes first, and the session last; [`Path::attempt`] takes care of the names.
///
/// ```
/// # use capspan::pipeline::{CallOptions, ClientProvider, Path, Pipeline, Provided};
/// # use capspan::trace::SpanKind;
/// struct Actor {
///     pipeline: Pipeline,
///     id: String,
/// }
///
/// impl ClientProvider for Actor {
///     fn client_for_one_call<'a>(
///         &'a self,
///         _path: &mut Path<'a>,
///         call: &CallOptions,
///     ) -> capspan::Result<Provided> {
///         let span = call.parents().user.start("actor", SpanKind::Client);
///         span.set_attribute("actor.id", &*self.id);
///         let event = self.pipeline.event("unused: the span has a name").span(span);
///         Ok(Provided::from(event.open_session()))
///     }
/// }
/// ```
pub trait ClientProvider {
    /// Gives the capability for one call; if that takes a session, opens it. Adds the names that lead from it
    /// to the method to the end of `path`.
    ///
    /// It does not wait: a session that the service refuses is seen by the call.
    ///
    /// # Errors
    ///
    /// Whatever the implementation refuses for, with `path` as it was. See [`Binding`] and [`Property`].
    fn client_for_one_call<'a>(
        &'a self,
        path: &mut Path<'a>,
        call: &CallOptions,
    ) -> Result<Provided>;

    /// How many names it adds to a path: none, unless it says so. What stands behind names that others add
    /// passes their count on, so that chains are bounded.
    fn depth(&self) -> usize {
        0
    }

    /// What `name` leads to from here.
    ///
    /// # Errors
    ///
    /// As [`Property::new`].
    fn property(self, name: &str) -> Result<Property<Self>>
    where
        Self: Sized,
    {
        Property::new(self, name)
    }
}

impl<P: ClientProvider + ?Sized> ClientProvider for &P {
    fn client_for_one_call<'a>(
        &'a self,
        path: &mut Path<'a>,
        call: &CallOptions,
    ) -> Result<Provided> {
        (**self).client_for_one_call(path, call)
    }

    fn depth(&self) -> usize {
        (**self).depth()
    }
}

impl<P: ClientProvider + ?Sized> ClientProvider for Rc<P> {
    fn client_for_one_call<'a>(
        &'a self,
        path: &mut Path<'a>,
        call: &CallOptions,
    ) -> Result<Provided> {
        (**self).client_for_one_call(path, call)
    }

    fn depth(&self) -> usize {
        (**self).depth()
    }
}

/// What a provider is told of a call, for the session that it may open for it.
#[derive(Clone, Debug)]
pub struct CallOptions {
    parents: Channels<SpanParent>,
}

impl CallOptions {
    /// A call in the span that is current here ([`SpanParent::current`]), not observed on the internal
    /// channel.
    pub fn new() -> Self {
        Self {
            parents: Channels {
                internal: SpanParent::none(),
                user: SpanParent::current(),
            },
        }
    }

    /// A call in another span than the current.
    #[must_use]
    pub fn parent(mut self, parent: SpanParent) -> Self {
        self.parents.user = parent;
        self
    }

    /// A call that is observed on the internal channel as well, in this span.
    #[must_use]
    pub fn internal_parent(mut self, parent: SpanParent) -> Self {
        self.parents.internal = parent;
        self
    }

    /// Whose children a session's spans are.
    pub fn parents(&self) -> &Channels<SpanParent> {
        &self.parents
    }
}

impl Default for CallOptions {
    fn default() -> Self {
        Self::new()
    }
}
