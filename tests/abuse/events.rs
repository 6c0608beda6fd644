//! A hostile caller against our callee: floods of events, and what bounds them.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::FromClientHook;
use capspan::pipeline::EventLimits;
use capspan::pipeline_capnp::{event_dispatcher, pipeline, rpc_session};
use capspan_testkit::abuse::Served;
use capspan_testkit::chaos::Desks;
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;

fn serve(place: Place, limits: EventLimits) -> Served<Desks> {
    let service = |world: &_| Desks::new(world, Rc::default());
    Served::new(place, service, |callee| callee.event_limits(limits))
}

/// Announces an event, and holds its dispatcher.
async fn announce(client: &pipeline::Client) -> capnp::Result<event_dispatcher::Client> {
    let response = client.start_event_request().send().promise.await?;
    response.get()?.get_dispatcher()
}

#[test]
fn events_that_are_announced_and_held_find_no_room_beyond_1024() {
    at([Place::Connection], async |place| {
        let served = serve(place, EventLimits::default());
        let mut held = Vec::new();
        for _ in 0..1_024 {
            held.push(announce(&served.client).await.unwrap());
        }
        let error = announce(&served.client).await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        assert!(error.extra.contains("the limit is 1024"), "{error}");
        // One that is delivered is not announced any more, and neither is one that is dropped.
        let open = held[0].open_session_request().send().promise.await;
        held.push(announce(&served.client).await.unwrap());
        assert!(announce(&served.client).await.is_err());
        held.pop();
        until_idle().await;
        held.push(announce(&served.client).await.unwrap());
        assert_eq!(served.callee.refused().announced, 2);
        assert_eq!((served.tally.open(), served.tally.closed()), (1, 1));
        served.disconnect();
        until_idle().await;
        assert_eq!(served.tally.open(), 0);
        assert_eq!(served.tally.outcome("disconnected"), 1_025);
        drop((open, held));
    });
}

#[test]
fn sessions_that_are_open_find_no_room_beyond_the_limit() {
    at([Place::Connection], async |place| {
        let served = serve(place, EventLimits::default().max_open(2));
        let open = async || {
            let dispatcher = announce(&served.client).await.unwrap();
            let opened = dispatcher.open_session_request().send().promise.await;
            (dispatcher, opened)
        };
        let (first, second) = (open().await.1.unwrap(), open().await.1.unwrap());
        let (dispatcher, third) = open().await;
        let error = third.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        assert!(error.extra.contains("the limit is 2"), "{error}");
        // An event of another kind is one as well; and the same dispatcher may try again.
        let run = dispatcher.scheduled_request().send().promise.await;
        assert_eq!(run.err().unwrap().kind, capnp::ErrorKind::Overloaded);
        drop(dispatcher);
        until_idle().await;
        assert_eq!(served.callee.refused().open, 2);
        assert_eq!(served.tally.outcome("overloaded"), 1);
        let (dispatcher, again) = open().await;
        assert!(again.is_err());
        drop(first);
        until_idle().await;
        assert_eq!(served.tally.outcome("canceled"), 1, "the first is over");
        let again = dispatcher.open_session_request().send().promise.await;
        assert_eq!(served.world.live(), 2);
        drop((second, again.unwrap()));
        until_idle().await;
        assert_eq!((served.tally.open(), served.world.live()), (0, 0));
    });
}

#[test]
fn many_sessions_that_are_opened_in_one_flight_are_no_flood() {
    at([Place::Connection], async |place| {
        let served = serve(place, EventLimits::default());
        let sent: Vec<_> = (0..5_000)
            .map(|_| {
                let started = served.client.start_event_request().send();
                let dispatcher = started.pipeline.get_dispatcher();
                (started, dispatcher.open_session_request().send().promise)
            })
            .collect();
        let opened = sent.into_iter().map(|(_, opened)| opened);
        let opened = futures::future::try_join_all(opened).await.unwrap();
        assert_eq!(served.world.live(), 5_000);
        drop(opened);
        until_idle().await;
        assert_eq!((served.tally.open(), served.tally.closed()), (0, 5_000));
        assert_eq!(served.callee.refused().announced, 0);
    });
}

/// A session, its capability first; the one that holds its dispatcher and its answer is gone.
async fn open(served: &Served<Desks>) -> (thing::Client, rpc_session::Client) {
    let dispatcher = announce(&served.client).await.unwrap();
    let opened = dispatcher.open_session_request().send().promise;
    let opened = opened.await.unwrap();
    let results = opened.get().unwrap();
    let desk = results.get_top_level().get_as_capability().unwrap();
    (desk, results.get_session().unwrap())
}

async fn store(desk: &thing::Client, what: thing::Client) {
    let mut store = desk.store_request();
    store.get().set_thing(what);
    store.send().promise.await.unwrap();
}

#[test]
fn a_session_whose_capability_is_stored_in_itself_is_over_all_the_same() {
    everywhere(async |place| {
        let (kept, limits) = (RefCell::new(None), EventLimits::default());
        let service = |world: &_| {
            let desks = Desks::new(world, Rc::default());
            kept.replace(Some(desks.kept()));
            desks
        };
        let served = Served::new(place, service, |callee| callee.event_limits(limits));
        let (desk, session) = open(&served).await;
        store(&desk, desk.clone()).await;
        drop(desk);
        until_idle().await;
        // It came back in as what it is: nothing refers through the membrane.
        assert_eq!((served.tally.open(), served.tally.outcome("ok")), (0, 1));
        // That the object keeps itself alive is its own affair.
        assert_eq!(served.world.live(), 1);
        kept.take().unwrap().forget();
        until_idle().await;
        assert_eq!(served.world.live(), 0);
        drop(session);
    });
}

