//! The callee's side of a session.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};

use super::channels::Channels;
use super::end::SessionEnd;
use super::life::Life;
use super::limits::{Active, Activity};
use super::setting::Setting;
use super::side::{Side, What};
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::error::Error;
use crate::pipeline_capnp::rpc_session;
use crate::trace::{Outcome, SpanBuilder};
use crate::wire;

/// A session whose service has not answered yet. Dropping it ends it: nobody waits any more.
pub(crate) struct Opening {
    life: Rc<Life>,
    tasks: Tasks,
    _active: Option<Active>,
}

/// What the caller gets of a session.
pub(crate) struct CalleeSession {
    pub(crate) top_level: Client,
    pub(crate) session: rpc_session::Client,
}

impl CalleeSession {
    /// One that could not be opened.
    pub(crate) fn broken(error: &capnp::Error) -> Self {
        let broken = || capnp_rpc::new_broken_cap(error.clone());
        Self {
            top_level: broken(),
            session: FromClientHook::new(broken().hook),
        }
    }
}

impl Opening {
    pub(crate) fn begin(
        spans: Channels<SpanBuilder>,
        enricher: Enricher,
        setting: &Setting<'_>,
    ) -> Self {
        let life = Life::begin(What::Session, Side::Callee, spans, enricher, setting);
        Self {
            _active: life.activity().map(Activity::begin),
            life,
            tasks: setting.tasks.clone(),
        }
    }

    pub(crate) fn life(&self) -> &Rc<Life> {
        &self.life
    }

    /// The service has answered. From now on the session lasts as long as something refers to it.
    pub(crate) fn answered(
        self,
        answer: Result<Client, capnp::Error>,
        setting: &Setting<'_>,
    ) -> Result<CalleeSession, capnp::Error> {
        self.life.enricher().send_pending();
        let inside = answer.inspect_err(|error| {
            self.life.fail(&Error::from(error.clone()));
        })?;
        Ok(CalleeSession {
            top_level: setting.membrane(&self.life).export(inside),
            session: capnp_rpc::new_client(SessionServer {
                life: self.life.clone(),
                tasks: self.tasks.clone(),
            }),
        })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.life.has_membrane() {
            return;
        }
        let reason = "the caller no longer waits";
        self.life
            .abort(SessionEnd::new(Outcome::Canceled, Some(reason)));
    }
}

/// The session as the caller holds it. Its drop cancels.
struct SessionServer {
    life: Rc<Life>,
    tasks: Tasks,
}

impl rpc_session::Server for SessionServer {
    async fn done(
        self: Rc<Self>,
        _params: rpc_session::DoneParams,
        mut results: rpc_session::DoneResults,
    ) -> Result<(), capnp::Error> {
        // Whoever waits here does not hold the session.
        let life = self.life.clone();
        drop(self);
        let end = life.ended().await;
        let mut results = results.get();
        results.set_outcome(wire::write_outcome(end.outcome()));
        if let Some(reason) = end.reason() {
            results.set_reason(reason);
        }
        Ok(())
    }
}

impl Drop for SessionServer {
    /// Whether it is a cancellation is seen now: what was dropped before it may have been the last.
    /// What is to be done comes later, as tables of `capnp-rpc` may be borrowed.
    fn drop(&mut self) {
        if !self.life.is_unreferenced() {
            // Also if what is dropped meanwhile is the last.
            self.life.will_end(dropped());
            self.tasks.drop_later(Cancel(self.life.clone()));
        }
    }
}

struct Cancel(Rc<Life>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.abort(dropped());
    }
}

fn dropped() -> SessionEnd {
    SessionEnd::new(Outcome::Canceled, Some("the caller dropped it"))
}
