//! One thread's work: connections, and the spans of their sessions.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use capspan::guard::{Budget, GuardObserver, GuardOptions, Refusal};
use capspan::session::{LiveEvents, SessionBuilder, SessionEnd, TimeLimits};
use capspan::trace::Tracer;
use capspan::{Tasks, TokioTimer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinError, LocalSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::busy_poll::{BusyPoll, window};
use super::config::Config;
use super::relay::{self, Gate};
use super::reports::{LoopReports, Reports};
use super::stream::{Incoming, Peer};
use super::upstream::Upstream;
use crate::failure::Failure;

/// How long what was let go of last may take to be dropped.
const TIME_TO_LET_GO: Duration = Duration::from_secs(5);

/// How far the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    /// No connection comes any more; those that are there go on.
    Ending,
    /// What is left is cut.
    Over,
}

/// An event loop on a thread of its own, in the hands of the one that takes connections.
pub(super) struct EventLoop {
    /// Until there are to be no more.
    orders: Option<mpsc::UnboundedSender<Order>>,
    /// How many connections it has.
    open: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(), Failure>>,
}

enum Order {
    Serve(Incoming),
    Configure(Arc<Config>),
    /// It is to answer.
    Answer(oneshot::Sender<()>),
}

/// Asks an event loop whether it is alive.
pub(super) struct Pulse(mpsc::WeakUnboundedSender<Order>);

impl Pulse {
    /// Waits until it has answered, or is to end.
    pub(super) async fn beat(&self) {
        let Some(orders) = self.0.upgrade() else {
            return;
        };
        let (answer, answered) = oneshot::channel();
        let _ = orders.send(Order::Answer(answer));
        drop(orders);
        // One that has ended drops what it was to answer by.
        let _ended = answered.await;
    }
}

impl EventLoop {
    /// Starts it. `ended` is canceled when its thread ends, for whatever reason.
    pub(super) fn start(
        number: usize,
        config: Arc<Config>,
        phase: watch::Receiver<Phase>,
        reports: Reports,
        ended: &CancellationToken,
    ) -> io::Result<Self> {
        let (orders, received) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = open.clone();
        let work = move || run(number, config, phase, reports, received, counted);
        let thread = spawn(number, ended, work)?;
        Ok(Self {
            orders: Some(orders),
            open,
            thread,
        })
    }

    /// How many connections it has.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Hands a connection over.
    pub(super) fn serve(&self, incoming: Incoming) {
        self.open.fetch_add(1, Ordering::Relaxed);
        // One that has ended takes it with it, as it does all others.
        self.order(Order::Serve(incoming));
    }

    /// What holds for connections from now on.
    pub(super) fn configure(&self, config: Arc<Config>) {
        self.order(Order::Configure(config));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    /// What asks it whether it is alive.
    pub(super) fn pulse(&self) -> Option<Pulse> {
        let orders = self.orders.as_ref()?;
        Some(Pulse(orders.downgrade()))
    }

    /// Lets it end when its connections are over: there are to be no more.
    pub(super) fn stop(&mut self) {
        self.orders = None;
    }

    /// Has its thread ended?
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What became of it, when it has ended.
    pub(super) fn join(self) -> Result<(), Failure> {
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(Failure::told("an event loop panicked")),
        }
    }
}

/// A thread of a loop's. `ended` is canceled when it ends, also by a panic.
fn spawn<T: Send + 'static>(
    number: usize,
    ended: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let ended = ended.clone().drop_guard();
    thread::Builder::new()
        .name(format!("loop {number}"))
        .spawn(move || {
            let _ended = ended;
            work()
        })
}

