//! Calls whose results stay here, for a `Return` of the peer's that takes them: what C++ makes of a call that
//! comes back to who made it.
//!
//! `capnp-rpc` accepts such a call, never runs it unless something is pipelined on it, and keeps its results for ever
//! if they are not taken. All senders say both at once, the call and the `Return`. So the call is held until the next
//! message: with the `Return` it is let through, and a call of the guard's own is pipelined on the root of its
//! results, which fails when they are there; without it is refused. `capnp-rpc` never lets go of the place of such a
//! call; so the peer is never told that it has returned, and it stays among the unfinished ones.

use capnp_rpc::rpc_capnp::{exception, message, return_};

use super::calls::Refusal;
use super::entries::Asked;
use super::replies::Injected;
use super::{Cut, Ledger};
use crate::guard::breach::Breach;

/// What follows a call whose results stay here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Follows {
    /// That is not known yet.
    #[default]
    Unknown,
    /// A `Return` that takes them.
    Return,
    /// The same, for a call that this side has given up.
    Late,
    SomethingElse,
}

impl Ledger {
    /// The call `held`, which is judged next, was held until `next` came.
    pub(in crate::guard) fn follows(
        &mut self,
        held: message::Reader<'_>,
        next: message::Reader<'_>,
    ) -> Result<(), Cut> {
        self.follows = match takes(held, next)? {
            None => Follows::SomethingElse,
            Some(question) => match self.questions.get(question) {
                Some(question) if question.stage == Asked::Canceled => Follows::Late,
                _ => Follows::Return,
            },
        };
        Ok(())
    }

    /// Why the call is not begun, if it isn't. It is `None` for one that nobody waits for.
    pub(super) fn tail(&mut self, id: u32) -> Result<(), Option<Refusal>> {
        match std::mem::take(&mut self.follows) {
            Follows::Return => {
                self.kept = Some(id);
                Ok(())
            }
            Follows::Late => Err(None),
            _ => {
                let text = "its results are to stay here, and nothing takes them".to_owned();
                Err(Some((
                    Breach::TailCall,
                    exception::Type::Unimplemented,
                    text,
                )))
            }
        }
    }

    /// Call `id` of the peer's gives its results as those of call `question` of ours.
    pub(super) fn take_tail(&mut self, question: u32, id: u32) -> Result<(), Cut> {
        if self.kept.take() != Some(id) {
            return Err(Cut::new(
                Breach::ReturnKind,
                format!("the peer answers by the results of call {id}, which were not kept"),
            ));
        }
        if let Some(question) = self.questions.get_mut(question) {
            question.taken = Some(id);
        }
        let own = self.own_id();
        if let Some(answer) = self.answers.get_mut(id) {
            answer.runs = Some(own);
        }
        self.inbox.push_back(Injected::write(|message| {
            let mut call = message.init_call();
            call.set_question_id(own);
            let target = call.reborrow().init_target();
            target.init_promised_answer().set_question_id(id);
            call.init_params();
        }));
        Ok(())
    }

    /// The call of ours is over whose results are those of call `id` of the peer's.
    pub(super) fn tail_over(&mut self, id: u32) {
        if let Some(answer) = self.answers.get_mut(id) {
            let bytes = std::mem::take(&mut answer.bytes);
            self.over(bytes);
        }
    }
}

/// Which call of ours `next` answers, by the results of call `held` of the peer's.
fn takes(held: message::Reader<'_>, next: message::Reader<'_>) -> Result<Option<u32>, Cut> {
    let (Ok(message::Call(call)), Ok(message::Return(ret))) = (held.which(), next.which()) else {
        return Ok(None);
    };
    let (id, ret) = (call?.get_question_id(), ret?);
    Ok(match ret.which()? {
        return_::TakeFromOtherQuestion(taken) if taken == id => Some(ret.get_answer_id()),
        _ => None,
    })
}
