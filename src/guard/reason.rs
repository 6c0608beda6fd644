//! What a message of this side's says of an error: as the peer had said it that it comes from, or what was wrong here.

use capnp::{ErrorKind, text};
use capnp_rpc::rpc_capnp::{exception, message, resolve, return_};

use super::source::Draft;

/// What who reads an error puts before the peer's words.
const PREFIX: &[u8] = b"remote exception: ";

/// Sees to what a message says of an error, if it says anything of one.
///
/// An error that has come from another peer goes on without what was put before it here: its reader does that again. So
/// its text is the same however many stand in between. And at the end of a connection, of which its calls are told that it
/// is over, the peer is told what was wrong: the `fault`.
#[inline]
pub(super) fn as_it_was_told(
    message: &mut Draft,
    fault: Option<&capnp::Error>,
) -> capnp::Result<()> {
    match message.may_tell_an_error() {
        true => tell(message, fault),
        false => Ok(()),
    }
}

fn tell(message: &mut Draft, fault: Option<&capnp::Error>) -> capnp::Result<()> {
    let told = match error(message)? {
        Some(Told::Answer(exception)) => exception.get_reason()?.as_bytes().strip_prefix(PREFIX),
        Some(Told::End) => return set_end(message, fault),
        None => None,
    };
    let Some(told) = told.map(<[u8]>::to_vec) else {
        return Ok(());
    };
    let message: message::Builder<'_> = message.get_body()?.get_as()?;
    let mut exception: exception::Builder<'_> = match message.which()? {
        message::Return(ret) => match ret?.which()? {
            return_::Exception(exception) => exception?,
            _ => return Ok(()),
        },
        message::Resolve(resolve) => match resolve?.which()? {
            resolve::Exception(exception) => exception?,
            resolve::Cap(_) => return Ok(()),
        },
        _ => return Ok(()),
    };
    exception.set_reason(text::Reader(&told));
    Ok(())
}

/// Where a message tells an error.
enum Told<'a> {
    /// What a call, or a promise, has failed with.
    Answer(exception::Reader<'a>),
    /// Why this side gives up the connection.
    End,
}

fn error(message: &Draft) -> capnp::Result<Option<Told<'_>>> {
    let message: message::Reader<'_> = message.get_body_as_reader()?.get_as()?;
    Ok(match message.which()? {
        message::Return(ret) => match ret?.which()? {
            return_::Exception(exception) => Some(Told::Answer(exception?)),
            _ => None,
        },
        message::Resolve(resolve) => match resolve?.which()? {
            resolve::Exception(exception) => Some(Told::Answer(exception?)),
            resolve::Cap(_) => None,
        },
        message::Abort(_) => Some(Told::End),
        _ => None,
    })
}

fn set_end(message: &mut Draft, fault: Option<&capnp::Error>) -> capnp::Result<()> {
    let Some(fault) = fault else {
        return Ok(());
    };
    let message: message::Builder<'_> = message.get_body()?.get_as()?;
    let message::Abort(exception) = message.which()? else {
        return Ok(());
    };
    let mut exception = exception?;
    let kind = match fault.kind {
        ErrorKind::Overloaded => exception::Type::Overloaded,
        ErrorKind::Disconnected => exception::Type::Disconnected,
        ErrorKind::Unimplemented => exception::Type::Unimplemented,
        _ => exception::Type::Failed,
    };
    exception.set_type(kind);
    match fault.kind {
        ErrorKind::Failed
        | ErrorKind::Overloaded
        | ErrorKind::Disconnected
        | ErrorKind::Unimplemented => exception.set_reason(&*fault.extra),
        // Nothing else tells what kind it is of.
        _ => exception.set_reason(fault.to_string()),
    }
    Ok(())
}
