//! Messages to bytes.

use capnp::ErrorKind;
use capnp::message::{Builder, HeapAllocator};
use capnp::private::capability::ClientHook;
use capnp::private::layout::{CapTableBuilder, ElementSize, PointerBuilder, StructSize};
use capnp::serialize;
use capnp::traits::FromPointerBuilder;
use capnp_rpc::new_broken_cap;
use capnp_rpc::rpc_capnp::{
    cap_descriptor, exception, message, message_target, payload, promised_answer,
};

use super::message::{
    Call, Cap, Content, Context, Fail, Message, Outcome, Payload, Return, Target,
};

impl Message {
    /// What is on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        if let Self::Raw(bytes) = self {
            return bytes.clone();
        }
        // One segment, for whoever patches the words.
        let words = HeapAllocator::new().first_segment_words(16 * 1024);
        let mut builder = Builder::new(words);
        self.write(builder.init_root());
        serialize::write_message_to_words(&builder)
    }

    fn write(&self, message: message::Builder<'_>) {
        match self {
            Self::Unimplemented(inner) => inner.write(message.init_unimplemented()),
            Self::Abort(fail) => fail.write(message.init_abort()),
            Self::Bootstrap { question } => message.init_bootstrap().set_question_id(*question),
            Self::Call(call) => call.write(message),
            Self::Return(returned) => returned.write(message),
            Self::Finish {
                question,
                release_result_caps,
            } => {
                let mut finish = message.init_finish();
                finish.set_question_id(*question);
                finish.set_release_result_caps(*release_result_caps);
            }
            Self::Resolve { promise, to } => {
                let mut resolve = message.init_resolve();
                resolve.set_promise_id(*promise);
                match to {
                    Ok(cap) => cap.write(resolve.init_cap()),
                    Err(fail) => fail.write(resolve.init_exception()),
                }
            }
            Self::Release { id, count } => {
                let mut release = message.init_release();
                release.set_id(*id);
                release.set_reference_count(*count);
            }
            Self::Disembargo { target, context } => {
                let mut disembargo = message.init_disembargo();
                target.write(disembargo.reborrow().init_target());
                let mut to = disembargo.init_context();
                match context {
                    Context::SenderLoopback(id) => to.set_sender_loopback(*id),
                    Context::ReceiverLoopback(id) => to.set_receiver_loopback(*id),
                    Context::Accept => to.set_accept(()),
                    Context::Provide(id) => to.set_provide(*id),
                }
            }
            Self::Provide { question, target } => {
                let mut provide = message.init_provide();
                provide.set_question_id(*question);
                target.write(provide.init_target());
            }
            Self::Accept { question } => message.init_accept().set_question_id(*question),
            Self::Join { question, target } => {
                let mut join = message.init_join();
                join.set_question_id(*question);
                target.write(join.init_target());
            }
            Self::ObsoleteSave => drop(message.init_obsolete_save()),
            Self::ObsoleteDelete => drop(message.init_obsolete_delete()),
            Self::Raw(_) | Self::Strange(_) => panic!("{self:?} can't be written"),
        }
    }
}

impl Call {
    fn write(&self, message: message::Builder<'_>) {
        let mut call = message.init_call();
        call.set_question_id(self.question);
        call.set_interface_id(self.interface);
        call.set_method_id(self.method);
        self.target.write(call.reborrow().init_target());
        self.params.write(call.reborrow().init_params());
        if self.to_yourself {
            call.get_send_results_to().set_yourself(());
        }
    }
}

impl Return {
    fn write(&self, message: message::Builder<'_>) {
        let mut returned = message.init_return();
        returned.set_answer_id(self.answer);
        returned.set_release_param_caps(self.release_param_caps);
        returned.set_no_finish_needed(self.no_finish_needed);
        match &self.outcome {
            Outcome::Results(payload) => payload.write(returned.init_results()),
            Outcome::Exception(fail) => fail.write(returned.init_exception()),
            Outcome::Canceled => returned.set_canceled(()),
            Outcome::ResultsSentElsewhere => returned.set_results_sent_elsewhere(()),
            Outcome::TakeFromOtherQuestion(id) => returned.set_take_from_other_question(*id),
            Outcome::AcceptFromThirdParty => drop(returned.init_accept_from_third_party()),
        }
    }
}