fn run(
    number: usize,
    config: Arc<Config>,
    phase: watch::Receiver<Phase>,
    reports: Reports,
    orders: mpsc::UnboundedReceiver<Order>,
    open: Arc<AtomicUsize>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::told(format!("event loop: {error}")))?;
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let (tasks, driver) = Tasks::new();
        let mut driver = task::spawn_local(driver);
        let reports = reports.of_loop(number, &config, &tasks);
        let here = Rc::new(Here::new(config, phase, reports, tasks, open));
        // It ends with the runtime.
        task::spawn_local(here.busy_poll().clone().run());
        tokio::select! {
            () = here.clone().take(orders) => {}
            // It does not end while `here` has a part in it, unless it panics.
            _ = &mut driver => return Err(panicked()),
        }
        here.reports.finish();
        drop(here);
        // What was let go of last is dropped by it.
        match timeout(TIME_TO_LET_GO, driver).await {
            Ok(ended) => ended.map_err(|_| panicked()),
            Err(_late) => {
                let held = "something of a connection that is over is still held";
                Err(Failure::told(held).at_work())
            }
        }
    })
}

fn panicked() -> Failure {
    Failure::told("what ends sessions has panicked").at_work()
}

/// What the connections of one event loop share.
pub(super) struct Here {
    config: RefCell<Rc<Config>>,
    upstream: RefCell<Upstream>,
    phase: watch::Receiver<Phase>,
    reports: LoopReports,
    tracer: Tracer,
    tasks: Tasks,
    busy_poll: Rc<BusyPoll>,
    /// What all clients of this loop may have, together; and the service, of them.
    budgets: [Budget; 2],
    open: Arc<AtomicUsize>,
    sessions: Cell<u64>,
}

impl Here {
    fn new(
        config: Arc<Config>,
        phase: watch::Receiver<Phase>,
        reports: LoopReports,
        tasks: Tasks,
        open: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            upstream: RefCell::new(Upstream::new(config.upstream.clone())),
            busy_poll: Rc::new(BusyPoll::new(window(config.busy_poll, config.threads))),
            budgets: [(); 2].map(|()| config.limits.together.part(config.threads)),
            config: RefCell::new(Rc::new(Config::clone(&config))),
            phase,
            tracer: reports.tracer().clone(),
            reports,
            tasks,
            open,
            sessions: Cell::new(0),
        }
    }

    /// One whose spans are a test's to look at.
    #[cfg(test)]
    pub(super) fn observed(
        config: Config,
        phase: watch::Receiver<Phase>,
        tracer: Tracer,
        tasks: &Tasks,
    ) -> Self {
        let reports = Reports::open(&config).expect("it has no file to open");
        let reports = reports.of_loop(0, &config, tasks);
        Self {
            tracer,
            ..Self::new(
                Arc::new(config),
                phase,
                reports,
                tasks.clone(),
                Arc::default(),
            )
        }
    }

    /// Serves what it is told to, until there is no more and all of it is over.
    async fn take(self: Rc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut connections = task::JoinSet::new();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Serve(incoming)) => {
                        connections.spawn_local(self.clone().serve(incoming));
                    }
                    Some(Order::Configure(config)) => self.configure(&config),
                    Some(Order::Answer(asker)) => drop(asker.send(())),
                    None => break,
                },
                Some(ended) = connections.join_next(), if !connections.is_empty() => self.joined(ended),
            }
        }
        while let Some(ended) = connections.join_next().await {
            self.joined(ended);
        }
    }

    /// What one connection panics with is its own end, and that of no other.
    fn joined(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            self.reports.log(&format!("a connection was lost: {error}"));
        }
    }

    async fn serve(self: Rc<Self>, incoming: Incoming) {
        let _open = Open(self.open.clone());
        match incoming.enter() {
            Ok(stream) => relay::relay(stream, self).await,
            Err(error) => self.reports.log(&format!("a connection was lost: {error}")),
        }
    }

    fn configure(&self, config: &Config) {
        if *self.upstream.borrow().address() != config.upstream {
            self.upstream
                .replace(Upstream::new(config.upstream.clone()));
        }
        self.reports.configure(config);
        self.busy_poll
            .configure(window(config.busy_poll, config.threads));
        self.config.replace(Rc::new(config.clone()));
    }

    /// What holds for a connection that begins now.
    pub(super) fn config(&self) -> Rc<Config> {
        self.config.borrow().clone()
    }

    pub(super) fn upstream(&self) -> Upstream {
        self.upstream.borrow().clone()
    }

    pub(super) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    pub(super) fn busy_poll(&self) -> &Rc<BusyPoll> {
        &self.busy_poll
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) fn live(&self) -> &LiveEvents {
        self.reports.live()
    }

    /// A session that is to begin.
    pub(super) fn session(&self, config: &Config) -> SessionBuilder {
        let session = SessionBuilder::new(&self.tasks)
            .parent(self.tracer().root())
            .call_spans(config.names.call_spans())
            .limits(config.limits.membrane)
            .live(self.live());
        match self.time_limits(config) {
            Some(limits) => session.time_limits(limits),
            None => session,
        }
    }

    /// How long a session may last, if that is limited.
    pub(super) fn time_limits(&self, config: &Config) -> Option<TimeLimits> {
        let mut limits = TimeLimits::new(TokioTimer);
        let (session, idle) = (config.limits.session, config.limits.idle);
        if let Some(limit) = session {
            limits = limits.total(limit);
        }
        if let Some(limit) = idle {
            limits = limits.idle(limit);
        }
        session.or(idle).map(|_| limits)
    }

    pub(super) fn reports(&self) -> &LoopReports {
        &self.reports
    }

    /// How a connection to the service is guarded. It may take its time for what it says first.
    pub(super) fn upstream_options(&self, config: &Config) -> GuardOptions {
        let limits = config.limits.guard.first_message(Duration::MAX);
        let service = self.upstream().address().to_string();
        let [_, budget] = &self.budgets;
        self.guarded(service).limits(limits).budget(budget)
    }

    /// How a client's connection is guarded.
    pub(super) fn client_options(&self, config: &Config, client: String) -> GuardOptions {
        let [budget, _] = &self.budgets;
        let options = self.guarded(client).limits(config.limits.guard);
        options.budget(budget)
    }

    fn guarded(&self, peer: String) -> GuardOptions {
        GuardOptions::default()
            .peer(peer)
            .timer(TokioTimer)
            .observer(Told(self.reports.clone()))
    }

    pub(super) async fn is_ending(&self) {
        self.reached(Phase::Ending).await;
    }

    pub(super) async fn is_over(&self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.clone();
        if phases.wait_for(|now| *now >= phase).await.is_err() {
            // Nobody is there any more who says so.
            std::future::pending().await
        }
    }

    /// A session is over.
    pub(super) fn ended(&self, peer: &Peer, end: SessionEnd, gate: &Gate) {
        self.sessions.set(self.sessions.get() + 1);
        self.reports.session(peer, &end, gate);
    }
}

