//! Calls whose results stay here, and the `Return`s of the peer's that take them: what C++ makes of a call that comes
//! back to who made it.
//!
//! `capnp-rpc` never runs such a call unless something is pipelined on it, keeps its results for ever if nobody takes
//! them, and never looks whether what it takes leads back to itself. So it never hears of any: it gets a usual call,
//! and its answer goes no further than the guard, which tells the peer that the results are elsewhere, and makes the
//! `Return` of them that the peer has announced. In that they are named as the peer would name them.

use capnp_rpc::rpc_capnp::{exception, message, payload, return_};

use super::entries::{Answer, Asked, Imported, On, Sent, Serial, Stage};
use super::pointers::{Cap, Caps, ways_to};
use super::replies::Reply;
use super::{Cut, Ledger};
use crate::guard::breach::Breach;

/// What becomes of results that stay here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nobody has taken them.
    Kept,
    Taken(Taken),
}

/// They are those of a call of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    question: u32,
    serial: Serial,
    /// Does the peer need no `Finish` of that?
    needs_no_finish: bool,
    /// The peer has done with its own call. It is this side that waits for it.
    pub(super) is_finished: bool,
}

impl Ledger {
    /// Call `id` of the peer's gives its results as those of call `question` of ours.
    pub(super) fn take_tail(
        &mut self,
        question: u32,
        id: u32,
        needs_no_finish: bool,
    ) -> Result<(), Cut> {
        let serial = self.question_serial(question).unwrap_or_default();
        let answer = self.answers.get_mut(id);
        let is_there = answer.filter(|answer| {
            let is_open = matches!(answer.stage, Stage::Running | Stage::Returned);
            is_open && answer.tail == Some(Tail::Kept)
        });
        let Some(answer) = is_there else {
            return Err(Cut::new(
                Breach::ReturnKind,
                format!("the peer answers by the results of call {id}, which are not kept"),
            ));
        };
        let taken = Taken {
            question,
            serial,
            needs_no_finish,
            is_finished: false,
        };
        answer.tail = Some(Tail::Taken(taken));
        let has_returned = answer.stage == Stage::Returned;
        if let Some(question) = self.questions.get_mut(question) {
            question.stage = Asked::Taken(id);
        }
        if has_returned {
            self.bring(id, taken, false);
        }
        Ok(())
    }

    /// The answer to call `id`, whose results stay here, is there.
    pub(super) fn tail_came(&mut self, id: u32) {
        self.replies.push_back(Reply::Elsewhere(id));
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        let is_finished = match answer.tail {
            Some(Tail::Taken(taken)) => {
                self.bring(id, taken, true);
                taken.is_finished
            }
            _ if answer.stage == Stage::Returned => return self.check_kept(id),
            _ => true,
        };
        if is_finished {
            let _its_own_results = self.tail_gone(id);
        }
    }

    /// Results that nobody has taken are dropped, if there is no room for them.
    fn check_kept(&mut self, id: u32) {
        let max = self.limits.call_bytes;
        let Some(answer) = self.answers.get(id).filter(|_| self.bytes_in_flight > max) else {
            return;
        };
        let (serial, bytes) = (answer.serial, answer.bytes);
        let text =
            format!("results of {bytes} bytes stay here that nobody takes; the limit is {max}");
        self.refuse(Breach::BytesInFlight, text);
        let _its_own_results = self.tail_gone(id);
        let refused = Answer::new(serial, Stage::Refused, On::Nothing, 0);
        self.answers.insert(id, refused);
    }

    /// The peer has done with call `id`, whose results stayed here and are there.
    pub(super) fn tail_gone(&mut self, id: u32) -> Result<(), Cut> {
        let Some(answer) = self.answer_over(id) else {
            return Ok(());
        };
        self.tails -= 1;
        self.answer_gone(id, answer.serial);
        let released = match &answer.results {
            Some(results) => self.release_results(results),
            None => Ok(()),
        };
        // Whatever the peer says of the capabilities in it: it was not told of them.
        self.inject_finish(id, true);
        released
    }

