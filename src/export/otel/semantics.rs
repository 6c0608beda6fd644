//! What OpenTelemetry's semantic conventions want said of a span: those of RPC, as of version 1.45.

use super::packed::{Span, Status};
use crate::trace::Outcome;

/// The RPC system.
pub(super) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// The interface and method, `Interface/method`.
pub(super) const RPC_METHOD: &str = "rpc.method";
/// What kind of error it ended with.
pub(super) const ERROR_TYPE: &str = "error.type";
/// The value of [`RPC_SYSTEM_NAME`]. The conventions have no name for this system.
pub(super) const CAPNPROTO: &str = "capnproto";
/// Of an error of no known kind.
const OTHER: &str = "_OTHER";

/// The kind of error that a span ended with. Who is no longer wanted has not failed.
pub(super) fn error_type(span: &Span, status: Status) -> Option<&'static str> {
    match (span.outcome, status) {
        (None | Some(Outcome::Ok), Status::Error) => Some(OTHER),
        (None | Some(Outcome::Ok), _) => None,
        (Some(Outcome::Canceled), Status::Unset | Status::Ok) => None,
        (Some(outcome), _) => Some(outcome.as_str()),
    }
}
