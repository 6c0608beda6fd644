//! Calls with capabilities whose promise has come home, or has broken, while they were made.
//!
//! `capnp-rpc` makes such a call anew, on what the promise has become, and copies the parameters without their
//! capabilities: it panics at the first (`rpc.rs:2015`, 2086). Nobody but the request has those, so that they can't be
//! had back. But the copy is made of a message of the guard's, which can have others in their places: broken ones,
//! which say what has happened.

use std::cell::RefCell;

use capnp::any_pointer;
use capnp::capability::{Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, MessageSize};
use capnp_rpc::rpc_capnp::{message, message_target};

type Hook = Box<dyn ClientHook>;

type Table = Vec<Option<Hook>>;

/// The capabilities of a call that is made anew, by their places. There is one table a thread: a call has it for as
/// long as it takes to send it.
#[derive(Default)]
pub(super) struct Lost(Table);

/// As many capabilities as such a call may have.
const MAX: usize = 4_096;

thread_local! {
    static TABLE: RefCell<Table> = const { RefCell::new(Vec::new()) };
}

/// What becomes of a message that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing is known yet.
    Unknown,
    /// It may be a call that is made anew. Its target has been asked for, and is what none that was set is, but for
    /// one: the first capability that the peer has passed.
    MayBeMadeAnew,
    /// It is sent as it is.
    Sent,
}

/// What becomes of a message, as far as it is made.
pub(super) fn fate(message: any_pointer::Reader<'_>) -> capnp::Result<Fate> {
    if message.is_null() {
        return Ok(Fate::Unknown);
    }
    let message: message::Reader<'_> = message.get_as()?;
    let Ok(message::Call(Ok(call))) = message.which() else {
        return Ok(Fate::Sent);
    };
    if !call.has_target() {
        return Ok(Fate::Unknown);
    }
    Ok(match call.get_target()?.which()? {
        message_target::ImportedCap(0) => Fate::MayBeMadeAnew,
        _ => Fate::Sent,
    })
}

impl Lost {
    pub(super) fn table(&mut self) -> &mut Table {
        if self.0.is_empty() {
            self.0 = TABLE.try_with(RefCell::take).unwrap_or_default();
            self.0.resize_with(MAX, || Some(Box::new(Nothing)));
        }
        &mut self.0
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            // At the end of a thread nobody needs it any more.
            let _none = TABLE.try_with(|table| table.replace(std::mem::take(&mut self.0)));
        }
    }
}

/// Stands for a capability that can't be had. It takes no memory of its own.
struct Nothing;

fn broken() -> Hook {
    let text = "this capability was lost with the call that brought it: capnp-rpc can't hand on a call with \
                capabilities to a promise that has come home, or has broken, while it was made; a membrane can";
    capnp_rpc::new_broken_cap(Error::failed(text.to_owned())).hook
}

/// Whoever takes it gets a broken capability.
impl ClientHook for Nothing {
    fn add_ref(&self) -> Hook {
        broken()
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        broken().new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        broken().call(interface_id, method_id, params, results)
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        static PLACE: u8 = 0;
        (&raw const PLACE).addr()
    }

    fn get_resolved(&self) -> Option<Hook> {
        None
    }

    fn when_more_resolved(&self) -> Option<Promise<Hook, Error>> {
        None
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        Promise::ok(())
    }
}
