//! A membrane with much under way, and something that revokes it in the middle of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};

use capnp::Error;
use capspan::membrane::{
    Call, CallWatch, Crossing, Mark, Membrane, Passage, Policy, Scope, Verdict, WeakMembrane,
};
use capspan_testkit::membrane::events::{Started, soon, start};
use capspan_testkit::membrane::scene::{Place, REASON, Scene, Worlds, assert_revoked};
use capspan_testkit::membrane::{idle, run};
use capspan_testkit::probe_capnp::probe;
use futures::FutureExt;

pub(crate) const PLACES: [Place; 3] = [Place::InProcess, Place::ServerEnd, Place::ClientEnd];

/// Revokes a membrane, once it is told which.
#[derive(Clone, Default)]
pub(crate) struct Trigger {
    membrane: Rc<RefCell<Option<WeakMembrane>>>,
    revocations: Rc<Cell<u32>>,
}

impl Trigger {
    pub(crate) fn aim(&self, membrane: WeakMembrane) {
        *self.membrane.borrow_mut() = Some(membrane);
    }

    /// Revokes, again and again if it is asked to.
    pub(crate) fn pull(&self) {
        let membrane = self.membrane.borrow().clone();
        if let Some(membrane) = membrane
            && membrane.revoke(capspan::Error::revoked(REASON))
        {
            self.revocations.set(self.revocations.get() + 1);
        }
    }

    pub(crate) fn has_revoked(&self) -> bool {
        self.revocations.get() == 1
    }
}

thread_local! {
    static ON_WAKE: RefCell<Vec<Box<dyn FnOnce()>>> = RefCell::default();
}

/// A waker that runs `run` within the first wake. One at a time.
pub(crate) fn waker(run: impl FnOnce() + 'static) -> Waker {
    struct Runs;
    impl Wake for Runs {
        fn wake(self: Arc<Self>) {
            let run = ON_WAKE.take();
            run.into_iter().for_each(|run| run());
        }
    }
    ON_WAKE.set(vec![Box::new(run)]);
    Waker::from(Arc::new(Runs))
}

/// An object inside that revokes in the middle of its calls.
pub(crate) struct Service {
    /// Counts it among those alive.
    pub(crate) counted: probe::Client,
    pub(crate) trigger: Trigger,
    /// How many calls have begun.
    pub(crate) begun: Rc<Cell<u32>>,
    /// What a call on its parameter said, right after the revocation.
    pub(crate) after: Rc<RefCell<Option<Result<(), Error>>>>,
}

impl probe::Server for Service {
    /// Revokes at once.
    async fn swap(
        self: Rc<Self>,
        params: probe::SwapParams,
        mut results: probe::SwapResults,
    ) -> Result<(), Error> {
        self.begun.set(self.begun.get() + 1);
        let cap = params.get()?.get_cap()?;
        self.trigger.pull();
        let called = cap.label_request().send().promise.now_or_never();
        *self.after.borrow_mut() = called.map(|called| called.map(drop));
        // Too late: nobody will see it.
        results.get().set_cap(self.counted.clone());
        Ok(())
    }

    /// Revokes after a while.
    async fn echo(
        self: Rc<Self>,
        _params: probe::EchoParams,
        mut results: probe::EchoResults,
    ) -> Result<(), Error> {
        self.begun.set(self.begun.get() + 1);
        tokio::task::yield_now().await;
        self.trigger.pull();
        tokio::task::yield_now().await;
        results.get().set_data(b"too late");
        Ok(())
    }

    /// Revokes at its second call.
    async fn push(self: Rc<Self>, _params: probe::PushParams) -> Result<(), Error> {
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() == 2 {
            self.trigger.pull();
        }
        Ok(())
    }

    async fn hang(
        self: Rc<Self>,
        _params: probe::HangParams,
        _results: probe::HangResults,
    ) -> Result<(), Error> {
        self.begun.set(self.begun.get() + 1);
        std::future::pending().await
    }
}

