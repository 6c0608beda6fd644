//! A capability at hand.

use std::fmt;

use capnp::capability::{Client, FromClientHook};

use super::{CallOptions, ClientProvider, Path, Provided};
use crate::error::Result;

/// A capability at hand: it is called as it is, in whatever session it came of.
#[derive(Clone)]
pub struct Stub {
    client: Client,
}

impl Stub {
    /// Holds `client`, and with it the session that it came of.
    pub fn new(client: impl FromClientHook) -> Self {
        Self {
            client: Client::new(client.into_client_hook()),
        }
    }
}

impl ClientProvider for Stub {
    /// Gives the capability. It does not fail.
    fn client_for_one_call<'a>(
        &'a self,
        _path: &mut Path<'a>,
        _call: &CallOptions,
    ) -> Result<Provided> {
        Ok(Provided::without_session(self.client.clone()))
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub").finish_non_exhaustive()
    }
}
