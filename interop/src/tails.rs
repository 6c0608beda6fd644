//! Tail calls, as they come in.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use capnp::message::ReaderOptions;
use capnp::serialize::read_message;
use capspan_testkit::wire_peer::{Message, Outcome};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

/// How many have come. Clones share it.
#[derive(Clone, Default)]
pub struct Tails {
    called: Rc<Cell<usize>>,
    taken: Rc<Cell<usize>>,
}

impl Tails {
    /// Calls whose results are to stay here (`sendResultsTo.yourself`).
    pub fn called(&self) -> usize {
        self.called.get()
    }

    /// Returns that take such results (`takeFromOtherQuestion`).
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// The two directions of `stream`, as a connection wants them; what comes is noted.
    pub fn of(&self, stream: UnixStream) -> (Compat<Noted>, Compat<OwnedWriteHalf>) {
        let (reader, writer) = stream.into_split();
        let noted = Noted {
            reader,
            tails: self.clone(),
            bytes: Vec::new(),
        };
        (noted.compat(), writer.compat_write())
    }

    fn note(&self, message: &Message) {
        match message {
            Message::Call(call) if call.to_yourself => self.called.set(self.called() + 1),
            Message::Return(returned) => {
                if let Outcome::TakeFromOtherQuestion(_) = returned.outcome {
                    self.taken.set(self.taken() + 1);
                }
            }
            _ => {}
        }
    }
}

/// Reads, and looks at each message that passes.
pub struct Noted {
    reader: OwnedReadHalf,
    tails: Tails,
    /// The messages that have begun.
    bytes: Vec<u8>,
}

impl Noted {
    fn note(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let (mut rest, mut seen) = (&self.bytes[..], 0);
        // What fails has not come to its end.
        while let Ok(message) = read_message(&mut rest, ReaderOptions::new()) {
            self.tails.note(&Message::read(&message));
            seen = self.bytes.len() - rest.len();
        }
        self.bytes.drain(..seen);
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        self.note(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}
