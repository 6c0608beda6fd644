//! The same with real objects and real membranes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use capnp::Error;
use capnp::capability::{FromClientHook, Promise, Request, Response};
use capnp::private::capability::ClientHook;
use capspan::Tasks;
use futures::FutureExt;
use futures::executor::LocalPool;
use futures::future::LocalBoxFuture;
use futures::task::LocalSpawnExt;

use super::edge::{Edge, Passage};
use super::ops::{Kind, Layout, Op};
use super::reference::{Gives, HANDS, push};
use crate::membrane::World;
use crate::probe_capnp::probe;

pub(super) type Answer = Result<Got, Error>;

/// What an operation gave.
pub(super) enum Got {
    Cap(probe::Client),
    Other(Gives),
}

/// Notes that somebody was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) struct Hand {
    pub(super) vat: usize,
    // First, because it waits for what is held.
    when: Option<Promise<Box<dyn ClientHook>, Error>>,
    cap: probe::Client,
}

pub(super) struct Call {
    pub(super) vat: usize,
    pub(super) answer: LocalBoxFuture<'static, Answer>,
}

type Unsent = Request<probe::swap_params::Owned, probe::swap_results::Owned>;

/// Worlds and membranes. What it runs on is an executor that says when nothing is left to be done, so that
/// nothing is waited for.
pub struct System {
    pub(super) hands: Vec<Hand>,
    requests: Vec<(usize, Unsent)>,
    pub(super) responses: Vec<(usize, Response<probe::make_results::Owned>)>,
    pub(super) calls: Vec<Call>,
    edges: Vec<Edge>,
    worlds: Vec<World>,
    introduced: usize,
    /// See the model's.
    settles: bool,
    flag: Arc<Flag>,
    waker: Waker,
    tasks: Tasks,
    pool: LocalPool,
}

impl Drop for System {
    /// Also where a check fails in the middle: what objects keep refers to itself in circles.
    fn drop(&mut self) {
        self.let_all_go();
    }
}

impl System {
    /// Nothing but vats and membranes.
    pub fn new(layout: &Layout) -> Self {
        let pool = LocalPool::new();
        let (tasks, driver) = Tasks::new();
        if layout.edges.iter().any(|edge| edge.2 == Kind::Driven) {
            let spawned = pool.spawner().spawn_local(driver);
            spawned.expect("the pool is there");
        }
        let edges = layout.edges.iter();
        let edges = edges
            .map(|&(inside, outside, kind)| Edge::new((inside, outside), kind, &tasks, &pool))
            .collect();
        let flag = Arc::new(Flag::default());
        Self {
            hands: Vec::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            calls: Vec::new(),
            edges,
            worlds: (0..layout.vats).map(|_| World::new()).collect(),
            introduced: 0,
            settles: layout.has_connections(),
            waker: flag.clone().into(),
            flag,
            tasks,
            pool,
        }
    }

    /// How many objects of a vat are alive, and how many calls they work on.
    pub fn live(&self, vat: usize) -> (usize, usize) {
        (self.worlds[vat].live(), self.worlds[vat].calls())
    }

    /// Is a membrane complete? `None`: it says so in one way and not in the other.
    pub fn is_complete(&self, edge: usize) -> Option<bool> {
        self.edges[edge].is_complete()
    }

    /// How many capabilities are held.
    pub fn hands(&self) -> usize {
        self.hands.len()
    }

    /// Who holds a capability, whose it is and where: what `capnp` tells of its resolution.
    pub fn identity(&self, hand: usize) -> (usize, (usize, usize)) {
        let Hand { vat, cap, .. } = &self.hands[hand];
        let settled = settled(cap);
        let hook = settled.as_deref().unwrap_or(cap.as_client_hook());
        (*vat, (hook.get_brand(), hook.get_ptr()))
    }

