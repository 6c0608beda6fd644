//! The whole proxy, and its signals.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::door::Door;
use super::event_loop::{EventLoop, Phase};
use super::files::room_for_clients;
use super::reports::Reports;
use super::systemd::{Inherited, Notifier};
use crate::failure::Failure;

/// How long what is cut may take to be gone.
const TIME_TO_CUT: Duration = Duration::from_secs(10);

/// Runs the proxy until it is told to end. `reload` reads its configuration anew.
///
/// # Errors
/// Where it can't listen, or can't write what it is to write.
pub fn run(
    config: Config,
    reload: impl Fn() -> Result<Config, Failure> + Send + Sync + 'static,
) -> Result<(), Failure> {
    run_with(config, Inherited::default(), reload)
}

/// The same, with sockets that it is handed.
pub(super) fn run_with(
    config: Config,
    inherited: Inherited,
    reload: impl Fn() -> Result<Config, Failure> + Send + Sync + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::told(format!("event loop: {error}")))?;
    runtime.block_on(proxy(config, inherited, Arc::new(reload)))
}

async fn proxy(
    config: Config,
    inherited: Inherited,
    reload: Arc<impl Fn() -> Result<Config, Failure> + Send + Sync + 'static>,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let notifier = Notifier::from_env()
        .map_err(|error| Failure::told(format!("telling systemd of it: {error}")))?;
    let door = Door::open(&config.listen, inherited).await?;
    let reports = Reports::open(&config)?;
    let room = room_for_clients();
    if room < config.limits.connections {
        reports.log(&format!(
            "there is room for {room} connections at once, by the limit of open files (ulimit -n, LimitNOFILE)"
        ));
    }
    let (phases, phase) = watch::channel(Phase::Running);
    let mut config = Arc::new(config);
    // None of the loops ends before it is told to, unless it panics.
    let lost = CancellationToken::new();
    let mut loops = Vec::new();
    for number in 0..config.threads.get() {
        let (config, phase, reports) = (config.clone(), phase.clone(), reports.clone());
        let started = EventLoop::start(number, config, phase, reports, &lost);
        loops.push(started.map_err(|error| Failure::told(format!("starting a thread: {error}")))?);
    }
    for address in door.addresses() {
        reports.log(&format!(
            "listening at {address}, for the service at {}",
            config.upstream
        ));
    }
    let (page_ends, ended) = oneshot::channel::<()>();
    let page = reports
        .serve_page(&config, async { drop(ended.await) })
        .await?;
    // It ends with the runtime.
    let pulses: Arc<[_]> = loops.iter().filter_map(EventLoop::pulse).collect();
    let all_beat = move || {
        let pulses = pulses.clone();
        async move {
            for pulse in &*pulses {
                pulse.beat().await;
            }
        }
    };
    let _alive = tokio::spawn(notifier.clone().stay_alive(all_beat));
    notifier.ready(&serving(&config));
    loop {
        let max = config.limits.connections.min(room);
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = door.take(&loops, max, &reports) => Told::End,
            () = lost.cancelled() => Told::End,
        };
        match signal {
            Told::End => break,
            Told::Reload => {
                notifier.reloading();
                reports.reopen();
                // A compiler may run for it: nobody is to wait for that who comes meanwhile, or wants an end.
                let reload = reload.clone();
                let reading = spawn_blocking(move || reload());
                let read = tokio::select! {
                    read = reading => read.unwrap_or_else(|error| Err(Failure::told(error.to_string()))),
                    () = signals.end() => break,
                    () = door.take(&loops, max, &reports) => break,
                    () = lost.cancelled() => break,
                };
                match read {
                    Ok(new) => {
                        let kept = config.kept_until_restart(&new);
                        config = Arc::new(new);
                        loops.iter().for_each(|it| it.configure(config.clone()));
                        reports.log("the configuration was read anew");
                        for what in kept {
                            reports.log(&format!(
                                "{what} stays as it is until the proxy is started anew"
                            ));
                        }
                    }
                    Err(failure) => reports.log(&format!(
                        "the configuration can't be read, and stays as it was: {failure}"
                    )),
                }
                notifier.ready(&serving(&config));
            }
        }
    }
    if lost.is_cancelled() {
        reports.log("an event loop is lost: no connection is taken any more");
    }
    notifier.stopping("letting sessions end", config.drain_timeout + TIME_TO_CUT);
    drop(door);
    drain(
        &loops,
        &phases,
        config.drain_timeout,
        &mut signals,
        &reports,
    )
    .await;
    let mut result = Ok(());
    for mut event_loop in loops {
        event_loop.stop();
        let ended = async {
            while !event_loop.is_finished() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        result = result.and(
            match timeout_at(Instant::now() + TIME_TO_CUT, ended).await {
                Ok(()) => event_loop.join(),
                // The process ends, and it with that.
                Err(_) => Err(Failure::told("an event loop did not end").at_work()),
            },
        );
    }
    drop(page_ends);
    if let Some(page) = page {
        let _ended = page.await;
    }
    result.and(reports.finish().await)
}

/// What it does, in a line.
fn serving(config: &Config) -> String {
    format!("before the service at {}", config.upstream)
}

/// Lets sessions end by themselves, and ends those that are left.
async fn drain(
    loops: &[EventLoop],
    phases: &watch::Sender<Phase>,
    within: Duration,
    signals: &mut Signals,
    reports: &Reports,
) {
    let alive = || loops.iter().filter(|it| !it.is_finished());
    let open = || alive().map(EventLoop::open).sum::<usize>();
    reports.log(&format!("ending, with {} connections open", open()));
    let _nobody_listens = phases.send(Phase::Ending);
    let all_over = async || {
        while open() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let again = async { while signals.next().await != Told::End {} };
    tokio::select! {
        () = all_over() => {}
        () = sleep(within) => {}
        () = again => {}
    }
    if open() > 0 {
        reports.log(&format!("{} connections are cut", open()));
    }
    let _nobody_listens = phases.send(Phase::Over);
    let _late = timeout_at(Instant::now() + TIME_TO_CUT, all_over()).await;
}

/// What the system tells a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    End,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let of = |kind| signal(kind).map_err(|error| Failure::told(format!("signals: {error}")));
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hang_up.recv() => Told::Reload,
        }
    }

    /// Waits until it is told to end; all else waits too.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
