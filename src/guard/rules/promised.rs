//! What is this side's own, where the peer gives it back and `capnp-rpc` could not bear it: promises, and what is
//! among the parameters of a call that waits. See `relay.rs` for why.
//!
//! `capnp-rpc` gets a call more, on the bootstrap object, which takes the capability; and then a copy of the
//! message, in which what that call returns is in the capability's place. Both calls' ids are of the guard's own.

use std::collections::{HashMap, HashSet};

use capnp::traits::ImbueMut;
use capnp_rpc::rpc_capnp::message;

use super::Ledger;
use super::entries::{Exported, Imported, Leads, Place, Sent, Stage};
use super::pointers::{Cap, Path};
use super::replies::{Injected, SHORT, with_room};

/// So many of the highest ids may be the guard's own calls'.
const MAX_OWN: u32 = 1 << 30;

/// A capability among the parameters of a call takes at most as many, and so many where something stands for it. That
/// may come to be for each promise of the peer's.
pub(super) const CAP_BYTES: u64 = 512;
const STAND_IN_BYTES: u64 = 2_560;

/// Ids of the guard's own calls are the highest that the peer does not use.
#[derive(Default)]
pub(super) struct Promised {
    /// Is the bootstrap object one that takes promises?
    is_there: bool,
    /// The call that asked for it. It is never finished.
    bootstrap: Option<u32>,
    /// Calls that `capnp-rpc` has not answered.
    open: HashSet<u32>,
    used: u32,
}

