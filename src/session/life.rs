//! The life of one side of a session: its spans are open until it ends, once.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use futures::future::{Either, select};

use super::ask::Asking;
use super::call_spans::Parents;
use super::channels::Channels;
use super::end::{Exception, SessionEnd};
use super::limits::{self, Activity};
use super::live::LivePlace;
use super::running::RunningEvent;
use super::setting::Setting;
use super::side::{CalleesPart, Side, What};
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::error::Error;
use crate::guard::{Ending, OnEnd, Registration};
use crate::membrane::{Completed, Membrane, Scope, Watch, WeakMembrane};
use crate::pipeline_capnp::rpc_session;
use crate::room::Place;
use crate::trace::{Outcome, SpanBuilder, Timestamp};
use crate::waiting::Waiting;

/// One side of a session, or of another event.
pub(crate) struct Life {
    what: What,
    side: Side,
    /// Of what its spans are the parents; it works after the end as well.
    parents: Parents,
    /// Taken at the end.
    spans: RefCell<Option<Channels<SpanBuilder>>>,
    end: OnceCell<SessionEnd>,
    /// How it is to end when it is complete, where that is known before.
    foreseen: OnceCell<SessionEnd>,
    /// Whether its spans say what it failed with.
    has_exception: Cell<bool>,
    waiting: Waiting,
    membrane: OnceCell<WeakMembrane>,
    /// On the caller's side.
    callee: Cell<CalleesPart>,
    /// The callee's way to the caller's span; cut at the end, so that nothing of the peer is held.
    enricher: Enricher,
    ending: Option<Ending>,
    registration: RefCell<Option<Registration>>,
    place: RefCell<Option<Place>>,
    /// Where there is an idle limit.
    activity: Option<Activity>,
    /// The caller's end of a session, whose drop cancels.
    session: RefCell<Option<rpc_session::Client>>,
    /// Who learns whether the session could be opened.
    pub(super) settling: RefCell<Option<Waker>>,
    /// Whether the callee has been asked how it ended.
    pub(super) asking: RefCell<Asking>,
    /// How much background work goes on.
    pub(super) works: Cell<usize>,
    pub(super) max_works: usize,
    /// That nothing refers to it any more, while there is more to wait for.
    pub(super) completed: Cell<Option<Completed>>,
    running: RefCell<Option<RunningEvent>>,
    live: RefCell<Option<LivePlace>>,
    pub(super) tasks: Tasks,
}

impl Life {
    /// Begins with open spans; ends with the connection at the latest, where there is one.
    pub(crate) fn begin(
        what: What,
        side: Side,
        spans: Channels<SpanBuilder>,
        enricher: Enricher,
        setting: &Setting<'_>,
    ) -> Rc<Self> {
        let ending = setting.ending;
        // Not for a cycle: like this it is made where it stays.
        let life = Rc::new_cyclic(|_| Self {
            what,
            side,
            parents: Parents::of(&spans),
            spans: RefCell::new(Some(spans)),
            end: OnceCell::new(),
            foreseen: OnceCell::new(),
            has_exception: Cell::new(false),
            waiting: Waiting::default(),
            membrane: OnceCell::new(),
            callee: Cell::default(),
            enricher,
            ending: ending.cloned(),
            registration: RefCell::default(),
            place: RefCell::default(),
            activity: setting.limits.and_then(Activity::of),
            session: RefCell::default(),
            settling: RefCell::default(),
            asking: RefCell::default(),
            works: Cell::new(0),
            max_works: setting.max_works,
            completed: Cell::new(None),
            running: RefCell::default(),
            live: RefCell::default(),
            tasks: setting.tasks.clone(),
        });
        if let Some(running) = setting.running {
            life.running.replace(Some(running.enter(&life)));
        }
        if let Some(live) = setting.live {
            life.live.replace(Some(live.enter(&life)));
        }
        if let Some(ending) = ending {
            match ending.reason() {
                Some(reason) => life.connection_ended(reason),
                None => {
                    let weak = Rc::downgrade(&life);
                    let watcher: Weak<dyn OnEnd> = weak;
                    life.registration.replace(Some(ending.register(watcher)));
                }
            }
        }
        if let Some(limits) = setting.limits {
            limits::watch(limits, &life, setting.tasks);
        }
        life
    }

    /// Keeps a place until the end.
    pub(crate) fn occupy(&self, place: Option<Place>) {
        if self.end.get().is_none() {
            self.place.replace(place);
        }
    }

    /// Where there is an idle limit: what happens in it.
    pub(crate) fn activity(&self) -> Option<&Activity> {
        self.activity.as_ref()
    }

    /// What is revoked when it ends before its time. To be set once.
    pub(crate) fn set_membrane(&self, membrane: WeakMembrane) {
        if let Some(end) = self.end.get() {
            membrane.revoke(self.end_error(end));
        }
        let _only_once = self.membrane.set(membrane);
    }

