//! The caller's side: starting events.

use std::fmt;

use capnp::capability::{Client, FromClientHook};

use super::metadata::Metadata;
use crate::drive::Tasks;
use crate::enrich;
use crate::guard::{Connection, Ending};
use crate::pipeline_capnp::pipeline;
use crate::session::{self, Channels, Opened, Session};
use crate::trace::{SpanBuilder, SpanKind, SpanParent};

/// A service on which events can be started.
#[derive(Clone)]
pub struct Pipeline {
    client: pipeline::Client,
    ending: Option<Ending>,
    tasks: Tasks,
}

/// An event that is being prepared: how it is called, whose child it is, what travels with it.
#[must_use = "nothing starts before the event is delivered"]
pub struct Event<'a> {
    pipeline: &'a Pipeline,
    name: &'a str,
    parents: Channels<SpanParent>,
    metadata: Metadata,
}

impl Pipeline {
    /// A service in this process, or one of whose connection nothing is known.
    ///
    /// If the connection that `client` comes from is lost, sessions are seen to end only when the
    /// application lets go of them. Where there is a connection, use [`over`](Self::over).
    pub fn new(client: pipeline::Client, tasks: &Tasks) -> Self {
        Self {
            client,
            ending: None,
            tasks: tasks.clone(),
        }
    }

    /// The service at the other end of `connection`, which serves a pipeline.
    pub fn over(connection: &Connection, tasks: &Tasks) -> Self {
        Self {
            client: connection.bootstrap(),
            ending: Some(connection.ending().clone()),
            tasks: tasks.clone(),
        }
    }

    /// Prepares an event. Its span on this side is called `name`; on the user channel it is a child of
    /// the span that is current here ([`SpanParent::current`]), on the internal one it is not observed.
    pub fn event<'a>(&'a self, name: &'a str) -> Event<'a> {
        Event {
            pipeline: self,
            name,
            parents: Channels {
                internal: SpanParent::none(),
                user: SpanParent::current(),
            },
            metadata: Metadata::new(),
        }
    }

    /// Opens a session in the span that is current here. See [`event`](Self::event) for more choice.
    pub fn open_session<C: FromClientHook>(&self, name: &str) -> Session<C> {
        self.event(name).open_session()
    }
}

impl Event<'_> {
    /// Makes the event's span on the user channel a child of another one than the current.
    pub fn parent(mut self, parent: SpanParent) -> Self {
        self.parents.user = parent;
        self
    }

    /// Makes the event observed on the internal channel as well, as a child of `parent`.
    pub fn internal_parent(mut self, parent: SpanParent) -> Self {
        self.parents.internal = parent;
        self
    }

    /// What else travels with it.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Delivers it as an RPC session.
    ///
    /// It does not wait: all calls that this takes leave together, and with them whatever is called on
    /// the session's top-level capability. A failure is seen by those calls, on the session's span, and
    /// by [`SessionHandle::done`](crate::session::SessionHandle::done).
    pub fn open_session<C: FromClientHook>(mut self) -> Session<C> {
        let Pipeline {
            client,
            ending,
            tasks,
        } = self.pipeline;
        let spans = self
            .parents
            .map(|parent| (parent.start(self.name, SpanKind::Client), parent));
        let clock = [&spans.user.1, &spans.internal.1]
            .into_iter()
            .find_map(|parent| parent.tracer().clock());
        let spans: Channels<SpanBuilder> = spans.map(|(span, _)| span);
        self.metadata.start_time = spans.iter().rev().find_map(SpanBuilder::start_time);
        self.metadata.parents = spans.as_ref().map(SpanBuilder::context);

        let mut request = client.start_event_request();
        // With nothing to say the parameters are not even begun.
        if self.metadata != Metadata::default() {
            self.metadata.write(request.get().init_metadata());
        }
        if spans.user.is_observed() {
            let enricher = enrich::export(spans.user.downgrade());
            request.get().set_enricher(enricher);
        }
        let start = request.send();
        let dispatcher = start.pipeline.get_dispatcher();
        let open = dispatcher.open_session_request().send();
        let opened = Opened {
            top_level: Client::new(open.pipeline.get_top_level().as_cap()),
            session: open.pipeline.get_session(),
            start,
            open,
        };
        session::open(opened, spans, ending.as_ref(), clock, tasks)
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name)
            .field("parents", &self.parents)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
