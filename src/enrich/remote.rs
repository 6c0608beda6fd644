//! An enricher in another process.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::answers::{Answers, Flushed};
use super::pending::Pending;
use crate::drive::Tasks;
use crate::error::{Error, Result};
use crate::outbox::{Entry, Outbox, Sender, Unanswered};
use crate::pipeline_capnp::span_enricher;
use crate::trace::{EnrichStatus, SpanUpdate};
use crate::wire;

/// How many updates may be on their way before others wait for room.
const MAX_IN_FLIGHT: usize = 64;

/// With how many unanswered a caller is given up. More than [`MAX_IN_FLIGHT`] only leave because they
/// must go before a return; one that never answers is not to make us keep them for ever.
const MAX_UNANSWERED: usize = 1024;

/// With how many that all events of one connection have left, those that are over among them, a caller is given up: a
/// call that is not answered stays after its event. As many as `GuardLimits` lets a peer have in flight.
const MAX_UNANSWERED_OF_A_PEER: usize = 16_384;

/// Sends what is written in one turn of the event loop as one update when the turn ends, or before anything
/// else is sent that must not overtake it; while there is no room, what is written in several.
pub(super) struct Remote {
    /// `None` when nothing more is to be sent: then nothing of the connection is held either, nor its driver.
    way: RefCell<Option<Way>>,
    /// What is said to who asks after that.
    end: RefCell<Option<Result<EnrichStatus>>>,
    pending: RefCell<Pending>,
    /// Where something is pending that is to go before whatever must not overtake it.
    entry: RefCell<Option<Entry>>,
    answers: RefCell<Answers>,
    /// Is somebody going to send what is pending when the turn ends?
    ends_turn: Cell<bool>,
}

/// The way to the caller.
#[derive(Clone)]
struct Way {
    client: span_enricher::Client,
    tasks: Tasks,
    outbox: Option<Outbox>,
}

