//! What a caller has yet to learn of a session that is complete on this side: whether it could be opened,
//! and how it ended over there.

use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;

use capnp::capability::Response;
use futures::future::{Either, select};

use super::end::SessionEnd;
use super::life::Life;
use super::side::CalleesPart;
use crate::error::Result;
use crate::pipeline_capnp::rpc_session;
use crate::trace::Outcome;
use crate::wire;

/// What a callee answers that was asked for the end.
pub(super) fn read_done(
    response: capnp::Result<Response<rpc_session::done_results::Owned>>,
) -> Result<SessionEnd> {
    let response = response?;
    let results = response.get()?;
    Ok(SessionEnd::new(
        wire::read_outcome(results.get_outcome()),
        wire::read_text(results.get_reason()),
    ))
}

impl Life {
    /// What is known of the end over there. One before its time is the end here, too.
    pub(super) fn learn(&self, end: &SessionEnd) {
        self.set_callee(CalleesPart::Over);
        if end.outcome() != Outcome::Ok {
            self.abort(end.clone());
        }
    }

    /// Asks the callee for its end, once: until that is known, nothing is the end that everybody wants. It
    /// is asked in a clean turn, and held until then.
    pub(super) fn ask(self: &Rc<Self>) {
        if self.end().is_some() || !matches!(*self.asking.borrow(), Asking::NotYet) {
            return;
        }
        let Some(session) = self.session() else {
            return;
        };
        self.asking.replace(Asking::Soon(session));
        let asked = Asked(self.clone());
        self.tasks.spawn(async move {
            let Asking::Soon(session) = asked.0.asking.replace(Asking::Now) else {
                return;
            };
            let done = session.done_request().send().promise;
            drop(session);
            let life = &asked.0;
            if let Either::Left((done, _)) = select(done, pin!(life.given_up())).await
                && let Ok(end) = read_done(done)
            {
                life.learn(&end);
            }
        });
    }

    /// Lets `settle`, which learns whether the session could be opened, be told of the end. Before that is
    /// known, it has a look when the session is complete: all may have been dropped because it could not.
    pub(super) fn begin_settling(&self, settle: &Waker) {
        self.settling.replace(Some(settle.clone()));
    }

    /// Whether the session could be opened is known, or nobody is to learn it any more.
    pub(super) fn end_settling(&self) {
        self.settling.take();
        self.conclude_if_complete();
    }

    /// Ends it if it is complete and nothing more is to be learned.
    pub(super) fn conclude_if_complete(&self) {
        if !matches!(*self.asking.borrow(), Asking::Soon(_) | Asking::Now)
            && let Some(completed) = self.completed.take()
        {
            self.conclude(completed.at());
        }
    }

    /// Something more is known: was that all?
    pub(super) fn look_again(&self) {
        match self.settling.take() {
            Some(settle) => settle.wake(),
            None => self.conclude_if_complete(),
        }
    }

    /// Its end is not asked for any more.
    pub(super) fn give_up_asking(&self) {
        let asking = self.asking.replace(Asking::NoMore);
        drop(asking);
    }
}

/// Whether the callee has been asked for the end.
#[derive(Default)]
pub(super) enum Asking {
    #[default]
    NotYet,
    Soon(rpc_session::Client),
    Now,
    NoMore,
}

/// That it is to be asked, or has been.
struct Asked(Rc<Life>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.give_up_asking();
        self.0.look_again();
    }
}
