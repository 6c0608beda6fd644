//! The caller's side of a session.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, pending, ready};
use std::pin::pin;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, RemotePromise};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, Shared, select};

use super::ask::read_done;
use super::channels::Channels;
use super::end::SessionEnd;
use super::life::Life;
use super::setting::Setting;
use super::settle::Settle;
use super::side::{CalleesPart, Side, What};
use super::top_level::direct;
use crate::drive::Tasks;
use crate::error::{Error, Result};
use crate::guard::Ending;
use crate::pipeline_capnp::{event_dispatcher, pipeline, rpc_session};
use crate::trace::{Outcome, SpanBuilder, SpanParent, SpanUpdate};

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
    part: Part,
    ending: Option<Ending>,
    done: RefCell<Option<Done>>,
    tasks: Tasks,
}

/// This side's part of a session.
enum Part {
    /// It is observed on this side, or has limits. It has the session.
    Living(Rc<Life>),
    Bare(rpc_session::Client),
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

    /// Starts children of the session's span on this side, on the user channel; after its end as well.
    pub fn parent(&self) -> SpanParent {
        self.parents().user
    }

    /// The same on each channel.
    pub fn parents(&self) -> Channels<SpanParent> {
        let life = self.inner.life();
        life.map(|life| life.parents().channels.clone())
            .unwrap_or_default()
    }

    /// Writes to the session's span on this side, on the user channel. Does nothing after its end.
    pub fn update(&self, update: &SpanUpdate) {
        self.write(|spans| &spans.user, update);
    }

    /// The same on the internal channel.
    pub fn update_internal(&self, update: &SpanUpdate) {
        self.write(|spans| &spans.internal, update);
    }

    fn write(&self, of: impl Fn(&Channels<SpanBuilder>) -> &SpanBuilder, update: &SpanUpdate) {
        if let Some(life) = self.inner.life() {
            life.with_spans(|spans| {
                of(spans).apply(update);
            });
        }
    }

    /// How it ended on this side; `None` while it goes on, or where it is neither observed nor limited.
    pub fn end(&self) -> Option<SessionEnd> {
        self.inner.life().and_then(|life| life.end()).cloned()
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
    fn life(&self) -> Option<&Rc<Life>> {
        match &self.part {
            Part::Living(life) => Some(life),
            Part::Bare(_) => None,
        }
    }

    fn done(&self) -> Done {
        if let Some(done) = &*self.done.borrow() {
            return done.clone();
        }
        let session = match &self.part {
            Part::Living(life) => life.session(),
            Part::Bare(session) => Some(session.clone()),
        };
        let done = match session {
            Some(session) => self.ask(&session).boxed_local(),
            // This side has ended it, and asks no more.
            None => {
                let end = self.life().and_then(|life| life.end()).cloned();
                ready(end.ok_or_else(|| Error::ended("the session is over"))).boxed_local()
            }
        };
        let done = done.shared();
        self.done.replace(Some(done.clone()));
        done
    }

    /// Asks the callee how it ended.
    fn ask(
        &self,
        session: &rpc_session::Client,
    ) -> impl Future<Output = Result<SessionEnd>> + use<> {
        let (answered, answer) = oneshot::channel();
        let mut asked = session.done_request().send().promise;
        // In process it begins when it is polled, and holds the session until then, whose drop would be
        // seen too late.
        let asked = match (&mut asked).now_or_never() {
            Some(response) => ready(response).left_future(),
            None => asked.right_future(),
        };
        let (life, ending) = (self.life().cloned(), self.ending.clone());
        // Waited for to its end, also when nobody wants the answer any more: a call that is
        // finished before its return keeps its slot at both ends of the connection.
        self.tasks.spawn(async move {
            let given_up = async {
                match &life {
                    Some(life) => life.given_up().await,
                    None => pending().await,
                }
            };
            let done = match select(asked, pin!(given_up)).await {
                Either::Left((response, _)) => read_done(response).map_err(|error| match ending {
                    Some(ending) => ending.lost_or(error),
                    None => error,
                }),
                Either::Right(_) => Err(Error::canceled("the session was not open yet")),
            };
            if let (Some(life), Ok(end)) = (life, &done) {
                life.learn(end);
            }
            let _nobody_asks = answered.send(done);
        });
        async move {
            match answer.await {
                Ok(end) => end,
                Err(oneshot::Canceled) => Err(Error::canceled("the event loop is being shut down")),
            }
        }
    }
}

impl Drop for Inner {
    /// Whether it is a cancellation is seen now. What is to be done comes later, after all that was
    /// dropped before, as tables of `capnp-rpc` may be borrowed.
    fn drop(&mut self) {
        // Of one that is bare nothing is put off, so that the callee sees the order in which all was dropped.
        let Part::Living(life) = &self.part else {
            return;
        };
        // What is left of one that is over for the callee is an answer that has arrived, and not been read.
        let is_complete = life.is_unreferenced() || life.callee() == CalleesPart::Over;
        if !is_complete {
            // Also if what is dropped meanwhile is the last.
            life.will_end(dropped());
        }
        self.tasks.drop_later(Cancel {
            session: life.take_session(),
            canceled: (!is_complete).then(|| life.clone()),
        });
    }
}

struct Cancel {
    session: Option<rpc_session::Client>,
    canceled: Option<Rc<Life>>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        // First, so that the callee learns of it before the capabilities are gone, which looks like a
        // session that is complete.
        self.session.take();
        if let Some(life) = self.canceled.take() {
            life.give_up_asking();
            life.abort(dropped());
        }
    }
}

fn dropped() -> SessionEnd {
    SessionEnd::new(Outcome::Canceled, Some("the caller dropped it"))
}

/// What the calls that open a session give, before any of them is answered.
pub(crate) struct Opened {
    pub(crate) top_level: Client,
    pub(crate) session: rpc_session::Client,
    pub(crate) start: RemotePromise<pipeline::start_event_results::Owned>,
    pub(crate) open: RemotePromise<event_dispatcher::open_session_results::Owned>,
}

/// Begins the caller's side.
pub(crate) fn open<C: FromClientHook>(
    opened: Opened,
    spans: Channels<SpanBuilder>,
    setting: &Setting<'_>,
) -> Session<C> {
    let Opened {
        mut top_level,
        session,
        start,
        open,
    } = opened;
    let is_observed = spans.iter().any(SpanBuilder::is_observed);
    let part = match is_observed || setting.limits.is_some() || setting.live.is_some() {
        true => {
            let none = setting.no_enricher();
            let life = Life::begin(What::Session, Side::Caller, spans, none, setting);
            life.set_session(session);
            top_level = setting.membrane(&life).export(top_level);
            Part::Living(life)
        }
        false => {
            top_level = Client::new(direct(top_level.hook));
            Part::Bare(session)
        }
    };
    let inner = Inner {
        part,
        ending: setting.ending.cloned(),
        done: RefCell::default(),
        tasks: setting.tasks.clone(),
    };
    let settle = Settle::new(start, open, inner.life().cloned());
    match setting.ending.cloned() {
        None => inner.tasks.spawn(settle),
        Some(ending) => inner.tasks.spawn(async move {
            let _whichever_is_first = select(settle, pin!(ending.stopped())).await;
        }),
    }
    Session {
        top_level: C::new(top_level.hook),
        handle: SessionHandle {
            inner: Rc::new(inner),
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
