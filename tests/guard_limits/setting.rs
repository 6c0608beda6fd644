//! A guarded service, and a raw peer of its.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capspan::Error;
use capspan::guard::{Breach, Connection, Guard, GuardObserver, GuardOptions, Refusal, Usage};
use capspan_testkit::link::{End, direct};
use capspan_testkit::membrane::raw::object;
use capspan_testkit::run::{PausedTime, until_idle};
use capspan_testkit::wire_peer::{Content, Message, Peer, Service, Target, call};
use tokio::task::{JoinHandle, spawn_local};

/// What the guards of these tests call the peer.
pub(crate) const NAME: &str = "mallory";

/// A connection with a guard on one side, which has paused time.
pub(crate) struct Scene {
    pub(crate) peer: Peer,
    pub(crate) guard: Guard,
    pub(crate) driver: JoinHandle<Result<(), Error>>,
    pub(crate) service: Service,
    pub(crate) told: Told,
}

/// Each refusal that an observer was told of.
#[derive(Clone, Default)]
pub(crate) struct Told(pub(crate) Rc<RefCell<Vec<Once>>>);

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Once {
    pub(crate) peer: String,
    pub(crate) breach: Breach,
    pub(crate) text: String,
    pub(crate) ends: bool,
}

impl GuardObserver for Told {
    fn refused(&self, refusal: &Refusal<'_>) {
        self.0.borrow_mut().push(Once {
            peer: refusal.peer.to_owned(),
            breach: refusal.breach,
            text: refusal.text.to_owned(),
            ends: refusal.ends,
        });
    }
}

impl Scene {
    /// An object of a [`Service`] is served.
    pub(crate) fn new(options: impl Into<GuardOptions>) -> Self {
        let service = Service::new();
        let object = service.object();
        Self::serving(direct(), options.into(), service, object)
    }

    /// An object is served over `ends` that returns a text: of so many bytes by method 0, else a short one.
    pub(crate) fn talkative(
        ends: (End, End),
        options: impl Into<GuardOptions>,
        bytes: usize,
    ) -> Self {
        let text = "x".repeat(bytes);
        let object = object(move |method, _, mut results| {
            let text = if method == 0 { text.as_str() } else { "short" };
            let returned = results.get().and_then(|mut it| it.set_as(text));
            Promise::from_future(std::future::ready(returned))
        });
        Self::serving(ends, options.into(), Service::new(), object)
    }

    fn serving(
        (client, server): (End, End),
        options: GuardOptions,
        service: Service,
        object: Client,
    ) -> Self {
        let told = Told::default();
        let options = options.peer(NAME).observer(told.clone()).timer(PausedTime);
        let (connection, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
        Self {
            peer: Peer::new(client),
            guard: connection.guard().clone(),
            driver: spawn_local(driver),
            service,
            told,
        }
    }

    /// The peer calls its capability 0, the bootstrap object.
    pub(crate) async fn call(&mut self, question: u32, method: u16) {
        self.peer.say(call(question, Target::Cap(0), method)).await;
    }

    /// Nothing was refused.
    pub(crate) async fn assert_unharmed(&self) {
        until_idle().await;
        assert_eq!(self.told.0.take(), []);
        assert_eq!(self.guard.refused(), 0);
        assert!(self.guard.ending().reason().is_none());
        assert!(!self.driver.is_finished());
    }

    /// The connection was ended for this, at once and wholly, whether or not the peer reads. Gives what the
    /// observer was told.
    pub(crate) async fn assert_cut(&self, breach: Breach) -> String {
        until_idle().await;
        let guard = &self.guard;
        let told = self.told.0.take();
        assert!(self.driver.is_finished(), "{told:?}");
        let times = told.len() as u64;
        assert_eq!((guard.count(breach), guard.refused()), (times, times));
        assert_eq!(guard.usage(), Usage::default());
        assert_eq!(guard.queued_bytes(), 0);
        assert_eq!(self.service.live(), 0);
        let (once, before) = told.split_last().expect("it is told");
        assert!(before.iter().all(|once| !once.ends), "{told:?}");
        assert_eq!((&*once.peer, once.breach, once.ends), (NAME, breach, true));
        let reason = guard.ending().reason().expect("an end").to_string();
        for part in [NAME, &once.text, breach.name()] {
            assert!(reason.contains(part), "{reason} has no {part}");
        }
        once.text.clone()
    }
}

/// A call of the bootstrap object that brings a text of so many bytes.
pub(crate) fn long_call(question: u32, method: u16, bytes: usize) -> Message {
    let text = Content::Text("y".repeat(bytes));
    call(question, Target::Cap(0), method)
        .content(Content::Struct(vec![Content::Null, text]))
        .into()
}

/// The first bytes of a message that claims to have so many.
pub(crate) fn half_message(bytes: usize) -> Message {
    let words = u32::try_from(bytes / 8).expect("a size that a head can say");
    let head = [0, words].map(u32::to_le_bytes).concat();
    Message::Raw(head)
}
