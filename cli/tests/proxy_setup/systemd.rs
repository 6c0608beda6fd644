//! What systemd hands over and is told, by its own protocol.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Folder, Running, assert_leads};

/// A program that systemd starts: `sockets`, two at most, are passed to it, under these names.
///
/// The shell knows the id of the process that it is going to be, and moves the sockets to their places.
fn started(sockets: Vec<OwnedFd>, names: &str, words: &[&str]) -> Command {
    let count = sockets.len();
    let mut sockets = sockets.into_iter();
    let moved = match count {
        0 => "",
        1 => "exec 3<&0 </dev/null;",
        _ => "exec 3<&0 4<&1 </dev/null >/dev/null;",
    };
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "{moved} export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$0\" proxy \"$@\""
        ))
        .arg(env!("CARGO_BIN_EXE_capspan"))
        .args(words)
        .env("LISTEN_FDS", count.to_string())
        .env("LISTEN_FDNAMES", names)
        .stdin(sockets.next().map_or_else(Stdio::null, Stdio::from))
        .stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command
}

/// Who listens to what the proxy tells.
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path("notify")).unwrap();
        // A test that waits in vain is to fail.
        let limit = Some(Duration::from_secs(60));
        socket.set_read_timeout(limit).unwrap();
        Self(socket)
    }

    fn told(&self) -> String {
        let mut bytes = [0; 1024];
        let length = loop {
            match self.0.recv(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// What is told next that is not only a sign of life.
    fn state(&self) -> String {
        loop {
            let told = self.told();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }
}

#[test]
fn it_tells_how_far_it_is() {
    let folder = Folder::new();
    let (manager, _service) = (Manager::new(&folder), folder.service("service"));
    let (listen, upstream) = (folder.unix("front"), folder.unix("service"));
    let mut command = started(
        Vec::new(),
        "",
        &[
            "--listen",
            &listen,
            "--upstream",
            &upstream,
            "--drain-timeout",
            "7s",
        ],
    );
    command
        .env("NOTIFY_SOCKET", folder.path("notify"))
        .env("WATCHDOG_USEC", "50000");
    let proxy = Running::start(command);
    let ready = manager.state();
    assert_eq!(
        ready,
        format!("READY=1\nSTATUS=before the service at {upstream}")
    );
    // Once it is ready it listens.
    UnixStream::connect(folder.path("front")).unwrap();
    for _ in 0..3 {
        assert_eq!(manager.told(), "WATCHDOG=1");
    }
    proxy.signal("HUP");
    let reloading = manager.state();
    let at = reloading
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split_once(' ').unwrap().0.parse().unwrap();
    // It stands still while the machine sleeps, and never goes ahead of it.
    let at = at.parse::<f64>().unwrap() / 1e6;
    assert!(at > 0.0 && at <= uptime + 0.1, "{at} {uptime}");
    assert_eq!(manager.state(), ready);
    proxy.signal("TERM");
    let stopping = manager.state();
    assert_eq!(
        stopping,
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=17000000\nSTATUS=letting sessions end"
    );
    assert_eq!(proxy.ended().0.code(), Some(0));
}

#[test]
fn it_serves_at_sockets_that_it_is_handed_and_leaves_them_there() {
    let folder = Folder::new();
    let service = folder.service("service");
    let front = folder.service("front");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = tcp.local_addr().unwrap();
    let upstream = folder.unix("service");
    for listen in [&["systemd"][..], &["systemd:b", "systemd:a"]] {
        let sockets = vec![
            front.try_clone().unwrap().into(),
            tcp.try_clone().unwrap().into(),
        ];
        // Who comes before it runs is served too.
        let early = TcpStream::connect(at).unwrap();
        let words = [&["--upstream", &upstream, "--listen"], listen].concat();
        let mut proxy = Running::start(started(sockets, "a:b", &words));
        service.accept().unwrap();
        drop(early);
        assert_leads(&folder.path("front"), &service);
        let listening: [_; 2] = std::array::from_fn(|_| proxy.says("listening at"));
        let listening = listening.concat();
        assert!(listening.contains(&format!("tcp:{at}")), "{listening}");
        assert!(listening.contains(&folder.unix("front")), "{listening}");
        proxy.signal("TERM");
        assert_eq!(proxy.ended().0.code(), Some(0));
        assert!(folder.path("front").exists());
    }
}

#[test]
fn an_abstract_socket_has_its_name() {
    let folder = Folder::new();
    let name = format!("capspan-setup-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
            &name,
        );
    let socket = UnixListener::bind_addr(&address.unwrap()).unwrap();
    let upstream = folder.unix("service");
    let words = ["--listen", "systemd", "--upstream", &upstream];
    let mut proxy = Running::start(started(vec![socket.into()], "", &words));
    proxy.says(&format!("listening at unix:@{name}"));
    proxy.signal("TERM");
    assert_eq!(proxy.ended().0.code(), Some(0));
}

#[test]
fn what_it_can_not_listen_at_is_told() {
    let folder = Folder::new();
    let upstream = folder.unix("service");
    let listener = || -> OwnedFd { TcpListener::bind("127.0.0.1:0").unwrap().into() };
    let connected = || -> OwnedFd { UnixStream::pair().unwrap().0.into() };
    let datagrams = || -> OwnedFd { UnixDatagram::unbound().unwrap().into() };
    let file = || -> OwnedFd { std::fs::File::open("/dev/null").unwrap().into() };
    for (sockets, names, listen, told) in [
        (vec![], "", "systemd", "passes none"),
        (
            vec![listener()],
            "a",
            "systemd:b",
            "no such socket (b): it passes a",
        ),
        (
            vec![listener(), listener()],
            "a:b",
            "systemd:b",
            "'a', and no --listen systemd:a takes it",
        ),
        (
            vec![listener()],
            "a",
            "tcp:127.0.0.1:0",
            "no --listen systemd:a takes it",
        ),
        (
            vec![connected()],
            "a",
            "systemd",
            "socket 'a' of systemd: it does not listen",
        ),
        (
            vec![datagrams()],
            "a",
            "systemd",
            "neither a Unix socket nor one of TCP",
        ),
        (
            vec![file()],
            "",
            "systemd",
            "socket 'unknown' of systemd: neither",
        ),
    ] {
        let words = ["--listen", listen, "--upstream", &upstream];
        let (status, said) = Running::start(started(sockets, names, &words)).ended();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{said}\n{told}");
    }
    let mut command = started(
        Vec::new(),
        "",
        &["--listen", "systemd", "--upstream", &upstream],
    );
    command.env("LISTEN_FDS", "4000000000");
    let (status, said) = Running::start(command).ended();
    assert_eq!(status.code(), Some(1), "{said}");
}

#[test]
fn what_is_for_another_process_is_left_alone() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let (listen, upstream) = (folder.unix("front"), folder.unix("service"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_capspan"));
    command
        .args(["proxy", "--listen", &listen, "--upstream", &upstream])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .env("WATCHDOG_PID", "1")
        .env("WATCHDOG_USEC", "1000")
        .env("NOTIFY_SOCKET", folder.path("notify"));
    let proxy = Running::start(command);
    assert!(manager.told().starts_with("READY=1\n"));
    proxy.signal("TERM");
    assert!(manager.told().starts_with("STOPPING=1\n"));
    assert_eq!(proxy.ended().0.code(), Some(0));
}

#[test]
fn a_manager_that_is_not_there_is_told_of() {
    let folder = Folder::new();
    let (listen, upstream) = (folder.unix("front"), folder.unix("service"));
    let mut command = started(
        Vec::new(),
        "",
        &["--listen", &listen, "--upstream", &upstream],
    );
    command.env("NOTIFY_SOCKET", folder.path("nobody"));
    let (status, said) = Running::start(command).ended();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("telling systemd"), "{said}");
}
