//! A hostile peer and our side, and an honest pair on the same event loop.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_capnp::message;
use capspan::guard::{Breach, Connection, ConnectionDriver, GuardLimits};
use futures::FutureExt;

use super::action::Action;
use super::messages::message as frame;
use super::peer::{Peer, fail};
use super::pipe::{End, Pipe};
use super::script::{Ending, Faults, Kind, Script, Setup, Step};
use super::service::{Alive, INTERFACE, Service};
use super::turns::Turns;
use crate::memory;

/// More than a peer can make our side hold with as few messages as a run has.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Limits that a few messages reach. What the peer leaves unread is above what one message has, so that the others
/// are reached as well.
fn narrow() -> GuardLimits {
    GuardLimits::default()
        .max_calls(5)
        .max_unfinished(16)
        .max_call_bytes(8_000)
        .max_exports(8)
        .max_imports(8)
        .max_capabilities(2)
        .max_pipeline_depth(2)
        .max_hops(1)
        .max_waiting(1)
        .max_queued(2_000)
        .max_burst(8_000)
}

/// What a run has come to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many messages our side has read or could have.
    pub sent: usize,
    /// How many messages the peer has got.
    pub received: usize,
    /// Why our side gave up the connection before the end, if it did.
    pub abort: Option<String>,
    /// What the guard has refused, and how often.
    pub refused: Vec<(Breach, u64)>,
}

/// What a correct peer may be refused for where limits are small.
const LIMITS: [Breach; 11] = [
    Breach::OnRefused,
    Breach::CallsInFlight,
    Breach::UnfinishedCalls,
    Breach::BytesInFlight,
    Breach::Exports,
    Breach::Imports,
    Breach::CapabilitiesInMessage,
    Breach::PipelineDepth,
    Breach::ResolutionHops,
    Breach::WaitingPromises,
    Breach::QueuedBytes,
];

/// What is told of each message when it is sent or read, and of what our side does by itself.
pub type Log<'a> = &'a dyn Fn(String);

/// Runs a script.
///
/// # Panics
///
/// Where our side does, does not come to rest, keeps anything alive, refuses a correct peer, or harms another
/// connection.
pub fn run(script: &Script) -> Report {
    run_and_tell(script, None)
}

/// The same, and tells of each message.
pub fn run_and_tell(script: &Script, log: Option<Log<'_>>) -> Report {
    let before = memory::alive();
    let mut scene = Scene::new(script.setup, log);
    scene.honest_call();
    for step in &script.steps {
        scene.step(step);
        assert!(
            memory::alive() < before + MAX_BYTES + scene.to.room(),
            "a few messages fill the memory"
        );
    }
    scene.finish()
}

struct Scene<'a> {
    turns: Turns,
    peer: Peer,
    /// To our side, and from it.
    to: Pipe,
    from: Pipe,
    setup: Setup,
    /// The peer reads nothing.
    is_deaf: bool,
    connection: Option<Connection>,
    driver: usize,
    alive: Alive,
    service: Weak<Service>,
    /// Held where ours is the client: over a connection its bootstrap object holds it.
    application: Option<Rc<Service>>,
    honest: Honest,
    report: Report,
    log: Option<Log<'a>>,
}

/// Two sides of ours, which know nothing of the hostile peer.
struct Honest {
    object: Client,
    answered: Rc<Cell<usize>>,
    connections: [Connection; 2],
    drivers: [usize; 2],
    alive: Alive,
}

impl<'a> Scene<'a> {
    fn new(setup: Setup, log: Option<Log<'a>>) -> Self {
        let (mut turns, alive) = (Turns::default(), Alive::default());
        let honest = Honest::new(&mut turns);
        let (to, from) = (Pipe::default(), Pipe::default());
        let mut limits = GuardLimits::default();
        if setup.is_narrow {
            from.narrow();
            limits = narrow();
        }
        let service = Service::new(&alive);
        let weak = Rc::downgrade(&service);
        let (connection, driver, application) = match setup.serves {
            true => {
                let bootstrap = |_: &_| service.bootstrap();
                let (connection, driver) =
                    Connection::serve_with(to.clone(), from.clone(), limits, bootstrap);
                (connection, driver, None)
            }
            false => {
                let (connection, driver) =
                    Connection::connect_with(to.clone(), from.clone(), limits);
                let peer: Client = connection.bootstrap();
                *service.peer.borrow_mut() = Some(peer.into_client_hook());
                (connection, driver, Some(service))
            }
        };
        let driver = spawn(&mut turns, driver);
        turns.spawn(Service::work(weak.clone()));
        turns.rest();
        Self {
            turns,
            peer: Peer {
                gives_back: setup.gives_back,
                resolves_to_promises: setup.is_narrow,
                ..Peer::default()
            },
            to,
            from,
            setup,
            is_deaf: false,
            connection: Some(connection),
            driver,
            alive,
            service: weak,
            application,
            honest,
            report: Report::default(),
            log,
        }
    }

