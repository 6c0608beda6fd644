//! What is noted of a call, for who wants to know.

use crate::membrane::client::Node;
use crate::membrane::inspect::IntroducedBy;
use crate::membrane::policy::CallWatch;

/// Of most calls nothing is noted.
pub(in crate::membrane) struct Noted {
    /// Whom the policy wants to be told of its end.
    pub(in crate::membrane) watch: Option<Box<dyn CallWatch>>,
    /// Where the membrane is inspected: what introduces the capabilities in its results.
    pub(in crate::membrane) introduces: Option<IntroducedBy>,
}

impl Noted {
    pub(super) fn ended(self, result: Result<(), &capnp::Error>) {
        if let Some(watch) = self.watch {
            watch.ended(result);
        }
    }
}

/// Tells of a call on `target` that is about to be sent. Fails where the membrane is revoked: a policy may
/// do that when something in the parameters crosses, or now.
pub(super) fn begin(target: &Node, method: (u64, u16)) -> capnp::Result<Option<Box<Noted>>> {
    let membrane = target.membrane();
    if let Some(reason) = membrane.revoked() {
        return Err(reason.clone());
    }
    let noted = target.call_begins(method);
    match membrane.revoked() {
        None => Ok(noted),
        Some(reason) => {
            if let Some(noted) = noted {
                noted.ended(Err(reason));
            }
            Err(reason.clone())
        }
    }
}
