//! The caller's side of a session.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Response};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either, LocalBoxFuture, Shared};

use super::channels::Channels;
use super::life::{Life, SessionEnd};
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::error::{Error, Result};
use crate::guard::Ending;
use crate::membrane::Membrane;
use crate::pipeline_capnp::event_dispatcher::open_session_results;
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
    ///
    /// Rust drops the locals of one `let` last one first: the session, which cancels it while the
    /// capability is still there. Drop the capability before, or wait for [`SessionHandle::done`].
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
    /// Tells whoever waits for the session to be opened that it is canceled.
    cancel: Option<oneshot::Sender<()>>,
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
    /// Whether it is a cancellation is seen now. What is to be done comes later, after all that was
    /// dropped before, as tables of `capnp-rpc` may be borrowed.
    fn drop(&mut self) {
        let session = self.session.take();
        let Some(life) = self.life.take() else {
            // Nothing of it is put off, so that the callee sees the order in which all was dropped.
            return;
        };
        let is_complete = life.is_unreferenced();
        self.tasks.drop_later(Cancel {
            session,
            canceled: (!is_complete).then(|| (life, self.cancel.take())),
        });
    }
}

struct Cancel {
    session: Option<rpc_session::Client>,
    canceled: Option<(Rc<Life>, Option<oneshot::Sender<()>>)>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        // First, so that the callee learns of it before the capabilities are gone, which looks like a
        // session that is complete.
        self.session.take();
        if let Some((life, cancel)) = self.canceled.take() {
            let reason = "the caller dropped it";
            life.abort(SessionEnd::new(Outcome::Canceled, Some(reason)));
            let _is_open_already = cancel.map(|cancel| cancel.send(()));
        }
    }
}

type Answer = Response<open_session_results::Owned>;

/// What the calls that open a session give, before any of them is answered.
pub(crate) struct Opened {
    pub(crate) top_level: Client,
    pub(crate) session: rpc_session::Client,
    /// Resolves when all of them are answered. It holds what must be held until then. Dropping it
    /// cancels the event.
    pub(crate) settled: LocalBoxFuture<'static, Result<Answer, capnp::Error>>,
}

/// Begins the caller's side.
///
/// A pipelined capability stays unresolved for ever if its call is dropped before it is answered; and a
/// call that is finished before its return keeps its slot. So the calls are waited for here, whatever
/// the application does with what came of them; unless it cancels the session, all of whose
/// capabilities are revoked then.
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
    let (cancel, canceled) = oneshot::channel();
    tasks.spawn(settle(settled, life.clone(), canceled));
    Session {
        top_level: C::new(top_level.hook),
        handle: SessionHandle {
            inner: Rc::new(Inner {
                session: Some(session),
                life,
                cancel: Some(cancel),
                done: RefCell::default(),
                tasks: tasks.clone(),
            }),
        },
    }
}

/// Waits until the session is open, or canceled. What the application holds of it has resolved then, and
/// what the answer holds is let go.
async fn settle(
    settled: LocalBoxFuture<'static, Result<Answer, capnp::Error>>,
    life: Option<Rc<Life>>,
    canceled: oneshot::Receiver<()>,
) {
    // A cancellation first: what is not delivered yet is not to be delivered any more.
    let settled = match future::select(canceled, settled).await {
        Either::Left((Ok(()), _settled)) => return,
        Either::Left((Err(oneshot::Canceled), settled)) => settled.await,
        Either::Right((settled, _canceled)) => settled,
    };
    match settled {
        Ok(answer) => {
            // Last, as it would be a cancellation if it went before the capabilities.
            let session = answer.get().map(|results| results.get_session());
            drop(answer);
            drop(session);
        }
        Err(error) => {
            let Some(life) = life else { return };
            let outcome = match error.kind {
                capnp::ErrorKind::Disconnected => Outcome::Disconnected,
                _ => Outcome::Exception,
            };
            let reason = Error::from(error);
            life.abort(SessionEnd::new(outcome, Some(reason.reason())));
        }
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}