impl Promised {
    pub(super) fn is_own(&self, id: u32) -> bool {
        self.open.contains(&id) || self.bootstrap == Some(id)
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Ledger {
    /// The bootstrap object takes promises.
    pub(in crate::guard) fn takes_promises(&mut self) {
        self.promised_answers.is_there = true;
    }

    /// The capabilities of a message that may wait, or not, with others in the places of those that need it, if any
    /// does.
    pub(super) fn stand_ins(&mut self, caps: &[Cap], may_wait: bool) -> Option<Vec<Cap>> {
        let mut known: HashMap<&Cap, Cap> = HashMap::new();
        for cap in caps {
            if self.needs_stand_in(cap, may_wait) && !known.contains_key(cap) {
                let stands = self.stand_in(cap);
                known.insert(cap, stands);
            }
        }
        let all = caps.iter().map(|cap| known.get(cap).unwrap_or(cap));
        (!known.is_empty()).then(|| all.cloned().collect())
    }

    /// What the capabilities of a call take, while it has them.
    pub(super) fn cap_bytes(caps: &[Cap]) -> u64 {
        let bytes = caps.iter().map(|cap| match cap {
            Cap::None => 0,
            Cap::Sender {
                is_promise: true, ..
            } => STAND_IN_BYTES,
            _ => CAP_BYTES,
        });
        bytes.sum()
    }

    /// What those take that stand for capabilities of a call.
    pub(super) fn stand_in_bytes(&self, caps: &[Cap], may_wait: bool) -> u64 {
        let need_it = caps.iter().filter(|cap| self.needs_stand_in(cap, may_wait));
        need_it.collect::<HashSet<_>>().len() as u64 * STAND_IN_BYTES
    }

    fn needs_stand_in(&self, cap: &Cap, may_wait: bool) -> bool {
        self.promised_answers.is_there
            && (self.is_promise_of_ours(cap) || (may_wait && self.is_ours(cap)))
    }

    /// What stands for `cap`: what the guard's own call returns, which takes that.
    fn stand_in(&mut self, cap: &Cap) -> Cap {
        let bootstrap = match self.promised_answers.bootstrap {
            Some(bootstrap) => bootstrap,
            None => self.ask_for_bootstrap(),
        };
        if let Cap::ReceiverAnswer(id, _) = cap {
            self.pipelined_on(*id);
        }
        let own = self.own_id();
        self.inbox.push_back(take(own, bootstrap, cap).taking());
        Cap::ReceiverAnswer(own, Path::new())
    }

    /// What stands for what a promise resolves to where nobody knows how that ends. It breaks where it leads back.
    pub(super) fn of_unknown_end(&mut self, to: &Cap) -> Option<Cap> {
        let is_ours = matches!(to, Cap::Receiver(_) | Cap::ReceiverAnswer(..));
        (self.promised_answers.is_there && is_ours).then(|| self.stand_in(to))
    }

    /// Is something to stand for what the peer lets go of, since there were so many messages? Then `capnp-rpc` is to be
    /// told afterwards.
    pub(super) fn has_stood_in(&self, before: usize) -> bool {
        self.promised_answers.is_there && self.inbox.len() > before
    }

    /// Is it of a call that the peer has given up?
    pub(super) fn is_canceled(&self, cap: &Cap) -> bool {
        let Cap::ReceiverAnswer(id, _) = cap else {
            return false;
        };
        let answer = self.answers.get(*id);
        answer.is_some_and(|answer| matches!(answer.stage, Stage::Finished | Stage::Canceled))
    }

    pub(super) fn is_ours(&self, cap: &Cap) -> bool {
        match cap {
            Cap::Receiver(_) => true,
            Cap::ReceiverAnswer(id, _) => {
                let answer = self.answers.get(*id);
                answer.is_some_and(|answer| answer.stage == Stage::Returned)
            }
            _ => false,
        }
    }

    /// Can it still become something else, as far as is known?
    pub(super) fn is_promise_of_ours(&self, cap: &Cap) -> bool {
        match cap {
            Cap::Receiver(id) => match self.exports.get(*id).map(|export| &export.leads) {
                Some(Exported::Promise) => true,
                Some(Exported::Resolved(leads)) => self.may_change(leads),
                Some(Exported::Object) | None => false,
            },
            Cap::ReceiverAnswer(id, path) => match self.answers.get(*id) {
                Some(answer) if answer.stage == Stage::Running => true,
                Some(answer) if answer.stage == Stage::Returned => {
                    self.may_change(&Self::result_leads(answer, path))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// A promise of the peer's that has resolved may, too: `capnp-rpc` makes it one of its own, where calls of this
    /// side's are to come back first.
    fn may_change(&self, leads: &Leads) -> bool {
        match leads {
            Leads::End => false,
            Leads::To(Place::Import(id, serial)) => !self.imports.get(*id).is_some_and(|import| {
                import.serial == *serial && matches!(import.is, Imported::Object)
            }),
            Leads::To(_) => true,
        }
    }

    fn ask_for_bootstrap(&mut self) -> u32 {
        let own = self.own_id();
        self.promised_answers.bootstrap = Some(own);
        let asks = Injected::write(|message| {
            message.init_bootstrap().set_question_id(own);
        });
        self.inbox.push_back(asks.taking());
        own
    }

    pub(super) fn own_id(&mut self) -> u32 {
        loop {
            let id = u32::MAX - self.promised_answers.used % MAX_OWN;
            self.promised_answers.used = self.promised_answers.used.wrapping_add(1);
            if self.answers.get(id).is_none() && !self.promised_answers.is_own(id) {
                self.promised_answers.open.insert(id);
                return id;
            }
        }
    }

    /// Does a message of this side's stay here?
    pub(in crate::guard) fn is_own(&self, message: message::Reader<'_>) -> bool {
        let Ok(message::Return(Ok(ret))) = message.which() else {
            return false;
        };
        let id = ret.get_answer_id();
        let answer = self.answers.get(id);
        self.promised_answers.is_own(id) || answer.is_some_and(|answer| answer.tail.is_some())
    }

    /// Such a message answers a call of the guard's own, or one whose results stay here.
    pub(in crate::guard) fn own_sent(&mut self, sent: &Sent) -> capnp::Result<()> {
        let message: message::Reader<'_> = sent.get_root_as_reader()?;
        let message::Return(ret) = message.which()? else {
            return Ok(());
        };
        let ret = ret?;
        let id = ret.get_answer_id();
        if !self.promised_answers.is_own(id) {
            return self.answered(ret, sent);
        }
        if self.promised_answers.open.remove(&id) && self.promised_answers.bootstrap != Some(id) {
            self.inject_finish(id, true);
        }
        Ok(())
    }

    /// `capnp-rpc` is told that a call is finished.
    pub(super) fn inject_finish(&mut self, id: u32, releases_results: bool) {
        self.inbox.push_back(Injected::write(|message| {
            let mut finish = message.init_finish();
            finish.set_question_id(id);
            finish.set_release_result_caps(releases_results);
        }));
    }
}

/// The call `id` on the bootstrap object, which takes a capability.
fn take(id: u32, bootstrap: u32, cap: &Cap) -> Injected {
    let (mut table, mut message) = (Vec::new(), with_room(SHORT));
    let root: message::Builder<'_> = message.init_root();
    let mut call = root.init_call();
    call.set_question_id(id);
    let target = call.reborrow().init_target();
    target.init_promised_answer().set_question_id(bootstrap);
    let mut params = call.init_params();
    cap.write(params.reborrow().init_cap_table(1).get(0));
    // Only the pointer is written, to what is the first of the table.
    let mut content = params.get_content();
    content.imbue_mut(&mut table);
    let first = capnp_rpc::new_broken_cap(capnp::Error::failed(String::new()));
    content.set_as_capability(first.hook);
    Injected::of(message)
}
