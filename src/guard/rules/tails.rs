//! Calls whose results stay here, for a `Return` of the peer's that takes them: what C++ makes of a call that
//! comes back to who made it.
//!
//! `capnp-rpc` accepts such a call and never runs it, unless something is pipelined on it. So something is:
//! a call of the guard's own, on the root of its results, which fails when they are there. Its id is far
//! from those that peers use, and its `Return` goes nowhere. `capnp-rpc` never lets go of the place of such a call; so
//! it is never told of the peer's that it has returned, and stays among the unfinished ones.

use capnp_rpc::rpc_capnp::message;

use super::entries::{Answer, On, Stage, Tail};
use super::replies::Injected;
use super::{Cut, Ledger, Sent};
use crate::guard::breach::Breach;

/// Which id the guard's own call has for a peer's, and the other way round. Peers give the lowest ids that are
/// free, C++ those from 2^31 on as well; the highest are those of calls that take promises (`promised.rs`).
fn own(id: u32) -> u32 {
    (u32::MAX - super::promised::MAX_OWN).wrapping_sub(id)
}

impl Ledger {
    /// Lets the call `id` run, which has just begun.
    pub(super) fn begin_tail(&mut self, id: u32) -> Result<(), Cut> {
        let own = own(id);
        if self.answers.get(own).is_some() || self.promised_answers.is_own(own) {
            return Err(Cut::new(
                Breach::QuestionInUse,
                format!("a tail call has the id {id}, and a call that is not over has {own}"),
            ));
        }
        self.has_tails = true;
        let serial = self.serial();
        if let Some(answer) = self.answers.get_mut(id) {
            answer.tail = Tail::Kept;
        }
        let mut answer = Answer::new(serial, Stage::Running, On::Nothing, 0);
        answer.tail = Tail::Own;
        self.answers.insert(own, answer);
        self.later.push_back(Injected::write(|message| {
            let mut call = message.init_call();
            call.set_question_id(own);
            let target = call.reborrow().init_target();
            target.init_promised_answer().set_question_id(id);
            call.init_params();
        }));
        Ok(())
    }

    /// Is a message of this side's for nobody?
    pub(in crate::guard) fn is_own(&self, message: message::Reader<'_>) -> bool {
        match message.which() {
            Ok(message::Return(Ok(ret))) => {
                let id = ret.get_answer_id();
                self.is_own_call(id) || self.promised_answers.is_own(id)
            }
            _ => false,
        }
    }

    /// Is `id` that of a call of the guard's own?
    pub(super) fn is_own_call(&self, id: u32) -> bool {
        let answer = self.answers.get(id);
        self.has_tails && answer.is_some_and(|answer| answer.tail == Tail::Own)
    }

    /// What that message says: the results of a tail call are there.
    pub(in crate::guard) fn own_sent(&mut self, sent: &Sent) -> capnp::Result<()> {
        let message: message::Reader<'_> = sent.get_root_as_reader()?;
        let message::Return(ret) = message.which()? else {
            return Ok(());
        };
        let id = ret?.get_answer_id();
        if self.promise_taken(id) {
            return Ok(());
        }
        self.answers.remove(id);
        if let Some(answer) = self.answers.get_mut(own(id)) {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(answer.bytes);
            answer.bytes = 0;
        }
        self.inject_finish(id);
        Ok(())
    }

    /// The peer has done with the tail call `id`.
    pub(super) fn tail_finished(&mut self, id: u32) {
        let own = own(id);
        if let Some(answer) = self.answers.get_mut(own)
            && answer.stage == Stage::Running
        {
            answer.stage = Stage::Finished;
            self.inject_finish(own);
        }
    }

    pub(super) fn inject_finish(&mut self, own: u32) {
        self.inbox.push_back(Injected::write(|message| {
            message.init_finish().set_question_id(own);
        }));
    }

    /// Call `id` of the peer's is to give its results as those of a call of ours: once.
    pub(super) fn take_tail(&mut self, id: u32) -> Result<(), Cut> {
        match self.answers.get_mut(id) {
            Some(answer) if answer.tail == Tail::Kept => {
                answer.tail = Tail::Taken;
                Ok(())
            }
            _ => Err(Cut::new(
                Breach::ReturnKind,
                format!("the peer answers by the results of call {id}, which were not kept"),
            )),
        }
    }
}
