//! Calls whose results stay here, for a `Return` of the peer's that takes them: what C++ makes of a call that
//! comes back to who made it.
//!
//! `capnp-rpc` accepts such a call and never runs it, unless something is pipelined on it. So something is:
//! a call of the guard's own, on the root of its results, which fails when they are there. Its id is one that
//! no peer may use, and its `Return` goes nowhere. `capnp-rpc` never lets go of the place of such a call; so
//! it is never told of the peer's that it has returned, and stays among the unfinished ones.

use capnp_rpc::rpc_capnp::message;

use super::entries::{Answer, On, Stage, Tail};
use super::replies::Injected;
use super::{Cut, Ledger, Sent};
use crate::guard::breach::Breach;

/// From here on ids are those of the guard's own calls.
const OWN: u32 = 0x8000_0000;

impl Ledger {
    /// A peer's call can't have the id of one of ours.
    pub(super) fn check_id(&self, id: u32) -> Result<(), Cut> {
        if id < OWN || !self.has_tails {
            return Ok(());
        }
        Err(Cut::new(
            Breach::QuestionInUse,
            format!("the peer calls with the id {id}, which is kept for tail calls"),
        ))
    }

    /// Lets the call `id` run, which has just begun.
    pub(super) fn begin_tail(&mut self, id: u32) -> Result<(), Cut> {
        let own = OWN | id;
        if id >= OWN || self.answers.get(own).is_some() {
            return Err(Cut::new(
                Breach::QuestionInUse,
                format!("a tail call has the id {id}; it must be below {OWN}"),
            ));
        }
        self.has_tails = true;
        let serial = self.serial();
        if let Some(answer) = self.answers.get_mut(id) {
            answer.tail = Tail::Kept;
        }
        let answer = Answer::new(serial, Stage::Running, On::Nothing, 0);
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
            Ok(message::Return(Ok(ret))) => self.has_tails && ret.get_answer_id() >= OWN,
            _ => false,
        }
    }

    /// What that message says: the results of a tail call are there.
    pub(in crate::guard) fn own_sent(&mut self, sent: &Sent) -> capnp::Result<()> {
        let message: message::Reader<'_> = sent.get_root_as_reader()?;
        let message::Return(ret) = message.which()? else {
            return Ok(());
        };
        let own = ret?.get_answer_id();
        self.answers.remove(own);
        if let Some(answer) = self.answers.get_mut(own & !OWN) {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(answer.bytes);
            answer.bytes = 0;
        }
        self.inject_finish(own);
        Ok(())
    }

    /// The peer has done with the tail call `id`.
    pub(super) fn tail_finished(&mut self, id: u32) {
        let own = OWN | id;
        if let Some(answer) = self.answers.get_mut(own)
            && answer.stage == Stage::Running
        {
            answer.stage = Stage::Finished;
            self.inject_finish(own);
        }
    }

    fn inject_finish(&mut self, own: u32) {
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
