//! What becomes of sessions when a part of the whole fails, and when the proxy is told to end.

use std::cell::Cell;
use std::rc::Rc;

use capspan_testkit::world::World;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;

use super::setting::{Caller, Over, Proxy, Service, assert_closed, named, over_both, run};

#[test]
fn a_service_that_is_down_is_named_in_the_clients_error() {
    over_both(async |over| {
        let folder = tempfile::tempdir().unwrap();
        let upstream = match over {
            Over::Unix => format!("unix:{}", folder.path().join("nobody").display()),
            Over::Tcp => "tcp:127.0.0.1:1".into(),
        };
        let words = ["--connect-timeout", "100ms"];
        let mut proxy = Proxy::start(over, &folder, &upstream, &words).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let error = caller.client.number_request().send().promise.await;
        let error = error.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected);
        assert!(error.extra.contains(&upstream), "{error}");
        drop(caller);
        proxy.says("disconnected").await;
        let records = proxy.finish().await;
        assert_closed(&records);
        assert_eq!(named(&records, "session")["outcome"], "disconnected");
    });
}

#[test]
fn a_client_that_leaves_while_the_service_is_down_is_not_waited_for() {
    over_both(async |over| {
        let folder = tempfile::tempdir().unwrap();
        let upstream = format!("unix:{}", folder.path().join("nobody").display());
        let mut proxy = Proxy::start(over, &folder, &upstream, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        drop(caller);
        proxy.says("left before the service").await;
        proxy.finish().await;
    });
}

#[test]
fn a_second_signal_ends_the_waiting_for_a_service_that_is_down() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let upstream = format!("unix:{}", folder.path().join("nobody").display());
        let words = ["--connect-timeout", "1h"];
        let mut proxy = Proxy::start(Over::Unix, &folder, &upstream, &words).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let call = tokio::task::spawn_local(caller.client.number_request().send().promise);
        // It was taken when the next one was.
        let next: Caller = Caller::connect(&proxy.address).await;
        drop(next);
        proxy.says("left before the service").await;
        proxy.signal("TERM").await;
        proxy.says("ending, with 1 connections open").await;
        proxy.signal("TERM").await;
        let error = call.await.unwrap().err().unwrap();
        assert!(error.extra.contains("shutting down"), "{error}");
        let records = proxy.ended().await;
        assert_eq!(named(&records, "session")["outcome"], "disconnected");
    });
}

#[test]
fn a_service_that_comes_later_is_waited_for() {
    run(async {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let upstream = format!("unix:{}", folder.path().join("service").display());
        let mut proxy = Proxy::start(Over::Tcp, &folder, &upstream, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let call = tokio::task::spawn_local(caller.client.number_request().send().promise);
        let _service = Service::of(&world, Over::Unix, &folder).await;
        // Who has tried whether it is there may have been given the first object.
        let response = call.await.unwrap().unwrap();
        assert!(response.get().unwrap().get_number() >= 1);
        drop((response, caller));
        proxy.says(": ok").await;
        proxy.finish().await;
    });
}

#[test]
fn a_service_that_is_killed_ends_its_sessions_and_leaves_nothing_open() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let mut proxy = Proxy::start(over, &folder, &service.address, &[]).await;
        let mut caller: Caller = Caller::connect(&proxy.address).await;
        let made = caller.client.make_request().send().promise.await.unwrap();
        let made = made.get().unwrap().get_thing().unwrap();
        let waits = tokio::task::spawn_local(caller.client.never_request().send().promise);
        made.number_request().send().promise.await.unwrap();
        service.kill();
        let error = waits.await.unwrap().err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        caller.closed().await;
        proxy.says("disconnected").await;
        let records = proxy.finish().await;
        assert_closed(&records);
        let session = named(&records, "session");
        assert_eq!(session["outcome"], "disconnected");
        let message = session["status"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&service.address), "{session:#}");
    });
}

/// Cuts what a service says after so many bytes: it dies there, as its clients see it.
struct Dying {
    address: String,
    dies_after: Rc<Cell<usize>>,
    /// How many bytes it has said over its last connection.
    said: Rc<Cell<usize>>,
}

