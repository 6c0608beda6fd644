//! A raw peer: it says messages of `rpc.capnp` word by word, legal or not, and hears what comes back.
//!
//! - [`Peer`]: one end of a link, and what is said and heard there.
//! - [`Message`], [`Call`], [`Return`], [`Cap`], [`Target`], [`Content`]: messages, as values.
//! - [`bootstrap`], [`call`], [`returns`], [`resolve`] and others make them.
//! - [`swollen`], [`unknown_and_alike`]: messages that are more than they weigh.
//! - [`Service`]: what to talk to: objects that echo, store, promise, call back.
//!
//! ```
//! use capspan_testkit::link::{direct, plain_server};
//! use capspan_testkit::membrane::run;
//! use capspan_testkit::wire_peer::{Cap, Peer, Service, Target, bootstrap, call, finish, method};
//!
//! run(async {
//!     let (client, server) = direct();
//!     let service = Service::new();
//!     plain_server(server, service.object());
//!     let mut peer = Peer::new(client);
//!     peer.say(bootstrap(0)).await;
//!     peer.returned(0).await;
//!     peer.say(call(1, Target::Cap(0), method::ECHO).with([Cap::Hosted(7)])).await;
//!     assert_eq!(peer.returned(1).await.caps(), [Cap::Yours(7)]);
//!     peer.say(finish(1)).await;
//! });
//! ```

mod message;
mod peer;
mod read;
mod service;
mod swollen;
#[cfg(test)]
mod tests;
mod write;

pub use message::{
    Call, Cap, Content, Context, Fail, Message, Outcome, Payload, Return, Target, abort, bootstrap,
    call, disembargo, fails, finish, release, resolve, resolve_to_error, returns, unimplemented,
};
pub use peer::Peer;
pub use service::{Service, echo, method};
pub use swollen::{swollen, unknown_and_alike};
