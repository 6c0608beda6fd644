//! A caller that calls what it is told to.

use std::time::Duration;

use capnp::Error;
use capnp::capability::{Promise, RemotePromise, Response};
use capnp::traits::{Owned, Pipelined};
use capspan::session::SessionHandle;
use futures::FutureExt;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::plan::{Fate, Op, Plan, Step};
use crate::run::pass;
use crate::service::{Pair, Place};
use crate::testkit_capnp::thing;
use crate::world::World;

/// How long a response is held.
const HOLD: Duration = Duration::from_millis(700);

/// How long the last call of a stream is waited for.
const STREAM: Duration = Duration::from_millis(300);

/// A caller, and all that it holds.
pub(super) struct Application<'a> {
    pair: &'a Pair,
    /// Its own objects.
    pub(super) outside: World,
    /// Until it cancels the session.
    pub(super) handle: Option<SessionHandle>,
    /// Capabilities of the session. No object of its own that it has got back is among them: `capnp-rpc` 0.27.3 may panic
    /// where it forwards calls to what has left the connection again.
    things: Vec<Held>,
    /// Objects of its own that it has got back.
    taken: Vec<thing::Client>,
    pipelines: Vec<thing::make_results::Pipeline>,
    /// Who waits for what is answered at the latest when the gate is open.
    answered: Vec<JoinHandle<()>>,
    /// Who waits for what is never answered.
    never: Vec<JoinHandle<()>>,
}

/// A capability of the session.
#[derive(Clone)]
struct Held {
    thing: thing::Client,
    /// Does it wait for the gate, as long as that is closed?
    is_promise: bool,
}

impl<'a> Application<'a> {
    /// Opens a session.
    pub(super) fn open(pair: &'a Pair, plan: &Plan) -> Self {
        let event = pair.pipeline.event("open").parent(pair.request.parent());
        let event = match plan.limits[0].to_time() {
            Some(limits) => event.time_limits(limits),
            None => event,
        };
        let (thing, handle) = event.open_session().into_parts();
        let top_level = Held {
            thing,
            is_promise: false,
        };
        Self {
            pair,
            outside: World::new(),
            handle: Some(handle),
            things: vec![top_level],
            taken: Vec::new(),
            pipelines: Vec::new(),
            answered: Vec::new(),
            never: Vec::new(),
        }
    }

    /// Lets go of all capabilities.
    pub(super) fn let_go(&mut self) {
        self.things.clear();
        self.taken.clear();
        self.pipelines.clear();
    }

    /// Gives up what is never answered.
    pub(super) fn give_up(&mut self) {
        for waiting in self.never.drain(..) {
            waiting.abort();
        }
    }

    /// Has everybody who waits for what is answered got an answer?
    pub(super) fn is_answered(&self) -> bool {
        self.answered.iter().all(JoinHandle::is_finished)
    }

    /// The same of everybody.
    pub(super) fn is_all_answered(&self) -> bool {
        self.is_answered() && self.never.iter().all(JoinHandle::is_finished)
    }

    /// A capability of the session's.
    fn thing(&self, choice: u8) -> Option<Held> {
        let place = usize::from(choice).checked_rem(self.things.len())?;
        Some(self.things[place].clone())
    }

    /// What is passed to a call: an object of its own, or a capability of the session's.
    fn given(&self, op: Op, choice: u8) -> Option<Held> {
        let is_own = choice.is_multiple_of(2);
        match op {
            // It comes back.
            Op::Swap => self.thing(choice / 2),
            Op::Promise => self.thing(choice / 2).filter(|_| !is_own),
            Op::Never | Op::Call | Op::Reflect if !is_own => self.thing(choice / 2),
            // A capability of the session's that is stored in it would hold it open.
            Op::Store | Op::Never | Op::Call | Op::Reflect => Some(Held {
                thing: self.outside.thing(),
                is_promise: false,
            }),
            _ => None,
        }
    }

