//! What passes through the proxy, and what is told of it.

use capnp::traits::HasTypeId as _;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

use super::setting::{Caller, Over, Proxy, Service, assert_closed, named, over_both, run};

fn method(ordinal: u16) -> String {
    format!("{:#x}/{ordinal}", thing::Client::TYPE_ID)
}

#[test]
fn calls_pass_and_are_told_of_below_their_sessions() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let mut proxy = Proxy::start(over, &folder, &service.address, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let response = caller.client.number_request().send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_number(), 1);
        // Pipelined.
        let made = caller.client.make_request().send().pipeline.get_thing();
        let response = made.number_request().send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_number(), 2);
        // A callback of the client's.
        let mut request = caller.client.call_request();
        request.get().set_thing(World::new().thing());
        let response = request.send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_number(), 1);
        // A capability that passes out and back is the service's own again.
        let mut request = caller.client.swap_request();
        request.get().set_thing(made.clone());
        let response = request.send().promise.await.unwrap();
        let swapped = response.get().unwrap().get_thing().unwrap();
        let response = swapped.number_request().send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_number(), 2);
        // A payload of 1 MiB.
        let data: Vec<u8> = (0..1 << 20).map(|index| (index % 251) as u8).collect();
        let mut request = caller.client.echo_request();
        request.get().set_data(&data);
        let response = request.send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_data().unwrap(), data);
        drop((made, swapped, response, caller));
        proxy.says(": ok").await;

        let records = proxy.finish().await;
        assert_closed(&records);
        let session = named(&records, "session");
        assert_eq!(session["outcome"], "ok");
        assert_eq!(session["attributes"]["rpc.system.name"], "capnproto");
        assert_eq!(session["attributes"]["capspan.upstream"], service.address);
        let echo = named(&records, &method(1));
        assert_eq!(echo["parentSpanId"], session["spanId"]);
        assert_eq!(echo["kind"], "SERVER");
        assert!(records.iter().any(|record| record["kind"] == "CLIENT"));
    });
}

#[test]
fn a_call_that_is_given_up_is_canceled_at_the_service() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let mut proxy = Proxy::start(over, &folder, &service.address, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let mut request = caller.client.never_request();
        let (gone, is_gone) = tokio::sync::oneshot::channel::<()>();
        request.get().set_thing(told_when_dropped(gone));
        let call = tokio::task::spawn_local(request.send().promise);
        // It has arrived when this one is answered, which was made after it.
        caller.client.number_request().send().promise.await.unwrap();
        call.abort();
        // The service lets go of what it was given.
        assert!(is_gone.await.is_err());
        drop(caller);
        proxy.says(": ok").await;
        let records = proxy.finish().await;
        assert_closed(&records);
        assert_eq!(named(&records, &method(9))["outcome"], "canceled");
    });
}

/// An object whose end drops `gone`.
fn told_when_dropped(gone: tokio::sync::oneshot::Sender<()>) -> thing::Client {
    struct Guest {
        _gone: tokio::sync::oneshot::Sender<()>,
    }
    impl thing::Server for Guest {}
    capnp_rpc::new_client(Guest { _gone: gone })
}

#[test]
fn an_error_of_the_services_is_the_clients() {
    over_both(async |over| {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, over, &folder).await;
        let proxy = Proxy::start(over, &folder, &service.address, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        for kind in 0..4 {
            let direct: Caller = Caller::connect(&service.address).await;
            let mut errors = Vec::new();
            for client in [&caller.client, &direct.client] {
                let mut request = client.fail_request();
                request.get().set_kind(kind);
                request.get().set_text("on purpose");
                errors.push(request.send().promise.await.err().unwrap());
            }
            assert_eq!(errors[0].kind, errors[1].kind);
            assert_eq!(errors[0].extra, errors[1].extra);
        }
        drop(caller);
        let records = proxy.finish().await;
        assert_closed(&records);
        let failed: Vec<_> = records
            .iter()
            .filter(|record| record["name"] == method(12))
            .collect();
        assert_eq!(failed.len(), 4);
        for call in failed {
            assert_ne!(call["outcome"], "ok");
        }
    });
}

#[test]
fn what_all_clients_have_together_is_limited() {
    run(async {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, Over::Unix, &folder).await;
        let words = ["--all-calls", "8", "--session-calls", "6"];
        let mut proxy = Proxy::start(Over::Unix, &folder, &service.address, &words).await;
        let one: Caller = Caller::connect(&proxy.address).await;
        let other: Caller = Caller::connect(&proxy.address).await;
        other.client.number_request().send().promise.await.unwrap();
        let never = |caller: &Caller| {
            let call = caller.client.never_request().send().promise;
            tokio::task::spawn_local(async { drop(call.await) })
        };
        let _calls: Vec<_> = (0..6).map(|_| never(&one)).collect();
        let _more: Vec<_> = (0..3).map(|_| never(&other)).collect();
        // Behind the others, which are not refused by what their sessions may have.
        let refused = other.client.number_request().send().promise.await;
        let refused = refused.err().unwrap();
        assert_eq!(refused.kind, capnp::ErrorKind::Overloaded);
        assert!(
            refused.extra.contains("several connections share"),
            "{refused}"
        );
        drop(one);
        proxy.says("disconnected").await;
        other.client.number_request().send().promise.await.unwrap();
        drop(other);
        assert_closed(&proxy.finish().await);
    });
}
