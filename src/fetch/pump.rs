//! A body that goes out.

use std::future::poll_fn;
use std::task::Poll;

use futures::StreamExt;

use super::body::Body;
use crate::byte_stream_capnp::byte_stream;
use crate::error::Error;

/// How much of a body is in one message.
const PIECE: usize = 64 * 1024;

/// Why a body did not come to its end.
pub(crate) enum Stopped {
    /// It failed where it is from.
    Source(Error),
    /// Who was to receive it does not take more.
    Receiver(Error),
}

async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

fn refused(error: capnp::Error) -> Stopped {
    Stopped::Receiver(error.into())
}

/// Writes `body` to `to`, to be [`end`]ed then. One that is not as long as it says fails here.
pub(super) async fn write_all(mut body: Body, to: &byte_stream::Client) -> Result<(), Stopped> {
    let (length, mut sent) = (body.length(), 0_u64);
    let odd = |sent| {
        let length = length.unwrap_or(sent);
        let text = format!("a body was said to have {length} bytes, and has {sent}");
        Stopped::Source(Error::invalid(text))
    };
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(Stopped::Source)?;
        if bytes.is_empty() {
            // Others are to have their turn, too.
            yield_now().await;
        }
        sent = sent.saturating_add(bytes.len() as u64);
        if length.is_some_and(|length| sent > length) {
            return Err(odd(sent));
        }
        for piece in bytes.chunks(PIECE) {
            let mut request = to.write_request();
            request.get().set_bytes(piece);
            request.send().await.map_err(refused)?;
        }
    }
    if length.is_some_and(|length| sent != length) {
        return Err(odd(sent));
    }
    Ok(())
}

/// Says that there is no more.
pub(super) async fn end(to: &byte_stream::Client) -> Result<(), Stopped> {
    let ended = to.end_request().send().promise.await;
    ended.map(drop).map_err(refused)
}
