//! Messages to the peer: they are noted in the ledger, and counted until the peer's end takes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::OutgoingMessage;
use capnp_rpc::rpc_capnp::message;

use super::breach::Breach;
use super::handle::{Guard, Inner};
use super::rules::{Cut, Sent};

/// What is on its way to the peer, and has not been written yet.
pub(super) struct Queue {
    guard: Guard,
    waiting: RefCell<VecDeque<(Promise<(), capnp::Error>, u64)>>,
    /// How many bytes in answer were left when it was last tried to write.
    left: Cell<u64>,
}

/// A message to the peer.
pub(super) struct Outgoing {
    message: Box<dyn OutgoingMessage>,
    queue: Rc<Queue>,
}

impl Queue {
    pub(super) fn new(guard: Guard) -> Rc<Self> {
        Rc::new(Self {
            guard,
            waiting: RefCell::default(),
            left: Cell::default(),
        })
    }

    pub(super) fn message(self: &Rc<Self>, message: Box<dyn OutgoingMessage>) -> Outgoing {
        Outgoing {
            message,
            queue: self.clone(),
        }
    }

    /// Something of it may have been written: notes what has.
    pub(super) fn look(&self) {
        let mut waiting = self.waiting.borrow_mut();
        // Nobody is to be woken: whoever writes comes back here.
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = 0;
        while let Some((promise, size)) = waiting.front_mut()
            && Pin::new(promise).poll(&mut cx).is_ready()
        {
            bytes += *size;
            waiting.pop_front();
        }
        drop(waiting);
        let queued = &self.guard.inner.queued;
        queued.set(queued.get().saturating_sub(bytes));
        self.left.set(queued.get());
        if bytes > 0 {
            self.guard.inner.account();
        }
    }

    /// Is there anything that has not been written?
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// A message was sent. Its bytes count if it is in answer to the peer: what this side asks for is its own
    /// doing.
    fn push(&self, promise: Promise<(), capnp::Error>, bytes: u64, is_answer: bool) {
        let bytes = if is_answer { bytes } else { 0 };
        self.waiting.borrow_mut().push_back((promise, bytes));
        let queued = &self.guard.inner.queued;
        let before = queued.get();
        queued.set(before + bytes);
        if is_answer {
            self.check(before);
        }
    }

    /// A peer that asks and does not read is not answered for ever.
    fn check(&self, before: u64) {
        let inner = &self.guard.inner;
        let limits = &inner.options.limits;
        let left = self.left.get();
        let (breach, text) = if left > limits.queued {
            let text = format!(
                "the peer leaves {left} bytes unread, more than {}",
                limits.queued
            );
            (Breach::QueuedBytes, text)
        } else if before > limits.burst {
            let text = format!(
                "{before} bytes wait for the peer, more than {}",
                limits.burst
            );
            (Breach::QueuedBytes, text)
        } else if left > 0 && !inner.has_room() {
            let text = format!("the peer leaves {left} bytes unread, and the budget is used up");
            (Breach::Budget, text)
        } else {
            return;
        };
        inner.cut(Cut { breach, text });
    }
}

impl Outgoing {
    /// Sends it without a note: it is the guard's own.
    pub(super) fn send_unnoted(self) {
        let Self { message, queue } = self;
        let bytes = 8 * message.size_in_words() as u64;
        let (promise, _) = message.send();
        queue.push(promise, bytes, true);
    }
}

impl OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.message.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_body_as_reader()
    }

    /// The promise is ready at once: an `RpcSystem` never looks at it, and the queue does instead.
    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Builder<HeapAllocator>>) {
        let Self { message, queue } = *self;
        let bytes = 8 * message.size_in_words() as u64;
        let (promise, sent) = message.send();
        let is_answer = note(&queue.guard.inner, &sent).unwrap_or(true);
        queue.push(promise, bytes, is_answer);
        (Promise::ok(()), sent)
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message.take()
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}

/// Notes a message in the ledger. Is it one that the peer has caused?
fn note(inner: &Inner, sent: &Sent) -> capnp::Result<bool> {
    let has_more = {
        let mut ledger = inner.ledger.borrow_mut();
        ledger.sent(sent)?;
        !(ledger.inbox.is_empty() && ledger.replies.is_empty() && ledger.refused.is_empty())
    };
    inner.account();
    if has_more {
        // Whoever reads messages has something to do.
        let reader = inner.reader.take();
        reader.into_iter().for_each(Waker::wake);
    }
    let message: message::Reader<'_> = sent.get_root_as_reader()?;
    Ok(!matches!(
        message.which(),
        Ok(message::Call(_) | message::Bootstrap(_))
    ))
}
