//! Random sessions and events, cut at random places: S8. A failure names its seed.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use capnp::capability::{FromClientHook, RemotePromise};
use capspan::fetch::Body;
use capspan::pipeline::{CustomResponse, Event, Scheduled};
use capspan::session::SessionHandle;
use capspan::trace::Outcome;
use capspan_testkit::chaos::{Desks, Scene, Side};
use capspan_testkit::cut::{Cut, How, Towards};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::{FutureExt, StreamExt};
use http::Request;
use tokio::task::{JoinHandle, spawn_local};

/// How many, unless `CAPSPAN_CHAOS` says otherwise; from seed `CAPSPAN_CHAOS_FROM` on, or 0.
const SEEDS: u64 = 5_000;

/// Numbers that look random and are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    /// Those of one seed are not those of the next one, one further.
    fn of_seed(seed: u64) -> Self {
        let mut first = Self(seed);
        Self(first.word())
    }

    fn below(&mut self, end: usize) -> usize {
        self.word() as usize % end
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    At(Cut),
    /// A side drops what drives the connection, after so many steps.
    Dropped(Side, usize),
    /// A method of the service's panics, after so many steps.
    Panic(usize),
}

impl End {
    fn choose(random: &mut Random) -> Self {
        let steps = random.below(STEPS + 1);
        match random.below(8) {
            0 => Self::Dropped(Side::Caller, steps),
            1 => Self::Dropped(Side::Callee, steps),
            2 => Self::Panic(steps),
            _ => Self::At(Cut {
                towards: random.of(&Towards::BOTH),
                after: random.below(6_000),
                how: random.of(&How::ALL),
            }),
        }
    }
}

/// How many steps there are.
const STEPS: usize = 12;

/// An application, and all that it holds.
struct Application<'a> {
    scene: &'a Scene,
    random: Random,
    /// What is on its way.
    work: Vec<JoinHandle<()>>,
    capabilities: Vec<thing::Client>,
    /// What it has lent, and got back by a promise: objects of its own.
    lent: World,
    got_back: Vec<thing::Client>,
    pipelines: Vec<thing::make_results::Pipeline>,
    handles: Vec<SessionHandle>,
    responses: Vec<JoinHandle<Option<CustomResponse>>>,
    bodies: Vec<JoinHandle<Option<Body>>>,
    has_canceled: bool,
}

impl Application<'_> {
    fn event<'b>(&'b self, name: &'b str) -> Event<'b> {
        let event = self.scene.pipeline.event(name);
        event.parent(self.scene.request.parent())
    }

    /// One of the capabilities that it holds, if there is any.
    fn capability(&mut self) -> Option<thing::Client> {
        match self.capabilities.len() {
            0 => None,
            held => Some(self.capabilities[self.random.below(held)].clone()),
        }
    }

    /// Waits for `work`, which goes on where this does not.
    async fn wait<T: 'static>(&mut self, work: impl Future<Output = T> + 'static) {
        let mut work = spawn_local(work.map(drop));
        match self.random.below(2) {
            0 => {}
            // Where it never comes, time passes.
            _ => drop(tokio::time::timeout(std::time::Duration::from_millis(1), &mut work).await),
        }
        self.work.push(work);
    }

    fn open(&mut self) {
        let session = self.event("open").open_session::<thing::Client>();
        let (top_level, handle) = session.into_parts();
        self.capabilities.push(top_level);
        self.handles.push(handle);
    }

    async fn step(&mut self) {
        let step = self.random.below(16);
        eprintln!("  step {step}");
        match step {
            0 | 1 => self.open(),
            2 => self.custom("greet"),
            3 => self.custom("panic"),
            4 => {
                let run = self.event("run").scheduled(&Scheduled::new());
                self.wait(run).await;
            }
            5 => self.fetch("/echo"),
            6 => self.fetch("/endless"),
            7 => {
                if let Some(handle) = self.handles.pop() {
                    self.has_canceled = true;
                    drop(handle);
                }
            }
            8 => {
                if let Some(handle) = self.handles.first() {
                    let done = handle.done();
                    self.work.push(spawn_local(done.map(drop)));
                }
            }
            9 => {
                if !self.capabilities.is_empty() {
                    let index = self.random.below(self.capabilities.len());
                    drop(self.capabilities.swap_remove(index));
                }
            }
            _ => {
                if let Some(capability) = self.capability() {
                    self.call(step, &capability).await;
                }
            }
        }
    }

    /// Some of what can be called; not all objects can do all.
    async fn call(&mut self, step: usize, on: &thing::Client) {
        let callback = self.scene.outside.thing();
        match step {
            10 => {
                let RemotePromise { promise, pipeline } = on.make_request().send();
                self.capabilities.push(pipeline.get_thing());
                self.pipelines.push(pipeline);
                self.wait(promise).await;
            }
            11 => {
                let mut never = on.never_request();
                never.get().set_thing(callback);
                self.wait(never.send().promise).await;
            }
            12 => {
                let mut call = on.call_request();
                call.get().set_thing(callback);
                self.wait(call.send().promise).await;
            }
            13 => {
                let mut store = on.store_request();
                store.get().set_thing(callback);
                self.wait(store.send().promise).await;
            }
            14 => {
                let mut promise = on.promise_request();
                promise.get().set_thing(self.lent.thing());
                let sent = promise.send();
                self.got_back.push(sent.pipeline.get_thing());
                self.wait(sent.promise).await;
            }
            _ => {
                self.wait(on.fail_request().send().promise).await;
                self.wait(on.number_request().send().promise).await;
            }
        }
    }

    fn custom(&mut self, name: &str) {
        let mut custom = self.event(name).custom(name).unwrap();
        let callback = self.scene.outside.thing().into_client_hook();
        custom.payload().set_as_capability(callback);
        let (answer, _) = custom.send();
        self.responses.push(spawn_local(answer.map(Result::ok)));
    }

    /// Reads all of what ends, and the beginning of what does not.
    fn fetch(&mut self, path: &str) {
        let request = Request::post(format!("http://site{path}"));
        let request = request.body(Body::from("Hello")).unwrap();
        let response = self.event("fetch").fetch(request).unwrap();
        self.bodies.push(spawn_local(async move {
            let mut body = response.await.ok()?.into_body();
            let _first = body.next().await;
            Some(body)
        }));
    }

    /// A method of the service's that panics, if there is an object that has it.
    fn panic(&mut self) {
        if self.capabilities.is_empty() {
            self.open();
        }
        let called = self.capabilities[0].panics_request().send().promise;
        self.work.push(spawn_local(called.map(drop)));
    }
}

