//! One connection, from its beginning to its end.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use capnp::capability::Client;
use capnp::traits::HasTypeId as _;
use capspan::Error;
use capspan::guard::{Connection, ConnectionDriver, Ending};
use capspan::membrane::{self, CallWatch, Policy, Verdict};
use capspan::pipeline_capnp::pipeline;
use capspan::session::SessionAlone;
use capspan::trace::{Outcome, SpanEvent, SpanUpdate};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::config::Config;
use super::event_loop::Here;
use super::events::{self, Events};
use super::stream::{Halves, Peer, Stream};

#[cfg(test)]
mod tests;

/// How long a client whose service is gone may take to be told of it.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long nothing has to happen on a connection before it is closed while the proxy is ending.
const QUIET: Duration = Duration::from_secs(1);

/// On how many pipelines of one connection events may be taken: services have one.
const MAX_PIPELINES: usize = 16;

/// How long calls that are in flight may take when a connection is to be cut.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves one client by a connection to the service of its own. Ends when both are over.
///
/// Dropping it cuts both.
pub(super) async fn relay(stream: Stream, here: Rc<Here>) {
    let config = here.config();
    let peer = stream.peer();
    // What the client sends meanwhile waits in its socket.
    let upstream = here.upstream();
    let service = tokio::select! {
        service = upstream.connect(config.connect_timeout) => service,
        () = here.is_over() => Err(SHUTTING_DOWN.into()),
        () = stream.is_left() => return here.reports().log(&format!(
            "{}: left before the service at {} was there", peer.name(), upstream.address()
        )),
    };
    let client = stream.into_halves(here.busy_poll());
    match service {
        Ok(service) => {
            let service = service.into_halves(here.busy_poll());
            between(peer, client, service, here).await;
        }
        Err(reason) => refuse(client, &peer, &reason, &here).await,
    }
}

/// Stands between the two ends of a client and of the service.
async fn between(peer: Peer, client: Halves, service: Halves, here: Rc<Here>) {
    let (reader, writer) = service;
    let options = here.upstream_options(&here.config());
    let (service, service_driver) = Connection::connect_with(reader, writer, options);
    // Each end has a task of its own: what comes for one is not a reason to look at both.
    let mut service_driver = AbortOnDropHandle::new(spawn_local(service_driver));
    let served = serve(client, &peer, service.bootstrap(), service.ending(), &here);
    let Served {
        mut driver,
        connection,
        session,
        gate,
    } = served;
    let lost = tokio::select! {
        _ = &mut driver => None,
        ended = &mut service_driver => {
            if let Err(error) = ended {
                here.reports().log(&format!("{}: the connection to the service: {error}", peer.name()));
            }
            let text = service.ending().reason().map_or("no reason", Error::reason);
            Some((Outcome::Disconnected, of_service(&here, text)))
        }
        outcome = told_to_end(&here, &session, &gate) => Some((outcome, SHUTTING_DOWN.into())),
    };
    if let Some((outcome, reason)) = lost {
        session.abort(outcome, &reason);
        farewell(driver, &connection).await;
    }
    // A service that is asked for nothing more learns that by the end of its connection.
    drop(service_driver);
    gate.let_go();
    here.ended(&peer, session.ended().await, &gate);
}

/// What has happened to the service, which clients are told by its address.
fn of_service(here: &Here, text: &str) -> String {
    let address = here.upstream().address().to_string();
    match text.contains(&address) {
        true => text.to_owned(),
        false => format!("the service at {address}: {text}"),
    }
}

const SHUTTING_DOWN: &str = "the proxy is shutting down";

/// A client's end of the proxy.
struct Served {
    connection: Connection,
    driver: ConnectionDriver,
    session: SessionAlone,
    gate: Rc<Gate>,
}

fn serve(client: Halves, peer: &Peer, inside: Client, service: &Ending, here: &Rc<Here>) -> Served {
    let config = here.config();
    let (reader, writer) = client;
    let options = here.client_options(&config, peer.name());
    let gate = Gate::new(config.clone(), here.clone());
    let begun = RefCell::new(None);
    let (connection, driver) = Connection::serve_with(reader, writer, options, |ending| {
        gate.endings
            .replace(Some([ending.clone(), service.clone()]));
        let (outside, session) = here
            .session(&config)
            .policy(gate.clone())
            .ending(ending)
            .begin("session", inside);
        begun.replace(Some(session));
        outside
    });
    let Some(session) = begun.take() else {
        unreachable!("`serve_with` makes the bootstrap capability before it returns")
    };
    let update = SpanUpdate::new().attribute("rpc.system.name", "capnproto");
    let update = peer.describe(update);
    let upstream = here.upstream().address().to_string();
    session.update(&update.attribute("capspan.upstream", upstream));
    gate.session.replace(Some(session.clone()));
    Served {
        connection,
        driver,
        session,
        gate,
    }
}

/// Answers a client whose service can't be reached with the reason, whatever it calls.
async fn refuse(client: Halves, peer: &Peer, reason: &str, here: &Rc<Here>) {
    let error = capnp::Error::disconnected(reason.into());
    let broken = Client::new(capnp_rpc::new_broken_cap(error).hook);
    let served = serve(client, peer, broken, &Ending::default(), here);
    served.session.abort(Outcome::Disconnected, reason);
    let _closed_or_late = timeout(FAREWELL, served.driver).await;
    served.gate.let_go();
    here.ended(peer, served.session.ended().await, &served.gate);
}