/// A connection that is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells of what guards refuse.
struct Told(LoopReports);

impl GuardObserver for Told {
    fn refused(&self, refusal: &Refusal<'_>) {
        self.0.refused(refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_noticed() {
        let ended = CancellationToken::new();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = spawn(7, &ended, move || {
            assert_eq!(thread::current().name(), Some("loop 7"));
            wait.recv().expect("what it waits for is never said");
        });
        assert!(!ended.is_cancelled());
        drop(go);
        assert!(thread.unwrap().join().is_err());
        assert!(ended.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_to_end_is_not_waited_for() {
        let (orders, mut received) = mpsc::unbounded_channel();
        let pulse = Pulse(orders.downgrade());
        let minute = Duration::from_secs(60);
        assert!(
            timeout(minute, pulse.beat()).await.is_err(),
            "it says nothing"
        );
        let Some(Order::Answer(answer)) = received.recv().await else {
            panic!("it was asked something else");
        };
        drop(answer);
        let answers = async {
            if let Some(Order::Answer(answer)) = received.recv().await {
                answer.send(()).unwrap();
            }
        };
        let (beat, ()) = tokio::join!(timeout(minute, pulse.beat()), answers);
        assert!(beat.is_ok());
        drop(orders);
        assert!(timeout(minute, pulse.beat()).await.is_ok());
    }
}