    /// This side has given up the call that takes the results of call `id`.
    pub(super) fn tail_given_up(&mut self, question: u32, id: u32) {
        self.fail(question, exception::Type::Failed, "the call was canceled");
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        let was = answer.tail.replace(Tail::Kept);
        if let Some(Tail::Taken(Taken {
            is_finished: true, ..
        })) = was
        {
            self.inject_finish(id, true);
            self.cancel(id);
        }
    }

    /// Gives the results of call `id` to the call of ours that they are for, in the turn in which they come, or later.
    fn bring(&mut self, id: u32, taken: Taken, comes_now: bool) {
        let Taken {
            question, serial, ..
        } = taken;
        let answer = self.answers.get_mut(id);
        let results = answer.and_then(|answer| answer.results.clone());
        if self.question_serial(question) != Some(serial) {
            return;
        }
        if let Some(question) = self.questions.get_mut(question) {
            question.stage = Asked::Returned;
        }
        let Some(results) = results else {
            return;
        };
        if let Err(Cut { text, .. }) = self.try_bring(id, taken, &results, comes_now) {
            self.came(question, None, &[]);
            self.fail(question, exception::Type::Failed, &text);
        }
    }

    fn try_bring(
        &mut self,
        id: u32,
        taken: Taken,
        results: &Sent,
        comes_now: bool,
    ) -> Result<(), Cut> {
        let question = taken.question;
        let original: message::Reader<'_> = results.get_root_as_reader()?;
        let payload = results_of(original)?;
        let mut caps = Caps::new();
        if let Some(payload) = payload {
            caps = self.as_the_peer_says(id, payload, comes_now)?;
            if let Some((breach, kind, text)) = self.bad_results(question, payload, &caps) {
                self.came(question, None, &[]);
                self.fail(question, kind, &text);
                self.refuse(breach, text);
                return Ok(());
            }
        }
        // The bytes are none of the peer's.
        self.bytes = 0;
        let stand = self.stand_ins(&caps, false);
        let all = stand.as_deref().unwrap_or(&caps);
        let copy = self.copy(original, all, |message| {
            if let Ok(message::Return(Ok(mut ret))) = message.which() {
                ret.set_answer_id(question);
                ret.set_no_finish_needed(taken.needs_no_finish);
            }
        })?;
        for cap in all {
            self.taken_again(cap);
        }
        self.came(question, payload, &caps);
        self.inbox.push_back(copy);
        if let (true, Some(answer)) = (caps.is_empty(), self.answers.get_mut(id)) {
            answer.results = None;
            let bytes = std::mem::take(&mut answer.bytes);
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
        }
        Ok(())
    }

    /// What is in the results of call `id`, as the peer would name it: by the way to it. What is in a list has none, and
    /// is named by its own name while that is sure to be its.
    fn as_the_peer_says(
        &self,
        id: u32,
        payload: payload::Reader<'_>,
        comes_now: bool,
    ) -> Result<Caps, Cut> {
        let table = payload.get_cap_table()?;
        let mut caps = Caps::with_capacity(table.len() as usize);
        for (way, descriptor) in ways_to(payload, table.len()).into_iter().zip(table) {
            caps.push(match (Cap::read(descriptor, u8::MAX)?, way) {
                (Cap::None | Cap::Vine(_), _) => Cap::None,
                (_, Some(way)) => Cap::ReceiverAnswer(id, way),
                (Cap::Sender { id, .. }, None) if comes_now => Cap::Receiver(id),
                (Cap::Receiver(id), None) if comes_now => match self.imports.get(id) {
                    Some(import) => Cap::Sender {
                        id,
                        is_promise: import.is != Imported::Object,
                    },
                    None => Cap::None,
                },
                _ => Cap::None,
            });
        }
        Ok(caps)
    }
}

/// The results in a `Return`, if there are any.
fn results_of(message: message::Reader<'_>) -> capnp::Result<Option<payload::Reader<'_>>> {
    let message::Return(ret) = message.which()? else {
        return Ok(None);
    };
    match ret?.which()? {
        return_::Results(payload) => Ok(Some(payload?)),
        _ => Ok(None),
    }
}
