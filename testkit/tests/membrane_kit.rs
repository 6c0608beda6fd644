//! The testkit's own promises.

use std::time::Duration;

use capspan_testkit::membrane::events::soon;
use capspan_testkit::membrane::link::connect_over;
use capspan_testkit::membrane::{Link, World, bundle, connect, idle, run};
use tokio::time::Instant;

#[test]
fn a_bundle_has_a_capability_in_every_place_and_gives_them_back() {
    run(async {
        let world = World::new();
        let mut request = world.probe("a").bundle_request();
        bundle::fill(request.get().init_bundle(), |place| world.probe(place)).unwrap();
        let response = soon(request.send().promise).await.unwrap();
        let caps = bundle::caps(response.get().unwrap().get_bundle().unwrap()).unwrap();
        assert_eq!(caps.len(), bundle::PLACES);
        for (place, cap) in caps {
            let response = soon(cap.label_request().send().promise).await.unwrap();
            assert_eq!(response.get().unwrap().get_label().unwrap(), &place[..]);
        }
        drop(response);
        assert_eq!(world.live(), 0);
    });
}

#[test]
fn latency_is_counted_in_one_way_trips() {
    run(async {
        let world = World::new();
        let there = connect_over(
            Link::with_latency(Duration::from_millis(10)),
            world.probe("a"),
        );
        let start = Instant::now();
        there
            .bootstrap
            .label_request()
            .send()
            .promise
            .await
            .unwrap();
        assert_eq!(there.link.trips_since(start), 2);
    });
}

#[test]
fn a_cut_link_fails_calls_and_leaves_nothing() {
    run(async {
        let world = World::new();
        let there = connect(world.probe("a"));
        let hangs = tokio::task::spawn_local(there.bootstrap.hang_request().send().promise);
        idle().await;
        assert_eq!(world.calls(), 1);
        there.link.cut();
        assert!(soon(hangs).await.unwrap().is_err());
        idle().await;
        assert_eq!((world.calls(), world.live()), (0, 0));
    });
}

#[test]
fn a_stalled_link_goes_on_where_it_stopped() {
    run(async {
        let there = connect(World::new().probe("a"));
        there.link.stall_to_server(true);
        let label = tokio::task::spawn_local(there.bootstrap.label_request().send().promise);
        idle().await;
        assert!(!label.is_finished());
        there.link.stall_to_server(false);
        assert!(soon(label).await.unwrap().is_ok());
    });
}

#[test]
fn a_connection_closed_in_good_order_leaves_nothing() {
    run(async {
        let world = World::new();
        let there = connect(world.probe("a"));
        there
            .bootstrap
            .label_request()
            .send()
            .promise
            .await
            .unwrap();
        soon(there.disconnector).await.unwrap();
        idle().await;
        assert!(there.client.is_finished() && there.server.is_finished());
        drop(there.bootstrap);
        assert_eq!(world.live(), 0);
    });
}
