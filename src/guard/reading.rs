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
        let Some(segments) = ready!(self.poll_segments(cx))? else {
            return Poll::Ready(Ok(None));
        };
        let message = message::Reader::new(segments, self.options);
        Poll::Ready(Ok(Some(Box::new(Incoming(message)))))
    }

    fn poll_segments(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<capnp::Result<Option<OwnedSegments>>> {
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
                At::Content(segments) => return Poll::Ready(Ok(Some(segments))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::serialize;
    use std::io::Write;
    use std::task::Waker;

    /// Gives its bytes in pieces, and says between them that there are none yet.
    struct Pieces<'a> {
        bytes: &'a [u8],
        most: usize,
        waits: bool,
    }

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.waits = !self.waits;
            if self.waits {
                return Poll::Pending;
            }
            let (now, rest) = self
                .bytes
                .split_at(self.most.min(buffer.len()).min(self.bytes.len()));
            buffer[..now.len()].copy_from_slice(now);
            self.bytes = rest;
            Poll::Ready(Ok(now.len()))
        }
    }

    /// What has come: the segments of each message, and how it ends.
    type Heard = (Vec<Vec<Vec<u8>>>, Result<(), ()>);

    fn heard(bytes: &[u8], most: usize) -> Heard {
        let mut messages = Vec::new();
        let waits = false;
        let mut reader = Reader::new(Pieces { bytes, most, waits });
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let at = match reader.poll_segments(&mut cx) {
                Poll::Pending => continue,
                Poll::Ready(Ok(None)) => return (messages, Ok(())),
                Poll::Ready(Ok(Some(segments))) => segments,
                Poll::Ready(Err(_)) => return (messages, Err(())),
            };
            messages.push(segments(&at));
        }
    }

    /// The same by `capnp`.
    fn expected(mut bytes: &[u8]) -> Heard {
        let mut messages = Vec::new();
        loop {
            match serialize::try_read_message(&mut bytes, ReaderOptions::new()) {
                Ok(None) => return (messages, Ok(())),
                Ok(Some(message)) => messages.push(segments(message.get_segments())),
                Err(_) => return (messages, Err(())),
            }
        }
    }

    fn segments(message: &impl message::ReaderSegments) -> Vec<Vec<u8>> {
        let all = 0..message.len() as u32;
        all.map(|at| message.get_segment(at).unwrap_or_default().to_vec())
            .collect()
    }

    /// Numbers that look random, the same each time.
    fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below.max(1) as u64) as usize
        }
    }

    #[test]
    fn it_reads_what_capnp_reads_in_pieces_of_any_size() {
        for seed in 1..3_000 {
            let mut number = numbers(seed);
            let mut bytes = Vec::new();
            for _ in 0..number(4) {
                let count = [1, 1, 2, 3, 4, 5, 511, 512][number(8)];
                let lengths: Vec<usize> = (0..count).map(|_| number(4)).collect();
                let head = [count - 1].into_iter().chain(lengths.iter().copied());
                let mut said: Vec<u8> = head.flat_map(|it| (it as u32).to_le_bytes()).collect();
                said.resize(said.len().next_multiple_of(8), 0);
                let words: usize = lengths.iter().sum();
                said.extend((0..8 * words).map(|_| number(256) as u8));
                bytes.write_all(&said).expect("there is room");
            }
            if number(3) == 0 {
                bytes.truncate(number(bytes.len() + 1));
            }
            if number(4) == 0 && !bytes.is_empty() {
                let at = number(bytes.len());
                bytes[at] = number(256) as u8;
            }
            let most = [1, 3, 8, 1_000_000][number(4)];
            assert_eq!(heard(&bytes, most), expected(&bytes), "seed {seed}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_gets_no_room() {
        let head = [0, 8 * 1024 * 1024 + 1].map(u32::to_le_bytes).concat();
        assert_eq!(heard(&head, 8), (vec![], Err(())));
    }
}