/// Lets a client read what waits for it, and cuts it.
async fn farewell(mut driver: ConnectionDriver, connection: &Connection) {
    let told = async {
        // What its calls are answered with is made in the turns that follow.
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        while connection.guard().queued_bytes() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = &mut driver => {}
        _ = timeout(FAREWELL, told) => {}
    }
}

/// Waits until a session is to end because the proxy does: when nothing happens in it any more, or after its time.
async fn told_to_end(here: &Here, session: &SessionAlone, gate: &Gate) -> Outcome {
    here.is_ending().await;
    tokio::select! {
        () = quiet(session, gate) => Outcome::Ok,
        () = over(here, session, gate) => Outcome::Revoked,
    }
}

/// Waits until nothing happens in a session.
async fn quiet(session: &SessionAlone, gate: &Gate) {
    let mut seen = gate.begun.get();
    let mut still = Duration::ZERO;
    let step = QUIET / 10;
    while still < QUIET {
        sleep(step).await;
        let begun = gate.begun.get();
        let is_still = begun == seen && session.calls() == 0 && !gate.has_events();
        still = if is_still {
            still + step
        } else {
            Duration::ZERO
        };
        seen = begun;
    }
}

/// Waits until the proxy is over; and then for the answers to what has been called, while nothing more is: so that no call
/// gets to the service whose answer gets to nobody.
async fn over(here: &Here, session: &SessionAlone, gate: &Gate) {
    here.is_over().await;
    gate.is_closed.set(true);
    let answered = async {
        while session.calls() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _answered_or_late = timeout(LAST_ANSWERS, answered).await;
}

/// Decides what of a connection's calls reaches the service.
pub(super) struct Gate {
    me: Weak<Self>,
    config: Rc<Config>,
    here: Rc<Here>,
    /// The client's, and the service's.
    endings: RefCell<Option<[Ending; 2]>>,
    session: RefCell<Option<SessionAlone>>,
    /// How many calls have begun, in either direction, and how many were refused.
    pub(super) begun: Cell<u64>,
    pub(super) refused: Cell<u64>,
    /// Where the service takes events.
    events: RefCell<Vec<Events>>,
    /// No call reaches the service any more.
    is_closed: Cell<bool>,
}

impl Gate {
    fn new(config: Rc<Config>, here: Rc<Here>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            config,
            here,
            endings: RefCell::default(),
            session: RefCell::default(),
            begun: Cell::new(0),
            refused: Cell::new(0),
            events: RefCell::default(),
            is_closed: Cell::new(false),
        })
    }

    /// The connection is over: it holds nothing of it any more.
    fn let_go(&self) {
        let events = self.events.take();
        drop(events);
        let session = self.session.take();
        drop(session);
        self.endings.take();
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Fails where a call is not to pass.
    pub(super) fn check(&self, interface_id: u64, method_id: u16) -> Result<(), Error> {
        let Some(reason) = self.config.rules.refuses(interface_id, method_id) else {
            return Ok(());
        };
        self.refused.set(self.refused.get() + 1);
        let name = self.config.names.method(interface_id, method_id);
        let session = self.session.borrow().clone();
        if let Some(session) = session {
            let event = SpanEvent::new("call refused").attribute("rpc.method", &*name);
            session.update(&SpanUpdate::new().event(event));
        }
        Err(Error::failed(format!(
            "capspan proxy does not let {name} pass: {reason}"
        )))
    }

    fn judge(&self, call: &membrane::Call<'_>) -> Option<Verdict> {
        let checked = self.check(call.interface_id(), call.method_id());
        checked.err().map(Verdict::Refuse)
    }

    /// Are events under way?
    fn has_events(&self) -> bool {
        let events = self.events.borrow();
        events.iter().any(|events| !events.live.is_empty())
    }

    /// What takes events in the place of what is called.
    fn events(&self, call: &membrane::Call<'_>) -> Verdict {
        let (Some(gate), Some(endings)) = (self.me.upgrade(), self.endings.borrow().clone()) else {
            return Verdict::Refuse(Error::disconnected("the connection is over"));
        };
        let target = call.target();
        let place = (target.hook.get_brand(), target.hook.get_ptr());
        let mut all = self.events.borrow_mut();
        if let Some(known) = all.iter().find(|events| events.of == place) {
            return Verdict::Redirect(Client::new(known.client.client.hook.add_ref()));
        }
        if all.len() >= MAX_PIPELINES {
            return Verdict::Refuse(Error::overloaded(format!(
                "events are taken on {MAX_PIPELINES} pipelines of one connection; the limit is {MAX_PIPELINES}"
            )));
        }
        let service = pipeline::Client { client: target };
        let events = events::relay(service, place, endings.each_ref(), &self.here, &gate);
        let client = Client::new(events.client.client.hook.add_ref());
        all.push(events);
        Verdict::Redirect(client)
    }
}

impl Policy for Gate {
    fn inbound_call(&self, call: &membrane::Call<'_>) -> Verdict {
        if self.is_closed.get() {
            return Verdict::Refuse(Error::disconnected(SHUTTING_DOWN));
        }
        if let Some(refused) = self.judge(call) {
            return refused;
        }
        match call.interface_id() {
            pipeline::Client::TYPE_ID => self.events(call),
            _ => Verdict::Forward,
        }
    }

    fn outbound_call(&self, call: &membrane::Call<'_>) -> Verdict {
        self.judge(call).unwrap_or(Verdict::Forward)
    }

    fn call_begins(&self, _: &membrane::Call<'_>) -> Option<Rc<dyn CallWatch>> {
        self.begun.set(self.begun.get() + 1);
        None
    }
}
