//! Calls whose results stay here, and the `Return`s of the peer's that take them: what C++ makes of a call that comes
//! back to who made it.
//!
//! `capnp-rpc` never runs such a call unless something is pipelined on it, keeps its results for ever if nobody takes
//! them, and never looks whether what it takes leads back to itself. So it never hears of any: it gets a usual call,
//! and its answer goes no further than the guard, which tells the peer that the results are elsewhere, and makes the
//! `Return` of them that the peer has announced. In that they are named as the peer would name them.

use capnp_rpc::rpc_capnp::{exception, message, return_};

use super::entries::{Asked, Sent, Serial, Stage};
use super::pointers::{Cap, Caps, way_to};
use super::replies::{Injected, Reply};
use super::{Cut, Ledger};
use crate::guard::breach::Breach;

/// What becomes of results that stay here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nobody has taken them.
    Kept,
    /// They are those of this call of ours.
    Taken(u32, Serial),
}

impl Ledger {
    /// Call `id` of the peer's gives its results as those of call `question` of ours.
    pub(super) fn take_tail(&mut self, question: u32, id: u32) -> Result<(), Cut> {
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
        answer.tail = Some(Tail::Taken(question, serial));
        let has_returned = answer.stage == Stage::Returned;
        if let Some(question) = self.questions.get_mut(question) {
            question.stage = Asked::Taken(id);
        }
        if has_returned {
            self.bring(id);
        }
        Ok(())
    }

    /// The answer to call `id`, whose results stay here, is there.
    pub(super) fn tail_came(&mut self, id: u32) {
        self.replies.push_back(Reply::Elsewhere(id));
        self.bring(id);
        let answer = self.answers.get(id);
        if answer.is_some_and(|answer| matches!(answer.stage, Stage::Finished | Stage::Canceled)) {
            let _nothing_to_say = self.tail_gone(id);
        }
    }

    /// The peer has done with call `id`, whose results stayed here and are there.
    pub(super) fn tail_gone(&mut self, id: u32) -> Result<(), Cut> {
        let Some(answer) = self.answers.remove(id) else {
            return Ok(());
        };
        self.tails -= 1;
        // Whatever the peer says of the capabilities in it: it was not told of them.
        self.inbox.push_back(Injected::write(|message| {
            let mut finish = message.init_finish();
            finish.set_question_id(id);
            finish.set_release_result_caps(true);
        }));
        self.answer_gone(id, answer.serial);
        match &answer.results {
            Some(results) => self.release_results(results),
            None => Ok(()),
        }
    }

    /// This side has given up the call that takes the results of call `id`.
    pub(super) fn tail_given_up(&mut self, question: u32, id: u32) {
        self.fail(question, exception::Type::Failed, "the call was canceled");
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        answer.tail = Some(Tail::Kept);
        if answer.stage == Stage::Finished {
            // The peer has done with it already, and `capnp-rpc` not been told so.
            let bytes = answer.bytes;
            if !answer.is_pipelined {
                answer.stage = Stage::Canceled;
                self.over(bytes);
            }
            self.inject_finish(id);
        }
    }

    /// Gives the results of call `id` to the call of ours that they are for.
    fn bring(&mut self, id: u32) {
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        let (Some(Tail::Taken(question, serial)), Some(results)) = (answer.tail, &answer.results)
        else {
            return;
        };
        let results = results.clone();
        if self.question_serial(question) != Some(serial) {
            return;
        }
        if let Some(question) = self.questions.get_mut(question) {
            question.stage = Asked::Returned;
        }
        if let Err(Cut { text, .. }) = self.try_bring(id, question, &results) {
            self.came(question, None, &[]);
            self.fail(question, exception::Type::Failed, &text);
        }
    }

    fn try_bring(&mut self, id: u32, question: u32, results: &Sent) -> Result<(), Cut> {
        let original: message::Reader<'_> = results.get_root_as_reader()?;
        let caps = self.as_the_peer_says(id, original)?;
        // The bytes are none of the peer's.
        self.bytes = 0;
        let copy = self.copy(original, &caps, |message| {
            if let Ok(message::Return(Ok(mut ret))) = message.which() {
                ret.set_answer_id(question);
                ret.set_no_finish_needed(false);
            }
        })?;
        for cap in &caps {
            self.taken_again(cap);
        }
        let message = copy.message()?;
        let message::Return(Ok(ret)) = message.which()? else {
            return Ok(());
        };
        let return_::Results(payload) = ret.which()? else {
            self.came(question, None, &[]);
            self.inbox.push_back(copy);
            return Ok(());
        };
        let payload = payload?;
        // In the order of the copy.
        let read = |descriptor| Cap::read(descriptor, u8::MAX);
        let caps = payload.get_cap_table()?.iter().map(read);
        let caps = caps.collect::<Result<Caps, Cut>>()?;
        if let Some((breach, kind, text)) = self.bad_results(question, payload, &caps) {
            self.came(question, None, &[]);
            self.fail(question, kind, &text);
            self.refuse(breach, text);
            return Ok(());
        }
        self.came(question, Some(payload), &caps);
        if let super::Verdict::Pass = self.let_through(message, &caps, false)? {
            self.inbox.push_back(copy);
        }
        Ok(())
    }

    /// What is in the results of call `id`, as the peer would name it.
    fn as_the_peer_says(&self, id: u32, message: message::Reader<'_>) -> Result<Caps, Cut> {
        let mut caps = Caps::new();
        let message::Return(ret) = message.which()? else {
            return Ok(caps);
        };
        let return_::Results(payload) = ret?.which()? else {
            return Ok(caps);
        };
        let payload = payload?;
        for (index, descriptor) in (0..).zip(payload.get_cap_table()?) {
            caps.push(match Cap::read(descriptor, u8::MAX)? {
                Cap::Sender { id, .. } => Cap::Receiver(id),
                Cap::Receiver(id) => Cap::Sender {
                    id,
                    is_promise: self.is_import_a_promise(id),
                },
                // What a call of ours will bring is no name that the peer has. But it is where it is.
                Cap::ReceiverAnswer(..) => match way_to(payload, index) {
                    Some(path) => Cap::ReceiverAnswer(id, path),
                    None => Cap::None,
                },
                Cap::None | Cap::Vine(_) => Cap::None,
            });
        }
        Ok(caps)
    }
}
