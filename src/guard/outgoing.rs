//! Messages to the peer: they are noted in the ledger, and counted until the peer's end takes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp::traits::ImbueMut;
use capnp_rpc::OutgoingMessage;

use super::breach::Breach;
use super::handle::{Guard, Inner};
use super::lost::{Fate, Lost, fate};
use super::reason::as_it_was_told;
use super::rules::{Cut, Sent, size};
use super::source::Draft;

/// What is on its way to the peer, and has not been written yet, in bytes.
#[derive(Default)]
pub(super) struct Queue {
    sent: Cell<u64>,
    written: Cell<u64>,
    /// The messages in it: where each ends, and how many bytes it has in answer to the peer.
    messages: RefCell<VecDeque<(u64, u64)>>,
    answer_bytes: Cell<u64>,
    /// Are bytes counted that are written?
    is_counted: Cell<bool>,
    /// Did the transport take no more, when it was last tried?
    is_stuck: Cell<bool>,
}

/// What a message that waits takes besides its content: room that is not used, and its place in queues.
const MESSAGE_BYTES: u64 = 1024;

/// A message to the peer.
pub(super) struct Outgoing {
    message: Draft,
    guard: Guard,
    /// May it be a call? That is known when something is in it.
    may_be_call: bool,
    /// Capabilities in the places of those of a call that is made anew.
    lost: Lost,
}

impl Queue {
    /// Bytes that have not been written. Nothing where bytes are not counted.
    pub(super) fn bytes(&self) -> u64 {
        match self.is_counted.get() {
            true => self.sent.get().saturating_sub(self.written.get()),
            false => 0,
        }
    }

    /// How many bytes in answer to the peer wait behind the message that it reads: what this side asks for is
    /// its own doing, and a message may be of any size.
    fn unread_bytes(&self) -> u64 {
        let messages = self.messages.borrow();
        let being_read = messages.front().map_or(0, |(_, bytes)| *bytes);
        self.answer_bytes.get() - being_read
    }

    /// What a budget counts.
    pub(super) fn budget_bytes(&self) -> u64 {
        self.bytes() + MESSAGE_BYTES * self.messages.borrow().len() as u64
    }

    /// Nothing of it is written any more.
    pub(super) fn clear(&self) {
        self.written.set(self.sent.get());
        self.answer_bytes.set(0);
        self.messages.take();
    }

    /// From now on bytes are counted that are written.
    pub(super) fn count(&self) {
        self.is_counted.set(true);
    }

    /// So many bytes were written; or the transport takes none.
    pub(super) fn wrote(&self, bytes: Option<u64>) {
        self.is_stuck.set(bytes.is_none());
        let written = self.written.get() + bytes.unwrap_or(0);
        self.written.set(written);
        let mut messages = self.messages.borrow_mut();
        while let Some((end, answer_bytes)) = messages.front()
            && *end <= written
        {
            self.answer_bytes
                .set(self.answer_bytes.get() - answer_bytes);
            messages.pop_front();
        }
    }

    fn push(&self, bytes: u64, is_answer: bool) {
        let sent = self.sent.get() + bytes;
        self.sent.set(sent);
        if self.is_counted.get() {
            let answer_bytes = if is_answer { bytes } else { 0 };
            self.answer_bytes
                .set(self.answer_bytes.get() + answer_bytes);
            self.messages.borrow_mut().push_back((sent, answer_bytes));
        }
    }
}

impl Outgoing {
    pub(super) fn new(message: Draft, guard: Guard) -> Self {
        Self {
            message,
            guard,
            may_be_call: true,
            lost: Lost::default(),
        }
    }

    /// Sends it without a note: it is the guard's own.
    pub(super) fn send_unnoted(self) {
        let (_, sent) = self.message.send();
        self.guard.inner.queue_answer(size(&sent));
    }
}

impl OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        if !self.may_be_call || self.message.is_call() == Some(false) {
            self.may_be_call = false;
            return self.message.get_body();
        }
        let fate = fate(self.message.get_body_as_reader()?)?;
        self.may_be_call = fate != Fate::Sent;
        let mut body = self.message.get_body()?;
        if fate == Fate::MayBeMadeAnew {
            body.imbue_mut(self.lost.table());
        }
        Ok(body)
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Builder<HeapAllocator>>) {
        let Self {
            mut message, guard, ..
        } = *self;
        let inner = &guard.inner;
        let fault = inner.over().map(|over| &over.fault);
        let _unreadable = as_it_was_told(&mut message, fault);
        if inner.ledger.borrow().minds() && look_at(inner, &mut message).unwrap_or(false) {
            let sent = Rc::new(message.take());
            let _unreadable = inner.ledger.borrow_mut().own_sent(&sent);
            inner.account();
            inner.relay.ask(false);
            inner.relay.waker.take().into_iter().for_each(Waker::wake);
            return (Promise::ok(()), sent);
        }
        let (promise, sent) = message.send();
        if note(inner, &sent).unwrap_or(true) {
            inner.queue_answer(size(&sent));
        } else {
            inner.queue.push(size(&sent), false);
        }
        (promise, sent)
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message.take()
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}

impl Inner {
    /// Counts a message in answer to the peer. One that asks and does not read is not answered for ever.
    fn queue_answer(&self, bytes: u64) {
        let limits = &self.options.limits;
        let (before, unread) = (self.queue.answer_bytes.get(), self.queue.unread_bytes());
        self.queue.push(bytes, true);
        if before == 0 {
            return;
        }
        let is_stuck = self.queue.is_stuck.get();
        let (breach, text) = if is_stuck && unread > limits.queued {
            let max = limits.queued;
            let text = format!("the peer leaves {unread} bytes unread, more than {max}");
            (Breach::QueuedBytes, text)
        } else if before > limits.burst {
            let max = limits.burst;
            let text = format!("{before} bytes wait for the peer, more than {max}");
            (Breach::QueuedBytes, text)
        } else if is_stuck && !self.has_room() {
            let text = format!("the peer leaves {before} bytes unread, and the budget is used up");
            (Breach::Budget, text)
        } else {
            return;
        };
        // Whoever sends may have everything borrowed.
        self.cut_soon(Cut { breach, text });
    }
}

/// Looks at a message before it is sent. Is it for nobody?
fn look_at(inner: &Inner, message: &mut Draft) -> capnp::Result<bool> {
    let ledger = inner.ledger.borrow();
    if ledger.is_own(message.get_body_as_reader()?.get_as()?) {
        return Ok(true);
    }
    ledger.amend(message.get_body()?.get_as()?)?;
    Ok(false)
}

/// Notes a message in the ledger. Is it one that the peer has caused?
fn note(inner: &Inner, sent: &Sent) -> capnp::Result<bool> {
    let (is_answer, has_more) = {
        let mut ledger = inner.ledger.borrow_mut();
        let is_answer = ledger.sent(sent)?;
        (is_answer, ledger.has_more())
    };
    inner.account();
    if has_more {
        // Whoever reads messages has something to do.
        let reader = inner.relay.waker.take();
        reader.into_iter().for_each(Waker::wake);
    }
    Ok(is_answer)
}
