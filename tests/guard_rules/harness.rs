//! A guarded side of a connection, and a raw peer at the other end.

use capnp::capability::Client;
use capspan::Error;
use capspan::guard::{Breach, Connection, Guard, GuardLimits, GuardOptions};
use capspan_testkit::link::{End, direct};
use capspan_testkit::membrane::{idle, run};
use capspan_testkit::wire_peer::{
    Call, Cap, Content, Fail, Message, Outcome, Peer, Return, Service, Target, call, echo, finish,
    method, returns,
};
use futures::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, spawn_local};

/// What the peer of [`serve`](served) gets first.
pub(crate) const BOOTSTRAP: Target = Target::Cap(0);

/// A service, whose bootstrap object the peer has: at 0, asked for with question 0, not finished.
pub(crate) struct Served {
    pub(crate) peer: Peer,
    pub(crate) service: Service,
    pub(crate) guard: Guard,
}

/// An application, which has a promise of what the peer serves at 0.
pub(crate) struct Connected {
    pub(crate) peer: Peer,
    pub(crate) theirs: Client,
    pub(crate) guard: Guard,
    /// What runs the connection.
    pub(crate) driver: JoinHandle<Result<(), Error>>,
}

/// Plays an exchange with the peer of a service.
pub(crate) fn served(exchange: impl AsyncFnOnce(&mut Served)) {
    served_within(GuardLimits::default(), exchange);
}

/// The same within other limits.
pub(crate) fn served_within(limits: GuardLimits, exchange: impl AsyncFnOnce(&mut Served)) {
    run(async {
        let service = Service::new();
        let object = service.object();
        exchange(&mut serve(limits, service, object).await).await;
    });
}

/// The same with another bootstrap object.
pub(crate) fn served_by(bootstrap: fn() -> Client, exchange: impl AsyncFnOnce(&mut Served)) {
    run(async {
        let mut served = serve(GuardLimits::default(), Service::new(), bootstrap()).await;
        exchange(&mut served).await;
    });
}

async fn serve(limits: GuardLimits, service: Service, bootstrap: Client) -> Served {
    let (client, server) = direct();
    let (connection, driver) = Connection::serve_with(server.0, server.1, limits, |_| bootstrap);
    spawn_local(driver);
    let mut peer = Peer::new(client);
    assert_eq!(peer.bootstrap().await, 0);
    Served {
        peer,
        service,
        guard: connection.guard().clone(),
    }
}

/// Plays an exchange with a peer that serves.
pub(crate) fn connected(exchange: impl AsyncFnOnce(&mut Connected)) {
    connected_within(GuardLimits::default(), exchange);
}

/// The same within other limits.
pub(crate) fn connected_within(limits: GuardLimits, exchange: impl AsyncFnOnce(&mut Connected)) {
    run(async {
        let (client, server) = direct();
        exchange(&mut connect(client, limits, server).await).await;
    });
}

/// A connection over a reader and a writer, at whose other end the peer is.
pub(crate) async fn connect<R, W>(
    (reader, writer): (R, W),
    options: impl Into<GuardOptions>,
    server: End,
) -> Connected
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let (connection, driver) = Connection::connect_with(reader, writer, options);
    let driver = spawn_local(driver);
    let guard = connection.guard().clone();
    connected_by(server, connection.bootstrap(), guard, driver).await
}

/// The same, where `theirs` has been asked for over a connection that `driver` runs.
pub(crate) async fn connected_by(
    server: End,
    theirs: Client,
    guard: Guard,
    driver: JoinHandle<Result<(), Error>>,
) -> Connected {
    let mut peer = Peer::new(server);
    let question = peer.asked_for_bootstrap().await;
    let returned = returns(question, [Cap::Hosted(0)]);
    peer.say(returned.content(Content::Cap(0))).await;
    Connected {
        peer,
        theirs,
        guard,
        driver,
    }
}

impl Served {
    /// Says a call without capabilities.
    pub(crate) async fn call(&mut self, question: u32, method: u16) {
        self.peer.say(call(question, BOOTSTRAP, method)).await;
    }

    /// Says a call with capabilities.
    pub(crate) async fn call_with<const N: usize>(
        &mut self,
        question: u32,
        method: u16,
        caps: [Cap; N],
    ) {
        let call = call(question, BOOTSTRAP, method);
        self.peer.say(call.with(caps)).await;
    }

    /// Calls, and gives the one capability that comes back, which the peer owns from then on.
    pub(crate) async fn get(&mut self, question: u32, method: u16) -> u32 {
        self.call(question, method).await;
        let [Cap::Hosted(id) | Cap::Promise(id)] = self.peer.returned(question).await.caps()[..]
        else {
            panic!("no capability");
        };
        self.peer.say(keep(question)).await;
        id
    }