/// Where a policy revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    InboundCall,
    OutboundCall,
    ExportInternal,
    ImportExternal,
    ImportInternal,
    ExportExternal,
    CallBegins,
    CallEnds,
    Mark,
    Scope,
}

/// A policy that lets all pass, and revokes while it is asked.
pub(crate) struct Rule {
    pub(crate) at: At,
    pub(crate) trigger: Trigger,
}

impl Rule {
    fn judge(&self, at: At) -> Verdict {
        let _ = self.pass(at);
        Verdict::Forward
    }

    fn pass(&self, at: At) -> Passage {
        if at == self.at {
            self.trigger.pull();
        }
        Passage::Usual
    }
}

impl Policy for Rule {
    fn inbound_call(&self, _: &Call<'_>) -> Verdict {
        self.judge(At::InboundCall)
    }

    fn outbound_call(&self, _: &Call<'_>) -> Verdict {
        self.judge(At::OutboundCall)
    }

    fn call_begins(&self, _: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        let _ = self.pass(At::CallBegins);
        match self.at {
            at @ (At::CallEnds | At::Mark | At::Scope) => Some(Rc::new(Observer {
                at,
                trigger: self.trigger.clone(),
            })),
            _ => None,
        }
    }

    fn export_internal(&self, _: &Crossing<'_>) -> Passage {
        self.pass(At::ExportInternal)
    }

    fn import_external(&self, _: &Crossing<'_>) -> Passage {
        self.pass(At::ImportExternal)
    }

    fn import_internal(&self, _: &Crossing<'_>) -> Passage {
        self.pass(At::ImportInternal)
    }

    fn export_external(&self, _: &Crossing<'_>) -> Passage {
        self.pass(At::ExportExternal)
    }
}

/// Revokes when it is told of the end of a call, or asked what to remember it by, or what its work runs in.
struct Observer {
    at: At,
    trigger: Trigger,
}

impl Observer {
    fn pull(&self, at: At) {
        if at == self.at {
            self.trigger.pull();
        }
    }
}

impl CallWatch for Observer {
    fn ended(&self, _: Result<(), &Error>) {
        self.pull(At::CallEnds);
    }

    fn mark(&self) -> Option<Mark> {
        self.pull(At::Mark);
        Some(Rc::new(()))
    }

    fn scope(self: Rc<Self>) -> Option<Rc<dyn Scope>> {
        self.pull(At::Scope);
        None
    }
}

/// A membrane, wherever it may stand, with calls in flight in both directions.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    /// Does not know yet what to revoke.
    pub(crate) trigger: Trigger,
    /// What the outside has of a [`Service`].
    pub(crate) service: probe::Client,
    /// How many calls the service has begun.
    pub(crate) begun: Rc<Cell<u32>>,
    /// See [`Service::after`].
    pub(crate) after: Rc<RefCell<Option<Result<(), Error>>>>,
    /// What else the outside has.
    pub(crate) caps: Vec<probe::Client>,
    /// Calls in flight, each of which waits for ever.
    pub(crate) calls: Vec<Started<Result<(), Error>>>,
}

/// Runs `test` at each place, with a driver and without one.
pub(crate) fn everywhere(test: impl AsyncFn(Stage)) {
    at(&PLACES, None, test);
}

/// Runs `test` at each of `places`, with a driver and without one, with a policy that revokes `when`.
pub(crate) fn at(places: &[Place], when: Option<At>, test: impl AsyncFn(Stage)) {
    for &place in places {
        for driven in [false, true] {
            // For the reader of a failure.
            let with = if driven { "with" } else { "without" };
            eprintln!("{place:?}, {with} a driver, {when:?}");
            run(async { test(Stage::new(place, driven, when).await).await });
        }
    }
}