    /// Who answers a call on a capability that is held, or why nobody does; `None`: it waits.
    pub fn label(&mut self, hand: usize) -> Option<Result<String, Error>> {
        let sent = self.hands[hand].cap.label_request().send();
        let label = async { text(sent.promise.await?) };
        self.now(label)
    }

    /// Every object forgets what it keeps, and nobody holds anything.
    pub fn let_all_go(&mut self) {
        self.calls.clear();
        self.requests.clear();
        self.responses.clear();
        self.hands.clear();
        self.edges.iter_mut().for_each(Edge::leave);
        self.worlds.iter().for_each(World::empty);
        self.pool.run_until_stalled();
    }

    /// The outcome of `future`, unless it waits for something that does not come by itself.
    pub(super) fn now<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            self.flag.0.store(false, Ordering::Relaxed);
            let polled = future.as_mut().poll(&mut Context::from_waker(&self.waker));
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
            self.pool.run_until_stalled();
            if !self.flag.0.load(Ordering::Relaxed) {
                return None;
            }
        }
    }

    /// Lets everything go on that can. Gives the calls that have ended, by their places, and how.
    pub fn turn(&mut self) -> Vec<(usize, Result<Gives, Error>)> {
        let mut ended: Vec<(usize, Answer)> = Vec::new();
        loop {
            self.flag.0.store(false, Ordering::Relaxed);
            self.pool.run_until_stalled();
            let mut cx = Context::from_waker(&self.waker);
            let mut again = false;
            for hand in &mut self.hands {
                if self.settles {
                    hand.settle();
                }
                again |= hand.wait(&mut cx);
            }
            for at in 0..self.calls.len() {
                if ended.iter().all(|end| end.0 != at)
                    && let Poll::Ready(answer) = self.calls[at].answer.as_mut().poll(&mut cx)
                {
                    ended.push((at, answer));
                    again = true;
                }
            }
            if !again && !self.flag.0.load(Ordering::Relaxed) {
                break;
            }
        }
        ended.sort_by_key(|end| end.0);
        let vats: Vec<usize> = ended.iter().map(|end| self.calls[end.0].vat).collect();
        for (at, _) in ended.iter().rev() {
            drop(self.calls.remove(*at));
        }
        let ended = ended.into_iter().zip(vats);
        ended
            .map(|((at, answer), vat)| (at, self.take(vat, answer)))
            .collect()
    }

    /// Holds the capability that an answer is.
    fn take(&mut self, vat: usize, answer: Answer) -> Result<Gives, Error> {
        match answer? {
            Got::Other(gives) => Ok(gives),
            Got::Cap(cap) => {
                if self.hands.len() == HANDS {
                    drop(self.hands.remove(0));
                }
                let when = None;
                self.hands.push(Hand { vat, when, cap });
                Ok(Gives::Cap)
            }
        }
    }

    /// Does an operation whose choices are made. `None`: it waits for what does not come.
    pub fn apply(&mut self, op: Op) -> Option<Result<Gives, Error>> {
        let (vat, answer) = self.act(op)?;
        Some(self.take(vat, answer))
    }

    pub(super) fn cap(&self, hand: u8) -> probe::Client {
        self.hands[hand as usize].cap.clone()
    }

    fn act(&mut self, op: Op) -> Option<(usize, Answer)> {
        let nothing = Ok(Got::Other(Gives::Nothing));
        Some(match op {
            Op::Introduce { vat } => {
                self.introduced += 1;
                let label = format!("{vat}.{}", self.introduced);
                let vat = vat as usize;
                (vat, Ok(Got::Cap(self.worlds[vat].probe(&label))))
            }
            Op::Pass { edge, cap } => self.pass(edge, cap)?,
            Op::Copy { cap } => (self.hands[cap as usize].vat, Ok(Got::Cap(self.cap(cap)))),
            Op::Drop { cap } => {
                drop(self.hands.remove(cap as usize));
                (0, nothing)
            }
            Op::Open { response } => {
                let (vat, response) = self.responses.remove(response as usize);
                let cap = response.get().and_then(|it| it.get_probe());
                (vat, cap.map(Got::Cap))
            }
            Op::Discard { message } => {
                match (message as usize).checked_sub(self.requests.len()) {
                    None => drop(self.requests.remove(message as usize)),
                    Some(at) => drop(self.responses.remove(at)),
                }
                (0, nothing)
            }
            Op::Revoke { edge } => {
                let did = self.edges[edge as usize].revoke(&reason(edge as usize));
                (0, Ok(Got::Other(Gives::Did(did))))
            }
            Op::Leave { edge } => {
                self.edges[edge as usize].leave();
                (0, nothing)
            }
            Op::Renew { edge } => {
                let edge = self.edges[edge as usize].renewed(&self.tasks, &self.pool);
                self.edges.push(edge);
                (0, nothing)
            }
            Op::Cancel { call } => {
                drop(self.calls.remove(call as usize));
                (0, nothing)
            }
            Op::Resolve { vat } => {
                self.worlds[vat as usize].gate().open();
                (0, nothing)
            }
            Op::Prepare { to, cap } => {
                let mut request = self.cap(to).swap_request();
                request.get().set_cap(self.cap(cap));
                push(&mut self.requests, (self.hands[to as usize].vat, request));
                (0, nothing)
            }
            Op::Send { request } => {
                let (vat, request) = self.requests.remove(request as usize);
                let sent = request.send().promise;
                let answer = self.now(async { Ok(Got::Cap(sent.await?.get()?.get_cap()?)) })?;
                (vat, answer)
            }
            _ => return self.call(op),
        })
    }

    fn pass(&mut self, edge: u8, hand: u8) -> Option<(usize, Answer)> {
        let Hand { vat, cap, .. } = &self.hands[hand as usize];
        let (vat, cap) = (*vat, cap.clone());
        let edge = &self.edges[edge as usize];
        let to = edge.beyond(vat);
        let (keep, give) = match edge.passage(vat) {
            Passage::Handle(handle, true) => return Some((to, Ok(Got::Cap(handle.export(cap))))),
            Passage::Handle(handle, false) => return Some((to, Ok(Got::Cap(handle.import(cap))))),
            Passage::Door(keep, give) => (keep, give),
        };
        let mut request = keep.store_request();
        request.get().set_cap(cap);
        let sent = request.send().promise;
        let stored = give.stored_request();
        let forget = keep.store_request();
        let answer = self.now(async {
            sent.await?;
            let got = stored.send().promise.await?.get()?.get_cap()?;
            forget.send().promise.await?;
            Ok(Got::Cap(got))
        })?;
        Some((to, answer))
    }
}

