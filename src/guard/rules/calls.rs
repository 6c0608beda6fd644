//! The peer's calls.

use capnp_rpc::rpc_capnp::{call, exception, finish, message, message_target, return_};

use super::caps::Descriptors;
use super::entries::{Answer, Mention, Sent, Stage};
use super::pointers::{Cap, path};
use super::replies::{Injected, Reply};
use super::{Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// Why a call is not begun.
type Refusal = (Breach, exception::Type, String);

impl Ledger {
    /// The peer asks for the bootstrap capability.
    pub(super) fn bootstrap(&mut self, id: u32) -> Result<Verdict, Cut> {
        self.check_unused(id)?;
        if let Some(refusal) = self.no_room_for_a_call(0) {
            return self.refuse_call(id, &[], refusal);
        }
        self.begin(id, 0, 0);
        Ok(Verdict::Pass)
    }

    /// The peer calls.
    pub(super) fn call(
        &mut self,
        message: message::Reader<'_>,
        call: call::Reader<'_>,
        bytes: u64,
    ) -> Result<Verdict, Cut> {
        let id = call.get_question_id();
        self.check_unused(id)?;
        let (depth, mut refusal) = self.target(call)?;
        let table: Descriptors<'_> = call.get_params()?.get_cap_table()?;
        refusal = refusal
            .or(redirected(call)?)
            .or_else(|| self.no_room_for_a_call(bytes));
        if table.is_empty() && refusal.is_none() {
            return self.begin_at(id, depth, bytes);
        }
        self.check_table(table)?;
        let caps = self.read_caps(table)?;
        refusal = refusal.or_else(|| {
            let (breach, text) = self.too_many(&caps)?;
            Some((breach, exception::Type::Overloaded, text))
        });
        if let Some(refusal) = refusal {
            return self.refuse_call(id, &caps, refusal);
        }
        let depth = caps.iter().fold(depth, |depth, cap| match cap {
            Cap::ReceiverAnswer(answer, _) => depth.max(self.depth_on(*answer)),
            _ => depth,
        });
        if depth > self.limits.pipeline_depth {
            return self.refuse_call(id, &caps, self.too_deep());
        }
        self.take_caps(&caps);
        self.begin(id, depth, bytes);
        if caps.iter().any(|cap| matches!(cap, Cap::Vine(_))) {
            self.inject_vines(message)?;
            return Ok(Verdict::Withhold);
        }
        Ok(Verdict::Pass)
    }

    fn begin_at(&mut self, id: u32, depth: u8, bytes: u64) -> Result<Verdict, Cut> {
        if depth > self.limits.pipeline_depth {
            return self.refuse_call(id, &[], self.too_deep());
        }
        self.begin(id, depth, bytes);
        Ok(Verdict::Pass)
    }

    fn begin(&mut self, id: u32, depth: u8, bytes: u64) {
        let answer = Answer::new(self.serial(), Stage::Running, depth, bytes);
        self.begun += 1;
        self.in_flight += 1;
        self.bytes_in_flight += bytes;
        self.answers.insert(id, answer);
    }

    fn check_unused(&self, id: u32) -> Result<(), Cut> {
        if self.answers.get(id).is_some() {
            return Err(Cut::new(
                Breach::QuestionInUse,
                format!("the peer calls with the id {id} of a call that is not over"),
            ));
        }
        if self.answers.len() >= self.limits.unfinished {
            let max = self.limits.unfinished;
            return Err(Cut::new(
                Breach::UnfinishedCalls,
                format!("the peer has {max} calls that are not finished, which is the limit"),
            ));
        }
        Ok(())
    }

    /// How deep a call is pipelined; and why it is refused, if what it is pipelined on was.
    fn target(&self, call: call::Reader<'_>) -> Result<(u8, Option<Refusal>), Cut> {
        match call.get_target()?.which()? {
            message_target::ImportedCap(id) if self.exports.get(id).is_some() => Ok((0, None)),
            message_target::ImportedCap(id) => Err(Cut::new(
                Breach::UnknownExport,
                format!("the peer calls capability {id}, which it has not got"),
            )),
            message_target::PromisedAnswer(answer) => {
                let answer = answer?;
                path(answer, self.limits.pipeline_depth)?;
                let id = answer.get_question_id();
                let refusal = self.answers.get(id).and_then(|answer| {
                    let text = "what it is called on was refused".to_owned();
                    (answer.stage == Stage::Refused).then_some((
                        Breach::CallsInFlight,
                        exception::Type::Overloaded,
                        text,
                    ))
                });
                Ok((self.depth_on(id), refusal))
            }
        }
    }

    fn depth_on(&self, answer: u32) -> u8 {
        match self.answers.get(answer) {
            Some(answer) if answer.is_in_flight() => answer.depth.saturating_add(1),
            _ => 0,
        }
    }

    fn too_deep(&self) -> Refusal {
        let max = self.limits.pipeline_depth;
        let text = format!("a call is pipelined on more than {max} calls");
        (Breach::PipelineDepth, exception::Type::Overloaded, text)
    }

    fn no_room_for_a_call(&self, bytes: u64) -> Option<Refusal> {
        let limits = &self.limits;
        let (breach, text) = if self.in_flight >= limits.calls {
            let text = format!("{} calls are in flight, which is the limit", limits.calls);
            (Breach::CallsInFlight, text)
        } else if self.bytes_in_flight + bytes > limits.call_bytes {
            let text = format!(
                "calls of {} bytes are in flight, and this has {bytes}; the limit is {}",
                self.bytes_in_flight, limits.call_bytes
            );
            (Breach::BytesInFlight, text)
        } else if self.exports.len() >= limits.exports {
            let text = format!(
                "the peer holds {} capabilities, which is the limit",
                limits.exports
            );
            (Breach::Exports, text)
        } else if let Some(what) = self.full {
            let text = format!("the {what} that several connections share are used up");
            (Breach::Budget, text)
        } else {
            return None;
        };
        Some((breach, exception::Type::Overloaded, text))
    }

    fn refuse_call(
        &mut self,
        id: u32,
        caps: &[Cap],
        (breach, kind, text): Refusal,
    ) -> Result<Verdict, Cut> {
        let answer = Answer::new(self.serial(), Stage::Refused, 0, 0);
        self.answers.insert(id, answer);
        self.replies
            .push_back(Reply::Return(id, kind, text.clone()));
        self.turn_away(caps);
        self.refuse(breach, text);
        Ok(Verdict::Withhold)
    }

    /// The peer has done with a call.
    pub(super) fn finish(&mut self, finish: finish::Reader<'_>) -> Result<Verdict, Cut> {
        let id = finish.get_question_id();
        let Some(answer) = self.answers.get_mut(id) else {
            return self.stray_finish(id);
        };
        match answer.stage {
            Stage::Running => {
                answer.stage = Stage::Finished;
                let serial = answer.serial;
                self.canceled += 1;
                self.answer_gone(id, serial);
                Ok(Verdict::Pass)
            }
            Stage::Finished => Err(Cut::new(
                Breach::FinishNotOpen,
                format!("the peer finishes call {id} twice"),
            )),
            Stage::Returned => {
                let serial = answer.serial;
                let results = answer.results.take();
                self.answers.remove(id);
                if let (true, Some(results)) = (finish.get_release_result_caps(), results) {
                    self.release_results(&results)?;
                }
                self.answer_gone(id, serial);
                Ok(Verdict::Pass)
            }
            Stage::Refused => {
                self.answers.remove(id);
                Ok(Verdict::Withhold)
            }
        }
    }

    /// One that was on its way when the call returned and needed none.
    fn stray_finish(&mut self, id: u32) -> Result<Verdict, Cut> {
        match self.spare_finishes.checked_sub(1) {
            Some(left) => {
                self.spare_finishes = left;
                Ok(Verdict::Withhold)
            }
            None => Err(Cut::new(
                Breach::FinishNotOpen,
                format!("the peer finishes call {id}, which it has not made"),
            )),
        }
    }

    fn release_results(&mut self, results: &Sent) -> Result<(), Cut> {
        let message: message::Reader<'_> = results.get_root_as_reader()?;
        let message::Return(ret) = message.which()? else {
            return Ok(());
        };
        let return_::Results(results) = ret?.which()? else {
            return Ok(());
        };
        for descriptor in results?.get_cap_table()? {
            if let Cap::Sender { id, .. } = Cap::read(descriptor, u8::MAX)? {
                self.drop_export(id, 1)?;
            }
        }
        Ok(())
    }

    /// This side has answered a call.
    pub(super) fn answered(&mut self, ret: return_::Reader<'_>, sent: &Sent) -> capnp::Result<()> {
        let id = ret.get_answer_id();
        let Some(answer) = self.answers.get_mut(id) else {
            return Ok(());
        };
        let (serial, was) = (answer.serial, answer.stage);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(answer.bytes);
        if was == Stage::Finished || ret.get_no_finish_needed() {
            self.answers.remove(id);
            self.spare_finishes += u64::from(was != Stage::Finished);
        } else {
            answer.stage = Stage::Returned;
        }
        // `capnp-rpc` needs a `Finish` for whatever has capabilities.
        if !ret.get_no_finish_needed()
            && let return_::Results(results) = ret.which()?
        {
            let table = results?.get_cap_table()?;
            if !table.is_empty() {
                self.pass_caps(table, Some(Mention::Answer(id, serial)))?;
                if let Some(answer) = self.answers.get_mut(id) {
                    answer.results = Some(sent.clone());
                }
            }
        }
        self.answer_came(id, serial);
        Ok(())
    }

    /// A message is answered as one that is not understood.
    pub(super) fn answer_unimplemented(
        &mut self,
        message: message::Reader<'_>,
    ) -> Result<Verdict, Cut> {
        let copy = Injected::copy(message)?;
        self.replies.push_back(Reply::Unimplemented(copy));
        Ok(Verdict::Withhold)
    }
}

/// Why a call is refused whose results are not for the caller.
fn redirected(call: call::Reader<'_>) -> Result<Option<Refusal>, Cut> {
    let (breach, text) = match call.get_send_results_to().which()? {
        call::send_results_to::Caller(()) => return Ok(None),
        call::send_results_to::Yourself(()) => {
            (Breach::TailCall, "tail calls are not implemented here")
        }
        call::send_results_to::ThirdParty(_) => {
            (Breach::ThirdParty, "results can't be sent to a third party")
        }
    };
    Ok(Some((
        breach,
        exception::Type::Unimplemented,
        text.to_owned(),
    )))
}
