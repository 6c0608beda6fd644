//! Embargoes, and messages that no peer has to understand.

use capnp_rpc::rpc_capnp::{cap_descriptor, disembargo, message, message_target, resolve};

use super::entries::{Exported, Stage};
use super::pointers::steps;
use super::replies::{Injected, Reply};
use super::{Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// How long a message may be that is sent back.
const MAX_ECHO_WORDS: u64 = 1_024;

impl Ledger {
    pub(super) fn disembargo(
        &mut self,
        message: message::Reader<'_>,
        disembargo: disembargo::Reader<'_>,
    ) -> Result<Verdict, Cut> {
        match disembargo.get_context().which()? {
            disembargo::context::ReceiverLoopback(id) if self.embargoes.remove(&id) => {
                Ok(Verdict::Pass)
            }
            disembargo::context::ReceiverLoopback(id) => Err(Cut::new(
                Breach::Disembargo,
                format!("the peer lifts embargo {id}, which there is not"),
            )),
            disembargo::context::SenderLoopback(_) => {
                self.check_loopback(disembargo.get_target()?)?;
                Ok(Verdict::Pass)
            }
            disembargo::context::Accept(()) | disembargo::context::Provide(_) => {
                self.answer_unimplemented(message)
            }
        }
    }

    /// Only what this side has resolved, or returned, can lead back to the peer.
    fn check_loopback(&self, target: message_target::Reader<'_>) -> Result<(), Cut> {
        let may_lead_back = match target.which()? {
            message_target::ImportedCap(id) => self
                .exports
                .get(id)
                .is_some_and(|export| matches!(export.leads, Exported::Resolved(_))),
            message_target::PromisedAnswer(answer) => {
                let answer = answer?;
                steps(answer, self.limits.pipeline_depth)?;
                let answer = self.answers.get(answer.get_question_id());
                answer.is_some_and(|answer| {
                    answer.stage == Stage::Returned && answer.results.is_some()
                })
            }
        };
        if may_lead_back {
            return Ok(());
        }
        Err(Cut::new(
            Breach::Disembargo,
            "the peer asks for an echo from what does not lead back to it",
        ))
    }

    /// This side embargoes calls until the peer has sent an echo.
    pub(super) fn embargoed(&mut self, disembargo: disembargo::Reader<'_>) -> capnp::Result<()> {
        if let disembargo::context::SenderLoopback(id) = disembargo.get_context().which()? {
            self.embargoes.insert(id);
        }
        Ok(())
    }

    /// The peer does not understand a message of this side's. It may say so of a `Resolve` only; then it has
    /// not taken the capability in it.
    pub(super) fn unimplemented(&mut self, echo: message::Reader<'_>) -> Result<Verdict, Cut> {
        let message::Resolve(resolve) = echo.which()? else {
            return Err(Cut::new(
                Breach::Unimplemented,
                "the peer does not understand a message that every peer has to",
            ));
        };
        let resolve::Cap(cap) = resolve?.which()? else {
            return Ok(Verdict::Withhold);
        };
        match cap?.which()? {
            cap_descriptor::SenderHosted(id) | cap_descriptor::SenderPromise(id) => {
                self.drop_export(id, 1)?;
                Ok(Verdict::Pass)
            }
            _ => Ok(Verdict::Withhold),
        }
    }

    /// A message is sent back as one that is not understood. It grows when it is copied, if parts of it are
    /// shared: none that is long gets so far.
    pub(super) fn answer_unimplemented(
        &mut self,
        message: message::Reader<'_>,
    ) -> Result<Verdict, Cut> {
        let words = message.total_size()?.word_count;
        if words > MAX_ECHO_WORDS {
            return Err(Cut::new(
                Breach::Malformed,
                format!("a message of {words} words is of a kind that is not known here"),
            ));
        }
        let copy = Injected::copy(message)?;
        self.replies.push_back(Reply::Unimplemented(copy));
        Ok(Verdict::Withhold)
    }
}
