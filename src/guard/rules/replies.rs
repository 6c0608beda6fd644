//! Messages that the guard itself writes: to the peer, and to `capnp-rpc` in the peer's name.

use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::IncomingMessage;
use capnp_rpc::rpc_capnp::{exception, message, return_};

use super::Ledger;
use super::pointers::Cap;

/// A message for the peer.
pub(in crate::guard) enum Reply {
    /// Its call is answered with an error.
    Return(u32, exception::Type, String),
    /// The results of its call stay here.
    Elsewhere(u32),
    /// So many references to a capability of its are let go of.
    Release(u32, u32),
    /// The message is not understood.
    Unimplemented(Injected),
}

/// As many words as most messages of the guard's have.
pub(super) const SHORT: u64 = 32;

/// A message that has at once room for so many words: there may be thousands, and by default each takes 8 KiB.
pub(super) fn with_room(words: u64) -> Builder<HeapAllocator> {
    let words = u32::try_from(words).unwrap_or(u32::MAX);
    Builder::new(HeapAllocator::new().first_segment_words(words))
}

/// A message that `capnp-rpc` gets as if the peer had sent it, or a copy of one that it did.
pub(in crate::guard) struct Injected {
    message: Builder<HeapAllocator>,
    /// Does it have the bootstrap object take a promise?
    pub(in crate::guard) takes: bool,
}

impl Reply {
    /// Writes it.
    pub(in crate::guard) fn write(self, mut message: message::Builder<'_>) -> capnp::Result<()> {
        match self {
            Self::Return(id, kind, text) => exception_for(id, kind, &text, message.init_return()),
            Self::Elsewhere(id) => {
                let mut ret = message.init_return();
                ret.set_answer_id(id);
                ret.set_release_param_caps(false);
                ret.set_results_sent_elsewhere(());
            }
            Self::Release(id, count) => {
                let mut release = message.init_release();
                release.set_id(id);
                release.set_reference_count(count);
            }
            Self::Unimplemented(copy) => {
                message.set_unimplemented(copy.message.get_root_as_reader()?)?;
            }
        }
        Ok(())
    }
}

impl Injected {
    /// A short one.
    pub(super) fn write(fill: impl FnOnce(message::Builder<'_>)) -> Self {
        let mut builder = with_room(SHORT);
        fill(builder.init_root());
        Self::of(builder)
    }

    /// As one of those that have the bootstrap object take a promise.
    pub(super) fn taking(self) -> Self {
        Self {
            takes: true,
            ..self
        }
    }

    pub(super) fn of(message: Builder<HeapAllocator>) -> Self {
        Self {
            message,
            takes: false,
        }
    }

    pub(super) fn copy(original: message::Reader<'_>) -> capnp::Result<Self> {
        let mut builder = with_room(original.total_size()?.word_count + 1);
        builder.set_root(original)?;
        Ok(Self::of(builder))
    }
}

impl IncomingMessage for Injected {
    fn get_body(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }
}

fn exception_for(id: u32, kind: exception::Type, text: &str, mut ret: return_::Builder<'_>) {
    ret.set_answer_id(id);
    ret.set_release_param_caps(false);
    let mut exception = ret.init_exception();
    exception.set_type(kind);
    exception.set_reason(text);
}

impl Ledger {
    /// A call of this side's ends with an error, in place of what the peer sent.
    pub(super) fn fail(&mut self, question: u32, kind: exception::Type, text: &str) {
        self.inbox.push_back(Injected::write(|message| {
            exception_for(question, kind, text, message.init_return());
        }));
    }

    /// A promise of the peer's is broken, in place of what it resolved to.
    pub(super) fn break_promise(&mut self, promise: u32, text: &str) {
        self.inbox.push_back(Injected::write(|message| {
            let mut resolve = message.init_resolve();
            resolve.set_promise_id(promise);
            let mut exception = resolve.init_exception();
            exception.set_type(exception::Type::Failed);
            exception.set_reason(text);
        }));
    }

    /// A promise of the peer's resolves.
    pub(super) fn keep_promise(&mut self, promise: u32, to: &Cap) {
        self.inbox.push_back(Injected::write(|message| {
            let mut resolve = message.init_resolve();
            resolve.set_promise_id(promise);
            to.write(resolve.init_cap());
        }));
    }

    /// The peer has let go of a capability.
    pub(super) fn inject_release(&mut self, export: u32, count: u32) {
        self.inbox.push_back(Injected::write(|message| {
            let mut release = message.init_release();
            release.set_id(export);
            release.set_reference_count(count);
        }));
    }
}
