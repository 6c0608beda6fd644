//! The same with real events, on an executor that says when nothing is left to be done.

use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use capnp::capability::{FromClientHook, Request, Response};
use capspan::Result;
use capspan::pipeline::{CustomResponse, Event, Metadata, Scheduled};
use capspan::session::{SessionEnd, SessionHandle};
use capspan::trace::{ManualClock, SpanParent, Timestamp};
use futures::FutureExt;
use futures::executor::LocalPool;
use futures::future::LocalBoxFuture;

use super::ops::Layout;
use super::orders::{Kind, Order, Parent, Todo};
use super::reference::LetGo;
use super::routes::{Vat, Way, vats};
use super::seen::Seen;
use super::stage::{Stage, update, write};
use super::timer::ManualTimer;
use crate::testkit_capnp::thing;

/// What came of a call.
pub(super) enum Got {
    Nothing,
    Number(u32),
    Cap(thing::Client),
    Response(Held),
}

/// A response that is held as it is.
pub(super) enum Held {
    Call(Response<thing::echo_with_results::Owned>),
    Custom(CustomResponse),
}

pub(super) struct Ended {
    pub(super) number: u32,
    pub(super) got: capnp::Result<Got>,
    /// Did the caller see on its span what was written before the return?
    pub(super) shows: bool,
}

struct Call {
    number: u32,
    answer: LocalBoxFuture<'static, (capnp::Result<Got>, bool)>,
}

/// Notes that somebody was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Unsent = Request<thing::echo_with_params::Owned, thing::echo_with_results::Owned>;
type Asked = LocalBoxFuture<'static, Result<SessionEnd>>;

pub(super) struct System {
    calls: Vec<Call>,
    dones: Vec<Asked>,
    requests: Vec<Unsent>,
    responses: Vec<Held>,
    hands: Vec<thing::Client>,
    handles: Vec<Option<SessionHandle>>,
    pub(super) vats: Vec<Vat>,
    ways: Vec<Way>,
    pub(super) stage: Stage,
    pub(super) seen: Seen,
    pub(super) clock: ManualClock,
    timer: ManualTimer,
    /// How many events were cut as their callee was drained.
    pub(super) drained: usize,
    flag: Arc<Flag>,
    waker: Waker,
    pool: LocalPool,
}

impl System {
    pub(super) fn new(layout: &Layout) -> Self {
        let (pool, seen, stage) = (LocalPool::new(), Seen::default(), Stage::default());
        let clock = ManualClock::new(Timestamp::from_unix_nanos(0));
        let timer = ManualTimer::new();
        let vats = vats(layout, &seen, &clock, &pool);
        let routes = layout.routes.iter();
        let ways = routes.map(|route| Way::new(route, &vats, &stage, &timer, &pool));
        let flag = Arc::new(Flag::default());
        Self {
            calls: Vec::new(),
            dones: Vec::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            hands: Vec::new(),
            handles: Vec::new(),
            ways: ways.collect(),
            vats,
            stage,
            seen,
            clock,
            timer,
            drained: 0,
            waker: flag.clone().into(),
            flag,
            pool,
        }
    }

    /// Lets everything go on that can. Gives the calls that have ended, by their numbers.
    pub(super) fn turn(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.pool.run_until_stalled();
        loop {
            self.flag.0.store(false, Ordering::Relaxed);
            let mut cx = Context::from_waker(&self.waker);
            let before = ended.len();
            self.calls.retain_mut(|call| {
                let Poll::Ready((got, shows)) = call.answer.as_mut().poll(&mut cx) else {
                    return true;
                };
                let number = call.number;
                ended.push(Ended { number, got, shows });
                false
            });
            // What they have sent is delivered now, and wakes them.
            self.pool.run_until_stalled();
            if ended.len() == before && !self.flag.0.load(Ordering::Relaxed) {
                ended.sort_by_key(|ended| ended.number);
                return ended;
            }
        }
    }