impl Hand {
    fn settle(&mut self) {
        if let Some(settled) = settled(&self.cap) {
            self.when = None;
            self.cap = probe::Client::new(settled);
        }
    }

    /// Waits for a promise, as somebody must. Is it to be asked again?
    fn wait(&mut self, cx: &mut Context<'_>) -> bool {
        if self.when.is_none() {
            self.when = match settled(&self.cap) {
                Some(hook) => hook.when_more_resolved(),
                None => self.cap.as_client_hook().when_more_resolved(),
            };
        }
        let waits = self.when.as_mut().map(|when| when.poll_unpin(cx));
        let again = waits.is_some_and(|polled| polled.is_ready());
        if again {
            self.when = None;
        }
        again
    }
}

/// What a capability has resolved to, if it has.
pub(super) fn settled(cap: &probe::Client) -> Option<Box<dyn ClientHook>> {
    let mut hook = cap.as_client_hook().get_resolved()?;
    while let Some(resolved) = hook.get_resolved() {
        hook = resolved;
    }
    Some(hook)
}

/// Why a membrane is revoked.
pub fn reason(edge: usize) -> String {
    format!("membrane {edge} was taken back")
}

/// What a response says.
pub(super) fn text(response: Response<probe::label_results::Owned>) -> Result<String, Error> {
    Ok(response.get()?.get_label()?.to_string()?)
}
