//! The peer's calls.

use capnp_rpc::rpc_capnp::{call, exception, message, message_target, return_};
use smallvec::SmallVec;

use super::caps::{Descriptors, own_caps};
use super::entries::{Answer, Export, Exported, Mention, On, Sent, Stage, size};
use super::plain::Plain;
use super::pointers::{Cap, Caps, path, steps};
use super::replies::Reply;
use super::tails::Tail;
use super::{Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// Why a call is not begun.
pub(super) type Refusal = (Breach, exception::Type, String);

/// A call that may be refused.
struct Asked<'a> {
    id: u32,
    caps: &'a [Cap],
    /// It has no use for an error: another message asks for its results.
    is_tail: bool,
}

impl Ledger {
    /// The peer asks for the bootstrap capability.
    pub(super) fn bootstrap(&mut self, id: u32) -> Result<Verdict, Cut> {
        self.check_unused(id)?;
        if let Some(refusal) = self.no_room_for_a_call(0) {
            return self.refuse_call(Asked::plain(id), refusal);
        }
        self.begin(id, On::Nothing, 0);
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
        let (is_tail, third_party_is_meant) = match call.get_send_results_to().which()? {
            call::send_results_to::Caller(()) => (false, false),
            call::send_results_to::Yourself(()) => (true, false),
            call::send_results_to::ThirdParty(_) => (false, true),
        };
        self.check_unused(id)?;
        let (mut on, answer, mut refusal) = self.target(call)?;
        let table: Descriptors<'_> = call.get_params()?.get_cap_table()?;
        refusal = refusal
            .or_else(|| third_party_is_meant.then(to_a_third_party))
            .or_else(|| self.no_room_for_a_call(bytes));
        if table.is_empty() && refusal.is_none() && !is_tail {
            return self.begin_on(id, on, bytes, answer);
        }
        self.check_table(table)?;
        let caps = self.read_caps(table)?;
        refusal = refusal.or_else(|| third_party(&caps)).or_else(|| {
            let (breach, text) = self.too_many(&caps)?;
            Some((breach, exception::Type::Overloaded, text))
        });
        let gives_back = caps.iter().any(|cap| self.is_ours(cap));
        let may_wait = gives_back && self.may_wait(call)?;
        let bytes = bytes + Self::cap_bytes(&caps) + self.stand_in_bytes(&caps, may_wait);
        let asked = Asked {
            id,
            caps: &caps,
            is_tail,
        };
        refusal = refusal.or_else(|| self.no_room_for_a_call(bytes));
        if let Some(refusal) = refusal {
            return self.refuse_call(asked, refusal);
        }
        let mut carried: SmallVec<[On; 2]> = SmallVec::from_slice(&[on]);
        for cap in &caps {
            let other = self.waits_on(cap);
            carried.push(other);
            if other != On::Nothing && self.depth(other) > self.depth(on) {
                on = other;
            }
        }
        if self.depth(on) > self.limits.pipeline_depth {
            return self.refuse_call(asked, self.too_deep());
        }
        self.take_caps(&caps);
        for cap in &caps {
            if let Cap::ReceiverAnswer(answer, _) = cap {
                self.pipelined_on(*answer);
            }
        }
        answer
            .into_iter()
            .for_each(|answer| self.pipelined_on(answer));
        self.begin(id, on, bytes);
        carried.into_iter().for_each(|on| self.carry(id, on));
        if let (true, Some(answer)) = (is_tail, self.answers.get_mut(id)) {
            answer.tail = Some(Tail::Kept);
            self.tails += 1;
        }
        match is_tail {
            true => self.let_through_as_usual(message, &caps, may_wait),
            false => self.let_through(message, &caps, may_wait),
        }
    }

    fn begin_on(
        &mut self,
        id: u32,
        on: On,
        bytes: u64,
        answer: Option<u32>,
    ) -> Result<Verdict, Cut> {
        if on != On::Nothing && self.depth(on) > self.limits.pipeline_depth {
            return self.refuse_call(Asked::plain(id), self.too_deep());
        }
        answer
            .into_iter()
            .for_each(|answer| self.pipelined_on(answer));
        self.begin(id, on, bytes);
        self.carry(id, on);
        Ok(Verdict::Pass)
    }

    pub(super) fn begin(&mut self, id: u32, on: On, bytes: u64) {
        let answer = Answer::new(self.serial(), Stage::Running, on, bytes);
        self.begun += 1;
        self.in_flight += 1;
        self.bytes_in_flight += bytes;
        self.answers.insert(id, answer);
    }

