//! `capspan proxy`: stands before a service that knows nothing of it, and tells of its sessions and calls.
//!
//! Each connection that comes is one session, with a connection to the service of its own. What passes goes
//! through a guard and a membrane, in both directions; where the service takes events (`Pipeline`), each of
//! them has a span of its own, below its caller's.
//!
//! - `address`: where to listen, and where the service is
//! - `listen`: a socket of its own, or one that it is handed
//! - [`ProxyArgs`]: what the user says, on the command line or in a file; [`command`] does it
//! - [`Config`], [`Names`], [`Rules`]: what that comes to
//! - `schemas`: the files that names come from
//! - `systemd`: what that hands over, and wants to know
//! - `door`: takes connections, and hands them to the loops
//! - `event_loop`: one thread's work: connections, spans
//! - `busy_poll`: waits without sleeping while messages come quickly
//! - `relay`: one connection, from its beginning to its end
//! - `upstream`: the way to the service, also while that is down
//! - `files`: how many clients there is room for
//! - `events`: a service that takes events
//! - `reports`: where spans go
//! - `run`: the whole of it, and its signals

mod address;
mod busy_poll;
mod command;
mod config;
mod door;
mod event_loop;
mod events;
mod files;
mod listen;
mod names;
mod options;
mod relay;
mod reports;
mod rules;
mod run;
mod schemas;
mod stream;
mod systemd;
mod upstream;

pub use address::Address;
pub use command::command;
pub use config::{Config, Limits, Together};
pub use listen::Listen;
pub use names::{Interface, Names};
pub use options::{Loaded, Options, OrNone, Period, ProxyArgs, Size};
pub use rules::{Pattern, Rules};
pub use run::run;
