//! Our side: objects that do with capabilities whatever can be done with them, when the peer calls them or
//! when the run says so.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise, Response};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, Result};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;

use super::action::Action;
use super::hooks::{Hook, becomes, caps, followed, given, put, send, settled, stream};
use crate::membrane::raw;

/// The interface that all objects have. None looks at it.
pub(super) const INTERFACE: u64 = 0xe493_1bea_5f4c_0cb2;
/// As many calls as our side makes in a run: else two promises that call each other never end.
const MAX_CALLS: u32 = 256;

/// Counts what is alive: all that the service is made of has a clone.
pub(super) type Alive = Rc<()>;

/// What the objects of one connection share. Over a connection, its bootstrap object owns all of it.
pub(super) struct Service {
    alive: Alive,
    myself: Weak<Self>,
    /// What the peer's bootstrap object is, where ours is the client.
    pub(super) peer: RefCell<Option<Hook>>,
    kept: RefCell<Vec<Hook>>,
    responses: RefCell<Vec<Response<any_pointer::Owned>>>,
    promises: RefCell<VecDeque<oneshot::Sender<Result<Client>>>>,
    /// The addresses of promises that it has made.
    promised: RefCell<Vec<usize>>,
    gate: RefCell<Vec<oneshot::Sender<()>>>,
    tasks: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    wakes: RefCell<Option<Waker>>,
    calls: Cell<u32>,
}

impl Service {
    pub(super) fn new(alive: &Alive) -> Rc<Self> {
        Rc::new_cyclic(|myself| Self {
            alive: alive.clone(),
            myself: myself.clone(),
            peer: RefCell::default(),
            kept: RefCell::default(),
            responses: RefCell::default(),
            promises: RefCell::default(),
            promised: RefCell::default(),
            gate: RefCell::default(),
            tasks: RefCell::default(),
            wakes: RefCell::default(),
            calls: Cell::default(),
        })
    }

    /// The object that owns the service.
    pub(super) fn bootstrap(self: Rc<Self>) -> Client {
        let alive = self.alive.clone();
        raw::object(move |method, params, results| {
            let _is_alive = &alive;
            Self::answer(&self, method, params, results)
        })
    }

    fn object(&self) -> Hook {
        let (service, alive) = (self.myself.clone(), self.alive.clone());
        let object = raw::object(move |method, params, results| {
            let _is_alive = &alive;
            match service.upgrade() {
                Some(service) => Self::answer(&service, method, params, results),
                None => Promise::err(Error::failed("the service is gone".into())),
            }
        });
        object.into_client_hook()
    }

    /// Runs what is under way, for as long as the service is there.
    pub(super) async fn work(service: Weak<Self>) {
        poll_fn(|cx| {
            let Some(service) = service.upgrade() else {
                return Poll::Ready(());
            };
            *service.wakes.borrow_mut() = Some(cx.waker().clone());
            let mut tasks = service.tasks.take();
            tasks.retain_mut(|task| task.poll_unpin(cx).is_pending());
            service.tasks.borrow_mut().append(&mut tasks);
            Poll::Pending
        })
        .await;
    }

    /// Does something by itself, with what it has.
    pub(super) fn act_alone(&self, action: Action, with: [usize; 2]) {
        let known: Vec<Hook> = {
            let kept = self.kept.borrow();
            let peer = self.peer.borrow();
            peer.iter().chain(kept.iter()).cloned().collect()
        };
        let with = with.map(|at| known.get(at % known.len().max(1)).cloned());
        let acts = self.act(action, with.into_iter().flatten().collect());
        let task = acts.map(drop).boxed_local();
        self.tasks.borrow_mut().push(task);
        self.wakes.take().into_iter().for_each(Waker::wake);
    }

    /// Which of what it keeps is the peer's. To be asked before the end: what is broken is nobody's.
    pub(super) fn of_others(&self) -> OfOthers {
        let kept = self.kept.borrow();
        let kept = kept.iter().filter(|hook| is_others(hook));
        OfOthers(kept.map(|hook| hook.get_ptr()).collect())
    }