    pub(super) fn check_unused(&self, id: u32) -> Result<(), Cut> {
        if self.answers.get(id).is_some() || self.promised_answers.is_own(id) {
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

    /// What a call waits for; which call it is pipelined on; and why it is refused, if that was.
    fn target(&self, call: call::Reader<'_>) -> Result<(On, Option<u32>, Option<Refusal>), Cut> {
        match call.get_target()?.which()? {
            message_target::ImportedCap(id) => match self.exports.get(id) {
                Some(export) => Ok((Self::on_promise(id, export), None, None)),
                None => Err(Cut::new(
                    Breach::UnknownExport,
                    format!("the peer calls capability {id}, which it has not got"),
                )),
            },
            message_target::PromisedAnswer(answer) => {
                let answer = answer?;
                steps(answer, self.limits.pipeline_depth)?;
                let id = answer.get_question_id();
                let refusal = self.is_refused(id).then(|| {
                    let text = "what it is called on was refused".to_owned();
                    (Breach::OnRefused, exception::Type::Overloaded, text)
                });
                Ok((self.on_answer(id), Some(id), refusal))
            }
        }
    }

    /// Was call `id` of the peer's refused?
    pub(super) fn is_refused(&self, id: u32) -> bool {
        let answer = self.answers.get(id);
        answer.is_some_and(|answer| answer.stage == Stage::Refused)
    }

    /// Is it for what can still become something else?
    fn may_wait(&self, call: call::Reader<'_>) -> Result<bool, Cut> {
        let target = match call.get_target()?.which()? {
            message_target::ImportedCap(id) => Cap::Receiver(id),
            message_target::PromisedAnswer(answer) => {
                let answer = answer?;
                let path = path(answer, self.limits.pipeline_depth)?;
                Cap::ReceiverAnswer(answer.get_question_id(), path)
            }
        };
        Ok(self.is_promise_of_ours(&target))
    }

    fn waits_on(&self, cap: &Cap) -> On {
        match cap {
            Cap::Receiver(id) => self.on_export(*id),
            Cap::ReceiverAnswer(id, _) => self.on_answer(*id),
            _ => On::Nothing,
        }
    }

    pub(super) fn on_answer(&self, id: u32) -> On {
        match self.answers.get(id) {
            Some(answer) if answer.is_in_flight() => On::Answer(id, answer.serial),
            _ => On::Nothing,
        }
    }

    fn on_export(&self, id: u32) -> On {
        let export = self.exports.get(id);
        export.map_or(On::Nothing, |export| Self::on_promise(id, export))
    }

    pub(super) fn on_promise(id: u32, export: &Export) -> On {
        match export.leads {
            Exported::Promise => On::Export(id, export.serial),
            _ => On::Nothing,
        }
    }

    /// How many calls and promises wait for each other before what waits for `on` can begin.
    pub(super) fn depth(&self, mut on: On) -> u8 {
        let mut depth = 0;
        while depth <= self.limits.pipeline_depth {
            on = match on {
                On::Answer(id, serial) => match self.answers.get(id) {
                    Some(answer) if answer.serial == serial && answer.is_in_flight() => answer.on,
                    _ => break,
                },
                On::Export(id, serial) => match self.exports.get(id) {
                    Some(export)
                        if export.serial == serial && matches!(export.leads, Exported::Promise) =>
                    {
                        export.on
                    }
                    _ => break,
                },
                On::Nothing => break,
            };
            depth += 1;
        }
        depth
    }

    fn too_deep(&self) -> Refusal {
        let max = self.limits.pipeline_depth;
        let text = format!("a call is pipelined on more than {max} calls");
        (Breach::PipelineDepth, exception::Type::Overloaded, text)
    }

    pub(super) fn no_room_for_a_call(&self, bytes: u64) -> Option<Refusal> {
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
        asked: Asked<'_>,
        (breach, kind, text): Refusal,
    ) -> Result<Verdict, Cut> {
        let reply = match asked.is_tail {
            true => Reply::Elsewhere(asked.id),
            false => Reply::Return(asked.id, kind, text.clone()),
        };
        self.refuse(breach, text);
        let answer = Answer::new(self.serial(), Stage::Refused, On::Nothing, 0);
        self.answers.insert(asked.id, answer);
        self.replies.push_back(reply);
        self.turn_away(asked.caps);
        Ok(Verdict::Withhold)
    }

    /// The peer has done with a call.
    pub(super) fn finish(&mut self, id: u32, releases_results: bool) -> Result<Verdict, Cut> {
        let Some(answer) = self.answers.get_mut(id) else {
            return self.stray_finish(id);
        };
        match answer.stage {
            Stage::Running => {
                if let Some(Tail::Taken(taken)) = &mut answer.tail {
                    return match std::mem::replace(&mut taken.is_finished, true) {
                        false => Ok(Verdict::Withhold),
                        true => Err(finished_twice(id)),
                    };
                }
                self.count_canceled(id);
                self.cancel(id);
                Ok(Verdict::Pass)
            }
            Stage::Finished | Stage::Canceled => Err(finished_twice(id)),
            Stage::Returned if answer.tail.is_some() => {
                self.tail_gone(id)?;
                Ok(Verdict::Withhold)
            }
            Stage::Returned => {
                let serial = answer.serial;
                let results = answer.results.take();
                let before = self.inbox.len();
                self.answer_over(id);
                if let (true, Some(results)) = (releases_results, results) {
                    self.release_results(&results)?;
                }
                self.answer_gone(id, serial);
                if !self.has_stood_in(before) {
                    return Ok(Verdict::Pass);
                }
                self.inject_finish(id, releases_results);
                Ok(Verdict::Withhold)
            }
            Stage::Refused => {
                self.answers.remove(id);
                Ok(Verdict::Withhold)
            }
        }
    }

    /// `capnp-rpc` is told that a call is finished which has not returned.
    pub(super) fn cancel(&mut self, id: u32) {
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        let (serial, bytes) = (answer.serial, answer.bytes);
        answer.stage = Stage::Finished;
        if !answer.is_pipelined {
            answer.stage = Stage::Canceled;
            self.over(bytes);
        }
        self.answer_gone(id, serial);
    }

    /// A call that has returned is over.
    pub(super) fn answer_over(&mut self, id: u32) -> Option<Answer> {
        let answer = self.answers.remove(id)?;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(answer.bytes);
        Some(answer)
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

    pub(super) fn release_results(&mut self, results: &Sent) -> Result<(), Cut> {
        let caps = match Plain::of(results) {
            Some(Plain::Return { caps, .. }) => caps,
            _ => {
                let message: message::Reader<'_> = results.get_root_as_reader()?;
                let message::Return(ret) = message.which()? else {
                    return Ok(());
                };
                own_results(ret?)?
            }
        };
        for cap in caps {
            if let Cap::Sender { id, .. } = cap {
                self.drop_export(id, 1)?;
            }
        }
        Ok(())
    }

    /// A call is no more in flight.
    fn over(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(bytes);
    }

    /// This side has answered a call.
    pub(super) fn answered(&mut self, ret: return_::Reader<'_>, sent: &Sent) -> capnp::Result<()> {
        let needs_no_finish = ret.get_no_finish_needed();
        let caps = match needs_no_finish {
            true => Caps::new(),
            false => own_results(ret)?,
        };
        self.answered_with(ret.get_answer_id(), needs_no_finish, &caps, sent);
        Ok(())
    }

    /// The same, with these capabilities.
    pub(super) fn answered_with(
        &mut self,
        id: u32,
        needs_no_finish: bool,
        caps: &[Cap],
        sent: &Sent,
    ) {
        let Some(answer) = self.answers.get_mut(id) else {
            return;
        };
        let (serial, was, bytes) = (answer.serial, answer.stage, answer.bytes);
        let is_finished = matches!(was, Stage::Finished | Stage::Canceled);
        let is_tail = answer.tail.is_some();
        if !is_finished {
            answer.stage = Stage::Returned;
        }
        answer.bytes = 0;
        answer.carries = SmallVec::new();
        // `capnp-rpc` needs a `Finish` for whatever has capabilities, and keeps it until then.
        let has_caps = !needs_no_finish && !caps.is_empty();
        if is_tail || has_caps {
            answer.results = Some(sent.clone());
            answer.bytes = size(sent);
            self.bytes_in_flight += answer.bytes;
        }
        if was != Stage::Canceled {
            self.over(bytes);
        }
        if has_caps {
            self.pass_caps(caps, Some(Mention::Answer(id, serial, 0)));
            let leads = self.table_leads(caps);
            if let Some(answer) = self.answers.get_mut(id) {
                answer.leads = leads;
            }
        }
        self.answer_came(id, serial);
        if is_tail {
            self.tail_came(id);
        } else if is_finished || needs_no_finish {
            self.answer_over(id);
            self.spare_finishes += u64::from(!is_finished);
        }
    }
}

/// The capabilities in a `Return` of this side's.
pub(super) fn own_results(ret: return_::Reader<'_>) -> capnp::Result<Caps> {
    match ret.which()? {
        return_::Results(results) => Ok(own_caps(results?.get_cap_table()?)),
        _ => Ok(Caps::new()),
    }
}

impl Asked<'_> {
    /// One without capabilities.
    fn plain(id: u32) -> Self {
        Self {
            id,
            caps: &[],
            is_tail: false,
        }
    }
}

fn finished_twice(id: u32) -> Cut {
    let text = format!("the peer finishes call {id} twice");
    Cut::new(Breach::FinishNotOpen, text)
}

/// Why a call is refused whose results are for a third party.
fn to_a_third_party() -> Refusal {
    let text = "results can't be sent to a third party".to_owned();
    (Breach::ThirdParty, exception::Type::Unimplemented, text)
}

/// Why capabilities are not taken of which some are hosted by third parties. The peer is told: it can pass
/// them on itself.
pub(super) fn third_party(caps: &[Cap]) -> Option<Refusal> {
    let is_any = caps.iter().any(|cap| matches!(cap, Cap::Vine(_)));
    is_any.then(|| {
        let text = "capabilities that are hosted by third parties are not implemented here";
        (
            Breach::ThirdParty,
            exception::Type::Unimplemented,
            text.to_owned(),
        )
    })
}