impl Stage {
    async fn new(place: Place, driven: bool, when: Option<At>) -> Self {
        let trigger = Trigger::default();
        let mut builder = Membrane::builder();
        if let Some(at) = when {
            let trigger = trigger.clone();
            builder = builder.policy(Rule { at, trigger }).inspected();
        }
        let worlds = Worlds::default();
        let (begun, after) = Default::default();
        let service: probe::Client = capnp_rpc::new_client(Service {
            counted: worlds.inside.probe("service"),
            trigger: trigger.clone(),
            begun: Rc::clone(&begun),
            after: Rc::clone(&after),
        });
        let inner = worlds.inside.probe("inner");
        store(&inner, service).await;
        let scene = Scene::built(place, driven, worlds, inner, builder).await;
        let service = soon(scene.wrapper.stored_request().send().promise).await;
        let service = service.unwrap().get().unwrap().get_cap().unwrap();
        // In the service's place, so that the outside alone has it.
        store(&scene.wrapper, scene.outside.probe("stored")).await;
        let mut stage = Self {
            scene,
            trigger,
            service,
            begun,
            after,
            caps: Vec::new(),
            calls: Vec::new(),
        };
        stage.begin().await;
        stage
    }

    /// Has a bit of everything under way.
    async fn begin(&mut self) {
        let Self { scene, .. } = self;
        let child = soon(scene.wrapper.swap_request().send().promise).await;
        self.caps
            .push(child.unwrap().get().unwrap().get_cap().unwrap());
        let mut hang = scene.wrapper.hang_request();
        hang.get().set_cap(scene.outside.probe("parameter"));
        let hang = hang.send().promise;
        self.calls.push(start(async { hang.await.map(drop) }));
        let wait = scene.wrapper.wait_request().send().promise;
        self.calls.push(start(async { wait.await.map(drop) }));
        let early = scene.wrapper.early_request().send();
        self.caps.push(early.pipeline.get_cap());
        let early = early.promise;
        self.calls.push(start(async { early.await.map(drop) }));
        // And the inside calls out.
        scene.inside.watch();
        let mut swap = scene.wrapper.swap_request();
        swap.get().set_cap(scene.outside.probe("called"));
        soon(swap.send().promise).await.unwrap();
        let called = scene.inside.seen().remove(0);
        let out = called.hang_request().send().promise;
        self.calls.push(start(async { out.await.map(drop) }));
        drop(called);
        idle().await;
        assert_eq!((scene.inside.calls(), scene.outside.calls()), (3, 1));
    }

    /// Lets the trigger revoke the stage's own membrane.
    pub(crate) fn aim(&self) {
        self.trigger.aim(self.scene.weak());
    }

    /// All of it was revoked, and nothing else has happened.
    pub(crate) async fn assert_over(self) {
        assert!(self.trigger.has_revoked());
        self.assert_revoked().await;
    }

    /// The outside gets nothing but the reason; the inside is gone, so that nobody calls it; and when
    /// the outside lets go as well, nothing is left.
    pub(crate) async fn assert_revoked(self) {
        let Self { scene, caps, .. } = self;
        for call in self.calls {
            assert_reason(soon(call).await);
        }
        // What the watched world has seen since.
        drop(scene.inside.seen());
        idle().await;
        assert_eq!((scene.inside.live(), scene.inside.calls()), (0, 0));
        assert_eq!((scene.outside.live(), scene.outside.calls()), (0, 0));
        let begun = self.begun.get();
        assert_revoked("the root", &scene.wrapper).await;
        assert_revoked("the service", &self.service).await;
        for cap in &caps {
            assert_revoked("a capability", cap).await;
        }
        assert_eq!(self.begun.get(), begun);
        let completion = scene.completion();
        drop((caps, self.service));
        let left = scene.leave();
        idle().await;
        assert!(completion.is_complete());
        drop(left);
    }
}

/// The call has failed, and says why.
pub(crate) fn assert_reason<T>(called: Result<T, Error>) {
    let error = called.err().expect("it was revoked");
    assert!(error.extra.contains(REASON), "{error}");
}

async fn store(to: &probe::Client, cap: probe::Client) {
    let mut store = to.store_request();
    store.get().set_cap(cap);
    soon(store.send().promise).await.unwrap();
}
