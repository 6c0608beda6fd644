//! A service on which each call opens a session.

use std::fmt;
use std::rc::Rc;

use super::{CallOptions, ClientProvider, Path, Provided};
use crate::error::Result;
use crate::pipeline::{Event, Pipeline};

/// A service. Each call on it opens a session of its own, as a child of the call's span.
///
/// It refuses, and leaves no span, where its connection is lost
/// ([`Error::is_disconnected`](crate::Error::is_disconnected)) and where [`prepare`](Self::prepare) does. What
/// the service itself refuses, as one does that is shutting down, is seen by the call and on the session's
/// span.
#[derive(Clone)]
pub struct Binding {
    pipeline: Pipeline,
    name: Box<str>,
    prepare: Option<Rc<Prepare>>,
}

type Prepare = dyn for<'e> Fn(Event<'e>, &CallOptions) -> Result<Event<'e>>;

impl Binding {
    /// The service behind `pipeline`, whose sessions' spans are called `name`.
    pub fn new(pipeline: Pipeline, name: &str) -> Self {
        Self {
            pipeline,
            name: name.into(),
            prepare: None,
        }
    }

    /// Lets `prepare` see to each event before it starts: what travels with it, how long it may take; or
    /// refuse it. It takes the place of one that was set before.
    ///
    /// ```
    /// # use capspan::{Error, pipeline::{Binding, Metadata, Pipeline}};
    /// # use std::{cell::Cell, rc::Rc};
    /// # fn users(pipeline: Pipeline, is_draining: Rc<Cell<bool>>) -> Binding {
    /// Binding::new(pipeline, "users").prepare(move |event, _call| {
    ///     if is_draining.get() {
    ///         return Err(Error::overloaded("shutting down"));
    ///     }
    ///     Ok(event.metadata(Metadata::new().with_synthetic(true)))
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn prepare(
        mut self,
        prepare: impl for<'e> Fn(Event<'e>, &CallOptions) -> Result<Event<'e>> + 'static,
    ) -> Self {
        self.prepare = Some(Rc::new(prepare));
        self
    }
}

impl ClientProvider for Binding {
    /// Opens a session. `path` stays as it is: the method is the top-level capability's.
    fn client_for_one_call<'a>(
        &'a self,
        _path: &mut Path<'a>,
        call: &CallOptions,
    ) -> Result<Provided> {
        self.pipeline.check()?;
        let parents = call.parents();
        let mut event = self
            .pipeline
            .event(&self.name)
            .parent(parents.user.clone())
            .internal_parent(parents.internal.clone());
        if let Some(prepare) = &self.prepare {
            event = prepare(event, call)?;
        }
        Ok(Provided::from(event.open_session()))
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("pipeline", &self.pipeline)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