impl Remote {
    pub(super) fn new(
        client: span_enricher::Client,
        tasks: &Tasks,
        outbox: Option<&Outbox>,
    ) -> Self {
        Self {
            way: RefCell::new(Some(Way {
                client,
                tasks: tasks.clone(),
                outbox: outbox.cloned(),
            })),
            end: RefCell::default(),
            pending: RefCell::default(),
            entry: RefCell::default(),
            answers: RefCell::new(Answers::new()),
            ends_turn: Cell::new(false),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.way.borrow().is_some()
    }

    pub(super) fn update(self: &Rc<Self>, update: SpanUpdate) {
        let has_room = self.has_room();
        if has_room && self.pending.borrow().is_too_much_with(&update) {
            self.send_pending();
        }
        let tasks = match &*self.way.borrow() {
            Some(way) => {
                self.pending.borrow_mut().add(update);
                self.enter(way.outbox.as_ref());
                way.tasks.clone()
            }
            None => return,
        };
        // Without room it is sent when there is some.
        if has_room && !self.ends_turn.replace(true) {
            let this = self.clone();
            tasks.spawn(async move {
                this.ends_turn.set(false);
                if this.has_room() {
                    this.send_pending();
                }
            });
        }
    }

    /// It is not to be overtaken by what another event sends.
    fn enter(self: &Rc<Self>, outbox: Option<&Outbox>) {
        let Some(outbox) = outbox else { return };
        let mut entry = self.entry.borrow_mut();
        if entry.is_none() && !self.pending.borrow().is_empty() {
            let sender: Weak<Self> = Rc::downgrade(self);
            *entry = Some(outbox.enter(sender));
        }
    }

    /// Sends what is pending, room or not, and how much had to be left out.
    pub(super) fn send_all(self: &Rc<Self>) {
        if !self.pending.borrow().is_told() {
            self.send();
        }
    }

    /// Waits until all that was written is answered. What is pending goes now, if there is room.
    pub(super) fn flush(self: &Rc<Self>) -> Flushed {
        if self.has_room() {
            self.send_pending();
        }
        match &*self.end.borrow() {
            Some(end) => Flushed::Known(end.clone()),
            None => {
                let is_more = !self.pending.borrow().is_empty();
                self.answers.borrow_mut().wait(is_more)
            }
        }
    }

    /// Nothing is sent any more. Whoever waits is told what `end` says.
    pub(super) fn close(&self, end: Result<EnrichStatus>) {
        let way = self.way.take();
        let pending = self.pending.take();
        self.entry.take();
        self.end.borrow_mut().get_or_insert(end.clone());
        let told = self.answers.borrow_mut().end(end);
        drop((way, pending));
        told.tell();
    }

    fn has_room(&self) -> bool {
        self.answers.borrow().unanswered() < MAX_IN_FLIGHT
    }

    fn send_pending(self: &Rc<Self>) {
        if !self.pending.borrow().is_empty() {
            self.send();
        }
    }

    fn send(self: &Rc<Self>) {
        if self.answers.borrow().unanswered() >= MAX_UNANSWERED {
            let text = format!("the caller has left {MAX_UNANSWERED} updates unanswered");
            return self.close(Err(Error::overloaded(text)));
        }
        let way = self.way.borrow().clone();
        let Some(way) = way else {
            return;
        };
        let of_a_peer = way.outbox.as_ref().map_or(0, Outbox::unanswered);
        if of_a_peer >= MAX_UNANSWERED_OF_A_PEER {
            let text =
                format!("the caller has left {of_a_peer} updates unanswered on this connection");
            return self.close(Err(Error::overloaded(text)));
        }
        self.entry.take();
        let (update, unsent) = self.pending.take().into_parts();
        let mut request = way.client.enrich_request();
        wire::write_update_and(&update, unsent, request.get().init_update());
        let on_its_way = OnItsWay {
            remote: self.clone(),
            number: self.answers.borrow_mut().sent(),
            lost_if_refused: Pending::parts_of(&update).saturating_add(unsent),
            is_answered: false,
            _unanswered: way.outbox.as_ref().map(Outbox::sent),
        };
        let answer = request.send().promise;
        // Waited for, never cancelled: a call that is finished before its return keeps its slot at both
        // ends of the connection.
        way.tasks.spawn(async move {
            let status = answer.await.and_then(|response| {
                let result = response.get()?.get_result()?;
                Ok(wire::read_enrich_status(result))
            });
            on_its_way.answered(status);
        });
    }

    fn answered(self: &Rc<Self>, number: u64, status: EnrichStatus, lost_if_refused: u32) {
        if status == EnrichStatus::Overloaded {
            self.pending.borrow_mut().leave_out(lost_if_refused);
        }
        let told = self.answers.borrow_mut().answered(number, status);
        match status {
            EnrichStatus::SpanEnded => self.close(Ok(status)),
            EnrichStatus::Applied | EnrichStatus::Overloaded => self.send_pending(),
        }
        told.tell();
    }
}

impl Sender for Remote {
    fn send_now(self: Rc<Self>) {
        self.send_all();
    }
}

/// An update without an answer.
struct OnItsWay {
    remote: Rc<Remote>,
    number: u64,
    /// How much is not on the span if this is refused.
    lost_if_refused: u32,
    is_answered: bool,
    _unanswered: Option<Unanswered>,
}

impl OnItsWay {
    fn answered(mut self, status: capnp::Result<EnrichStatus>) {
        self.is_answered = true;
        match status {
            Ok(status) => self
                .remote
                .answered(self.number, status, self.lost_if_refused),
            Err(error) => self.remote.close(Err(error.into())),
        }
    }
}

impl Drop for OnItsWay {
    /// Nobody waits for an answer where there is no driver any more.
    fn drop(&mut self) {
        if !self.is_answered {
            let text = "nobody drives the event loop any more";
            self.remote.close(Err(Error::disconnected(text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::capability::FromClientHook;
    use futures::FutureExt;

    fn nobody() -> span_enricher::Client {
        let error = capnp::Error::failed("nobody is there".into());
        FromClientHook::new(capnp_rpc::new_broken_cap(error).hook)
    }

    #[test]
    fn who_has_sent_or_is_closed_or_gone_is_not_in_the_outbox() {
        for ends in ["sends", "sends all", "turn ends", "closes", "goes"] {
            let (tasks, mut driver) = Tasks::new();
            let outbox = Outbox::default();
            let remote = Rc::new(Remote::new(nobody(), &tasks, Some(&outbox)));
            remote.update(SpanUpdate::new());
            assert!(outbox.is_empty(), "there is nothing to send");
            for _ in 0..3 {
                remote.update(SpanUpdate::new().name("x"));
                assert!(!outbox.is_empty());
            }
            match ends {
                "sends" => remote.send_all(),
                "sends all" => outbox.send_all(),
                "turn ends" => assert!((&mut driver).now_or_never().is_none()),
                "closes" => remote.close(Ok(EnrichStatus::SpanEnded)),
                _ => drop((driver, remote)),
            }
            assert!(outbox.is_empty(), "{ends}");
        }
    }
}
