//! The world of one case.

use capnp::Error;
use capnp::capability::FromClientHook;
use capspan::Tasks;
use capspan::membrane::Membrane;

use super::expect::{BROKEN, GUARD};
use super::policy::Rule;
use super::{Answer, Case, Method, Place, Side, Subject, Treatment};
use crate::membrane::events::{Started, soon, start};
use crate::membrane::scene::{REASON, handed_over, label};
use crate::membrane::{Connected, World, idle};
use crate::probe_capnp::probe;

/// The world of one case: the subject has crossed, out and back in, and nobody has called it.
pub struct Scenario {
    /// Which one.
    pub case: Case,
    /// With a driver?
    pub driven: bool,
    /// The objects inside.
    pub inside: World,
    /// The objects outside.
    pub outside: World,
    /// The guard, on whatever side.
    pub guards: World,
    /// The membrane, or both from the outside in; none in a bare run.
    pub membranes: Vec<Membrane>,
    /// What the outside had first: the wrapper of `inner`.
    pub root: probe::Client,
    /// The outside's own object, where the subject leads to that.
    pub own: Option<probe::Client>,
    /// The subject as the outside has it.
    pub subject: probe::Client,
    /// The subject as the inside has it.
    pub seen: probe::Client,
    /// What lies between.
    pub connections: Vec<Connected<probe::Client>>,
}

impl Scenario {
    /// The world of `case`.
    pub async fn new(case: Case, driven: bool) -> Self {
        let guards = World::new();
        let guard = guards.probe(GUARD);
        let membranes = (0..case.place.membranes()).map(|_| {
            let treatment = case.treatment;
            let guard = guard.clone();
            let mut membrane = Membrane::builder().policy(Rule { treatment, guard });
            if driven {
                let (tasks, driver) = Tasks::new();
                tokio::task::spawn_local(driver);
                membrane = membrane.tasks(&tasks);
            }
            membrane.build()
        });
        Self::around(case, driven, membranes.collect(), guards).await
    }

    /// The same without any membrane.
    pub async fn bare(case: Case) -> Self {
        Self::around(case, false, Vec::new(), World::new()).await
    }

    async fn around(case: Case, driven: bool, membranes: Vec<Membrane>, guards: World) -> Self {
        let (inside, outside) = (World::new(), World::new());
        let inner = inside.probe("inner");
        if case.subject == Subject::Broken {
            let broken = capnp_rpc::new_broken_cap(Error::failed(BROKEN.into()));
            store(&inner, Some(&broken.hook.cast_to())).await;
        }
        let (root, connections) = stand(case.place, &membranes, inner).await;
        let (subject, own) = given_out(case.subject, &root, &inside, &outside).await;
        let seen = given_in(&root, &inside, &subject).await;
        guards.watch();
        outside.watch();
        idle().await;
        Self {
            case,
            driven,
            inside,
            outside,
            guards,
            membranes,
            root,
            own,
            subject,
            seen,
            connections,
        }
    }

    /// The subject as `side` has it.
    pub fn of(&self, side: Side) -> &probe::Client {
        match side {
            Side::Outside => &self.subject,
            Side::Inside => &self.seen,
        }
    }

    /// A new object of `side`'s.
    pub fn probe(&self, side: Side, label: &str) -> probe::Client {
        match side {
            Side::Outside => self.outside.probe(label),
            Side::Inside => self.inside.probe(label),
        }
    }

    /// Lets promises resolve.
    pub fn open(&self) {
        self.inside.gate().open();
        self.outside.gate().open();
    }

    /// What was passed to any object since this was asked last.
    pub fn passed(&self) -> Vec<probe::Client> {
        let worlds = [&self.inside, &self.outside, &self.guards];
        worlds.into_iter().flat_map(World::seen).collect()
    }

    /// Calls `cap` and lets promises resolve meanwhile: who answers, and what it gave.
    pub async fn ask(
        &self,
        cap: &probe::Client,
        method: Method,
        passing: Option<probe::Client>,
    ) -> Result<(String, Option<probe::Client>), Error> {
        let called = call(cap, method, passing);
        idle().await;
        self.open();
        soon(called).await
    }

    /// Calls the subject as `side` has it, and checks what comes of it.
    pub async fn check(&self, side: Side, method: Method, expected: Answer) {
        let answered = self.ask(self.of(side), method, None).await;
        is_answer(&format!("{side:?}, {method:?}"), answered, expected);
    }

    /// Revokes the membrane where the treatment says: before the calls.
    pub async fn before(&self) {
        if self.case.treatment == Treatment::RevokedBefore {
            self.revoke(0);
            idle().await;
        }
    }

    /// Revokes the membrane where the treatment says: during the calls.
    pub async fn during(&self) {
        if self.case.treatment == Treatment::RevokedDuring {
            let hangs = start(self.root.hang_request().send().promise);
            idle().await;
            self.revoke(0);
            let error = soon(hangs).await.err().expect("it was in flight");
            assert!(error.extra.contains(REASON), "a call in flight: {error}");
        }
    }

    /// Revokes a membrane; the first time counts.
    pub fn revoke(&self, which: usize) {
        let reason = capspan::Error::revoked(REASON);
        assert!(self.membranes[which].downgrade().revoke(reason));
    }
}