fn cut_of(end: End) -> Option<Cut> {
    match end {
        End::At(cut) => Some(cut),
        End::Dropped(..) | End::Panic(_) => None,
    }
}

/// Ends the connection if it is time.
fn is_over(application: &mut Application<'_>, end: End, step: usize) -> ControlFlow<()> {
    match end {
        End::Dropped(side, at) if at == step => application.scene.drop_driver(side),
        End::Panic(at) if at == step => application.panic(),
        _ if Side::BOTH.iter().all(|side| application.scene.knows(*side)) => {
            return ControlFlow::Break(());
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

/// One application, whose connection is lost somewhere.
async fn lose(seed: u64) -> Vec<Outcome> {
    let mut random = Random::of_seed(seed);
    let end = End::choose(&mut random);
    eprintln!("seed {seed}: {end:?}");
    let scene = Scene::new(cut_of(end), Desks::new);
    let mut application = Application {
        scene: &scene,
        random,
        work: Vec::new(),
        capabilities: Vec::new(),
        lent: World::new(),
        got_back: Vec::new(),
        pipelines: Vec::new(),
        handles: Vec::new(),
        responses: Vec::new(),
        bodies: Vec::new(),
        has_canceled: false,
    };
    application.open();
    for step in 0..=STEPS {
        if is_over(&mut application, end, step).is_break() {
            break;
        }
        application.step().await;
    }
    until_idle().await;
    // Where the place was never reached, or nobody was told.
    let first = application.random.of(&Side::BOTH);
    for side in [first, Side::BOTH[usize::from(first == Side::Caller)]] {
        scene.drop_driver(side);
        until_idle().await;
    }

    // The application still holds all of it.
    scene.assert_over().await;
    let Application {
        work,
        capabilities,
        lent,
        got_back,
        pipelines,
        handles,
        responses,
        bodies,
        has_canceled,
        ..
    } = application;
    scene.assert_outcomes(|span, outcome| match outcome {
        Outcome::Ok => span.name() != "panic",
        Outcome::Canceled => has_canceled,
        Outcome::Exception => span.name() == "panic",
        _ => false,
    });
    let is_answered = work.iter().all(JoinHandle::is_finished)
        && responses.iter().all(JoinHandle::is_finished)
        && bodies.iter().all(JoinHandle::is_finished);
    assert!(is_answered, "what the application waits for never comes");
    for capability in &capabilities {
        let called = capability.number_request().send().promise.await;
        assert!(called.is_err(), "a capability works without a connection");
    }
    drop((work, capabilities, pipelines, handles, responses, bodies));
    drop(got_back);
    let outcomes = scene
        .spans
        .closed()
        .into_iter()
        .filter_map(|span| span.outcome());
    let outcomes = outcomes.collect();
    scene.finish().await;
    assert_eq!(lent.live(), 0, "what was lent is alive");
    outcomes
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Of `of` parts of all seeds, this one: how many spans ended how.
fn part(part: u64, of: u64) -> HashMap<&'static str, usize> {
    let mut seen = HashMap::new();
    let from = number("CAPSPAN_CHAOS_FROM").unwrap_or(0);
    let seeds = from..from + number("CAPSPAN_CHAOS").unwrap_or(SEEDS);
    for seed in seeds.filter(|seed| seed % of == part) {
        match catch_unwind(AssertUnwindSafe(|| run(lose(seed)))) {
            Ok(outcomes) => {
                for outcome in outcomes {
                    *seen.entry(outcome.as_str()).or_default() += 1;
                }
            }
            Err(_) => panic!("seed {seed}: CAPSPAN_CHAOS_FROM={seed} CAPSPAN_CHAOS=1"),
        }
    }
    eprintln!("{seen:?}");
    seen
}

/// Enough of each that what is tested is there.
fn assert_enough(seen: &HashMap<&str, usize>) {
    if number("CAPSPAN_CHAOS").is_none() {
        for outcome in ["ok", "canceled", "exception", "disconnected"] {
            assert!(seen[outcome] > 500, "{seen:?}");
        }
    }
}

#[test]
fn s8_random_sessions_cut_at_random_places_even_seeds() {
    assert_enough(&part(0, 2));
}

#[test]
fn s8_random_sessions_cut_at_random_places_odd_seeds() {
    assert_enough(&part(1, 2));
}
