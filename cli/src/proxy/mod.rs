//! `capspan proxy`: stands before a service that knows nothing of it, and tells of its sessions and calls.
//!
//! Each connection that comes is one session, with a connection to the service of its own. What passes goes
//! through a guard and a membrane, in both directions; where the service takes events (`Pipeline`), each of
//! them has a span of its own, below its caller's.
//!
//! - `address`: where to listen, and where the service is
//! - [`Config`], `names`, `rules`: what the user wants
//! - `door`: takes connections, and hands them to the loops
//! - `event_loop`: one thread's work: connections, spans
//! - `relay`: one connection, from its beginning to its end
//! - `upstream`: the way to the service, also while that is down
//! - `events`: a service that takes events
//! - `reports`: where spans go
//! - `run`: the whole of it, and its signals

mod address;
mod config;
mod door;
mod event_loop;
mod events;
mod names;
mod relay;
mod reports;
mod rules;
mod run;
mod stream;
mod upstream;

pub use address::Address;
pub use config::{Config, Limits};
pub use names::Names;
pub use rules::Rules;
pub use run::run;