impl Payload {
    fn write(&self, mut payload: payload::Builder<'_>) {
        let mut table = payload.reborrow().init_cap_table(self.caps.len() as u32);
        for (index, cap) in (0..).zip(&self.caps) {
            cap.write(table.reborrow().get(index));
        }
        let slot: Slot<'_> = payload.get_content().init_as();
        self.content.write(slot.0);
    }
}

impl Cap {
    fn write(&self, mut descriptor: cap_descriptor::Builder<'_>) {
        match self {
            Self::None => descriptor.set_none(()),
            Self::Hosted(id) => descriptor.set_sender_hosted(*id),
            Self::Promise(id) => descriptor.set_sender_promise(*id),
            Self::Yours(id) => descriptor.set_receiver_hosted(*id),
            Self::Answer(question, at) => {
                write_answer(*question, at, descriptor.init_receiver_answer());
            }
            Self::ThirdParty(vine) => descriptor.init_third_party_hosted().set_vine_id(*vine),
        }
    }
}

impl Target {
    fn write(&self, mut target: message_target::Builder<'_>) {
        match self {
            Self::Cap(id) => target.set_imported_cap(*id),
            Self::Answer(question, at) => {
                write_answer(*question, at, target.init_promised_answer());
            }
        }
    }
}

fn write_answer(question: u32, at: &[u16], mut answer: promised_answer::Builder<'_>) {
    answer.set_question_id(question);
    let mut transform = answer.init_transform(at.len() as u32);
    for (index, field) in (0..).zip(at) {
        transform
            .reborrow()
            .get(index)
            .set_get_pointer_field(*field);
    }
}

impl Fail {
    fn write(&self, mut exception: exception::Builder<'_>) {
        exception.set_reason(&self.reason);
        exception.set_type(match self.kind {
            ErrorKind::Overloaded => exception::Type::Overloaded,
            ErrorKind::Disconnected => exception::Type::Disconnected,
            ErrorKind::Unimplemented => exception::Type::Unimplemented,
            _ => exception::Type::Failed,
        });
    }
}

impl Content {
    fn write(&self, mut pointer: PointerBuilder<'_>) {
        match self {
            Self::Null => (),
            Self::Cap(index) => {
                // The index is where the table ends, so it is as long as that.
                let mut table: Vec<Option<Box<dyn ClientHook>>> = Vec::new();
                table.resize_with(*index as usize, || None);
                pointer.imbue(CapTableBuilder::from_ref(&mut table));
                let cap = new_broken_cap(capnp::Error::failed("only its index counts".into()));
                pointer.set_capability(cap.hook);
            }
            Self::Struct(fields) => {
                let size = StructSize {
                    data: 0,
                    pointers: fields.len() as u16,
                };
                let mut inner = pointer.init_struct(size);
                for (index, field) in fields.iter().enumerate() {
                    field.write(inner.reborrow().get_pointer_field(index));
                }
            }
            Self::List(elements) => {
                let count = elements.len() as u32;
                let mut list = pointer.init_list(ElementSize::Pointer, count);
                for (index, element) in (0..).zip(elements) {
                    element.write(list.reborrow().get_pointer_element(index));
                }
            }
            Self::Text(text) => pointer.set_text(text.as_str().into()),
            Self::Voids(count) => drop(pointer.init_list(ElementSize::Void, *count)),
        }
    }
}

/// A pointer, whatever it is to lead to.
struct Slot<'a>(PointerBuilder<'a>);

impl<'a> FromPointerBuilder<'a> for Slot<'a> {
    fn init_pointer(builder: PointerBuilder<'a>, _length: u32) -> Self {
        Self(builder)
    }

    fn get_from_pointer(
        builder: PointerBuilder<'a>,
        _default: Option<&'a [capnp::Word]>,
    ) -> capnp::Result<Self> {
        Ok(Self(builder))
    }
}
