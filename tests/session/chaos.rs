//! One exchange that has all of a session in it, cut at every byte in both directions: S8.

use std::cell::RefCell;

use capnp::capability::RemotePromise;
use capspan::pipeline::{Metadata, Scheduled};
use capspan::trace::Outcome;
use capspan::{Error, Result};
use capspan_testkit::chaos::{Desks, Scene, Side};
use capspan_testkit::cut::{Cut, How, Towards};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;

/// What an exchange has come to: how many of its steps have been done, and how many failed.
#[derive(Default)]
struct Steps {
    done: RefCell<Vec<&'static str>>,
    failed: RefCell<Vec<(&'static str, Error)>>,
}

impl Steps {
    fn take<T>(&self, step: &'static str, result: Result<T, impl Into<Error>>) -> Option<T> {
        match result {
            Ok(value) => {
                self.done.borrow_mut().push(step);
                Some(value)
            }
            Err(error) => {
                self.failed.borrow_mut().push((step, error.into()));
                None
            }
        }
    }
}

async fn number(thing: &thing::Client) -> Result<u32, capnp::Error> {
    let response = thing.number_request().send().promise.await?;
    Ok(response.get()?.get_number())
}

/// All of it, one step after the other, whatever has failed before.
async fn exchange(scene: &Scene, steps: &Steps) {
    let metadata = Metadata::new().with_application("[7]").unwrap();
    let metadata = metadata.with_baggage("tenant=7").unwrap();
    let event = scene.pipeline.event("open").metadata(metadata);
    let event = event.parent(scene.request.parent());
    let (top_level, handle) = event.open_session::<thing::Client>().into_parts();
    let done = handle.done();
    steps.take("first", number(&top_level).await);
    let RemotePromise { promise, pipeline } = top_level.make_request().send();
    let pipelined = pipeline.get_thing();
    steps.take("pipelined", number(&pipelined).await);
    let made = steps.take("make", promise.await);
    let made = made.and_then(|made| made.get().ok()?.get_thing().ok());
    if let Some(made) = &made {
        steps.take("made", number(made).await);
    }
    let mut call = top_level.call_request();
    call.get().set_thing(scene.outside.thing());
    steps.take("callback", call.send().promise.await);
    let mut store = top_level.store_request();
    store.get().set_thing(scene.outside.thing());
    steps.take("store", store.send().promise.await);
    let run = scene.pipeline.event("run").parent(scene.request.parent());
    steps.take("run", run.scheduled(&Scheduled::new()).await);
    drop((pipelined, pipeline, made));
    drop(top_level);
    steps.take("done", done.await);
    drop(handle);
    until_idle().await;
}

const STEPS: [&str; 8] = [
    "first",
    "pipelined",
    "make",
    "made",
    "callback",
    "store",
    "run",
    "done",
];

/// Closes a connection on which one side hears nothing more, when all waits for what never comes. The deaf
/// side does, and the other one is told of it; or the other one does, and the deaf one by itself after that.
async fn close(scene: &Scene, cut: Option<Cut>) {
    let Some(Cut { towards, after, .. }) = cut.filter(|cut| cut.how == How::Silent) else {
        return;
    };
    until_idle().await;
    let (deaf, other) = match towards {
        Towards::Server => (Side::Callee, Side::Caller),
        Towards::Client => (Side::Caller, Side::Callee),
    };
    if after % 2 == 0 {
        return scene.drop_driver(deaf);
    }
    scene.drop_driver(other);
    until_idle().await;
    assert!(!scene.knows(deaf));
    scene.drop_driver(deaf);
}

/// Runs it, and makes sure that all of it went well or was lost, and that nothing is left.
async fn lose(cut: Option<Cut>) {
    let scene = Scene::new(cut, Desks::new);
    let steps = Steps::default();
    futures::join!(exchange(&scene, &steps), close(&scene, cut));
    until_idle().await;
    let is_over = Side::BOTH.map(|side| scene.knows(side));
    assert_eq!(is_over, [cut.is_some(); 2], "who knows that it is over");
    for (step, error) in &*steps.failed.borrow() {
        assert!(error.is_disconnected(), "{step}: {error}");
    }
    // What has failed once is not well again.
    let done = steps.done.take();
    assert_eq!(done, STEPS[..done.len()]);
    scene.assert_outcomes(|_, outcome| outcome == Outcome::Ok);
    drop(steps);
    scene.finish().await;
}

/// How many bytes it takes in each direction.
fn bytes() -> [usize; 2] {
    run(async {
        let scene = Scene::new(None, Desks::new);
        exchange(&scene, &Steps::default()).await;
        let bytes = Towards::BOTH.map(|towards| scene.watch.written(towards));
        scene.finish().await;
        bytes
    })
}

fn at_every_byte(towards: Towards, how: How) {
    let bytes = bytes()[towards as usize];
    // Else there would be little to cut.
    assert!(bytes > 1_000, "{bytes}");
    for after in 0..=bytes {
        let cut = Cut {
            towards,
            after,
            how,
        };
        let lost = std::panic::AssertUnwindSafe(|| run(lose(Some(cut))));
        if std::panic::catch_unwind(lost).is_err() {
            panic!("{cut:?}, of {bytes}");
        }
    }
}

#[test]
fn all_of_a_session_is_in_the_exchange() {
    run(async {
        let scene = Scene::new(None, Desks::new);
        let steps = Steps::default();
        exchange(&scene, &steps).await;
        assert!(steps.failed.take().is_empty());
        assert_eq!(steps.done.take(), STEPS);
        let tree = "\
request INTERNAL caller open
  open CLIENT caller ok
    session SERVER callee ok
  run CLIENT caller ok
    scheduled SERVER callee ok
";
        assert_eq!(story::tree(&scene.spans), tree);
        let caller = scene.spans.named("open").unwrap();
        assert_eq!(
            *caller.set_by_callee(),
            ["app.opened".into(), "app.called".into()]
        );
        assert_eq!(caller.events()[0].name(), "app.later");
        let run = scene.spans.named("run").unwrap();
        assert_eq!(*run.set_by_callee(), ["app.ran".into()]);
        drop((caller, run));
        scene.finish().await;
    });
}

#[test]
fn s8_without_a_cut_nothing_is_lost() {
    run(lose(None));
}

#[test]
fn s8_at_every_byte_of_the_callers_the_stream_ends() {
    at_every_byte(Towards::Server, How::Ends);
}

#[test]
fn s8_at_every_byte_of_the_callees_the_stream_ends() {
    at_every_byte(Towards::Client, How::Ends);
}

#[test]
fn s8_at_every_byte_of_the_callers_the_connection_fails() {
    at_every_byte(Towards::Server, How::Fails);
}

#[test]
fn s8_at_every_byte_of_the_callees_the_connection_fails() {
    at_every_byte(Towards::Client, How::Fails);
}

#[test]
fn s8_at_every_byte_of_the_callers_nothing_more_arrives() {
    at_every_byte(Towards::Server, How::Silent);
}

#[test]
fn s8_at_every_byte_of_the_callees_nothing_more_arrives() {
    at_every_byte(Towards::Client, How::Silent);
}