/// Checks what came of a call.
///
/// # Panics
/// Where it is something else.
pub fn is_answer<T>(what: &str, answered: Result<(String, T), Error>, expected: Answer) {
    let answered = answered.map(|(who, _)| who);
    let is_it = match (&answered, expected) {
        (Ok(who), Answer::By(label)) => who == label,
        (Err(error), Answer::Fails(why)) => error.extra.contains(why),
        _ => false,
    };
    assert!(is_it, "{what}: expected {expected:?}, got {answered:?}");
}

/// Starts a call of `method`: who answers, and what it gave.
pub fn call(
    cap: &probe::Client,
    method: Method,
    passing: Option<probe::Client>,
) -> Started<Result<(String, Option<probe::Client>), Error>> {
    let cap = cap.clone();
    start(async move {
        match method {
            Method::Label => Ok((label(&cap).await?, None)),
            Method::Swap => {
                let mut request = cap.swap_request();
                drop(cap);
                if let Some(passing) = passing {
                    request.get().set_cap(passing);
                }
                let child = request.send().promise.await?.get()?.get_cap()?;
                let label = label(&child).await?;
                let who = label.strip_suffix("'s child").unwrap_or("not its child");
                Ok((who.to_owned(), Some(child)))
            }
        }
    })
}

/// Puts `inner` behind the membranes, where they are to stand.
async fn stand(
    place: Place,
    membranes: &[Membrane],
    inner: probe::Client,
) -> (probe::Client, Vec<Connected<probe::Client>>) {
    let export = |which: usize, cap: probe::Client| match membranes.get(which) {
        Some(membrane) => membrane.export(cap),
        None => cap,
    };
    match place {
        Place::InProcess => (export(0, inner), vec![]),
        Place::Stacked => (export(0, export(1, inner)), vec![]),
        Place::ServerEnd => {
            let (root, connection) = handed_over(export(0, inner)).await;
            (root, vec![connection])
        }
        Place::ClientEnd => {
            let (bare, connection) = handed_over(inner).await;
            (export(0, bare), vec![connection])
        }
        Place::BothEnds => {
            let (once, connection) = handed_over(export(0, inner)).await;
            (export(0, once), vec![connection])
        }
        Place::Proxy => {
            let (bare, behind) = handed_over(inner).await;
            let (root, before) = handed_over(export(0, bare)).await;
            (root, vec![before, behind])
        }
    }
}

/// Gives the subject out: what the outside has, and its own object where it leads to that.
async fn given_out(
    subject: Subject,
    root: &probe::Client,
    inside: &World,
    outside: &World,
) -> (probe::Client, Option<probe::Client>) {
    let own = || outside.probe("own");
    match subject {
        Subject::ObjectInside => (make(root, "thing").await, None),
        Subject::PromiseInside => (promise(root, None).await, None),
        Subject::ResolvedPromiseInside => {
            let promise = promise(root, None).await;
            let called = call(&promise, Method::Label, None);
            idle().await;
            inside.gate().open();
            soon(called).await.expect("it resolves");
            idle().await;
            (promise, None)
        }
        Subject::ObjectOutside => {
            let own = own();
            (own.clone(), Some(own))
        }
        Subject::InAndBackOut => {
            let own = own();
            store(root, Some(&own)).await;
            (stored(root).await, Some(own))
        }
        Subject::PromiseToTheOtherSide => {
            let own = own();
            (promise(root, Some(&own)).await, Some(own))
        }
        Subject::Broken => (stored(root).await, None),
        Subject::Null => {
            let sent = root.stored_request().send();
            let null = sent.pipeline.get_cap();
            soon(sent.promise).await.expect("it answers");
            (null, None)
        }
        Subject::SelfReference => {
            let thing = make(root, "thing").await;
            store(&thing, Some(&thing)).await;
            (stored(&thing).await, None)
        }
    }
}

/// Passes `cap` in to what `root` stands for: what the inside gets.
pub async fn given_in(root: &probe::Client, inside: &World, cap: &probe::Client) -> probe::Client {
    inside.watch();
    store(root, Some(cap)).await;
    let mut seen = inside.seen();
    assert_eq!(seen.len(), 1, "what was passed in is not there");
    seen.remove(0)
}

async fn make(by: &probe::Client, label: &str) -> probe::Client {
    let mut request = by.make_request();
    request.get().set_label(label);
    let made = soon(request.send().promise).await.expect("it makes one");
    let made = made.get().and_then(|made| made.get_probe());
    made.expect("it made one")
}

async fn promise(by: &probe::Client, to: Option<&probe::Client>) -> probe::Client {
    let mut request = by.promise_request();
    match to {
        Some(to) => {
            request.get().set_to(probe::Target::Given);
            request.get().set_cap(to.clone());
        }
        None => request.get().set_to(probe::Target::Inside),
    }
    let promise = soon(request.send().promise).await.expect("it promises");
    let promise = promise.get().and_then(|promise| promise.get_cap());
    promise.expect("it promised")
}

/// Stores `cap` with `to`, or nothing.
pub async fn store(to: &probe::Client, cap: Option<&probe::Client>) {
    let mut request = to.store_request();
    if let Some(cap) = cap {
        request.get().set_cap(cap.clone());
    }
    soon(request.send().promise).await.expect("it stores");
}

/// What is stored with `from`.
pub async fn stored(from: &probe::Client) -> probe::Client {
    let stored = soon(from.stored_request().send().promise).await;
    let stored = stored.expect("it answers");
    let stored = stored.get().and_then(|stored| stored.get_cap());
    stored.expect("something was stored")
}
