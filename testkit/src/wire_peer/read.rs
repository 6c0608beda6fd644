//! Bytes to messages.

use capnp::message::{Reader, ReaderSegments};
use capnp::private::capability::ClientHook;
use capnp::private::layout::{PointerReader, PointerType, StructReader};
use capnp::traits::{FromPointerReader, Imbue, IntoInternalStructReader};
use capnp::{ErrorKind, Result, any_pointer, any_pointer_list, raw};
use capnp_rpc::new_broken_cap;
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, disembargo, exception, message, message_target, payload, promised_answer,
    resolve, return_,
};

use super::message::{
    Call, Cap, Content, Context, Fail, Message, Outcome, Payload, Return, Target,
};

impl Message {
    /// What a message says.
    pub fn read<S: ReaderSegments>(reader: &Reader<S>) -> Self {
        let message = reader.get_root().and_then(Self::of);
        message.unwrap_or_else(|error| Self::Strange(error.to_string()))
    }

    fn of(message: message::Reader<'_>) -> Result<Self> {
        Ok(match message.which()? {
            message::Unimplemented(inner) => Self::Unimplemented(Box::new(Self::of(inner?)?)),
            message::Abort(fail) => Self::Abort(Fail::of(fail?)?),
            message::Bootstrap(bootstrap) => Self::Bootstrap {
                question: bootstrap?.get_question_id(),
            },
            message::Call(call) => Self::Call(Call::of(call?)?),
            message::Return(returned) => Self::Return(Return::of(returned?)?),
            message::Finish(finish) => {
                let finish = finish?;
                Self::Finish {
                    question: finish.get_question_id(),
                    release_result_caps: finish.get_release_result_caps(),
                }
            }
            message::Resolve(resolve) => {
                let resolve = resolve?;
                Self::Resolve {
                    promise: resolve.get_promise_id(),
                    to: match resolve.which()? {
                        resolve::Cap(cap) => Ok(Cap::of(cap?)?),
                        resolve::Exception(fail) => Err(Fail::of(fail?)?),
                    },
                }
            }
            message::Release(release) => {
                let release = release?;
                Self::Release {
                    id: release.get_id(),
                    count: release.get_reference_count(),
                }
            }
            message::Disembargo(disembargo) => {
                let disembargo = disembargo?;
                Self::Disembargo {
                    target: Target::of(disembargo.get_target()?)?,
                    context: match disembargo.get_context().which()? {
                        disembargo::context::SenderLoopback(id) => Context::SenderLoopback(id),
                        disembargo::context::ReceiverLoopback(id) => Context::ReceiverLoopback(id),
                        disembargo::context::Accept(()) => Context::Accept,
                        disembargo::context::Provide(id) => Context::Provide(id),
                    },
                }
            }
            message::Provide(provide) => {
                let provide = provide?;
                Self::Provide {
                    question: provide.get_question_id(),
                    target: Target::of(provide.get_target()?)?,
                }
            }
            message::Accept(accept) => Self::Accept {
                question: accept?.get_question_id(),
            },
            message::Join(join) => {
                let join = join?;
                Self::Join {
                    question: join.get_question_id(),
                    target: Target::of(join.get_target()?)?,
                }
            }
            message::ObsoleteSave(_) => Self::ObsoleteSave,
            message::ObsoleteDelete(_) => Self::ObsoleteDelete,
        })
    }
}

impl Call {
    fn of(call: call::Reader<'_>) -> Result<Self> {
        Ok(Self {
            question: call.get_question_id(),
            target: Target::of(call.get_target()?)?,
            interface: call.get_interface_id(),
            method: call.get_method_id(),
            params: Payload::of_reader(call.get_params()?)?,
            to_yourself: matches!(
                call.get_send_results_to().which()?,
                call::send_results_to::Yourself(())
            ),
        })
    }
}

impl Return {
    fn of(returned: return_::Reader<'_>) -> Result<Self> {
        Ok(Self {
            answer: returned.get_answer_id(),
            outcome: match returned.which()? {
                return_::Results(payload) => Outcome::Results(Payload::of_reader(payload?)?),
                return_::Exception(fail) => Outcome::Exception(Fail::of(fail?)?),
                return_::Canceled(()) => Outcome::Canceled,
                return_::ResultsSentElsewhere(()) => Outcome::ResultsSentElsewhere,
                return_::TakeFromOtherQuestion(id) => Outcome::TakeFromOtherQuestion(id),
                return_::AcceptFromThirdParty(_) => Outcome::AcceptFromThirdParty,
            },
            release_param_caps: returned.get_release_param_caps(),
            no_finish_needed: returned.get_no_finish_needed(),
        })
    }
}

