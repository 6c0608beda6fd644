//! A service with a page.

use std::cell::RefCell;

use capnp::capability::FromClientHook;
use capspan::Tasks;
use capspan::guard::{Connection, GuardOptions};
use capspan::page::{Board, Page};
use capspan::session::{CallSpans, SessionAlone, SessionBuilder};
use capspan::trace::{ManualClock, Timestamp, Tracer};
use capspan_testkit::link::{Cutter, link};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tokio::task::spawn_local;

/// The methods of `Thing` that have names here, in the order of their ordinals.
const METHODS: [&str; 8] = [
    "number", "echo", "echoWith", "swap", "make", "store", "take", "reflect",
];

pub(crate) struct Stage {
    pub(crate) page: Page,
    pub(crate) board: Board,
    pub(crate) tasks: Tasks,
    pub(crate) tracer: Tracer,
    pub(crate) clock: ManualClock,
    pub(crate) world: World,
}

/// What a page has answered.
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let page = Page::new(tokio::time::sleep);
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let clock = ManualClock::new(Timestamp::from_unix_nanos(1_000_000));
        let board = page.board("loop", &tasks);
        let board = board.with_names(&Self::names()).with_clock(clock.clone());
        let tracer = Tracer::new(board.observer())
            .with_clock(clock.clone())
            .with_service("things");
        Self {
            page,
            board,
            tasks,
            tracer,
            clock,
            world: World::new(),
        }
    }

    pub(crate) fn names() -> CallSpans {
        CallSpans::new().interface::<thing::Client>("Thing", METHODS)
    }

    pub(crate) fn builder(&self) -> SessionBuilder {
        SessionBuilder::new(&self.tasks)
            .parent(self.tracer.root())
            .call_spans(Self::names())
            .live(&self.board.live())
    }

    /// A session in this process.
    pub(crate) fn begin(&self, name: &str) -> (thing::Client, SessionAlone) {
        self.builder().begin(name, self.world.thing())
    }

    /// A session over a connection, whose guard tells the board.
    pub(crate) fn serve(&self, name: &str, options: GuardOptions) -> (thing::Client, Cutter) {
        self.serve_as("billing", name, options)
    }

    /// The same of a peer that is called so.
    pub(crate) fn serve_as(
        &self,
        peer: &str,
        name: &str,
        options: GuardOptions,
    ) -> (thing::Client, Cutter) {
        let ends = link(Duration::ZERO);
        let session = RefCell::new(None);
        let options = options.peer(peer).observer(self.board.guard_observer());
        let (reader, writer) = ends.server;
        let (_, driver) = Connection::serve_with(reader, writer, options, |ending| {
            let (client, alone) = self
                .builder()
                .ending(ending)
                .begin(name, self.world.thing());
            session.replace(Some(alone));
            FromClientHook::new(FromClientHook::into_client_hook(client))
        });
        spawn_local(driver.map(drop));
        let (reader, writer) = ends.client;
        let (connection, driver) = Connection::connect(reader, writer);
        spawn_local(driver.map(drop));
        (connection.bootstrap(), ends.cutter)
    }

    pub(crate) async fn html(&self, path: &str) -> String {
        let seen = get(&self.page, path, &[]).await;
        assert_eq!(seen.status, StatusCode::OK, "{path}: {}", seen.text);
        seen.text
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let seen = get(&self.page, path, &[("accept", "application/json")]).await;
        assert_eq!(seen.headers["content-type"], "application/json");
        serde_json::from_str(&seen.text).expect("it is JSON")
    }

    /// The page of the only session of this name.
    pub(crate) async fn session(&self, name: &str) -> Value {
        let all = self.json(&format!("/tracez?q={name}")).await;
        let rows = [&all["open"], &all["recent"]].map(|rows| rows.as_array().unwrap());
        let row = rows.into_iter().flatten().find(|row| row["name"] == name);
        let id = row.expect("there is one")["spanId"].as_str().unwrap();
        self.json(&format!("/tracez/session/{id}")).await
    }
}

/// Asks by the name of this machine.
pub(crate) async fn get(page: &Page, path: &str, headers: &[(&str, &str)]) -> Seen {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:4000");
    }
    let response = page.respond(&request.body(()).unwrap()).await;
    let (head, body) = response.into_parts();
    Seen {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(body.to_vec()).expect("it is text"),
    }
}
