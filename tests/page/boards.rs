//! Several event loops, and one that stands still.

use std::thread;
use std::time::Duration;

use capspan::Tasks;
use capspan::page::Page;
use capspan::session::{LiveEvents, SessionBuilder};
use capspan::trace::Tracer;
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::world::World;
use http::StatusCode;
use serde_json::json;
use tokio::task::LocalSet;

use super::stage::{Stage, get};

/// A thread with an event loop, on which a session is open until this is dropped.
struct Other {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Other {
    /// It has begun when this returns.
    fn begin(page: &Page, name: &'static str) -> Self {
        let page = page.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            LocalSet::new().block_on(&runtime, async {
                let (tasks, driver) = Tasks::new();
                tokio::task::spawn_local(driver);
                let board = page.board(name, &tasks);
                let tracer = Tracer::new(board.observer());
                let session = SessionBuilder::new(&tasks)
                    .parent(tracer.root())
                    .live(&board.live())
                    .begin(name, World::new().thing());
                ready.send(()).unwrap();
                let _stopped = stopped.await;
                drop(session);
            });
        });
        is_ready.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

#[test]
fn each_event_loop_is_seen_from_any_thread() {
    let page = Page::new(|_| std::future::pending());
    let others = (Other::begin(&page, "one"), Other::begin(&page, "two"));
    let seen = futures::executor::block_on(get(&page, "/tracez.json?open=name", &[]));
    let all: serde_json::Value = serde_json::from_str(&seen.text).unwrap();
    assert_eq!(all["openCount"], 2);
    let open = all["open"].as_array().unwrap();
    let names: Vec<_> = open.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(
        all["eventLoops"],
        json!([{ "name": "one", "answers": true }, { "name": "two", "answers": true }])
    );
    drop(others);
    let seen = futures::executor::block_on(get(&page, "/tracez.json", &[]));
    assert!(seen.text.contains("\"eventLoops\":[]"), "{}", seen.text);
}

#[test]
fn a_loop_that_stands_still_is_shown_as_such_and_delays_nobody_for_long() {
    run(async {
        let stage = Stage::new();
        let (_client, _session) = stage.begin("orders");
        let (tasks, _never_polled) = Tasks::new();
        let _still = stage.page.board("a <loop>", &tasks);
        let began = tokio::time::Instant::now();
        let page = stage.html("/tracez").await;
        assert_eq!(began.elapsed(), Duration::from_millis(500));
        assert!(
            page.contains("<strong>Not answering:</strong> <bdi>a &lt;loop&gt;</bdi>"),
            "{page}"
        );
        assert!(page.contains("orders"));
        let all = stage.json("/tracez").await;
        assert_eq!(
            all["eventLoops"][1],
            json!({ "name": "a <loop>", "answers": false })
        );
        let limits = stage.json("/tracez/limits").await;
        assert_eq!(limits["eventLoops"][1]["answers"], false);

        let missing = get(&stage.page, "/tracez/session/00000000000000ab", &[]).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        assert!(missing.text.contains("Not answering"));
        let patient = stage.page.clone().patience(Duration::from_secs(3));
        let began = tokio::time::Instant::now();
        get(&patient, "/tracez", &[]).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    });
}

#[test]
fn what_is_under_way_is_seen_where_nobody_is_told_of_spans() {
    run(async {
        let stage = Stage::new();
        let unobserved = SessionBuilder::new(&stage.tasks)
            .live(&stage.board.live())
            .begin("x", stage.world.thing());
        let elsewhere = SessionBuilder::new(&stage.tasks)
            .live(&LiveEvents::new())
            .parent(stage.tracer.root())
            .begin("seen by its span", stage.world.thing());
        until_idle().await;
        let all = stage.json("/tracez?open=name").await;
        assert_eq!(all["openCount"], 2);
        let [unseen, seen] = &all["open"].as_array().unwrap()[..] else {
            panic!("{all}")
        };
        assert_eq!(
            (&unseen["spanId"], &unseen["capabilitiesAlive"]),
            (&json!(null), &json!(1))
        );
        assert_eq!(seen["name"], "seen by its span");
        stage.html("/tracez").await;
        drop((unobserved, elsewhere));
    });
}
