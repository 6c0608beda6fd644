//! A fault, shown in a process of its own: first on bare `capnp-rpc`, then behind the guard,
//! or behind a membrane and the guard.
//!
//! What a fault does may end the process that it happens in, or keep it busy for ever. So the test starts
//! its own program again, for the one test and with [`ON`] set; the child plays the exchange and says by
//! its exit code what came of it, and a child that does not end in time is killed.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::panic::PanicHookInfo;
use std::process::{Child, Command, ExitStatus, Stdio, exit};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use capnp::capability::Client;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan::Error;
use capspan::guard::Connection;
use capspan::membrane::Membrane;
use capspan_testkit::link::{End, direct};
use capspan_testkit::membrane::{idle, run};
use capspan_testkit::wire_peer::{Cap, Content, Peer, Service, Target, call, method, returns};
use futures::FutureExt;
use tokio::task::{JoinHandle, spawn_local};

/// The variable that tells a child what to play the exchange on.
const ON: &str = "CAPSPAN_FAULT_ON";
/// A spin is a spin after that long.
const SPIN: Duration = Duration::from_secs(5);
/// As long as an exchange may take that is to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The stack of the event loop's thread, as a thread has it by default.
const STACK: usize = 2 * 1024 * 1024;

/// What a fault shows on bare `capnp-rpc`.
#[derive(Debug)]
pub(crate) enum Shows {
    /// A panic, whose message or place contains this.
    Panic(&'static str),
    /// A turn of the event loop that never ends.
    Spin,
    /// A stack that overflows.
    Overflow,
    /// Objects that are alive after the connection's end.
    Leak,
    /// What the exchange itself says is wrong contains this.
    Wrong(&'static str),
    /// Nothing: this is the legal exchange beside a fault, or none any more.
    Nothing,
}

/// What came of an exchange, and what it said.
enum Outcome {
    Fine,
    Panic(String),
    Spin,
    Died(String),
    Leak(String),
    Wrong(String),
    /// The test itself is broken: an expectation of its own.
    Broken(String),
}

const FINE: i32 = 0;
const PANIC: i32 = 33;
const BROKEN: i32 = 34;
const LEAK: i32 = 35;
const WRONG: i32 = 36;

/// Declares the test of a fault: its name, what shows on bare `capnp-rpc`, and the exchange. With
/// `behind membrane` there is one in front of the guard: no message shows what is wrong; `behind both` it is played
/// with one and without. What `stays` shows
/// behind the guard as well, and says why; whoever mends it takes the word away.
macro_rules! fault {
    ($name:ident, $shows:expr, async |$on:ident| $exchange:block) => {
        fault!($name, $shows, behind guard, async |$on| $exchange);
    };
    ($name:ident, $shows:expr, stays, async |$on:ident| $exchange:block) => {
        fault!($name, $shows, behind stays, async |$on| $exchange);
    };
    ($name:ident, $shows:expr, behind $behind:ident, async |$on:ident| $exchange:block) => {
        #[test]
        fn $name() {
            async fn exchange($on: &crate::harness::Stage) $exchange
            let name = concat!(module_path!(), "::", stringify!($name));
            let behind = stringify!($behind);
            crate::harness::check(name, $shows, behind, |stage| Box::pin(exchange(stage)));
        }
    };
}
pub(crate) use fault;

type Exchange = for<'a> fn(&'a Stage) -> futures::future::LocalBoxFuture<'a, ()>;

/// Plays the exchange where this is a child; else has it played, and asserts what comes of it.
pub(crate) fn check(name: &'static str, shows: Shows, behind: &str, exchange: Exchange) {
    match std::env::var(ON).as_deref() {
        Ok("bare") => play(Stack::Bare, exchange),
        Ok("guard") => play(Stack::Guard, exchange),
        Ok("membrane") => play(Stack::Membrane, exchange),
        _ => {
            // The name of a test has no crate's name.
            let test = name.split_once("::").map_or(name, |(_, test)| test);
            let bare = watch(start(test, "bare"), &shows);
            assert!(is(&shows, &bare), "bare: {bare}, where {shows:?} was known");
            let (behind, known) = match behind {
                "stays" => (&["guard"][..], shows),
                "both" => (&["guard", "membrane"][..], Shows::Nothing),
                "membrane" => (&["membrane"][..], Shows::Nothing),
                _ => (&["guard"][..], Shows::Nothing),
            };
            for behind in behind {
                let guarded = watch(start(test, behind), &known);
                assert!(
                    is(&known, &guarded),
                    "behind the {behind}: {guarded}, where {known:?} was known"
                );
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, said) = match self {
            Self::Fine => ("nothing", ""),
            Self::Spin => ("it never ends", ""),
            Self::Panic(said) => ("a panic", said.as_str()),
            Self::Died(said) => ("the end of the process", said.as_str()),
            Self::Leak(said) => ("a leak", said.as_str()),
            Self::Wrong(said) => ("it is wrong", said.as_str()),
            Self::Broken(said) => ("the test itself fails", said.as_str()),
        };
        write!(f, "{what} {}", said.trim())
    }
}

fn is(shows: &Shows, outcome: &Outcome) -> bool {
    match (shows, outcome) {
        (Shows::Panic(part), Outcome::Panic(what)) => what.contains(part),
        (Shows::Wrong(part), Outcome::Wrong(what)) => what.contains(part),
        (Shows::Overflow, Outcome::Died(what)) => what.contains("overflowed its stack"),
        (Shows::Spin, Outcome::Spin) | (Shows::Leak, Outcome::Leak(_)) => true,
        (Shows::Nothing, Outcome::Fine) => true,
        _ => false,
    }
}

fn start(test: &str, on: &str) -> Child {
    let program = std::env::current_exe().expect("a program knows where it is");
    Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env(ON, on)
        // Where leaks are looked for: some are what is to be shown.
        .env("LSAN_OPTIONS", "detect_leaks=0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was started before")
}

/// Waits for a child's end, and ends it where that does not come.
fn watch(mut child: Child, shows: &Shows) -> Outcome {
    let limit = match shows {
        Shows::Spin => SPIN,
        _ => PATIENCE,
    };
    let mut stderr = child.stderr.take().expect("it is piped");
    let (ended, end) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        let _ended_with_the_child = stderr.read_to_end(&mut said);
        let _nobody_waits = ended.send(());
        String::from_utf8_lossy(&said).into_owned()
    });
    let in_time = end.recv_timeout(limit).is_ok();
    if !in_time {
        child.kill().expect("it is a child of ours");
    }
    let status = child.wait().expect("it is a child of ours");
    let said = reader.join().expect("reading does not panic");
    match in_time {
        true => outcome(status, said),
        false => Outcome::Spin,
    }
}