    /// What `done` gives to those who asked, by their places.
    pub(super) fn take_dones(&mut self) -> Vec<(usize, Result<SessionEnd>)> {
        let mut given = Vec::new();
        let (mut cx, mut at) = (Context::from_waker(&self.waker), 0);
        self.dones.retain_mut(|done| {
            at += 1;
            match done.as_mut().poll(&mut cx) {
                Poll::Ready(end) => given.push((at - 1, end)),
                Poll::Pending => return true,
            }
            false
        });
        given
    }

    /// Holds what came of a call.
    pub(super) fn hold(&mut self, got: Got) {
        match got {
            Got::Nothing | Got::Number(_) => {}
            Got::Cap(cap) => self.hands.push(cap),
            Got::Response(response) => self.responses.push(response),
        }
    }

    pub(super) fn let_go(&mut self, what: LetGo) {
        match what {
            LetGo::Hand(hand) => drop(self.hands.remove(hand)),
            LetGo::Request(request) => drop(self.requests.remove(request)),
            LetGo::Response(response) => drop(self.responses.remove(response)),
        }
    }

    /// Does an operation. `number` is that of the call or event which it begins.
    pub(super) fn apply(&mut self, todo: &Todo, number: u32) {
        self.clock.advance(Duration::from_nanos(1));
        match *todo {
            Todo::Start { .. } => self.start(todo, number),
            Todo::Call {
                to,
                cap,
                order,
                holds,
            } => self.call(number, to, cap, order, holds),
            Todo::Prepare { to } => self.requests.push(self.hands[to].echo_with_request()),
            Todo::Copy { cap } => self.hands.push(self.hands[cap].clone()),
            Todo::Drop { cap } => self.let_go(LetGo::Hand(cap)),
            Todo::DiscardRequest { request } => self.let_go(LetGo::Request(request)),
            Todo::DiscardResponse { response } => self.let_go(LetGo::Response(response)),
            Todo::Take { response } => {
                let response = self.responses.remove(response);
                let cap = match &response {
                    Held::Call(response) => response.get().and_then(|it| it.get_thing()),
                    Held::Custom(response) => response.get().and_then(|it| it.get_as_capability()),
                };
                self.hands.push(cap.expect("the model knows it is there"));
            }
            Todo::Cancel { number } => self.calls.retain(|call| call.number != number),
            Todo::DropHandle { event } => drop(self.handles[event].take()),
            Todo::Detach { event } => {
                if let Some(handle) = self.handles[event].take() {
                    handle.detach();
                }
            }
            Todo::Done { event } => {
                if let Some(handle) = &self.handles[event] {
                    let mut done = handle.done().boxed_local();
                    // It is sent when it is asked.
                    let _pending = done.as_mut().poll(&mut Context::from_waker(&self.waker));
                    self.dones.push(handle.done().boxed_local());
                }
            }
            Todo::Release { number } => self.stage.let_go_on(number),
            Todo::Write { event, writing } => {
                if let Some(event) = self.stage.event(event) {
                    write(&event, writing);
                }
            }
            Todo::Own {
                event,
                writing,
                is_caller: true,
            } => {
                if let Some(handle) = &self.handles[event] {
                    handle.update(&update(writing));
                }
            }
            Todo::Own { event, writing, .. } => {
                if let Some(event) = self.stage.event(event) {
                    event.update(&update(writing));
                }
            }
            Todo::Forget { object } => self.stage.forget(object),
            Todo::Cut { route, how } => {
                self.ways[route].cut(how);
                // As much of what is on its way arrives as is to, and no more than there is.
                self.pool.run_until_stalled();
                self.ways[route].cut_now();
            }
            Todo::Connect { route } => {
                self.ways[route].cut_now();
                self.pool.run_until_stalled();
                self.ways[route].renew(&self.vats, &self.stage, &self.timer, &self.pool);
            }
            Todo::Pass { ticks } => self.timer.pass(ticks),
            Todo::Drain { route } => self.drained += self.ways[route].drain(),
        }
    }

