//! What is noted of a call, for who wants to know.

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