    /// Does what it is told; nothing if it holds no capability.
    pub(super) async fn step(&mut self, step: Step) {
        let Some(on) = self.thing(step.on) else {
            return;
        };
        let given = self.given(step.op, step.given);
        let is_promised = given.as_ref().is_some_and(|given| given.is_promise);
        match step.op {
            Op::OpenGate => self.pair.world.open_gate(),
            Op::Pass(time) => pass(time).await,
            Op::Drop => {
                drop(on);
                let place = usize::from(step.on) % self.things.len();
                self.things.swap_remove(place);
            }
            // Given to a peer twice, a promise may break the connection: `capnp-rpc` 0.27.3 says only the first time
            // that it is one.
            Op::Swap | Op::Reflect | Op::Promise if is_promised && self.is_connected() => {}
            Op::Never | Op::Store | Op::Call | Op::Reflect => {
                self.give(&on.thing, step, given).await;
            }
            Op::Push | Op::Fail { .. } | Op::Many => self.use_up(&on.thing, step).await,
            Op::Take => {
                let taken = self.sent(on.thing.take_request().send(), step.fate).await;
                self.taken.push(taken.get_thing());
            }
            _ => {
                let waits = matches!(step.op, Op::Gated | Op::Promise | Op::Broken);
                let is_promise = waits || is_promised || on.is_promise;
                let thing = self.get(&on.thing, step, given).await;
                self.things.push(Held { thing, is_promise });
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.pair.place != Place::InProcess
    }

    /// Calls that give a capability of the session's.
    async fn get(&mut self, on: &thing::Client, step: Step, given: Option<Held>) -> thing::Client {
        let fate = step.fate;
        match step.op {
            Op::Gated => self.sent(on.gated_request().send(), fate).await.get_thing(),
            Op::Early => self.sent(on.early_request().send(), fate).await.get_thing(),
            Op::Nothing => {
                let nothing = on.nothing_request().send();
                self.sent(nothing, fate).await.get_thing()
            }
            Op::Broken => {
                let broken = on.broken_request().send();
                self.sent(broken, fate).await.get_thing()
            }
            Op::Promise => {
                let mut promise = on.promise_request();
                if let Some(given) = given {
                    promise.get().set_thing(given.thing);
                }
                self.sent(promise.send(), fate).await.get_thing()
            }
            Op::Swap => {
                let mut swap = on.swap_request();
                if let Some(given) = given {
                    swap.get().set_thing(given.thing);
                }
                self.sent(swap.send(), fate).await.get_thing()
            }
            op => {
                let made = self.sent(on.make_request().send(), fate).await;
                let thing = made.get_thing();
                if op == Op::MakeAndKeep {
                    self.pipelines.push(made);
                }
                thing
            }
        }
    }

    /// Calls that are given a capability, and give none that is used.
    async fn give(&mut self, on: &thing::Client, step: Step, given: Option<Held>) {
        let Some(Held { thing, .. }) = given else {
            return;
        };
        match step.op {
            Op::Never => {
                let mut never = on.never_request();
                never.get().set_thing(thing);
                let before = self.answered.len();
                self.sent(never.send(), step.fate).await;
                self.never.extend(self.answered.drain(before..));
            }
            Op::Store => {
                let mut store = on.store_request();
                store.get().set_thing(thing);
                self.sent(store.send(), step.fate).await;
            }
            Op::Call => {
                let mut call = on.call_request();
                call.get().set_thing(thing);
                self.sent(call.send(), step.fate).await;
            }
            _ => {
                let mut reflect = on.reflect_request();
                reflect.get().init_bundle().set_plain(thing);
                self.sent(reflect.send(), step.fate).await;
            }
        }
    }

    /// Calls in which no capability goes in, and none is used that comes out.
    async fn use_up(&mut self, on: &thing::Client, step: Step) {
        let fate = step.fate;
        match step.op {
            Op::Push => {
                let mut push = on.push_request();
                push.get().set_data(&[0; 100]);
                let pushed = push.send();
                if fate != Fate::Drop {
                    // Whether it fails is the session's to say.
                    let _ = timeout(STREAM, pushed).await;
                }
            }
            Op::Fail { kind } => {
                let mut fail = on.fail_request();
                fail.get().set_kind(kind);
                self.sent(fail.send(), fate).await;
            }
            _ => {
                let mut many = on.many_request();
                many.get().set_count(3);
                self.sent(many.send(), fate).await;
            }
        }
    }

    /// Does with a promise what is to become of it, and gives the pipeline.
    async fn sent<R>(&mut self, sent: RemotePromise<R>, fate: Fate) -> R::Pipeline
    where
        R: Pipelined + Owned + 'static,
    {
        let RemotePromise { promise, pipeline } = sent;
        match fate {
            Fate::Drop => drop(promise),
            Fate::Within(time) => drop(timeout(time, promise).await),
            Fate::Wait => self.wait(promise.map(drop)),
            Fate::Hold => self.wait(hold(promise)),
        }
        pipeline
    }

    fn wait(&mut self, work: impl Future<Output = ()> + 'static) {
        self.answered.push(spawn_local(work));
    }
}

/// Waits for a response, looks into it, and keeps it for some time.
async fn hold<R: Pipelined + Owned>(promise: Promise<Response<R>, Error>) {
    if let Ok(response) = promise.await {
        // What is in it has come through the membrane by then.
        let _ = response.get();
        pass(HOLD).await;
    }
}
