//! The policy of a treatment.

use capnp::capability::{Client, FromClientHook};
use capspan::Error;
use capspan::membrane::{Call, Policy, Verdict};

use super::Treatment;
use crate::probe_capnp::probe;

/// The methods that are redirected or refused: `swap`, `push` and `pushed`.
const METHODS: [u16; 3] = [1, 12, 13];

/// Why it is refused.
pub(super) const REFUSED: &str = "no swaps";

/// Has a verdict for some methods, and lets all others go on.
pub(super) struct Rule {
    pub(super) treatment: Treatment,
    pub(super) guard: probe::Client,
}

impl Rule {
    fn judge(&self, call: &Call<'_>, is_inbound: bool) -> Verdict {
        assert_eq!(call.is_inbound(), is_inbound);
        if !METHODS.contains(&call.method_id()) {
            return Verdict::Forward;
        }
        match (self.treatment, is_inbound) {
            (Treatment::RedirectInbound, true) | (Treatment::RedirectOutbound, false) => {
                Verdict::Redirect(Client::new(self.guard.as_client_hook().add_ref()))
            }
            (Treatment::Refuse, _) => Verdict::Refuse(Error::failed(REFUSED)),
            _ => Verdict::Forward,
        }
    }
}

impl Policy for Rule {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        self.judge(call, true)
    }

    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        self.judge(call, false)
    }

    /// Otherwise it would depend on the moment who answers a call on a promise.
    fn should_resolve_before_redirecting(&self) -> bool {
        true
    }
}