impl Dying {
    fn start(service: &Service, folder: &TempDir) -> Self {
        let path = folder.path().join("dying");
        let dying = Self {
            address: format!("unix:{}", path.display()),
            dies_after: Rc::new(Cell::new(usize::MAX)),
            said: Rc::default(),
        };
        let listener = UnixListener::bind(path).unwrap();
        let service = service.address.strip_prefix("unix:").unwrap().to_owned();
        let (after, said) = (dying.dies_after.clone(), dying.said.clone());
        spawn_local(async move {
            while let Ok((mut to_proxy, _)) = listener.accept().await {
                let mut to_service = UnixStream::connect(&service).await.unwrap();
                said.set(0);
                let (mut asks, mut answers) = ([0; 4096], [0; 4096]);
                while said.get() < after.get() {
                    let most = answers.len().min(after.get() - said.get());
                    tokio::select! {
                        read = to_proxy.read(&mut asks) => match read {
                            Ok(length @ 1..) => to_service.write_all(&asks[..length]).await.unwrap(),
                            _ => break,
                        },
                        read = to_service.read(&mut answers[..most]) => {
                            let length = read.unwrap();
                            to_proxy.write_all(&answers[..length]).await.unwrap();
                            said.set(said.get() + length);
                        }
                    }
                }
            }
        });
        dying
    }
}

#[test]
fn a_service_that_dies_after_any_byte_of_what_it_says() {
    run(async {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, Over::Unix, &folder).await;
        let dying = Dying::start(&service, &folder);
        let proxy = Proxy::start(Over::Unix, &folder, &dying.address, &[]).await;
        let answered = async || {
            let caller: Caller = Caller::connect(&proxy.address).await;
            caller.client.number_request().send().promise.await
        };
        answered().await.unwrap();
        let all = dying.said.get();
        for at in 0..all {
            dying.dies_after.set(at);
            let error = answered().await.err().unwrap();
            assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{at}: {error}");
        }
        dying.dies_after.set(all);
        answered().await.unwrap();
        let records = proxy.finish().await;
        assert_closed(&records);
        let sessions = records.iter().filter(|record| record["name"] == "session");
        let lost: Vec<_> = sessions
            .filter(|session| session["outcome"] == "disconnected")
            .collect();
        assert!(lost.len() >= all);
        for session in lost {
            let message = session["status"]["message"].as_str().unwrap_or_default();
            assert_eq!(message.matches(&dying.address).count(), 1, "{message}");
        }
    });
}

#[test]
fn a_client_that_is_killed_leaves_nothing_at_the_service() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let mut proxy = Proxy::start(over, &folder, &service.address, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let made = caller.client.make_request().send().promise.await.unwrap();
        let waits = tokio::task::spawn_local(caller.client.never_request().send().promise);
        caller.client.number_request().send().promise.await.unwrap();
        assert_eq!(world.live(), 2);
        drop((caller, made));
        proxy.says("disconnected").await;
        waits.abort();
        let records = proxy.finish().await;
        assert_closed(&records);
        assert_eq!(world.live(), 0);
    });
}

#[test]
fn a_proxy_that_is_to_end_waits_for_calls_and_loses_none() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let mut proxy = Proxy::start(over, &folder, &service.address, &[]).await;
        let mut caller: Caller = Caller::connect(&proxy.address).await;
        let waits = tokio::task::spawn_local(caller.client.gated_request().send().promise);
        caller.client.number_request().send().promise.await.unwrap();
        proxy.signal("TERM").await;
        proxy.says("ending, with 1 connections open").await;
        // Calls are taken as long as it goes on.
        caller.client.number_request().send().promise.await.unwrap();
        world.open_gate();
        waits.await.unwrap().unwrap();
        caller.client.number_request().send().promise.await.unwrap();
        // A client that has nothing more to say is not waited for.
        caller.closed().await;
        let records = proxy.ended().await;
        assert_closed(&records);
        assert_eq!(named(&records, "session")["outcome"], "ok");
    });
}

#[test]
fn a_second_signal_cuts_what_is_left() {
    run(async {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, Over::Unix, &folder).await;
        let mut proxy = Proxy::start(Over::Unix, &folder, &service.address, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let waits = tokio::task::spawn_local(caller.client.never_request().send().promise);
        caller.client.number_request().send().promise.await.unwrap();
        proxy.signal("TERM").await;
        proxy.says("ending, with 1 connections open").await;
        proxy.signal("TERM").await;
        let error = waits.await.unwrap().err().unwrap();
        assert!(error.extra.contains("shutting down"), "{error}");
        let records = proxy.ended().await;
        assert_closed(&records);
        assert_eq!(named(&records, "session")["outcome"], "revoked");
    });
}
