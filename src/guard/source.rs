//! Where messages come from and go to: a connection of any network, or a stream of the guard's own.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::{Connection, FlowController, IncomingMessage, OutgoingMessage};

use super::reading::Incoming;
use super::rules::{Sent, is_call, may_tell_an_error};
use super::writing::Queue;

/// What `capnp-rpc` gets: nothing at the end.
pub(super) type Received = Option<Box<dyn IncomingMessage>>;

/// A message that has come.
pub(super) enum Message {
    Any(Box<dyn IncomingMessage>),
    Own(Box<Incoming>),
}

impl Message {
    pub(super) fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        match self {
            Self::Any(message) => message.get_body(),
            Self::Own(message) => message.get_body(),
        }
    }

    /// Its segment, if it is known to have one only.
    pub(super) fn segment(&self) -> Option<&[u8]> {
        match self {
            Self::Any(_) => None,
            Self::Own(message) => message.segment(),
        }
    }

    pub(super) fn into_boxed(self) -> Box<dyn IncomingMessage> {
        match self {
            Self::Any(message) => message,
            Self::Own(message) => message,
        }
    }
}

/// What controls the flow of a stream, and what drives that.
pub(super) type NewStream = (Box<dyn FlowController>, Promise<(), capnp::Error>);

/// The far end of a connection.
pub(super) trait Source<V> {
    fn peer(&self) -> V;
    /// Reads a message: nothing at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<Option<Message>>>;
    /// Nothing is read any more, and what was read from is let go of.
    fn stop(&mut self);
    fn draft(&mut self, first_segment_words: u32) -> Draft;
    /// What controls the flow of a stream of calls; `None` is for what `capnp-rpc` has by default.
    fn new_stream(&mut self) -> Option<NewStream>;
    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error>;
}

/// A connection of any network.
pub(super) struct Any<V> {
    connection: Box<dyn Connection<V>>,
    /// The message that is being read. It outlives those who ask for one and get another.
    reading: Option<Promise<Received, capnp::Error>>,
}

impl<V> Any<V> {
    pub(super) fn new(connection: Box<dyn Connection<V>>) -> Self {
        Self {
            connection,
            reading: None,
        }
    }
}

impl<V> Source<V> for Any<V> {
    fn peer(&self) -> V {
        self.connection.get_peer_vat_id()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<Option<Message>>> {
        let reading = self.reading.take();
        let mut reading = reading.unwrap_or_else(|| self.connection.receive_incoming_message());
        let read = Pin::new(&mut reading).poll(cx);
        if read.is_pending() {
            self.reading = Some(reading);
        }
        read.map_ok(|message| message.map(Message::Any))
    }

    fn stop(&mut self) {
        // What reads has the stream; between two messages that is the connection, which hands it out.
        let reading = self.reading.take();
        drop(reading.unwrap_or_else(|| self.connection.receive_incoming_message()));
    }

    fn draft(&mut self, first_segment_words: u32) -> Draft {
        Draft::Any(self.connection.new_outgoing_message(first_segment_words))
    }

    fn new_stream(&mut self) -> Option<NewStream> {
        Some(self.connection.new_stream())
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        self.connection.shutdown(result)
    }
}

/// A message that is being made.
pub(super) enum Draft {
    Any(Box<dyn OutgoingMessage>),
    Own(Builder<HeapAllocator>, Rc<Queue>),
}

impl Draft {
    pub(super) fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        match self {
            Self::Any(message) => message.get_body(),
            Self::Own(message, _) => message.get_root(),
        }
    }

    pub(super) fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        match self {
            Self::Any(message) => message.get_body_as_reader(),
            Self::Own(message, _) => message.get_root_as_reader(),
        }
    }

    /// Is it a call, as far as that is known at once?
    pub(super) fn is_call(&self) -> Option<bool> {
        let Self::Own(message, _) = self else {
            return None;
        };
        match *message.get_segments_for_output() {
            [segment] => is_call(segment),
            _ => None,
        }
    }

    /// May it tell an error? That is looked at for each message, so it must cost nothing.
    pub(super) fn may_tell_an_error(&self) -> bool {
        let Self::Own(message, _) = self else {
            return true;
        };
        match *message.get_segments_for_output() {
            [segment] => may_tell_an_error(segment),
            _ => true,
        }
    }

    pub(super) fn size_in_words(&self) -> usize {
        match self {
            Self::Any(message) => message.size_in_words(),
            Self::Own(message, _) => message.size_in_words(),
        }
    }

    pub(super) fn take(self) -> Builder<HeapAllocator> {
        match self {
            Self::Any(message) => message.take(),
            Self::Own(message, _) => message,
        }
    }

    /// Sends it. The promise of one that is the guard's own is kept at once: `capnp-rpc` does not wait for any.
    pub(super) fn send(self) -> (Promise<(), capnp::Error>, Sent) {
        match self {
            Self::Any(message) => message.send(),
            Self::Own(message, queue) => {
                let sent = Rc::new(message);
                queue.push(sent.clone());
                (Promise::ok(()), sent)
            }
        }
    }
}
