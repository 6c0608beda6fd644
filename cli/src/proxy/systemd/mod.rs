//! What systemd, or whoever else starts the proxy in its manner, hands over and wants to know.
//!
//! - [`Inherited`]: sockets that listen already (`sd_listen_fds(3)`)
//! - [`Notifier`]: how far the proxy is (`sd_notify(3)`), and that it is alive

mod notifier;
mod sockets;

pub(super) use notifier::Notifier;
pub(super) use sockets::Inherited;
