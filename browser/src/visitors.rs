//! Who comes to the service, and what they do there.

use std::time::Duration;

use capspan::Tasks;
use capspan::page::{Board, Page};
use capspan::session::{SessionAlone, SessionBuilder};
use capspan::trace::{Outcome, SpanEvent, SpanUpdate, Tracer};
use capspan_testkit::testkit_capnp::thing;
use tokio::task::spawn_local;

use crate::catalog::{Catalog, Dice, names};

/// What nobody wants on a page: markup, ten kilobytes, marks that turn the direction of writing, quotes, NUL.
const HOSTILE: &str = "</a></td><script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}\u{2066}gnp.\
    exe\u{0}\"'><svg onload=alert(3)> שלום ";

/// What its holder does not think of.
pub(crate) struct Forgotten {
    pub(crate) cursor: thing::Client,
    _client: thing::Client,
}

/// An event loop with a board, and what makes sessions on it.
#[derive(Clone)]
pub(crate) struct Loop {
    tasks: Tasks,
    tracer: Tracer,
    board: Board,
    dice: Dice,
}

impl Loop {
    pub(crate) fn new(page: &Page, name: &str, seed: u64) -> Self {
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let board = page.board(name, &tasks).with_names(&names());
        let tracer = Tracer::new(board.observer()).with_service("catalog");
        Self {
            tasks,
            tracer,
            board,
            dice: Dice::new(seed),
        }
    }

    fn begin(&self, name: &str, peer: &str) -> (thing::Client, SessionAlone) {
        let (client, session) = SessionBuilder::new(&self.tasks)
            .parent(self.tracer.root())
            .call_spans(names())
            .live(&self.board.live())
            .begin(name, capnp_rpc::new_client(Catalog(self.dice.clone())));
        session.update(&SpanUpdate::new().attribute("network.peer.address", peer));
        (client, session)
    }

    /// A session that stays open for a cursor that nobody calls, though its client has done all its work.
    pub(crate) async fn forget_a_cursor(&self) -> Forgotten {
        let (client, session) = self.begin("nightly report", "10.0.7.12:40118");
        session.update(
            &SpanUpdate::new()
                .attribute("report.rows", 48_210)
                .attribute("report.format", "parquet")
                .event(SpanEvent::new("first row").attribute("row", 1)),
        );
        let _answer = client.echo_request().send().promise.await;
        let rows = cursor(&client).await;
        for _ in 0..3 {
            let _answer = rows.number_request().send().promise.await;
        }
        let _failed = client.fail_request().send().promise.await;
        let archive = cursor(&client).await;
        let watch = rows.never_request().send().promise;
        let patience = Duration::from_millis(120);
        let _nothing = tokio::time::timeout(patience, watch).await;
        let _answer = client.echo_request().send().promise.await;
        Forgotten {
            cursor: archive,
            _client: client,
        }
    }

    /// A session of somebody who wants to do harm. It lasts as long as what this gives.
    pub(crate) async fn hostile(&self) -> thing::Client {
        let (client, session) = self.begin(HOSTILE, HOSTILE);
        let long = HOSTILE.repeat(10_240 / HOSTILE.len());
        session.update(
            &SpanUpdate::new()
                .attribute(HOSTILE, &*long)
                .event(SpanEvent::new(HOSTILE)),
        );
        let answer = client.make_request().send().promise.await;
        drop(answer);
        client
    }

    /// So many at a time, for ever.
    pub(crate) fn receive_visitors(&self, at_once: u64) {
        for place in 0..at_once {
            let event_loop = self.clone();
            spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(90 * place)).await;
                loop {
                    event_loop.visit(place).await;
                }
            });
        }
    }

    async fn visit(&self, place: u64) {
        let dice = &self.dice;
        let names = ["checkout", "search", "stock sync", "price feed"];
        let name = names[dice.roll(4) as usize];
        let peer = format!(
            "10.0.{place}.{}:{}",
            dice.roll(250),
            30_000 + dice.roll(30_000)
        );
        let (client, session) = self.begin(name, &peer);
        let mut cursors = Vec::new();
        for _ in 0..3 + dice.roll(6) {
            let target = cursors.last().unwrap_or(&client);
            match dice.roll(40) {
                0..16 => drop(target.echo_request().send().promise.await),
                16..28 => drop(target.number_request().send().promise.await),
                28..39 => {
                    let made = client.make_request().send().promise.await;
                    cursors.extend(made.and_then(|made| made.get()?.get_thing()));
                }
                _ => drop(client.fail_request().send().promise.await),
            }
            dice.work(25).await;
        }
        match dice.roll(50) {
            0 => session.abort(Outcome::Timeout, "the session has lasted for 30 s"),
            1 => session.abort(
                Outcome::Disconnected,
                "the connection was reset by the peer",
            ),
            2 => session.abort(Outcome::Exception, "the warehouse does not answer"),
            _ => {}
        }
    }
}

async fn cursor(client: &thing::Client) -> thing::Client {
    let made = client.make_request().send().promise.await;
    let cursor = made.and_then(|made| made.get()?.get_thing());
    cursor.unwrap_or_else(|error| capnp_rpc::new_future_client(async move { Err(error) }))
}
