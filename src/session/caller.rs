//! The caller's side of a session.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Response};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{LocalBoxFuture, Shared};

use super::channels::Channels;
use super::life::{Life, SessionEnd};
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::error::{Error, Result};
use crate::guard::Ending;
use crate::membrane::Membrane;
use crate::pipeline_capnp::rpc_session;
use crate::trace::{Clock, Outcome, SpanBuilder};
use crate::wire;

/// A session that this side has opened: its top-level capability, and the session itself.
///
/// It lasts until the top-level capability and all that came of it are dropped, in either direction, or
/// until the [`SessionHandle`] is.
#[derive(Debug)]
pub struct Session<C> {
    top_level: C,
    handle: SessionHandle,
}

impl<C> Session<C> {
    /// What the service gave. It may be called at once, before the service has answered.
    pub fn top_level(&self) -> &C {
        &self.top_level
    }

    /// The top-level capability and the session, each to be held on its own.
    pub fn into_parts(self) -> (C, SessionHandle) {
        (self.top_level, self.handle)
    }
}

/// A session that is under way. Dropping it cancels the session, unless that is complete: all of its
/// capabilities are revoked, on both sides.
pub struct SessionHandle {
    inner: Rc<Inner>,
}

struct Inner {
    /// Taken by the drop.
    session: Option<rpc_session::Client>,
    /// Where the session is observed on this side.
    life: Option<Rc<Life>>,
    done: RefCell<Option<Done>>,
    tasks: Tasks,
}

type Done = Shared<LocalBoxFuture<'static, Result<SessionEnd>>>;

impl SessionHandle {
    /// Waits until the session is complete on the callee's side; tells how it ended there.
    ///
    /// Asked again, or after being cancelled, it goes on waiting for the same answer. Fails where the
    /// connection is lost, or where the session could not be opened.
    pub fn done(&self) -> impl Future<Output = Result<SessionEnd>> + use<> {
        self.inner.done()
    }

    /// How it ended on this side; `None` while it goes on, or where it is not observed.
    pub fn end(&self) -> Option<SessionEnd> {
        self.inner
            .life
            .as_ref()
            .and_then(|life| life.end().cloned())
    }

    /// Lets the session go on until its capabilities are dropped, with nobody to cancel it.
    pub fn detach(self) {
        let (done, tasks) = (self.done(), self.inner.tasks.clone());
        tasks.spawn(async move {
            let _however_it_ends = done.await;
            drop(self);
        });
    }
}

impl Inner {
    fn done(&self) -> Done {
        if let Some(done) = &*self.done.borrow() {
            return done.clone();
        }
        let (answered, answer) = oneshot::channel();
        if let Some(session) = &self.session {
            let asked = session.done_request().send().promise;
            // Waited for to its end, also when nobody wants the answer any more: a call that is
            // finished before its return keeps its slot at both ends of the connection.
            self.tasks.spawn(async move {
                let _nobody_asks = answered.send(read_done(asked.await));
            });
        }
        let done = async move {
            match answer.await {
                Ok(end) => end,
                Err(oneshot::Canceled) => Err(Error::canceled("the event loop is being shut down")),
            }
        };
        let done = done.boxed_local().shared();
        self.done.replace(Some(done.clone()));
        done
    }
}

fn read_done(
    response: Result<Response<rpc_session::done_results::Owned>, capnp::Error>,
) -> Result<SessionEnd> {
    let response = response?;
    let results = response.get()?;
    Ok(SessionEnd::new(
        wire::read_outcome(results.get_outcome()),
        wire::read_text(results.get_reason()),
    ))
}

impl Drop for Inner {
    fn drop(&mut self) {
        // After all that was dropped before: with that the session may be complete.
        self.tasks.drop_later(Cancel {
            life: self.life.take(),
            session: self.session.take(),
        });
    }
}

struct Cancel {
    life: Option<Rc<Life>>,
    session: Option<rpc_session::Client>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(life) = &self.life
            && !life.is_unreferenced()
        {
            let reason = "the caller dropped it";
            life.abort(SessionEnd::new(Outcome::Canceled, Some(reason)));
        }
        self.session.take();
    }
}

/// What the calls that open a session give, before any of them is answered.
pub(crate) struct Opened {
    pub(crate) top_level: Client,
    pub(crate) session: rpc_session::Client,
    /// Resolves when all of them are answered. It holds what must be held until then.
    pub(crate) settled: LocalBoxFuture<'static, Result<(), capnp::Error>>,
}

/// Begins the caller's side.
///
/// A pipelined capability stays unresolved for ever if its call is dropped before it is answered; and a
/// call that is finished before its return keeps its slot. So the calls are waited for here, whatever
/// the application does with what came of them.
pub(crate) fn open<C: FromClientHook>(
    opened: Opened,
    spans: Channels<SpanBuilder>,
    ending: Option<&Ending>,
    clock: Option<Rc<dyn Clock>>,
    tasks: &Tasks,
) -> Session<C> {
    let Opened {
        mut top_level,
        session,
        settled,
    } = opened;
    let is_observed = spans.iter().any(SpanBuilder::is_observed);
    let life = is_observed.then(|| Life::begin(spans, Enricher::none(), ending));
    if let Some(life) = &life {
        let membrane = Membrane::builder().tasks(tasks).clock(clock).build();
        top_level = membrane.export(top_level);
        let completed = life.clone();
        membrane.on_complete(move |at| completed.complete(at));
        life.set_membrane(membrane.downgrade());
    }
    let opening = life.clone();
    tasks.spawn(async move {
        if let Err(error) = settled.await
            && let Some(life) = opening
        {
            let outcome = match error.kind {
                capnp::ErrorKind::Disconnected => Outcome::Disconnected,
                _ => Outcome::Exception,
            };
            let reason = Error::from(error);
            life.abort(SessionEnd::new(outcome, Some(reason.reason())));
        }
    });
    Session {
        top_level: C::new(top_level.hook),
        handle: SessionHandle {
            inner: Rc::new(Inner {
                session: Some(session),
                life,
                done: RefCell::default(),
                tasks: tasks.clone(),
            }),
        },
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}
