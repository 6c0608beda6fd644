//! What a request or a response brings.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::stream::{LocalBoxStream, Stream, StreamExt};

use crate::error::{Error, Result};

/// The body of a request or of a response: a stream of pieces.
///
/// One that is received ends with an error if its sender gives up before its end, or sends more or less than
/// it has said. Dropping one that is being received tells its sender to stop. Its pieces need not be those that
/// were sent: small ones are put together.
///
/// ```
/// # use capspan::fetch::Body;
/// # futures::executor::block_on(async {
/// let body = Body::from("Hello");
/// assert_eq!(body.length(), Some(5));
/// assert_eq!(body.whole(1024).await?, "Hello");
/// # Ok::<_, capspan::Error>(()) }).unwrap();
/// ```
pub struct Body {
    content: Content,
    length: Option<u64>,
    /// Is to be dropped with it.
    _held: Option<Box<dyn Any>>,
}

#[derive(Default)]
enum Content {
    #[default]
    Nothing,
    Piece(Bytes),
    Stream(LocalBoxStream<'static, Result<Bytes>>),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self {
            content: Content::Nothing,
            length: Some(0),
            _held: None,
        }
    }

    /// What `pieces` gives, until it ends. An error in it gives up the body, and with it the request or the
    /// response that it belongs to.
    pub fn stream(pieces: impl Stream<Item = Result<Bytes>> + 'static) -> Self {
        Self {
            content: Content::Stream(pieces.boxed_local()),
            length: None,
            _held: None,
        }
    }

    /// Says how many bytes a stream has. It fails where that turns out not to be so; a stream that is said to
    /// have none is not read at all.
    #[must_use]
    pub fn with_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Is it not said to have nothing where something is?
    pub(super) fn check(&self) -> Result<()> {
        match &self.content {
            Content::Piece(piece) if self.length == Some(0) && !piece.is_empty() => {
                Err(Error::invalid(format!(
                    "a body was said to have 0 bytes, and has {}",
                    piece.len()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Keeps something for as long as it lives.
    pub(super) fn holding(self, held: impl Any) -> Self {
        Self {
            _held: Some(Box::new(held)),
            ..self
        }
    }

    /// How many bytes it has, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// All of it. Fails where it has more than `max` bytes ([`Error::is_limit`]), or does not come to its
    /// end.
    pub async fn whole(mut self, max: usize) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if piece.len() > max - whole.len() {
                return Err(Error::limit(format!(
                    "a body of more than {max} bytes, which is the limit of who reads it"
                )));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.content {
            Content::Nothing => Poll::Ready(None),
            Content::Piece(piece) => {
                let piece = std::mem::take(piece);
                self.content = Content::Nothing;
                Poll::Ready(Some(Ok(piece)))
            }
            Content::Stream(pieces) => {
                let piece = ready!(pieces.as_mut().poll_next(cx));
                if piece.is_none() {
                    self.content = Content::Nothing;
                }
                Poll::Ready(piece)
            }
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(piece: Bytes) -> Self {
        match piece.len() {
            0 => Self::empty(),
            length => Self {
                content: Content::Piece(piece),
                length: Some(length as u64),
                _held: None,
            },
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(piece: Vec<u8>) -> Self {
        Bytes::from(piece).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
