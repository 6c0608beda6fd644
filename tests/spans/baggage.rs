//! Baggage travels with events, from service to service.

use capspan::pipeline::Metadata;
use capspan::trace::Baggage;
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;

/// Opens a session with what `metadata` says, on a service that opens one on a next; tells the baggage that
/// came to the one, and to the other.
async fn carried(first: &Pair, next: &Pair, metadata: Metadata) -> [Option<String>; 2] {
    let event = first.pipeline.event("open").metadata(metadata);
    let session = event.open_session::<thing::Client>();
    let thing = session.top_level().number_request().send().promise;
    thing.await.unwrap();
    let event = next.pipeline.event("next").baggage_of(&first.event());
    let next_session = event.open_session::<thing::Client>();
    let thing = next_session.top_level().number_request().send().promise;
    thing.await.unwrap();
    [first, next].map(|pair| {
        let event = pair.event();
        let baggage = event.metadata().baggage();
        baggage.map(str::to_owned)
    })
}

#[test]
fn it_is_handed_on_from_service_to_service() {
    everywhere(async |place| {
        let (first, next) = (Pair::new(place), Pair::new(place));
        let mut baggage = Baggage::new();
        baggage.set("user", "Amélie, 7").unwrap();
        baggage
            .set_with_properties("tenant", "7", "ttl=30")
            .unwrap();
        let metadata = Metadata::new().with_baggage_list(&baggage);
        let carried = carried(&first, &next, metadata).await;
        let wanted = "user=Am%C3%A9lie%2C%207,tenant=7;ttl=30";
        assert_eq!(carried, [Some(wanted.into()), Some(wanted.into())]);
        assert_eq!(next.event().metadata().baggage_list(), baggage);
        first.finish().await;
        next.finish().await;
    });
}

#[test]
fn where_there_is_none_none_is_handed_on() {
    everywhere(async |place| {
        let (first, next) = (Pair::new(place), Pair::new(place));
        let metadata = Metadata::new().with_baggage_list(&Baggage::new());
        let carried = carried(&first, &next, metadata).await;
        assert_eq!(carried, [None, None]);
        assert!(next.event().metadata().baggage_list().is_empty());
        first.finish().await;
        next.finish().await;
    });
}

#[test]
fn what_is_malformed_comes_as_it_is_and_goes_no_further() {
    everywhere(async |place| {
        let (first, next) = (Pair::new(place), Pair::new(place));
        let list = "tenant=7,x: y\r\nset-cookie=1, user = 8 ;p,=,é=1";
        let metadata = Metadata::new().with_baggage(list).unwrap();
        let carried = carried(&first, &next, metadata).await;
        assert_eq!(
            carried,
            [Some(list.into()), Some("tenant=7,user=8;p".into())]
        );
        first.finish().await;
        next.finish().await;
    });
}

#[test]
fn more_than_64_members_are_cut_by_whoever_hands_them_on() {
    everywhere(async |place| {
        let (first, next) = (Pair::new(place), Pair::new(place));
        let list = |count| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>();
        let metadata = Metadata::new().with_baggage(list(70).join(",")).unwrap();
        let carried = carried(&first, &next, metadata).await;
        assert_eq!(carried, [70, 64].map(|count| Some(list(count).join(","))));
        first.finish().await;
        next.finish().await;
    });
}