    /// Its membrane, while anything refers through it.
    pub(super) fn membrane(&self) -> Option<Membrane> {
        self.membrane.get()?.upgrade()
    }

    pub(crate) fn has_membrane(&self) -> bool {
        self.membrane.get().is_some()
    }

    /// Its spans, while they are open. An observer that is told of a change may end it within, which
    /// then ends with this use.
    pub(crate) fn with_spans<T>(&self, f: impl FnOnce(&Channels<SpanBuilder>) -> T) -> Option<T> {
        let result = self.spans.borrow().as_ref().map(f);
        if let Some(end) = self.end.get() {
            self.close_spans(end, None);
        }
        result
    }

    /// Where the children of its spans stand.
    pub(crate) fn parents(&self) -> &Parents {
        &self.parents
    }

    pub(super) fn what(&self) -> What {
        self.what
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn enricher(&self) -> &Enricher {
        &self.enricher
    }

    pub(crate) fn end(&self) -> Option<&SessionEnd> {
        self.end.get()
    }

    /// Ends it before its time: its capabilities are revoked. Does nothing after the end.
    ///
    /// Only from a clean turn: what is revoked is dropped here.
    pub(crate) fn abort(&self, end: SessionEnd) {
        // A panic takes the whole connection: its calls are dropped before that is known to be over.
        let is_torn = end.outcome() == Outcome::Canceled && std::thread::panicking();
        let end = match &self.ending {
            Some(_) if is_torn => {
                let reason = "a panic took the connection";
                SessionEnd::new(Outcome::Disconnected, Some(reason))
            }
            _ => end,
        };
        let error = self.end_error(&end);
        // The spans first: they are to say why, and not that all is complete.
        if self.close(end, None)
            && let Some(membrane) = self.membrane.get()
        {
            membrane.revoke(error);
        }
    }

    /// A limit of time is reached.
    pub(super) fn time_out(&self, reason: &str) {
        // First, as when the caller drops it: without its capabilities it would look complete to the callee.
        drop(self.take_session());
        self.give_up_asking();
        self.abort(SessionEnd::new(Outcome::Timeout, Some(reason)));
    }

    /// Keeps the caller's end of a session.
    pub(super) fn set_session(&self, session: rpc_session::Client) {
        self.session.replace(Some(session));
    }

    /// The caller's end of a session, unless it is over.
    pub(super) fn session(&self) -> Option<rpc_session::Client> {
        self.session.borrow().clone()
    }

    /// Takes the caller's end of a session. To be dropped where a cancellation may come of it.
    pub(super) fn take_session(&self) -> Option<rpc_session::Client> {
        self.session.take()
    }

    /// Its handler has failed, or the calls that were to reach it. Where it has a connection, that knows
    /// whether it was lost; an error of that kind may as well be about something of the service's own.
    pub(crate) fn fail(&self, error: &Error) {
        let end = self.end_by(error);
        if end.outcome() != Outcome::Disconnected {
            self.note_exception(&Exception::of(error));
        }
        self.abort(end);
    }

    /// Something of it has failed, and what else is going on goes on: so it ends when it is complete.
    pub(crate) fn will_fail(&self, error: &Error) {
        self.note_exception(&Exception::of(error));
        self.will_end(self.end_by(error));
    }

    /// Writes on its spans what it failed with: of several the first one counts.
    pub(crate) fn note_exception(&self, exception: &Exception<'_>) {
        if self.has_exception.replace(true) {
            return;
        }
        self.with_spans(|spans| {
            for span in spans.iter().filter(|span| span.is_observed()) {
                span.apply(&exception.update());
            }
        });
    }

    fn end_by(&self, error: &Error) -> SessionEnd {
        SessionEnd::new(self.outcome_of(error), Some(error.reason()))
    }

    /// How something that failed with `error` ended.
    pub(super) fn outcome_of(&self, error: &Error) -> Outcome {
        let lost = self.ending.as_ref().and_then(Ending::reason);
        match lost {
            Some(_) => Outcome::Disconnected,
            None if error.is_overloaded() => Outcome::Overloaded,
            None => Outcome::Exception,
        }
    }

    /// What a call that was to reach it failed with: that its connection is lost, where it is.
    pub(crate) fn lost_or(&self, error: Error) -> Error {
        match &self.ending {
            Some(ending) => ending.lost_or(error),
            None => error,
        }
    }

    /// When it is complete, it ends like this. Of several the first one counts.
    pub(crate) fn will_end(&self, end: SessionEnd) {
        let _only_the_first = self.foreseen.set(end);
    }

    /// Is nothing left of it but what waits to be dropped?
    pub(crate) fn is_unreferenced(&self) -> bool {
        self.membrane
            .get()
            .is_some_and(WeakMembrane::is_unreferenced)
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> SessionEnd {
        let mut waiter = self.waiting.waiter();
        poll_fn(|cx| match self.end.get() {
            Some(end) => Poll::Ready(end.clone()),
            None => {
                waiter.wait(cx.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// What is refused after its end is refused with this.
    pub(super) fn over(&self) -> Option<Error> {
        let end = self.end.get()?;
        Some(Error::ended(format!(
            "the {} is over: {}",
            self.what.as_str(),
            end.text()
        )))
    }

    /// What `work` gives, or an error that says how it ended before that was done.
    pub(crate) async fn unless_over<T>(
        &self,
        work: impl Future<Output = capnp::Result<T>>,
    ) -> capnp::Result<T> {
        match select(pin!(self.ended()), pin!(work)).await {
            Either::Left((end, _)) => Err(self.end_error(&end).into()),
            Either::Right((result, _)) => result,
        }
    }

    /// On the caller's side: how far the callee is.
    pub(super) fn callee(&self) -> CalleesPart {
        self.callee.get()
    }

    /// It has come so far.
    pub(super) fn set_callee(&self, callee: CalleesPart) {
        self.callee.set(callee);
    }

    /// Waits until it has ended before its time and before the service had answered, which may not come. Nobody
    /// waits for that answer then, and what is pipelined on it gets none.
    pub(super) async fn given_up(&self) {
        let end = self.ended().await;
        if end.outcome() == Outcome::Ok || self.callee() != CalleesPart::Opening {
            pending().await
        }
    }

    /// All of it is done.
    pub(super) fn conclude(&self, at: Option<Timestamp>) {
        let end = self.foreseen.get().cloned();
        self.close(end.unwrap_or(SessionEnd::new(Outcome::Ok, None)), at);
    }

    /// True the first time.
    fn close(&self, end: SessionEnd, at: Option<Timestamp>) -> bool {
        if self.end.set(end.clone()).is_err() {
            return false;
        }
        self.registration.take();
        self.place.take();
        self.running.take();
        self.live.take();
        self.enricher.cut();
        self.close_spans(&end, at);
        self.waiting.wake();
        if let Some(settle) = self.settling.take() {
            settle.wake();
        }
        true
    }

    fn close_spans(&self, end: &SessionEnd, at: Option<Timestamp>) {
        let Ok(mut spans) = self.spans.try_borrow_mut() else {
            // In use further up the stack: `with_spans` comes here again.
            return;
        };
        let taken = spans.take();
        drop(spans);
        for span in taken.iter().flat_map(Channels::iter) {
            end.close(span, self.has_exception.get(), at);
        }
    }

    /// What calls on its capabilities fail with afterwards.
    fn end_error(&self, end: &SessionEnd) -> Error {
        let text = format!("the {} is over: {}", self.what.as_str(), end.text());
        match end.outcome() {
            Outcome::Disconnected => Error::disconnected(text),
            Outcome::Canceled => Error::canceled(text),
            Outcome::Overloaded => Error::overloaded(text),
            Outcome::Ok | Outcome::Exception | Outcome::Revoked | Outcome::Timeout => {
                Error::revoked(text)
            }
        }
    }
}

impl Watch for Life {
    /// What was written before is to arrive before.
    fn before_return(&self) {
        self.enricher.send_pending();
    }

    /// What is answered here runs on behalf of it; what runs elsewhere, also in this process, does not.
    fn scope(self: Rc<Self>, is_inbound: bool) -> Option<Rc<dyn Scope>> {
        match self.side.answers(is_inbound) {
            true => Some(self),
            false => None,
        }
    }

    /// The membrane is complete: the end that everybody wants, unless it is how a lost connection
    /// looks, which drops everything.
    fn complete(&self, completed: Completed) {
        // Of what was written last no return has taken care.
        self.enricher.send_pending();
        if let Some(lost) = self.ending.as_ref().and_then(Ending::reason) {
            let end = SessionEnd::new(Outcome::Disconnected, Some(lost.reason()));
            self.close(end, completed.at());
            return;
        }
        self.completed.set(Some(completed));
        match self.works.get() {
            0 => self.look_again(),
            // From now on the work is all there is: the connection has nothing to do with it.
            _ => drop(self.registration.take()),
        }
    }

    /// What has failed may be the session, of which only the callee knows.
    fn call_failed(self: Rc<Self>) {
        self.ask();
    }
}

/// The event's span is the current one for what runs on its behalf.
impl Scope for Life {
    fn enter(&self, work: &mut dyn FnMut()) {
        self.parents.enter(work);
    }
}

impl OnEnd for Life {
    fn connection_ended(&self, reason: &Error) {
        let is_closed = self.ending.as_ref().is_some_and(Ending::is_closed_by_peer);
        let is_idle = || self.membrane().is_none_or(|membrane| membrane.calls() == 0);
        // Where nobody has said when a session ends, that is how it does.
        let outcome = match self.what == What::Connection && is_closed && is_idle() {
            true => Outcome::Ok,
            false => Outcome::Disconnected,
        };
        self.abort(SessionEnd::new(outcome, Some(reason.reason())));
    }
}

#[cfg(test)]
mod tests;
