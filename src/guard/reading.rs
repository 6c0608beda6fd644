//! Messages from a stream, as Cap'n Proto frames them:
//! <https://capnproto.org/encoding.html#serialization-over-a-stream>.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use capnp::message::{self, ReaderOptions};
use capnp::serialize::{OwnedSegments, SegmentLengthsBuilder};
use capnp::{Error, any_pointer};
use capnp_rpc::IncomingMessage;
use futures::AsyncRead;

use super::source::Received;

/// As many segments as a message may have, as everywhere in Cap'n Proto.
const MAX_SEGMENTS: usize = 511;

/// Reads one message after the other.
pub(super) struct Reader<R> {
    stream: R,
    options: ReaderOptions,
    at: At,
    /// How many bytes of that are there.
    done: usize,
}

/// What is being read.
enum At {
    /// How many segments there are, and the length of the first.
    Head([u8; 8]),
    /// The lengths of the others.
    Table(usize, usize, Vec<u8>),
    Content(OwnedSegments),
}

struct Incoming(message::Reader<OwnedSegments>);

impl IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.0.get_root()
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            options: ReaderOptions::default(),
            at: At::Head([0; 8]),
            done: 0,
        }
    }

    /// Reads a message. `None` is the end of the stream.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<capnp::Result<Received>> {
        loop {
            let is_first = matches!(self.at, At::Head(_));
            let bytes = match &mut self.at {
                At::Head(bytes) => &mut bytes[..],
                At::Table(_, _, bytes) => &mut bytes[..],
                At::Content(segments) => &mut segments[..],
            };
            while self.done < bytes.len() {
                let rest = &mut bytes[self.done..];
                match ready!(Pin::new(&mut self.stream).poll_read(cx, rest)) {
                    Ok(0) if is_first && self.done == 0 => return Poll::Ready(Ok(None)),
                    Ok(0) => {
                        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                        return Poll::Ready(Err(end.into()));
                    }
                    Ok(count) => self.done += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
            self.done = 0;
            self.at = match std::mem::replace(&mut self.at, At::Head([0; 8])) {
                At::Head(bytes) => {
                    let [segments, first] = numbers(bytes);
                    let segments = (segments as usize).wrapping_add(1);
                    if segments > MAX_SEGMENTS || segments == 0 {
                        let text = format!("a message of {segments} segments");
                        return Poll::Ready(Err(Error::failed(text)));
                    }
                    match segments {
                        1 => At::Content(self.room_for([first as usize])?),
                        // It is filled up to whole words.
                        _ => At::Table(segments, first as usize, vec![0; (segments & !1) * 4]),
                    }
                }
                At::Table(segments, first, bytes) => {
                    let others = bytes.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it));
                    let others = others.map(|length| length as usize).take(segments - 1);
                    At::Content(self.room_for([first].into_iter().chain(others))?)
                }
                At::Content(segments) => {
                    let message = message::Reader::new(segments, self.options);
                    return Poll::Ready(Ok(Some(Box::new(Incoming(message)))));
                }
            };
        }
    }

    /// Room for segments of so many words each, if a message that has as many could be read.
    fn room_for(&self, lengths: impl IntoIterator<Item = usize>) -> capnp::Result<OwnedSegments> {
        let mut segments = SegmentLengthsBuilder::with_capacity(1);
        for length in lengths {
            segments.try_push_segment(length)?;
        }
        match self.options.traversal_limit_in_words {
            Some(max) if segments.total_words() > max => Err(Error::failed(format!(
                "a message of {} words, more than {max}",
                segments.total_words()
            ))),
            _ => Ok(segments.into_owned_segments()),
        }
    }
}

fn numbers(bytes: [u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}