    fn start(&mut self, todo: &Todo, number: u32) {
        let Todo::Start {
            route,
            kind,
            parent,
            cap,
            order,
            holds,
            limits,
        } = *todo
        else {
            return;
        };
        self.stage.order(number, order);
        self.stage.number(number);
        let parent = self.parent(parent, route);
        let cap = cap.map(|cap| self.hands[cap].clone());
        let name = format!("e{number}");
        let metadata = Metadata::new().with_application(number.to_string());
        let metadata = metadata.expect("a number is short");
        let event = self.ways[route].pipeline.event(&name);
        let mut event = event.parent(parent).metadata(metadata);
        if let Some(limits) = self.timer.limits(limits) {
            event = event.time_limits(limits);
        }
        let mut handle = None;
        match kind {
            Kind::Session => {
                let session = event.open_session::<thing::Client>();
                let (top_level, of_session) = session.into_parts();
                self.hands.push(top_level);
                handle = Some(of_session);
            }
            Kind::Scheduled => {
                let run = Scheduled::new().with_cron(number.to_string());
                let answer = event.scheduled(&run.expect("a number is short"));
                let answer = async move {
                    answer.await?;
                    Ok(Got::Nothing)
                };
                self.push_call(number, order, answer);
            }
            Kind::Custom => {
                let answer = custom(event, number, cap, order, holds);
                self.push_call(number, order, answer);
            }
        }
        self.handles.push(handle);
    }

    fn parent(&self, parent: Parent, route: usize) -> SpanParent {
        match parent {
            Parent::Nobody => SpanParent::none(),
            Parent::Request => self.vats[self.ways[route].from].request.parent(),
            Parent::Event(event) => match self.stage.event(event) {
                Some(event) => event.parent().clone(),
                None => SpanParent::none(),
            },
        }
    }

    fn call(&mut self, number: u32, to: usize, cap: Option<usize>, order: Order, holds: bool) {
        self.stage.order(number, order);
        let mut request = self.hands[to].echo_with_request();
        request.get().set_data(&number.to_le_bytes());
        if let Some(cap) = cap {
            request.get().set_thing(self.hands[cap].clone());
        }
        let sent = request.send().promise;
        let answer = async move {
            let response = sent.await?;
            let results = response.get()?;
            if let Ok(number) = results.get_data()?.try_into() {
                return Ok(Got::Number(u32::from_le_bytes(number)));
            }
            Ok(match results.has_thing() {
                false => Got::Nothing,
                true if holds => Got::Response(Held::Call(response)),
                true => Got::Cap(results.get_thing()?),
            })
        };
        self.push_call(number, order, answer);
    }

    fn push_call(
        &mut self,
        number: u32,
        order: Order,
        answer: impl Future<Output = capnp::Result<Got>> + 'static,
    ) {
        let (seen, stage) = (self.seen.clone(), self.stage.clone());
        let answer = async move {
            let got = answer.await;
            // At this moment, and not when all has come to rest.
            let written = order.writes.and_then(|(event, _)| stage.number_of(event));
            let shows = written.is_some_and(|event| seen.shows(event, number));
            (got, shows)
        };
        let answer = answer.boxed_local();
        self.calls.push(Call { number, answer });
    }

    /// All lets go of all, and of itself. What is left is what was leaked.
    pub(super) fn end(self) -> Vec<Weak<()>> {
        let Self {
            vats,
            ways,
            stage,
            mut pool,
            ..
        } = self;
        stage.clear();
        let services: Vec<Weak<()>> = ways.into_iter().flat_map(Way::let_go).collect();
        drop(vats);
        pool.run_until_stalled();
        services
    }
}

fn custom(
    event: Event<'_>,
    number: u32,
    cap: Option<thing::Client>,
    order: Order,
    holds: bool,
) -> impl Future<Output = capnp::Result<Got>> + 'static {
    let request = event.custom(&format!("c{number}"));
    let mut request = request.expect("a name is short");
    if let Some(cap) = cap {
        request.payload().set_as_capability(cap.into_client_hook());
    }
    let (answer, _pipeline) = request.send();
    let gives_nothing = order.gives == super::orders::Gives::Nothing;
    async move {
        let response = answer.await?;
        if gives_nothing {
            return Ok(Got::Nothing);
        }
        Ok(match holds {
            true => Got::Response(Held::Custom(response)),
            false => Got::Cap(response.get()?.get_as_capability()?),
        })
    }
}
