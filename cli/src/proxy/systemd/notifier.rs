//! Tells systemd how far the proxy is.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};

use crate::terminal::escape;

/// Nobody is to be waited for who reads nothing.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The way to who started the proxy, if that wants to know how far it is. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    /// How long it may be silent.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says. Where it names nobody, nothing is told.
    ///
    /// # Errors
    /// Where it names who can't be reached.
    pub(in crate::proxy) fn from_env() -> io::Result<Self> {
        let socket = match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Some(Arc::new(connect(&name)?)),
            _ => None,
        };
        let variable = |name| std::env::var(name).ok();
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Ok(Self { socket, watchdog })
    }

    /// It serves, or serves again after a reload.
    pub(in crate::proxy) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", escape(status)));
    }

    /// It reads its configuration anew.
    pub(in crate::proxy) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(
            now.tv_sec.try_into().unwrap_or_default(),
            now.tv_nsec.try_into().unwrap_or_default(),
        );
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// It ends, which may take so long.
    pub(in crate::proxy) fn stopping(&self, status: &str, within: Duration) {
        let within = within.as_micros();
        self.tell(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={within}\nSTATUS={}",
            escape(status)
        ));
    }

    /// Tells, as long as it is polled, that all is well: each time when `look` has ended, which it does not do else.
    pub(in crate::proxy) async fn stay_alive<F: Future<Output = ()>>(self, look: impl Fn() -> F) {
        let Some(limit) = self.watchdog else {
            return std::future::pending().await;
        };
        let mut ticks = interval(limit / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            look().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket {
            // A signal may come just then: as there is a limit of time, the system does not begin anew by itself.
            let is_interrupted = |error: io::Error| error.kind() == io::ErrorKind::Interrupted;
            while socket.send(state.as_bytes()).is_err_and(is_interrupted) {}
            // Who started it and does not listen any more is not to end it.
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        [b'/', ..] => socket.connect(name)?,
        _ => {
            let error = "NOTIFY_SOCKET is neither a path nor @ and a name";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
    }
    socket.set_write_timeout(Some(MAX_WAIT))?;
    Ok(socket)
}

/// How long process `own` may be silent, if that is limited, and if it is the one that is meant.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let usec = usec?.parse().ok().filter(|usec| *usec > 1)?;
    let is_meant = pid.is_none_or(|pid| pid.parse() == Ok(own));
    is_meant.then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;

    fn pair(watchdog: Option<Duration>) -> (Notifier, UnixDatagram) {
        let (socket, other) = UnixDatagram::pair().unwrap();
        let notifier = Notifier {
            socket: Some(Arc::new(socket)),
            watchdog,
        };
        (notifier, other)
    }

    fn told(other: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let length = other.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_state_is_one_datagram_whatever_its_status_holds() {
        let (notifier, other) = pair(None);
        notifier.ready("one\ntwo\u{1b}");
        assert_eq!(told(&other), "READY=1\nSTATUS=one\\ntwo\\u{1b}");
        notifier.stopping("x", Duration::from_secs(2));
        assert_eq!(
            told(&other),
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\nSTATUS=x"
        );
        notifier.reloading();
        let reloading = told(&other);
        let at = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(at.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let second = Some(Duration::from_secs(1));
        for (usec, pid, expected) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (Some("x"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(usec, pid, 7), expected, "{usec:?} {pid:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_tells_twice_in_the_time_that_it_has() {
        let (notifier, other) = pair(Some(Duration::from_secs(10)));
        other.set_nonblocking(true).unwrap();
        let alive =
            tokio::time::timeout(Duration::from_secs(21), notifier.stay_alive(|| ready(())));
        assert!(alive.await.is_err());
        for _ in 0..5 {
            assert_eq!(told(&other), "WATCHDOG=1");
        }
        assert!(other.recv(&mut [0; 16]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_silent_while_it_does_not_know() {
        let (notifier, other) = pair(Some(Duration::from_secs(10)));
        other.set_nonblocking(true).unwrap();
        let alive = notifier.stay_alive(std::future::pending::<()>);
        let alive = tokio::time::timeout(Duration::from_secs(60), alive);
        assert!(alive.await.is_err());
        assert!(other.recv(&mut [0; 16]).is_err());
    }

    #[test]
    fn an_address_may_be_abstract() {
        let name = format!("capspan-notifier-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let other = UnixDatagram::bind_addr(&address).unwrap();
        let socket = connect(OsStr::new(&format!("@{name}"))).unwrap();
        socket.send(b"x").unwrap();
        assert_eq!(told(&other), "x");
        assert!(connect(OsStr::new("vsock:2:1")).is_err());
        assert!(connect(OsStr::new("/nonexistent")).is_err());
    }
}