#[test]
fn a_session_that_is_stored_in_itself_ends_with_its_last_capability() {
    everywhere(async |place| {
        let served = serve(place, EventLimits::default());
        let (desk, session) = open(&served).await;
        store(&desk, FromClientHook::new(session.into_client_hook())).await;
        until_idle().await;
        assert_eq!((served.tally.open(), served.world.live()), (1, 1));
        drop(desk);
        until_idle().await;
        assert_eq!((served.tally.open(), served.world.live()), (0, 0));
    });
}

#[test]
fn a_promise_that_never_resolves_ends_with_the_session() {
    everywhere(async |place| {
        let served = serve(place, EventLimits::default());
        let (desk, session) = open(&served).await;
        // Kept by the service, and called by it.
        let never: thing::Client = capnp_rpc::new_future_client(std::future::pending());
        store(&desk, never.clone()).await;
        let mut call = desk.call_request();
        call.get().set_thing(never);
        let called = call.send().promise;
        let called = tokio::task::spawn_local(called.map(|called| called.err()));
        until_idle().await;
        assert_eq!(served.tally.open(), 1);
        drop(session);
        let error = called.await.unwrap().unwrap();
        assert!(error.extra.contains("the caller dropped it"), "{error}");
        until_idle().await;
        assert_eq!(served.tally.outcome("canceled"), 1);
        drop(desk);
        until_idle().await;
        assert_eq!((served.tally.open(), served.world.live()), (0, 0));
    });
}

/// Delivers a custom event, and gives the error.
async fn custom(served: &Served<Desks>, name: capnp::text::Reader<'_>) -> capnp::Error {
    let dispatcher = announce(&served.client).await.unwrap();
    let mut request = dispatcher.custom_request();
    request.get().set_name(name);
    let nothing = capnp_rpc::new_broken_cap(capnp::Error::failed("nothing".into()));
    let mut payload = request.get().init_payload();
    payload.set_as_capability(nothing.hook);
    request.send().promise.await.err().unwrap()
}

#[test]
fn names_that_a_hostile_peer_gives_to_events_are_checked() {
    everywhere(async |place| {
        let served = serve(place, EventLimits::default());
        let long = "x".repeat(10 << 20);
        for (name, wanted) in [
            (long.as_bytes(), "10485760 bytes; the limit is 256"),
            (b"\xff\xfe".as_slice(), "not a readable text"),
            (b"", "is empty"),
            // Any other text is a name, as whoever shows it knows.
            ("\u{1b}[31m\u{202e}\0".as_bytes(), "nothing"),
        ] {
            let error = custom(&served, name.into()).await;
            assert!(error.extra.contains(wanted), "{wanted}: {error}");
        }
        until_idle().await;
        assert_eq!(served.tally.outcome("exception"), 4);
        assert_eq!((served.tally.open(), served.world.live()), (0, 0));
    });
}

#[test]
fn metadata_that_is_too_long_or_no_text_is_refused_before_anything_is_announced() {
    everywhere(async |place| {
        let served = serve(place, EventLimits::default());
        let long = "x".repeat(10 << 20);
        for (text, wanted) in [
            (long.as_bytes(), "10485760 bytes; the limit is"),
            (b"\xff\xfe".as_slice(), "not a readable text"),
        ] {
            type Set = fn(
                &mut capspan::pipeline_capnp::subrequest_metadata::Builder<'_>,
                capnp::text::Reader<'_>,
            );
            let fields: [Set; 3] = [
                |to, text| to.set_baggage(text),
                |to, text| to.set_feature_flags(text),
                |to, text| to.set_application(text),
            ];
            for set in fields {
                let mut request = served.client.start_event_request();
                set(&mut request.get().init_metadata(), text.into());
                let error = request.send().promise.await.err().unwrap();
                assert!(error.extra.contains(wanted), "{error}");
            }
        }
        until_idle().await;
        assert_eq!((served.tally.open(), served.tally.closed()), (0, 0));
    });
}

#[test]
fn an_enricher_that_is_no_enricher_or_never_answers_does_not_hold_the_callee() {
    everywhere(async |place| {
        let served = serve(place, EventLimits::default());
        for is_promise in [true, false] {
            let enricher = match is_promise {
                true => capnp_rpc::new_future_client(std::future::pending()),
                false => FromClientHook::new(World::new().thing().into_client_hook()),
            };
            let mut request = served.client.start_event_request();
            request.get().set_enricher(enricher);
            let dispatcher = request.send().pipeline.get_dispatcher();
            let opened = dispatcher.open_session_request().send();
            let desk = opened.pipeline.get_top_level().as_cap();
            let desk: thing::Client = FromClientHook::new(desk);
            // Each writes to the enricher, and far more of them than may go unanswered.
            for _ in 0..2_000 {
                desk.number_request().send().promise.await.unwrap();
            }
            drop(desk);
            drop((opened, dispatcher));
            until_idle().await;
            assert_eq!((served.tally.open(), served.world.live()), (0, 0));
        }
        assert_eq!(served.tally.closed(), 2);
    });
}