    fn step(&mut self, step: &Step) {
        match step.kind {
            Kind::Ours => {
                let mut draw = step.draw;
                let action = Action::ALL[draw.below(Action::ALL.len())];
                let with = [draw.below(8), draw.below(8)];
                self.note(|| format!("   our side: {action:?} {with:?}"));
                if let Some(service) = self.service.upgrade() {
                    service.act_alone(action, with);
                }
            }
            Kind::Turn => {
                let mut draw = step.draw;
                self.is_deaf = self.setup.is_narrow && !self.is_deaf;
                self.note(|| format!("   reads nothing: {}", self.is_deaf));
                for _ in 0..1 + draw.below(4) {
                    self.turns.turn();
                }
                return;
            }
            _ => {
                if let Some(bytes) = self.peer.say(step) {
                    self.send(&bytes);
                }
            }
        }
        if !step.is_hasty {
            self.turns.rest();
            if !self.is_deaf {
                self.read();
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.note(|| format!("-> {}", written(bytes)));
        self.report.sent += 1;
        self.to.send(bytes);
    }

    /// Reads what is there. Is it anything?
    fn read(&mut self) -> bool {
        let bytes = self.from.take();
        let (received, log) = (&mut self.report.received, self.log);
        self.peer.tables.read(&bytes, |message| {
            *received += 1;
            if let Some(log) = log {
                log(format!("<- {message:?}"));
            }
        });
        // What waited for room can go on.
        self.turns.rest();
        !bytes.is_empty()
    }

    /// Reads all that comes.
    fn read_all(&mut self) {
        while self.read() {}
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if let Some(log) = self.log {
            log(what());
        }
    }

    /// Makes a call over the honest connection.
    fn honest_call(&mut self) {
        let answered = self.honest.answered.get();
        let request = self.honest.object.hook.new_call(INTERFACE, 0, None);
        let (sent, count) = (request.send(), self.honest.answered.clone());
        self.turns.spawn(sent.promise.map(move |answer| {
            assert!(answer.is_ok(), "an honest call fails");
            count.set(count.get() + 1);
        }));
        self.turns.rest();
        assert_eq!(
            self.honest.answered.get(),
            answered + 1,
            "an honest call waits"
        );
    }

    /// Ends the connection, and holds what is left against nothing.
    fn finish(mut self) -> Report {
        self.turns.rest();
        self.read_all();
        self.report.abort = self.peer.tables.abort.take();
        self.note(|| format!("   the end: {:?}", self.setup.ending));
        let service = self.service.upgrade().filter(|_| self.gives_back());
        let of_others = service.map(|service| service.of_others());
        match self.setup.ending {
            Ending::Peer(end) => {
                self.to.end(end);
                if end == End::Reset {
                    self.from.end(end);
                }
            }
            Ending::Abort => {
                self.to.send(&frame(|root| fail(root.init_abort())));
                self.to.end(End::Closed);
            }
            Ending::Dropped => self.turns.abort(self.driver),
        }
        self.turns.rest();
        self.read_all();
        self.honest_call();
        if let (Some(service), Some(before)) = (self.service.upgrade(), of_others) {
            service.let_go_of_its_own(&before);
        }
        // The application goes, and with it what it held itself.
        self.application = None;
        self.count_refused();
        self.connection = None;
        self.turns.rest();
        assert_eq!(self.left(), 0, "objects that outlive the connection");
        self.turns.abort(self.driver);
        self.honest.finish(&mut self.turns);
        self.report
    }

    fn count_refused(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let guard = connection.guard();
        let refused = Breach::ALL
            .iter()
            .map(|breach| (*breach, guard.count(*breach)));
        let refused: Vec<_> = refused.filter(|(_, count)| *count > 0).collect();
        if self.setup.faults == Faults::None {
            let is_circle =
                |breach: &Breach| [Breach::ResolveCycle, Breach::ReturnCycle].contains(breach);
            let is_limit = |breach: &Breach| self.setup.is_narrow && LIMITS.contains(breach);
            let is_fine =
                |breach: &Breach| self.gives_back() && is_circle(breach) || is_limit(breach);
            let is_fine = refused.iter().all(|(breach, _)| is_fine(breach));
            assert!(is_fine, "a correct peer is refused {refused:?}");
        }
        self.report.refused = refused;
    }

    fn gives_back(&self) -> bool {
        let tables = &self.peer.tables;
        self.setup.gives_back || tables.has_taken_tail || tables.has_garbled
    }

    /// How much of our side is alive.
    fn left(&self) -> usize {
        Rc::strong_count(&self.alive) - 1
    }
}

impl Honest {
    fn new(turns: &mut Turns) -> Self {
        let (to, from, alive) = (Pipe::default(), Pipe::default(), Alive::default());
        let serves = |_: &_| Service::new(&alive).bootstrap();
        let (server, driver) = Connection::serve(to.clone(), from.clone(), serves);
        let server_driver = spawn(turns, driver);
        let (client, driver) = Connection::connect(from, to);
        let client_driver = spawn(turns, driver);
        Self {
            object: client.bootstrap(),
            answered: Rc::default(),
            connections: [client, server],
            drivers: [client_driver, server_driver],
            alive,
        }
    }

    fn finish(self, turns: &mut Turns) {
        drop((self.object, self.connections));
        turns.rest();
        self.drivers
            .into_iter()
            .for_each(|driver| turns.abort(driver));
        turns.rest();
        assert_eq!(Rc::strong_count(&self.alive), 1, "an honest object is left");
    }
}

fn spawn(turns: &mut Turns, driver: ConnectionDriver) -> usize {
    turns.spawn(driver.map(drop))
}

/// Messages for the reader of a failure.
fn written(bytes: &[u8]) -> String {
    let (mut rest, mut said) = (bytes, Vec::new());
    while !rest.is_empty() {
        let mut options = capnp::message::ReaderOptions::new();
        options.traversal_limit_in_words(None);
        let read = capnp::serialize::read_message_from_flat_slice(&mut rest, options);
        let root = read
            .as_ref()
            .map(|read| read.get_root::<message::Reader<'_>>());
        let Ok(Ok(message)) = root else {
            return format!("{bytes:?}");
        };
        said.push(format!("{message:?}"));
    }
    said.join(", then ")
}
