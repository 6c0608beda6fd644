//! What OpenTelemetry's semantic conventions want said of a span: those of RPC, as of version 1.45.

use crate::trace::Outcome;

/// The RPC system.
#[cfg(feature = "otel")]
pub(super) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// The interface and method, `Interface/method`.
#[cfg(feature = "otel")]
pub(super) const RPC_METHOD: &str = "rpc.method";
/// What kind of error it ended with.
pub(super) const ERROR_TYPE: &str = "error.type";
/// The value of `rpc.system.name`. The conventions have no name for this system.
pub(super) const CAPNPROTO: &str = "capnproto";
/// Of an error of no known kind.
const OTHER: &str = "_OTHER";

/// The kind of error that a span ended with. Who is no longer wanted has not failed.
pub(super) fn error_type(outcome: Option<Outcome>, is_error: bool) -> Option<&'static str> {
    match (outcome, is_error) {
        (None | Some(Outcome::Ok), true) => Some(OTHER),
        (None | Some(Outcome::Ok | Outcome::Canceled), false) => None,
        (Some(outcome), _) => Some(outcome.as_str()),
    }
}