impl Payload {
    fn of_reader(payload: payload::Reader<'_>) -> Result<Self> {
        let caps: Vec<Cap> = payload
            .get_cap_table()?
            .iter()
            .map(Cap::of)
            .collect::<Result<_>>()?;
        // Capabilities to find the index by: one for each entry, and each another.
        let stand_in = || Some(new_broken_cap(capnp::Error::failed("a stand-in".into())).hook);
        let table: Vec<Option<Box<dyn ClientHook>>> = caps.iter().map(|_| stand_in()).collect();
        let mut content = payload.get_content();
        content.imbue(&table);
        Ok(Self {
            content: Content::of(content, &table)?,
            caps,
        })
    }
}

impl Cap {
    fn of(descriptor: cap_descriptor::Reader<'_>) -> Result<Self> {
        Ok(match descriptor.which()? {
            cap_descriptor::None(()) => Self::None,
            cap_descriptor::SenderHosted(id) => Self::Hosted(id),
            cap_descriptor::SenderPromise(id) => Self::Promise(id),
            cap_descriptor::ReceiverHosted(id) => Self::Yours(id),
            cap_descriptor::ReceiverAnswer(answer) => {
                let (question, at) = read_answer(answer?)?;
                Self::Answer(question, at)
            }
            cap_descriptor::ThirdPartyHosted(third) => Self::ThirdParty(third?.get_vine_id()),
        })
    }
}

impl Target {
    fn of(target: message_target::Reader<'_>) -> Result<Self> {
        Ok(match target.which()? {
            message_target::ImportedCap(id) => Self::Cap(id),
            message_target::PromisedAnswer(answer) => {
                let (question, at) = read_answer(answer?)?;
                Self::Answer(question, at)
            }
        })
    }
}

fn read_answer(answer: promised_answer::Reader<'_>) -> Result<(u32, Vec<u16>)> {
    let mut at = Vec::new();
    for op in answer.get_transform()? {
        if let promised_answer::op::GetPointerField(field) = op.which()? {
            at.push(field);
        }
    }
    Ok((answer.get_question_id(), at))
}

impl Fail {
    fn of(exception: exception::Reader<'_>) -> Result<Self> {
        Ok(Self {
            kind: match exception.get_type()? {
                exception::Type::Failed => ErrorKind::Failed,
                exception::Type::Overloaded => ErrorKind::Overloaded,
                exception::Type::Disconnected => ErrorKind::Disconnected,
                exception::Type::Unimplemented => ErrorKind::Unimplemented,
            },
            reason: exception.get_reason()?.to_string()?,
        })
    }
}

impl Content {
    fn of(content: any_pointer::Reader<'_>, table: &[Option<Box<dyn ClientHook>>]) -> Result<Self> {
        let pointer: Slot<'_> = content.get_as()?;
        Ok(match pointer.0.get_pointer_type()? {
            PointerType::Null => Self::Null,
            PointerType::Capability => {
                let found = pointer.0.get_capability();
                let index = found.ok().and_then(|found| {
                    let is_it = |cap: &Option<Box<dyn ClientHook>>| match cap {
                        Some(cap) => cap.get_ptr() == found.get_ptr(),
                        None => false,
                    };
                    table.iter().position(is_it)
                });
                Self::Cap(index.map_or(u32::MAX, |index| index as u32))
            }
            PointerType::Struct => {
                let fields = raw::get_struct_pointer_section(Fields(pointer.0.get_struct(None)?));
                let fields = fields.iter().map(|field| Self::of(field?, table));
                Self::Struct(fields.collect::<Result<_>>()?)
            }
            PointerType::List => match pointer.0.get_text(None) {
                Ok(text) => Self::Text(text.to_string()?),
                Err(_) => {
                    let list: any_pointer_list::Reader<'_> = content.get_as()?;
                    let elements = list.iter().map(|element| Self::of(element?, table));
                    Self::List(elements.collect::<Result<_>>()?)
                }
            },
        })
    }
}

/// A pointer, whatever it leads to.
struct Slot<'a>(PointerReader<'a>);

impl<'a> FromPointerReader<'a> for Slot<'a> {
    fn get_from_pointer(
        reader: &PointerReader<'a>,
        _default: Option<&'a [capnp::Word]>,
    ) -> Result<Self> {
        Ok(Self(*reader))
    }
}

/// A struct, whatever it is.
struct Fields<'a>(StructReader<'a>);

impl<'a> IntoInternalStructReader<'a> for Fields<'a> {
    fn into_internal_struct_reader(self) -> StructReader<'a> {
        self.0
    }
}
