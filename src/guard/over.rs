//! Why a connection can't go on: as its calls, its peer, and whoever runs it are told.

use capnp_rpc::rpc_capnp::{exception, message};

use super::rules::Cut;
use super::source::Message;
use crate::error::Error;

/// Why a connection can't go on.
pub(super) struct Over {
    /// What all that is called over it fails with. It is always `disconnected`: whatever the peer did, or the network, who
    /// calls may try again over another connection.
    pub(super) reason: Error,
    /// The same, as the peer and whoever runs the connection are told it.
    pub(super) fault: capnp::Error,
    /// It was ended by its guard.
    pub(super) is_cut: bool,
}

/// Bytes of what others say about an end. It is kept as long as a handle of the connection is.
const MAX_REASON_BYTES: usize = 4096;

impl Over {
    /// The guard has ended the connection.
    pub(super) fn cut(peer: &str, Cut { breach, text }: &Cut) -> Self {
        let reason = format!("the connection to {peer} was ended by its guard: {text} ({breach})");
        Self {
            reason: Error::disconnected(&*reason),
            fault: capnp::Error::failed(reason),
            is_cut: true,
        }
    }

    /// A stream has failed.
    pub(super) fn lost(peer: &str, fault: capnp::Error) -> Self {
        Self {
            reason: lost(peer, &fault),
            fault,
            is_cut: false,
        }
    }

    /// The peer has given up.
    pub(super) fn given_up(peer: &str, message: &Message) -> Self {
        let (kind, reason) = abort(message).unwrap_or_else(|_unreadable| {
            let reason = "its reason can't be read".to_owned();
            (capnp::ErrorKind::Failed, reason)
        });
        let said = format!("{peer} gave up the connection: {reason}");
        Self {
            reason: Error::disconnected(said),
            fault: capnp::Error {
                kind,
                extra: format!("remote exception: {reason}"),
            },
            is_cut: false,
        }
    }
}

/// What the end of a connection is called that is no peer's doing.
pub(super) fn lost(peer: &str, error: &capnp::Error) -> Error {
    let text = match error.extra.as_str() {
        "" => error.kind.to_string(),
        extra => cut(extra).to_owned(),
    };
    Error::disconnected(format!("the connection to {peer} was lost: {text}"))
}

/// Why the peer gives up.
fn abort(message: &Message) -> capnp::Result<(capnp::ErrorKind, String)> {
    let message: message::Reader<'_> = message.get_body()?.get_as()?;
    let message::Abort(exception) = message.which()? else {
        return Err(capnp::Error::failed("it is no `Abort`".to_owned()));
    };
    let exception = exception?;
    let kind = match exception.get_type()? {
        exception::Type::Failed => capnp::ErrorKind::Failed,
        exception::Type::Overloaded => capnp::ErrorKind::Overloaded,
        exception::Type::Disconnected => capnp::ErrorKind::Disconnected,
        exception::Type::Unimplemented => capnp::ErrorKind::Unimplemented,
    };
    Ok((kind, cut(exception.get_reason()?.to_str()?).to_owned()))
}

/// As much of a reason as is kept.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}
