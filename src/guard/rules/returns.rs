//! This side's calls.

use capnp_rpc::rpc_capnp::{call, exception, message, message_target, payload, return_};
use smallvec::SmallVec;

use super::calls::{Refusal, third_party};
use super::caps::own_caps;
use super::entries::{Asked, Exported, Leads, Mention, Passed, Place, Question, Serial};
use super::pointers::{Cap, Path, Pointed, path, pointed};
use super::{Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// Ways down into the results of one call that are looked after. What is asked for by more is not.
const MAX_PIPELINED: usize = 64;

impl Question {
    /// Notes that something is taken from there.
    pub(super) fn pipeline(&mut self, path: Path) {
        if self.pipelined.len() < MAX_PIPELINED && !self.pipelined.contains(&path) {
            self.pipelined.push(path);
        }
    }
}

impl Ledger {
    /// This side calls.
    pub(super) fn asked(&mut self, call: call::Reader<'_>) -> capnp::Result<()> {
        if let message_target::PromisedAnswer(answer) = call.get_target()?.which()? {
            let answer = answer?;
            if let Ok(path) = path(answer, u8::MAX)
                && let Some(question) = self.questions.get_mut(answer.get_question_id())
            {
                question.pipeline(path);
            }
        }
        let table = call.get_params()?.get_cap_table()?;
        let passed = if table.is_empty() {
            Passed::new()
        } else {
            self.pass_caps(&own_caps(table), None)
        };
        self.asked_for(call.get_question_id(), passed);
        Ok(())
    }

    /// This side waits for a `Return` for `id`.
    pub(super) fn asked_for(&mut self, id: u32, params: Passed) {
        let question = Question::new(self.serial(), params);
        self.questions.insert(id, question);
    }

    /// This side finishes a call.
    pub(super) fn finished(&mut self, id: u32) {
        match self.questions.get_mut(id) {
            Some(question) if question.stage == Asked::Waiting => {
                question.stage = Asked::Canceled;
            }
            _ => {
                let over = self.questions.remove(id).map(|question| question.stage);
                if let Some(Asked::Taken(taken)) = over {
                    self.tail_given_up(id, taken);
                }
            }
        }
    }

    /// The peer answers a call.
    pub(super) fn returned(
        &mut self,
        message: message::Reader<'_>,
        ret: return_::Reader<'_>,
    ) -> Result<Verdict, Cut> {
        let id = ret.get_answer_id();
        let Some(question) = self.questions.get_mut(id) else {
            return Err(Cut::new(
                Breach::ReturnNotOpen,
                format!("the peer answers call {id}, which was not made"),
            ));
        };
        let params = std::mem::take(&mut question.params);
        let verdict = match question.stage {
            Asked::Returned | Asked::Taken(_) => Err(Cut::new(
                Breach::ReturnNotOpen,
                format!("the peer answers call {id} twice"),
            )),
            Asked::Canceled => self.returned_late(id, ret),
            Asked::Waiting => {
                question.stage = Asked::Returned;
                self.returned_in_time(id, message, ret)
            }
        }?;
        if ret.get_release_param_caps() {
            self.release_params(&params)?;
        }
        Ok(verdict)
    }

    /// The answer to a call that this side has given up: what is in it the peer takes back itself.
    fn returned_late(&mut self, id: u32, ret: return_::Reader<'_>) -> Result<Verdict, Cut> {
        self.questions.remove(id);
        match ret.which()? {
            return_::TakeFromOtherQuestion(_) | return_::AcceptFromThirdParty(_) => {
                // `capnp-rpc` would keep the place of the call for ever.
                self.fail(id, exception::Type::Failed, "the call was canceled");
                return Ok(Verdict::Withhold);
            }
            return_::Results(results) => {
                let table = results?.get_cap_table()?;
                self.check_table(table)?;
                let caps = self.read_caps(table)?;
                self.may_resolve(&caps);
            }
            _ => {}
        }
        Ok(Verdict::Pass)
    }

    fn returned_in_time(
        &mut self,
        id: u32,
        message: message::Reader<'_>,
        ret: return_::Reader<'_>,
    ) -> Result<Verdict, Cut> {
        let (breach, text) = match ret.which()? {
            return_::Results(results) => return self.results(id, message, results?),
            return_::Exception(exception) => {
                exception?;
                self.came(id, None, &[]);
                return Ok(Verdict::Pass);
            }
            return_::Canceled(()) => {
                return Err(Cut::new(
                    Breach::ReturnKind,
                    format!("the peer says that call {id} was canceled, and it was not"),
                ));
            }
            return_::ResultsSentElsewhere(()) => {
                return Err(Cut::new(
                    Breach::ReturnKind,
                    format!("the peer sends the results of call {id} elsewhere, unasked"),
                ));
            }
            return_::TakeFromOtherQuestion(other) => {
                if self.is_refused(other) {
                    self.came(id, None, &[]);
                    let text = "the call that was to answer it was refused";
                    self.fail(id, exception::Type::Overloaded, text);
                    return Ok(Verdict::Withhold);
                }
                self.take_tail(id, other, ret.get_no_finish_needed())?;
                return Ok(Verdict::Withhold);
            }
            return_::AcceptFromThirdParty(_) => (
                Breach::ThirdParty,
                "the results are at a third party, and can't be had from there",
            ),
        };
        self.came(id, None, &[]);
        self.fail(id, exception::Type::Unimplemented, text);
        self.refuse(breach, text);
        Ok(Verdict::Withhold)
    }

    fn results(
        &mut self,
        id: u32,
        message: message::Reader<'_>,
        payload: payload::Reader<'_>,
    ) -> Result<Verdict, Cut> {
        let table = payload.get_cap_table()?;
        self.check_table(table)?;
        let caps = self.read_caps(table)?;
        let bad = self.bad_results(id, payload, &caps);
        if let Some((breach, kind, text)) = bad {
            self.came(id, None, &[]);
            self.turn_away(&caps);
            self.fail(id, kind, &text);
            self.refuse(breach, text);
            return Ok(Verdict::Withhold);
        }
        self.take_caps(&caps);
        self.came(id, Some(payload), &caps);
        self.let_through(message, &caps, false)
    }

    /// Why results are not let through, if they aren't.
    pub(super) fn bad_results(
        &self,
        id: u32,
        payload: payload::Reader<'_>,
        caps: &[Cap],
    ) -> Option<Refusal> {
        if let Some(refusal) = third_party(caps) {
            return Some(refusal);
        }
        if !caps.is_empty()
            && let Some((breach, text)) = self.too_many(caps)
        {
            return Some((breach, exception::Type::Overloaded, text));
        }
        let question = self.questions.get(id)?;
        for path in &question.pipelined {
            let cap = match pointed(payload, path) {
                Pointed::Nothing => continue,
                Pointed::Capability(index) => caps.get(index as usize),
                Pointed::Other => None,
            };
            let Some(cap) = cap else {
                let text = "the results of a call are not what was pipelined on".to_owned();
                return Some((Breach::ReturnContent, exception::Type::Failed, text));
            };
            let place = Place::Question(id, question.serial, path.clone());
            if self.leads_back(&self.leads(cap), &place) {
                let text = "a capability in the results of a call leads back to itself".to_owned();
                return Some((Breach::ReturnCycle, exception::Type::Failed, text));
            }
        }
        None
    }

    /// Whoever stood for what call `id` would bring now stands for what it has brought.
    pub(super) fn came(&mut self, id: u32, payload: Option<payload::Reader<'_>>, caps: &[Cap]) {
        let Some(question) = self.questions.get_mut(id) else {
            return;
        };
        question.pipelined = SmallVec::new();
        let (serial, mentions) = (question.serial, std::mem::take(&mut question.mentions));
        if mentions.is_empty() {
            return;
        }
        for (by, path) in mentions {
            let cap = payload.and_then(|payload| match pointed(payload, &path) {
                Pointed::Capability(index) => caps.get(index as usize),
                _ => None,
            });
            let leads = cap.map_or(Leads::End, |cap| self.leads(cap));
            self.now_leads(by, Place::Question(id, serial, path), leads);
        }
        self.question_came(id, serial);
    }

    fn now_leads(&mut self, by: Mention, place: Place, leads: Leads) {
        match by {
            Mention::Export(id, serial) => {
                if let Some(export) = self.exports.get_mut(id)
                    && export.serial == serial
                    && let Exported::Resolved(known) = &mut export.leads
                {
                    **known = leads;
                }
            }
            Mention::Answer(id, serial, at) => {
                if let Some(answer) = self.answers.get_mut(id)
                    && answer.serial == serial
                    && let Some(stood) = answer.leads.get_mut(at as usize)
                    && *stood == Leads::To(place)
                {
                    *stood = leads;
                }
            }
        }
    }

    /// What a call took along the peer has let go of, by its `Return`. `capnp-rpc` does not know that.
    pub(super) fn release_params(&mut self, params: &[u32]) -> Result<(), Cut> {
        for export in params {
            self.drop_export(*export, 1)?;
            self.inject_release(*export, 1);
        }
        Ok(())
    }

    /// Which use of `id` it is.
    pub(super) fn question_serial(&self, id: u32) -> Option<Serial> {
        Some(self.questions.get(id)?.serial)
    }
}
