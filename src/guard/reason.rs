//! What a peer has said of an error, as it said it.

use capnp::text;
use capnp_rpc::rpc_capnp::{exception, message, resolve, return_};

use super::source::Draft;

/// What who reads an error puts before the peer's words.
const PREFIX: &[u8] = b"remote exception: ";

/// An error that has come from another peer goes on without what was put before it here: its reader does that again. So
/// its text is the same however many stand in between.
pub(super) fn as_it_was_told(message: &mut Draft) -> capnp::Result<()> {
    let told = {
        let message: message::Reader<'_> = message.get_body_as_reader()?.get_as()?;
        let exception = match message.which()? {
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
        match exception.get_reason()?.as_bytes().strip_prefix(PREFIX) {
            Some(told) => told.to_vec(),
            None => return Ok(()),
        }
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
