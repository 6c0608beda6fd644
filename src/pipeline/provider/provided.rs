//! What a provider gives.

use std::fmt;

use capnp::capability::{Client, FromClientHook};

use crate::session::{Session, SessionHandle};

/// The capability for one call, and the session that was opened for it, if any was.
///
/// Dropped without being used, the session is over.
#[must_use = "a session that was opened for it ends when it is dropped"]
pub struct Provided {
    // Before the session, whose drop would be a cancellation.
    client: Client,
    session: Option<SessionHandle>,
}

impl Provided {
    /// A capability that needs no session.
    pub fn without_session(client: Client) -> Self {
        Self {
            client,
            session: None,
        }
    }

    /// The session that was opened for the call: its span can be written to, and have children.
    pub fn session(&self) -> Option<&SessionHandle> {
        self.session.as_ref()
    }

    /// The capability. A session that was opened for it lasts until it is dropped, and all that comes of the
    /// call.
    pub fn into_client<C: FromClientHook>(self) -> C {
        if let Some(session) = self.session {
            session.detach();
        }
        C::new(self.client.hook)
    }

    /// The capability and the session, which its drop cancels.
    pub fn into_parts<C: FromClientHook>(self) -> (C, Option<SessionHandle>) {
        (C::new(self.client.hook), self.session)
    }
}

/// What came of opening a session for the call.
impl From<Session<Client>> for Provided {
    fn from(session: Session<Client>) -> Self {
        let (client, session) = session.into_parts();
        Self {
            client,
            session: Some(session),
        }
    }
}

impl fmt::Debug for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provided")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
