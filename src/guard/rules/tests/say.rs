//! Messages as values, from either side, and how they are written.

use std::rc::Rc;

use capnp::message::{Builder, HeapAllocator};
use capnp::private::capability::ClientHook;
use capnp::traits::ImbueMut;
use capnp_rpc::new_broken_cap;
use capnp_rpc::rpc_capnp::{cap_descriptor, message, message_target, payload, promised_answer};

use crate::guard::rules::Sent;

/// A capability, seen from who says it. A way leads to the first pointer of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cap {
    None,
    Hosted(u32),
    Promise(u32),
    Yours(u32),
    Answer(u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    Cap(u32),
    Answer(u32),
}

/// One message. A content is a struct whose first pointer is the first capability, if there is one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Bootstrap(u32),
    Call(u32, Target, Vec<Cap>),
    /// Results, or an error; with `releaseParamCaps` from the peer, with `noFinishNeeded` from this side.
    Return(u32, Option<Vec<Cap>>, bool),
    Finish(u32, bool),
    Release(u32, u32),
    /// To a capability, or to an error.
    Resolve(u32, Option<Cap>),
    /// A disembargo that asks for an echo.
    Loopback(Target),
}

impl Message {
    pub(super) fn write(&self, is_ours: bool) -> Sent {
        let mut builder = Builder::new_default();
        self.fill(builder.init_root(), is_ours);
        Rc::<Builder<HeapAllocator>>::new(builder)
    }

    fn fill(&self, message: message::Builder<'_>, is_ours: bool) {
        match self {
            Self::Bootstrap(id) => message.init_bootstrap().set_question_id(*id),
            Self::Call(id, target, caps) => {
                let mut call = message.init_call();
                call.set_question_id(*id);
                write_target(*target, call.reborrow().init_target());
                write_payload(caps, call.init_params());
            }
            Self::Return(id, caps, flag) => {
                let mut ret = message.init_return();
                ret.set_answer_id(*id);
                ret.set_release_param_caps(*flag && !is_ours);
                ret.set_no_finish_needed(*flag && is_ours);
                match caps {
                    Some(caps) => write_payload(caps, ret.init_results()),
                    None => ret.init_exception().set_reason("an error"),
                }
            }
            Self::Finish(id, release) => {
                let mut finish = message.init_finish();
                finish.set_question_id(*id);
                finish.set_release_result_caps(*release);
            }
            Self::Release(id, count) => {
                let mut release = message.init_release();
                release.set_id(*id);
                release.set_reference_count(*count);
            }
            Self::Resolve(id, cap) => {
                let mut resolve = message.init_resolve();
                resolve.set_promise_id(*id);
                match cap {
                    Some(cap) => write_cap(*cap, resolve.init_cap()),
                    None => resolve.init_exception().set_reason("an error"),
                }
            }
            Self::Loopback(target) => {
                let mut disembargo = message.init_disembargo();
                write_target(*target, disembargo.reborrow().init_target());
                disembargo.init_context().set_sender_loopback(1);
            }
        }
    }
}

fn write_target(target: Target, mut to: message_target::Builder<'_>) {
    match target {
        Target::Cap(id) => to.set_imported_cap(id),
        Target::Answer(id) => write_answer(id, to.init_promised_answer()),
    }
}

fn write_answer(id: u32, mut to: promised_answer::Builder<'_>) {
    to.set_question_id(id);
    to.init_transform(1).get(0).set_get_pointer_field(0);
}

fn write_cap(cap: Cap, mut to: cap_descriptor::Builder<'_>) {
    match cap {
        Cap::None => to.set_none(()),
        Cap::Hosted(id) => to.set_sender_hosted(id),
        Cap::Promise(id) => to.set_sender_promise(id),
        Cap::Yours(id) => to.set_receiver_hosted(id),
        Cap::Answer(id) => write_answer(id, to.init_receiver_answer()),
    }
}

fn write_payload(caps: &[Cap], mut to: payload::Builder<'_>) {
    let mut hooks: Vec<Option<Box<dyn ClientHook>>> = Vec::new();
    let mut table = to.reborrow().init_cap_table(caps.len() as u32);
    for (at, cap) in caps.iter().enumerate() {
        write_cap(*cap, table.reborrow().get(at as u32));
    }
    if !caps.is_empty() {
        // Any struct with a pointer will do, and this one can hold a capability.
        let content: payload::Builder<'_> = to.reborrow().get_content().init_as();
        let mut first = content.get_content();
        first.imbue_mut(&mut hooks);
        let any = new_broken_cap(capnp::Error::failed("only its index counts".into()));
        first.set_as_capability(any.hook);
    }
}
