//! Messages, as bytes.

use capnp::capability::FromClientHook;
use capnp::message::{Builder, HeapAllocator};
use capnp::traits::ImbueMut;
use capnp::{Error, primitive_list, serialize, text};
use capnp_rpc::rpc_capnp::{cap_descriptor, message, message_target, payload, promised_answer};

use super::hooks::Hook;
use super::tables::{Descriptor, Op, Target};
use crate::testkit_capnp::bundle;

/// Writes a message with its frame.
pub(super) fn message(write: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let allocator = HeapAllocator::new().first_segment_words(64);
    let mut message = Builder::new(allocator);
    write(message.init_root());
    serialize::write_message_to_words(&message)
}

/// What parameters or results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A struct, with these capabilities in its first two pointers.
    Struct([Option<u32>; 2]),
    Null,
    Text,
    List,
    /// A capability, where a struct should be.
    Capability(u32),
    /// A struct of a struct: of pointers that are no capabilities.
    Nested,
}

/// Writes parameters or results.
pub(super) fn write_payload(
    mut payload: payload::Builder<'_>,
    content: Content,
    caps: &[Descriptor],
) {
    let mut table = payload.reborrow().init_cap_table(caps.len() as u32);
    for (at, cap) in (0..).zip(caps) {
        write_cap(table.reborrow().get(at), cap);
    }
    let mut root = payload.reborrow().get_content();
    match content {
        Content::Struct([first, second]) => {
            root.init_as::<bundle::Builder<'_>>();
            if let Some(index) = first {
                let (mut entries, any) = entries(index);
                let mut root = payload.reborrow().get_content();
                root.imbue_mut(&mut entries);
                if let Ok(mut bundle) = root.get_as::<bundle::Builder<'_>>() {
                    bundle.set_plain(FromClientHook::new(any));
                }
            }
            if let Some(index) = second {
                let (mut entries, any) = entries(index);
                let mut root = payload.reborrow().get_content();
                root.imbue_mut(&mut entries);
                if let Ok(bundle) = root.get_as::<bundle::Builder<'_>>() {
                    bundle.get_any().set_as_capability(any);
                }
            }
        }
        Content::Null => root.clear(),
        Content::Text => root.initn_as::<text::Builder<'_>>(4).push_str("text"),
        Content::List => {
            root.initn_as::<primitive_list::Builder<'_, u64>>(2);
        }
        Content::Capability(index) => {
            let (mut entries, any) = entries(index);
            root.imbue_mut(&mut entries);
            root.set_as_capability(any);
        }
        Content::Nested => {
            root.init_as::<bundle::Builder<'_>>().init_nested();
        }
    }
}

/// A table whose next entry has this index, and what to put there: only the index comes into the message.
fn entries(index: u32) -> (Vec<Option<Hook>>, Hook) {
    let any = capnp_rpc::new_broken_cap(Error::failed("nobody calls it".into()));
    (vec![None; index as usize], any.into_client_hook())
}

/// The end of a call.
pub(super) fn finish(question: u32, lets_go: bool) -> Vec<u8> {
    message(|root| {
        let mut finish = root.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(lets_go);
    })
}

/// Writes a descriptor.
pub(super) fn write_cap(mut builder: cap_descriptor::Builder<'_>, cap: &Descriptor) {
    match cap {
        Descriptor::None => builder.set_none(()),
        Descriptor::SenderHosted(id) => builder.set_sender_hosted(*id),
        Descriptor::SenderPromise(id) => builder.set_sender_promise(*id),
        Descriptor::ReceiverHosted(id) => builder.set_receiver_hosted(*id),
        Descriptor::ReceiverAnswer(id, ops) => {
            write_promised(builder.init_receiver_answer(), *id, ops);
        }
        Descriptor::ThirdParty(vine) => builder.init_third_party_hosted().set_vine_id(*vine),
    }
}

/// Writes what is called.
pub(super) fn write_target(mut builder: message_target::Builder<'_>, target: &Target) {
    match target {
        Target::Cap(id) => builder.set_imported_cap(*id),
        Target::Answer(id, ops) => write_promised(builder.init_promised_answer(), *id, ops),
    }
}

fn write_promised(mut builder: promised_answer::Builder<'_>, id: u32, ops: &[Op]) {
    builder.set_question_id(id);
    let mut transform = builder.init_transform(ops.len() as u32);
    for (at, op) in (0..).zip(ops) {
        match op {
            None => transform.reborrow().get(at).set_noop(()),
            Some(field) => transform.reborrow().get(at).set_get_pointer_field(*field),
        }
    }
}
