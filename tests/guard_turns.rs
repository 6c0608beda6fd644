//! Turns among connections of one thread that never stop sending, as those see them who use it: one that asks
//! once in a while waits for none of them, and they have their turns alike.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use capnp::capability::Client;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan::guard::{Breach, Connection, GuardLimits, GuardOptions, Guarded};
use capspan_testkit::link::{End, direct, watched};
use capspan_testkit::run::{PausedTime, run, until_idle};
use capspan_testkit::wire_peer::{Message, Service, Target, bootstrap, call, finish, method};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, spawn_local};

/// What a peer says that makes so many calls without a look at the answers.
fn calls(count: u32) -> Vec<u8> {
    let mut said = bootstrap(0).to_bytes();
    for question in 1..=count {
        let call: Message = call(question, Target::Cap(0), method::TEXT).into();
        said.extend(call.to_bytes());
        said.extend(finish(question).to_bytes());
    }
    said
}

/// Says it all at once, hears what comes, and stays.
fn say((mut reader, mut writer): End, said: Vec<u8>) {
    spawn_local(async move {
        writer.write_all(&said).await.expect("room for all");
        let mut heard = [0; 4096];
        while reader.read(&mut heard).await.is_ok_and(|it| it > 0) {}
        drop(writer);
    });
}

/// A connection whose peer makes calls without an end.
struct Flood {
    service: Service,
    driver: JoinHandle<()>,
    /// Nobody polls its driver.
    is_paused: Rc<Cell<bool>>,
}

impl Flood {
    fn new(count: u32) -> Self {
        let (client, server) = direct();
        say(client, calls(count));
        let service = Service::new();
        let object = service.object();
        let options = GuardOptions::default().timer(PausedTime);
        let (_, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
        let is_paused = Rc::new(Cell::new(false));
        let paused = is_paused.clone();
        let driver = spawn_local(async move {
            let mut driver = pin!(driver);
            poll_fn(|cx| match paused.get() {
                true => Poll::Pending,
                false => driver.as_mut().poll(cx).map(drop),
            })
            .await;
        });
        Self {
            service,
            driver,
            is_paused,
        }
    }

    fn calls(&self) -> usize {
        self.service.calls()
    }
}

fn floods(count: usize, calls: u32) -> Vec<Flood> {
    (0..count).map(|_| Flood::new(calls)).collect()
}

fn all_calls(floods: &[Flood]) -> usize {
    floods.iter().map(Flood::calls).sum()
}

/// Waits for so many turns of the event loop, as a task like all others.
async fn turns(mut count: usize) {
    let turns = spawn_local(poll_fn(move |cx| {
        if count == 0 {
            return Poll::Ready(());
        }
        count -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    turns.await.expect("no panic");
}

/// As many turns as it takes until all have begun, and have been found to be behind.
const BEGIN: usize = 100;

#[test]
fn a_call_among_many_floods_waits_for_few_of_their_messages() {
    run(async {
        let (client, _server) = watched(direct(), |_| Service::new().object());
        let honest: Client = client.bootstrap();
        let floods = Rc::new(floods(100, 4_000));
        turns(BEGIN).await;
        let of_floods = floods.clone();
        // A task as all others are, so that it has its turn as they have theirs.
        let most = spawn_local(async move {
            let mut most = 0;
            for _ in 0..100 {
                let before = all_calls(&of_floods);
                let call = honest.hook.new_call(0, method::ECHO, None).send();
                call.promise.await.expect("an answer");
                most = most.max(all_calls(&of_floods) - before);
            }
            most
        });
        let most = most.await.expect("no panic");
        println!("{most} calls of floods");
        assert!(most <= 2, "{most} calls of floods in the time of one");
        let before = all_calls(&floods);
        assert!(before < 100 * 4_000, "they are still busy");
        turns(1_000).await;
        assert!(all_calls(&floods) >= before + 20, "they go on");
    });
}

#[test]
fn many_floods_have_their_turns_alike() {
    run(async {
        let floods = floods(20, 500);
        turns(BEGIN).await;
        while floods[0].calls() < 500 {
            turns(100).await;
            let counts: Vec<_> = floods.iter().map(Flood::calls).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(most <= least.map(|it| it + 2).as_ref(), "{counts:?}");
        }
        until_idle().await;
        assert_eq!(all_calls(&floods), 20 * 500);
    });
}

#[test]
fn a_flood_alone_is_not_slowed() {
    run(async {
        let flood = Flood::new(1_000);
        let mut waited = 0;
        while flood.calls() < 1_000 {
            turns(1).await;
            waited += 1;
        }
        assert!(waited < 2_000 + BEGIN, "{waited} turns for 2,000 messages");
    });
}

#[test]
fn a_flood_that_is_dropped_or_not_polled_stops_no_other() {
    for is_dropped in [false, true] {
        for after in 0..10 {
            run(async {
                let floods = floods(4, 200);
                turns(BEGIN + after).await;
                for flood in &floods[1..3] {
                    match is_dropped {
                        true => flood.driver.abort(),
                        false => flood.is_paused.set(true),
                    }
                    turns(after % 3).await;
                }
                until_idle().await;
                for at in [0, 3] {
                    assert_eq!(floods[at].calls(), 200, "{at} after {after}");
                }
            });
        }
    }
}

#[test]
fn one_that_waits_for_its_turn_ends_at_once() {
    run(async {
        let floods = floods(50, 500);
        let (client, server) = direct();
        say(client, calls(500));
        let options = ReaderOptions::default();
        let network = twoparty::VatNetwork::new(server.0, server.1, Side::Server, options);
        let guarded = Guarded::new(network, GuardLimits::default());
        let (guard, service) = (guarded.guard(), Service::new());
        let system = RpcSystem::new(Box::new(guarded), Some(service.object()));
        let disconnector = system.get_disconnector();
        let driver = spawn_local(system);
        turns(BEGIN).await;
        let before = all_calls(&floods);
        let ended = spawn_local(disconnector).await;
        ended.expect("no panic").expect("the end");
        assert!(guard.ending().reason().is_some());
        assert!(service.calls() < 100);
        assert!(all_calls(&floods) <= before + 200, "it was not waited for");
        driver.abort();
        until_idle().await;
        assert_eq!(service.live(), 0);
        assert_eq!(all_calls(&floods), 50 * 500);
    });
}

#[test]
fn the_time_that_a_message_may_take_is_the_peers_own() {
    run(async {
        let minute = Duration::from_secs(60);
        let _floods = floods(20, 10_000);
        let (mut client, server) = direct();
        let object = Service::new().object();
        let options = GuardOptions::default().timer(PausedTime);
        let (connection, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
        spawn_local(async move { driver.await.map_err(drop) });
        let half = finish(20).to_bytes();
        let said = [&calls(19)[..], &half[..8]].concat();
        client.1.write_all(&said).await.expect("room");
        turns(2_000).await;
        let guard = connection.guard();
        for piece in [&half[8..12], &half[12..16]] {
            client.1.write_all(piece).await.expect("room");
            turns(3).await;
            tokio::time::advance(minute).await;
            turns(200).await;
            let reason = guard.ending().reason();
            assert!(reason.is_none(), "it was not read: {reason:?}");
        }
        tokio::time::advance(minute).await;
        turns(200).await;
        assert_eq!(guard.count(Breach::HalfMessage), 1);
    });
}