    /// A service whose own objects were given back to it keeps itself, until it lets go of them, of responses, whose
    /// tables may have what no pointer leads to, and of what it is at: a call of its own may wait for ever.
    pub(super) fn let_go_of_its_own(&self, before: &OfOthers) {
        let kept = self.kept.take();
        let (kept, own): (Vec<_>, Vec<_>) = kept
            .into_iter()
            .partition(|hook| before.0.contains(&hook.get_ptr()) || is_others(hook));
        self.kept.replace(kept);
        drop((own, self.responses.take(), self.tasks.take()));
    }

    fn answer(
        service: &Rc<Self>,
        method: u16,
        params: Box<dyn ParamsHook>,
        mut results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        let action = Action::ALL[usize::from(method) % Action::ALL.len()];
        let given = given(&*params);
        match action {
            Action::Forward => match given.first() {
                Some(to) => followed(to.clone()).call(INTERFACE, 0, params, results),
                None => Promise::ok(()),
            },
            Action::Early => {
                let (object, opens) = (service.object(), service.wait());
                Promise::from_future(async move {
                    put(results.get()?, vec![object]);
                    results.set_pipeline()?;
                    opens.await
                })
            }
            _ => {
                let acts = service.act(action, given);
                Promise::from_future(async move {
                    let gives = acts.await?;
                    drop(params);
                    put(results.get()?, gives);
                    Ok(())
                })
            }
        }
    }

