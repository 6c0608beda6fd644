//! What the peer's calls in flight will return, where the peer names it in a message: see `relay.rs` for why.
//!
//! `capnp-rpc` gets a call more, on the bootstrap object, which takes the promise; and then a copy of the
//! message, in which what that call returns is in the promise's place. Both calls' ids are of the guard's own.

use std::collections::HashSet;

use capnp::message::Builder;
use capnp::traits::ImbueMut;
use capnp_rpc::rpc_capnp::message;

use super::Ledger;
use super::entries::{Serial, Stage};
use super::pointers::{Cap, Path};
use super::replies::Injected;

/// So many of the highest ids may be the guard's own calls'.
pub(super) const MAX_OWN: u32 = 1 << 30;

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
    /// Calls of the peer's that are about to return, and are named in messages.
    pub(super) returning: Vec<Serial>,
    /// Those that the peer finishes before.
    pub(super) finished: Vec<Serial>,
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

    /// Calls that return, of those that were named before.
    pub(in crate::guard) fn returning(&self) -> &[Serial] {
        &self.promised_answers.returning
    }

    /// Calls that are finished before they return, of those that were named.
    pub(in crate::guard) fn finished_calls(&mut self) -> Vec<Serial> {
        std::mem::take(&mut self.promised_answers.finished)
    }

    /// Those that have returned by now.
    pub(in crate::guard) fn returned_calls(&mut self) -> Vec<Serial> {
        std::mem::take(&mut self.promised_answers.returning)
    }

    /// What stands for what call `id` of the peer's will return there, if it is in flight: what the guard's own
    /// call returns, which takes that.
    pub(super) fn stand_in(&mut self, id: u32, path: &Path) -> Option<Cap> {
        let answer = self.answers.get_mut(id)?;
        if answer.stage != Stage::Running || !self.promised_answers.is_there {
            return None;
        }
        answer.is_named = true;
        answer.is_pipelined = true;
        let serial = answer.serial;
        let bootstrap = match self.promised_answers.bootstrap {
            Some(bootstrap) => bootstrap,
            None => self.ask_for_bootstrap(),
        };
        let own = self.own_id();
        let promise = Cap::ReceiverAnswer(id, path.clone());
        let takes = take(own, bootstrap, &promise).taking(serial);
        self.inbox.push_back(takes);
        Some(Cap::ReceiverAnswer(own, Path::new()))
    }

    fn ask_for_bootstrap(&mut self) -> u32 {
        let own = self.own_id();
        self.promised_answers.bootstrap = Some(own);
        let asks = Injected::write(|message| {
            message.init_bootstrap().set_question_id(own);
        });
        self.inbox.push_back(asks.taking(0));
        own
    }

    fn own_id(&mut self) -> u32 {
        loop {
            let id = u32::MAX - self.promised_answers.used % MAX_OWN;
            self.promised_answers.used = self.promised_answers.used.wrapping_add(1);
            if self.answers.get(id).is_none() && !self.promised_answers.is_own(id) {
                self.promised_answers.open.insert(id);
                return id;
            }
        }
    }

    /// Was that the answer to a call that takes a promise?
    pub(super) fn promise_taken(&mut self, id: u32) -> bool {
        if !self.promised_answers.open.remove(&id) {
            return self.promised_answers.bootstrap == Some(id);
        }
        if self.promised_answers.bootstrap != Some(id) {
            self.inject_finish(id);
        }
        true
    }
}

/// The call `id` on the bootstrap object, which takes a promise.
fn take(id: u32, bootstrap: u32, promise: &Cap) -> Injected {
    let (mut table, mut message) = (Vec::new(), Builder::new_default());
    let root: message::Builder<'_> = message.init_root();
    let mut call = root.init_call();
    call.set_question_id(id);
    let target = call.reborrow().init_target();
    target.init_promised_answer().set_question_id(bootstrap);
    let mut params = call.init_params();
    promise.write(params.reborrow().init_cap_table(1).get(0));
    // Only the pointer is written, to what is the first of the table.
    let mut content = params.get_content();
    content.imbue_mut(&mut table);
    let first = capnp_rpc::new_broken_cap(capnp::Error::failed(String::new()));
    content.set_as_capability(first.hook);
    Injected::of(message)
}