fn outcome(status: ExitStatus, said: String) -> Outcome {
    match status.code() {
        Some(FINE) => Outcome::Fine,
        Some(PANIC) => Outcome::Panic(said),
        Some(LEAK) => Outcome::Leak(said),
        Some(WRONG) => Outcome::Wrong(said),
        Some(_) => Outcome::Broken(said),
        None => Outcome::Died(said),
    }
}

/// The child's part.
fn play(stack: Stack, exchange: Exchange) {
    std::panic::set_hook(Box::new(panicked));
    let stage = move || {
        run(async {
            let stage = Stage::new(stack);
            exchange(&stage).await;
            stage.end().await;
        });
        exit(FINE);
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(stage);
    let _it_exits = thread.expect("a thread").join();
    exit(BROKEN);
}

/// Ends the child at once: what is unwound would panic again.
fn panicked(info: &PanicHookInfo<'_>) {
    eprintln!("{info}");
    let is_ours = info.location().is_some_and(|location| {
        let file = location.file();
        file.contains("guard_faults") || file.contains("testkit")
    });
    exit(if is_ours { BROKEN } else { PANIC });
}

/// What lies below the application.
#[derive(Clone, Copy)]
enum Stack {
    Bare,
    Guard,
    /// The guard, and a membrane around the bootstrap capability, which is revoked at the connection's end.
    Membrane,
}

/// Where an exchange is played: it makes connections, and knows in the end whether anything is left.
pub(crate) struct Stage {
    stack: Stack,
    services: RefCell<Vec<Service>>,
    drivers: RefCell<Vec<JoinHandle<()>>>,
}

impl Stage {
    fn new(stack: Stack) -> Self {
        Self {
            stack,
            services: RefCell::default(),
            drivers: RefCell::default(),
        }
    }

    /// A service, whose bootstrap object is another for each connection.
    pub(crate) fn service(&self) -> Service {
        let service = Service::new();
        self.services.borrow_mut().push(service.clone());
        service
    }

    /// A peer that has the bootstrap object of a service: at 0, asked for with question 0.
    pub(crate) async fn serve(&self) -> (Peer, Service) {
        let service = self.service();
        let (client, server) = direct();
        self.drive_server(server, service.object());
        let mut peer = Peer::new(client);
        assert_eq!(peer.bootstrap().await, 0);
        (peer, service)
    }

    fn drive_server(&self, end: End, bootstrap: Client) {
        let driver = match self.stack {
            Stack::Bare => {
                let options = capnp::message::ReaderOptions::default();
                let network = twoparty::VatNetwork::new(end.0, end.1, Side::Server, options);
                let system = RpcSystem::new(Box::new(network), Some(bootstrap));
                system.map(drop).boxed_local()
            }
            Stack::Guard | Stack::Membrane => {
                let (bootstrap, membrane) = self.around(bootstrap);
                let (_, driver) = Connection::serve(end.0, end.1, |_| bootstrap);
                driver.map(|_| revoke(membrane)).boxed_local()
            }
        };
        self.drivers.borrow_mut().push(spawn_local(driver));
    }

    /// A peer that serves object 0, and what the application has of it: a promise, whose answer is on its
    /// way.
    pub(crate) async fn connect(&self) -> (Peer, Client) {
        let (client, server) = direct();
        let bootstrap = self.drive_client(client);
        let mut peer = Peer::new(server);
        let question = peer.asked_for_bootstrap().await;
        let returned = returns(question, [Cap::Hosted(0)]);
        peer.say(returned.content(Content::Cap(0))).await;
        (peer, bootstrap)
    }

    fn drive_client(&self, end: End) -> Client {
        let (bootstrap, driver) = match self.stack {
            Stack::Bare => {
                let options = capnp::message::ReaderOptions::default();
                let network = twoparty::VatNetwork::new(end.0, end.1, Side::Client, options);
                let mut system = RpcSystem::new(Box::new(network), None);
                let bootstrap: Client = system.bootstrap(Side::Server);
                (bootstrap, system.map(drop).boxed_local())
            }
            Stack::Guard | Stack::Membrane => {
                let (connection, driver) = Connection::connect(end.0, end.1);
                let bootstrap: Client = connection.bootstrap();
                let (bootstrap, membrane) = self.around(bootstrap);
                (bootstrap, driver.map(|_| revoke(membrane)).boxed_local())
            }
        };
        self.drivers.borrow_mut().push(spawn_local(driver));
        bootstrap
    }

    fn around(&self, bootstrap: Client) -> (Client, Option<Membrane>) {
        match self.stack {
            Stack::Membrane => {
                let membrane = Membrane::new();
                (membrane.export(bootstrap), Some(membrane))
            }
            Stack::Bare | Stack::Guard => (bootstrap, None),
        }
    }

    /// Drops what runs the connections so far.
    pub(crate) async fn drop_drivers(&self) {
        for driver in self.drivers.take() {
            driver.abort();
            let _it_was_canceled = driver.await;
        }
    }

    /// Says what is wrong, in a child, and ends it.
    pub(crate) fn wrong(&self, what: &str) -> ! {
        eprintln!("{what}");
        exit(WRONG);
    }

    /// All peers are gone. Nothing may be left, and another connection must not have noticed.
    async fn end(&self) {
        idle().await;
        let (mut peer, _) = self.serve().await;
        peer.say(call(1, Target::Cap(0), method::ECHO)).await;
        peer.returned(1).await;
        drop(peer);
        idle().await;
        let running = self
            .drivers
            .take()
            .iter()
            .filter(|driver| !driver.is_finished())
            .count();
        let alive: usize = self.services.borrow().iter().map(Service::live).sum();
        if running + alive > 0 {
            eprintln!("{alive} objects are alive, {running} connections run");
            exit(LEAK);
        }
    }
}

/// As a session does at its connection's end.
fn revoke(membrane: Option<Membrane>) {
    if let Some(membrane) = membrane {
        membrane.revoke(Error::disconnected("the connection is over"));
    }
}