    fn act(&self, action: Action, given: Vec<Hook>) -> LocalBoxFuture<'static, Result<Vec<Hook>>> {
        let first = given.first().cloned();
        match action {
            Action::Echo | Action::Early => done(given),
            Action::Keep => {
                self.kept.borrow_mut().extend(given);
                done(vec![])
            }
            Action::Make => done(vec![self.object()]),
            Action::Promise => done(vec![self.promise()]),
            Action::Fulfil => {
                self.fulfil(first);
                done(vec![])
            }
            Action::Break => {
                let promise = self.promises.borrow_mut().pop_front();
                let broken = Err(Error::failed("broken".into()));
                promise.map(|promise| promise.send(broken).is_ok());
                done(vec![])
            }
            Action::Never => async move {
                pending::<()>().await;
                Ok(given)
            }
            .boxed_local(),
            Action::Kept => done(self.kept.borrow().last().cloned().into_iter().collect()),
            Action::Forget => {
                let gone = (
                    self.kept.borrow_mut().pop(),
                    self.responses.borrow_mut().pop(),
                );
                drop(gone);
                done(vec![])
            }
            Action::Cancel => {
                drop(self.tasks.take());
                done(vec![])
            }
            Action::Fail => async { Err(Error::failed("as it was told".into())) }.boxed_local(),
            Action::Wait => {
                let (object, opens) = (self.object(), self.wait());
                async move {
                    opens.await?;
                    Ok(vec![object])
                }
                .boxed_local()
            }
            Action::Open => {
                let opens = self.gate.take();
                opens.into_iter().for_each(|gate| _ = gate.send(()));
                done(vec![])
            }
            Action::CallKept => {
                let kept = self.kept.borrow().last().cloned();
                kept.map_or_else(|| done(vec![]), |kept| self.call(&*kept, given))
            }
            Action::Becomes => {
                let promise = first.map(becomes);
                let promised = promise.iter().map(|hook| hook.get_ptr());
                self.promised.borrow_mut().extend(promised);
                done(promise.into_iter().collect())
            }
            _ => match first {
                Some(first) if self.may_call() => self.act_on(action, first, given),
                _ => done(vec![]),
            },
        }
    }

    /// What has to do with one capability that was given.
    fn act_on(
        &self,
        action: Action,
        target: Hook,
        mut given: Vec<Hook>,
    ) -> LocalBoxFuture<'static, Result<Vec<Hook>>> {
        given.remove(0);
        given.push(self.object());
        let myself = self.myself.clone();
        match action {
            Action::Pipeline => {
                let (answer, next) = send(&*target, given);
                let later = send(&*next, vec![]).0;
                async move {
                    let gives = later.await.map(|response| caps(&response));
                    answer.await?;
                    gives
                }
                .boxed_local()
            }
            Action::Stream => {
                let streams = [stream(&*target, given), stream(&*target, vec![])];
                async move {
                    futures::future::try_join_all(streams).await?;
                    Ok(vec![])
                }
                .boxed_local()
            }
            Action::KeepResponse => {
                let answer = send(&*target, given).0;
                async move {
                    let response = answer.await?;
                    if let Some(service) = myself.upgrade() {
                        service.responses.borrow_mut().push(response);
                    }
                    Ok(vec![])
                }
                .boxed_local()
            }
            Action::KeepPipeline => {
                let (_dropped, next) = send(&*target, given);
                self.kept.borrow_mut().push(next);
                done(vec![])
            }
            Action::PassAnswer => {
                let (answer, next) = send(&*target, vec![]);
                given.insert(0, next);
                let passes = send(&*target, given).0;
                async move {
                    let gives = passes.await.map(|response| caps(&response));
                    answer.await?;
                    gives
                }
                .boxed_local()
            }
            Action::Settle => {
                let settled = settled(target);
                async move {
                    let target = settled.await?;
                    Ok(caps(&send(&*target, given).0.await?))
                }
                .boxed_local()
            }
            _ => self.call(&*target, given),
        }
    }

    fn call(
        &self,
        to: &dyn ClientHook,
        given: Vec<Hook>,
    ) -> LocalBoxFuture<'static, Result<Vec<Hook>>> {
        if !self.may_call() {
            return done(vec![]);
        }
        let answer = send(to, given).0;
        async move { Ok(caps(&answer.await?)) }.boxed_local()
    }

    fn may_call(&self) -> bool {
        self.calls.set(self.calls.get() + 1);
        self.calls.get() <= MAX_CALLS
    }

    fn wait(&self) -> LocalBoxFuture<'static, Result<()>> {
        let (gate, opens) = oneshot::channel();
        self.gate.borrow_mut().push(gate);
        opens
            .map(|opened| opened.map_err(|_| Error::failed("the gate is gone".into())))
            .boxed_local()
    }

    fn promise(&self) -> Hook {
        let (promise, becomes) = oneshot::channel();
        self.promises.borrow_mut().push_back(promise);
        let client: Client = capnp_rpc::new_future_client(async {
            let given = becomes.await;
            given.unwrap_or_else(|_| Err(Error::failed("nobody will keep this promise".into())))
        });
        self.promised.borrow_mut().push(client.hook.get_ptr());
        client.into_client_hook()
    }

    fn has_promised(&self, hook: &Hook) -> bool {
        self.promised.borrow().contains(&hook.get_ptr())
    }

    /// A service that makes a promise of its own become itself can't blame its peer. So it looks first.
    fn fulfil(&self, with: Option<Hook>) {
        let is_own = |hook: &Hook| self.has_promised(&followed(hook.clone()));
        let with = with.filter(|with| !is_own(with));
        let promise = self.promises.borrow_mut().pop_front();
        let with = with.unwrap_or_else(|| self.object());
        promise.map(|promise| promise.send(Ok(Client::new(with))).is_ok());
    }
}

/// What a service keeps of the peer's.
pub(super) struct OfOthers(Vec<usize>);

fn is_others(hook: &Hook) -> bool {
    followed(hook.clone()).get_brand() != 0
}

fn done(gives: Vec<Hook>) -> LocalBoxFuture<'static, Result<Vec<Hook>>> {
    async { Ok(gives) }.boxed_local()
}