    /// Lets the service store a capability of the peer's.
    pub(crate) async fn store(&mut self, question: u32, cap: Cap) {
        self.call_with(question, method::STORE, [cap]).await;
        self.peer.returned(question).await;
    }

    /// The guard has ended the connection for this, and for nothing else; `calls` have reached the service.
    pub(crate) async fn is_cut(&mut self, breach: Breach, calls: usize) {
        is_cut(&mut self.peer, &self.guard, breach).await;
        assert_eq!(self.service.calls(), calls, "calls of the service");
    }

    /// The connection goes on: it answers.
    pub(crate) async fn goes_on(&mut self) {
        idle().await;
        let question = 900_000;
        self.call(question, method::ECHO).await;
        let returned = self.peer.returned(question).await;
        assert!(returned.caps().is_empty());
        if !returned.no_finish_needed {
            self.peer.say(finish(question)).await;
        }
    }

    /// The guard has let all pass, and the connection goes on.
    pub(crate) async fn is_legal(&mut self) {
        self.goes_on().await;
        assert_eq!(self.guard.refused(), 0);
    }

    /// The guard has stepped in for this, once, and for nothing else; the connection goes on.
    pub(crate) async fn is_refused(&mut self, breach: Breach) {
        self.goes_on().await;
        only(&self.guard, breach, 1);
    }

    /// The peer's call was answered with an error of this kind that says why.
    pub(crate) async fn fails(&mut self, question: u32, kind: capnp::ErrorKind, why: &str) -> Fail {
        let returned = self.peer.returned(question).await;
        assert!(!returned.release_param_caps);
        let fail = returned.exception();
        assert_eq!(fail.kind, kind);
        assert!(fail.reason.contains(why), "{fail:?}");
        fail.clone()
    }
}

impl Connected {
    /// The application calls, and the peer has heard it.
    pub(crate) async fn asks(&mut self, cap: Option<Client>) -> (Asked, Call) {
        let asked = echo(&*self.theirs.hook, cap.map(|cap| cap.hook));
        let heard = self.peer.called().await;
        (asked, heard)
    }

    /// The same, and the application pipelines on the capability that it asks for.
    pub(crate) async fn asks_and_pipelines(&mut self) -> (Asked, Client, Call) {
        let asked = echo(&*self.theirs.hook, None);
        let promised = Client::new(asked.pipeline.get_pointer_field(0).as_cap());
        drop(echo(&*promised.hook, None));
        let heard = self.peer.called().await;
        self.peer.called().await;
        (asked, promised, heard)
    }

    /// See [`Served::is_cut`].
    pub(crate) async fn is_cut(&mut self, breach: Breach) {
        is_cut(&mut self.peer, &self.guard, breach).await;
    }

    /// The connection goes on: the peer is asked, and its answer arrives.
    pub(crate) async fn goes_on(&mut self) {
        let (asked, heard) = self.asks(None).await;
        self.peer.say(returns(heard.question, [])).await;
        asked.promise.await.expect("an answer");
    }

    /// See [`Served::is_legal`].
    pub(crate) async fn is_legal(&mut self) {
        self.goes_on().await;
        assert_eq!(self.guard.refused(), 0);
    }

    /// See [`Served::is_refused`].
    pub(crate) async fn is_refused(&mut self, breach: Breach) {
        self.goes_on().await;
        only(&self.guard, breach, 1);
    }
}

/// What the application waits for.
pub(crate) type Asked = capnp::capability::RemotePromise<capnp::any_pointer::Owned>;

/// Why the application's call failed.
pub(crate) async fn why(asked: Asked) -> capnp::Error {
    match asked.promise.await {
        Ok(_) => panic!("it did not fail"),
        Err(error) => error,
    }
}

async fn is_cut(peer: &mut Peer, guard: &Guard, breach: Breach) {
    let fail = peer.aborted().await;
    assert!(fail.reason.contains(breach.name()), "{fail:?}");
    peer.ended().await;
    only(guard, breach, 1);
    let reason = guard.ending().reason().expect("it has ended");
    assert!(reason.to_string().contains(breach.name()), "{reason}");
}

/// The guard has stepped in so often for this, and for nothing else.
pub(crate) fn only(guard: &Guard, breach: Breach, times: u64) {
    let counts = Breach::ALL
        .iter()
        .map(|breach| (*breach, guard.count(*breach)));
    let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [(breach, times)]);
}

/// A return of another kind.
pub(crate) fn returns_as(answer: u32, outcome: Outcome) -> Return {
    returns(answer, []).outcome(outcome)
}

/// A finish of a call whose results the peer keeps.
pub(crate) fn keep(question: u32) -> Message {
    Message::Finish {
        question,
        release_result_caps: false,
    }
}
