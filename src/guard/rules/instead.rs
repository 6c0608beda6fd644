//! Messages of which `capnp-rpc` gets a copy, with other capabilities in places of its table.
//!
//! `capnp` copies the pointers to capabilities one by one, and gives each an index of its own. So the table of a
//! copy is in the order of its pointers: what two of them point to is there twice, and would be counted twice. It
//! takes room twice as well, and counts for the bytes of its call.

use std::collections::HashMap;

use capnp::any_pointer;
use capnp::private::capability::ClientHook;
use capnp::traits::{Imbue, ImbueMut};
use capnp_rpc::rpc_capnp::{message, payload, return_};

use super::pointers::Cap;
use super::promised::CAP_BYTES;
use super::replies::{Injected, with_room};
use super::{Cut, Ledger, Verdict};
use crate::guard::breach::Breach;

/// Bytes that a copy may have more than four times those that came: parts that are shared make it grow; and where
/// the transport reads ahead, bytes count for the message before.
const MAX_COPY: u64 = 16_384;

type Hooks = Vec<Option<Box<dyn ClientHook>>>;

impl Ledger {
    /// Lets a message through: as it is, where it gives back nothing that `capnp-rpc` could not bear, who may let it
    /// wait, or not.
    pub(super) fn let_through(
        &mut self,
        message: message::Reader<'_>,
        caps: &[Cap],
        may_wait: bool,
    ) -> Result<Verdict, Cut> {
        let Some(all) = self.stand_ins(caps, may_wait) else {
            return Ok(Verdict::Pass);
        };
        let copy = self.copy(message, &all, |_| {})?;
        self.inbox.push_back(copy);
        Ok(Verdict::Withhold)
    }

    /// The same for a call whose results stay here: `capnp-rpc` takes it for one whose results don't.
    pub(super) fn let_through_as_usual(
        &mut self,
        message: message::Reader<'_>,
        caps: &[Cap],
        may_wait: bool,
    ) -> Result<Verdict, Cut> {
        let all = self.stand_ins(caps, may_wait);
        let all = all.as_deref().unwrap_or(caps);
        let copy = self.copy(message, all, |_| {})?;
        self.inbox.push_back(copy);
        Ok(Verdict::Withhold)
    }

    /// A copy with other capabilities, and changed.
    pub(super) fn copy(
        &mut self,
        original: message::Reader<'_>,
        caps: &[Cap],
        change: impl FnOnce(message::Builder<'_>),
    ) -> Result<Injected, Cut> {
        let size = original.total_size()?;
        self.check_count(size.cap_count)?;
        let words = size.word_count;
        let max = 4 * self.bytes + MAX_COPY;
        if self.bytes > 0 && words > max / 8 {
            return Err(Cut::new(
                Breach::Malformed,
                format!("a message of {} bytes grows to {words} words", self.bytes),
            ));
        }
        let hooks: Hooks = caps.iter().map(|_| Some(nothing())).collect();
        let mut original = original;
        original.imbue(&hooks);
        let (mut table, mut copy) = (Hooks::new(), with_room(words + 4 * caps.len() as u64 + 16));
        let mut root: any_pointer::Builder<'_> = copy.get_root()?;
        root.imbue_mut(&mut table);
        copy_without_table(original, root)?;
        let message: message::Builder<'_> = copy.get_root()?;
        match message.which()? {
            message::Call(call) => {
                let mut call = call?;
                let more = table.len().saturating_sub(caps.len()) as u64;
                self.takes_more(call.reborrow().get_question_id(), more * CAP_BYTES);
                self.write_table(call.get_params()?, caps, &hooks, &table);
            }
            message::Return(ret) => {
                if let return_::Results(results) = ret?.which()? {
                    self.write_table(results?, caps, &hooks, &table);
                }
            }
            _ => {}
        }
        change(copy.get_root()?);
        Ok(Injected::of(copy))
    }

    /// A call that has begun takes so many bytes more.
    fn takes_more(&mut self, id: u32, bytes: u64) {
        if let Some(answer) = self.answers.get_mut(id) {
            answer.bytes += bytes;
            self.bytes_in_flight += bytes;
        }
    }

    /// The capabilities in the order of `table`, and after them those that nothing points to.
    fn write_table(
        &mut self,
        payload: payload::Builder<'_>,
        caps: &[Cap],
        hooks: &Hooks,
        table: &Hooks,
    ) {
        let address = |hook: &Option<Box<dyn ClientHook>>| hook.as_ref().map(|it| it.get_ptr());
        let places: HashMap<_, usize> = hooks.iter().map(address).zip(0..).collect();
        let mut is_there = vec![false; caps.len()];
        let mut order = Vec::with_capacity(caps.len());
        for hook in table {
            // All are of `hooks`: the copy has made references to those.
            let Some(at) = places.get(&address(hook)).copied() else {
                continue;
            };
            if is_there[at] {
                self.taken_again(&caps[at]);
            }
            is_there[at] = true;
            order.push(at);
        }
        order.extend((0..caps.len()).filter(|at| !is_there[*at]));
        let mut written = payload.init_cap_table(order.len() as u32);
        for (place, at) in (0..).zip(order) {
            caps[at].write(written.reborrow().get(place));
        }
    }

    /// `capnp-rpc` counts a reference that the peer has not given.
    pub(super) fn taken_again(&mut self, cap: &Cap) {
        if let Cap::Sender { id, .. } = cap
            && let Some(import) = self.imports.get_mut(*id)
        {
            self.surplus += u64::from(import.surplus == 0);
            import.surplus += 1;
        }
    }

    /// How many of the references that `capnp-rpc` lets go of the peer has given.
    pub(super) fn without_surplus(&self, id: u32, count: u32) -> u32 {
        let surplus = self.imports.get(id).map_or(0, |import| import.surplus);
        count.saturating_sub(surplus)
    }
}

/// Copies a message but for its table of capabilities: what that has in it might be anything, and `capnp` panics where
/// a pointer to a capability is overwritten. Results of a call go to who makes it.
fn copy_without_table(
    original: message::Reader<'_>,
    mut root: any_pointer::Builder<'_>,
) -> capnp::Result<()> {
    match original.which()? {
        message::Call(call) => {
            let call = call?;
            let message: message::Builder<'_> = root.init_as();
            let mut copy = message.init_call();
            copy.set_question_id(call.get_question_id());
            copy.set_target(call.get_target()?)?;
            copy.set_interface_id(call.get_interface_id());
            copy.set_method_id(call.get_method_id());
            copy.set_allow_third_party_tail_call(call.get_allow_third_party_tail_call());
            copy.set_no_promise_pipelining(call.get_no_promise_pipelining());
            copy.set_only_promise_pipeline(call.get_only_promise_pipeline());
            let content = call.get_params()?.get_content();
            copy.init_params().get_content().set_as(content)
        }
        message::Return(ret) => {
            let ret = ret?;
            let return_::Results(results) = ret.which()? else {
                return root.set_as(original);
            };
            let message: message::Builder<'_> = root.init_as();
            let mut copy = message.init_return();
            copy.set_answer_id(ret.get_answer_id());
            copy.set_release_param_caps(ret.get_release_param_caps());
            copy.set_no_finish_needed(ret.get_no_finish_needed());
            let content = results?.get_content();
            copy.init_results().get_content().set_as(content)
        }
        _ => root.set_as(original),
    }
}

fn nothing() -> Box<dyn ClientHook> {
    capnp_rpc::new_broken_cap(capnp::Error::failed(String::new())).hook
}
