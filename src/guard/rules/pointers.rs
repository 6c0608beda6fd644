//! What a message says of capabilities: their descriptors, and the pointers of its content.

use capnp::private::layout::StructReader;
use capnp::traits::IntoInternalStructReader;
use capnp::{raw, struct_list};
use capnp_rpc::rpc_capnp::{cap_descriptor, message, payload, promised_answer, return_};
use smallvec::SmallVec;

use super::Cut;
use super::entries::Sent;
use crate::guard::breach::Breach;

/// The way from the root of results to a pointer: field by field.
pub(super) type Path = SmallVec<[u16; 4]>;

/// The capabilities of a message. Mostly there are few.
pub(super) type Caps = SmallVec<[Cap; 2]>;

/// A capability, as a descriptor has it. *Sender* and *receiver* are those of the message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cap {
    None,
    Sender {
        id: u32,
        is_promise: bool,
    },
    Receiver(u32),
    ReceiverAnswer(u32, Path),
    /// Of a third party's, to be had of the sender by this id.
    Vine(u32),
}

impl Cap {
    /// Reads a descriptor. A way that is longer than `max_steps` is an error.
    pub(super) fn read(descriptor: cap_descriptor::Reader<'_>, max_steps: u8) -> Result<Self, Cut> {
        Ok(match descriptor.which()? {
            cap_descriptor::None(()) => Self::None,
            cap_descriptor::SenderHosted(id) => Self::Sender {
                id,
                is_promise: false,
            },
            cap_descriptor::SenderPromise(id) => Self::Sender {
                id,
                is_promise: true,
            },
            cap_descriptor::ReceiverHosted(id) => Self::Receiver(id),
            cap_descriptor::ReceiverAnswer(answer) => {
                let answer = answer?;
                Self::ReceiverAnswer(answer.get_question_id(), path(answer, max_steps)?)
            }
            cap_descriptor::ThirdPartyHosted(third) => Self::Vine(third?.get_vine_id()),
        })
    }

    /// Writes it as a descriptor.
    pub(super) fn write(&self, mut descriptor: cap_descriptor::Builder<'_>) {
        match self {
            Self::None => descriptor.set_none(()),
            Self::Sender {
                id,
                is_promise: true,
            } => descriptor.set_sender_promise(*id),
            Self::Sender { id, .. } | Self::Vine(id) => descriptor.set_sender_hosted(*id),
            Self::Receiver(id) => descriptor.set_receiver_hosted(*id),
            Self::ReceiverAnswer(id, path) => {
                let mut answer = descriptor.init_receiver_answer();
                answer.set_question_id(*id);
                let mut steps = answer.init_transform(path.len() as u32);
                for (at, step) in path.iter().enumerate() {
                    steps.reborrow().get(at as u32).set_get_pointer_field(*step);
                }
            }
        }
    }
}

/// The steps of the way that a pipelined capability goes.
pub(super) fn steps(
    answer: promised_answer::Reader<'_>,
    max_steps: u8,
) -> Result<struct_list::Reader<'_, promised_answer::op::Owned>, Cut> {
    let steps = answer.get_transform()?;
    if steps.len() <= u32::from(max_steps) {
        return Ok(steps);
    }
    let count = steps.len();
    Err(Cut::new(
        Breach::PipelineDepth,
        format!("a pipelined capability is {count} fields down, more than {max_steps}"),
    ))
}

/// The way that a pipelined capability goes.
pub(super) fn path(answer: promised_answer::Reader<'_>, max_steps: u8) -> Result<Path, Cut> {
    let steps = steps(answer, max_steps)?;
    let mut path = Path::new();
    for step in steps {
        if let promised_answer::op::GetPointerField(field) = step.which()? {
            path.push(field);
        }
    }
    Ok(path)
}

/// What is at the end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pointed {
    Nothing,
    /// A capability, by its index in the table.
    Capability(u32),
    /// Something else, there or on the way.
    Other,
}

/// Goes down into the content of `payload`.
pub(super) fn pointed(payload: payload::Reader<'_>, path: &[u16]) -> Pointed {
    // The content is the first pointer of the payload.
    let mut fields = payload.into_internal_struct_reader();
    let mut field = 0;
    for step in path {
        let pointer = fields.get_pointer_field(field);
        if pointer.is_null() {
            return Pointed::Nothing;
        }
        match pointer.get_struct(None) {
            Ok(inner) => fields = inner,
            Err(_) => return Pointed::Other,
        }
        field = usize::from(*step);
    }
    let pointers = raw::get_struct_pointer_section(Fields(fields));
    match raw::get_list_bytes(pointers).as_chunks().0.get(field) {
        None | Some([0, 0, 0, 0, 0, 0, 0, 0]) => Pointed::Nothing,
        Some([3, 0, 0, 0, a, b, c, d]) => Pointed::Capability(u32::from_le_bytes([*a, *b, *c, *d])),
        Some(_) => Pointed::Other,
    }
}

/// As many pointers are looked at in search of one.
const MAX_LOOKED_AT: usize = 65_536;

/// The ways down into the content of `payload`, over structs, to the first so many capabilities of its table.
pub(super) fn ways_to(payload: payload::Reader<'_>, count: u32) -> Vec<Option<Path>> {
    let mut ways = vec![None; count as usize];
    // The content is the first pointer of the payload.
    let mut open = vec![(payload.into_internal_struct_reader(), None::<Path>)];
    let mut looked_at = 0;
    while let Some((fields, path)) = open.pop() {
        let pointers = raw::get_list_bytes(raw::get_struct_pointer_section(Fields(fields)));
        let pointers = pointers.as_chunks::<8>().0.iter();
        let most = if path.is_none() { 1 } else { usize::MAX };
        for (field, pointer) in (0..=u16::MAX).zip(pointers.take(most)) {
            looked_at += 1;
            if looked_at > MAX_LOOKED_AT {
                return ways;
            }
            let step = || {
                let mut way = path.clone().unwrap_or_default();
                way.extend(path.as_ref().map(|_| field));
                way
            };
            match *pointer {
                [0, 0, 0, 0, 0, 0, 0, 0] => {}
                [3, 0, 0, 0, a, b, c, d] => {
                    let index = u32::from_le_bytes([a, b, c, d]);
                    if let Some(way) = ways.get_mut(index as usize) {
                        way.get_or_insert_with(step);
                    }
                }
                // What is no struct is no part of a way.
                _ => {
                    let inner = fields.get_pointer_field(field.into()).get_struct(None);
                    open.extend(inner.map(|inner| (inner, Some(step()))));
                }
            }
        }
    }
    ways
}

/// A struct of which nothing is known.
struct Fields<'a>(StructReader<'a>);

impl<'a> IntoInternalStructReader<'a> for Fields<'a> {
    fn into_internal_struct_reader(self) -> StructReader<'a> {
        self.0
    }
}

/// The capability at the end of a way into results that were sent, and its place in their table.
pub(super) fn result(sent: &Sent, path: &[u16]) -> Option<(u32, Cap)> {
    let message: message::Reader<'_> = sent.get_root_as_reader().ok()?;
    let Ok(message::Return(Ok(ret))) = message.which() else {
        return None;
    };
    let Ok(return_::Results(Ok(payload))) = ret.which() else {
        return None;
    };
    let Pointed::Capability(index) = pointed(payload, path) else {
        return None;
    };
    let descriptor = payload.get_cap_table().ok()?.try_get(index)?;
    Some((index, Cap::read(descriptor, u8::MAX).ok()?))
}
