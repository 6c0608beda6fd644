//! The table of all instruments in `docs/metrics.md` says what the instruments say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use capspan::export::ExportCounts;
use capspan::guard::{Connection, GuardLimits, GuardOptions};
use capspan::trace::SpanUpdate;
use capspan_testkit::link::direct;
use capspan_testkit::run::{PausedTime, run, until_idle};
use capspan_testkit::service::Place;
use capspan_testkit::wire_peer::{Peer, Service, Target, call, method};
use tokio::task::spawn_local;

use super::setting::{Meters, Scene};

/// Has each instrument told something, with each of its attributes.
async fn everything(scene: &Scene) {
    let metrics = &scene.meters.metrics;
    metrics.exporter("otlp", || {
        ExportCounts::new(4, 2).queued(1).dropped("queue_full", 1)
    });
    let watch = metrics.watch(PausedTime).live(&scene.live);
    spawn_local(watch.run());

    let (thing, handle) = scene.open().into_parts();
    assert!(thing.fail_request().send().promise.await.is_err());
    let event = scene.pair.event();
    event.enricher().update(
        SpanUpdate::new()
            .attribute("rows", 1)
            .attribute("capspan.x", 1),
    );
    event.enricher().flush().await.unwrap();
    scene.pair.settle().await;
    scene.pair.cut();
    drop((thing, handle, event));
    scene.pair.settle().await;

    let (client, server) = direct();
    let options = GuardOptions::from(GuardLimits::default()).observer(metrics.guard_observer());
    let object = Service::new().object();
    let (_, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
    spawn_local(driver);
    let mut peer = Peer::new(client);
    peer.bootstrap().await;
    peer.say(call(1, Target::Cap(7), method::NEVER)).await;
    until_idle().await;
}

/// One row: name, instrument, unit, attributes, description.
type Row = (String, String, String, BTreeSet<String>, String);

fn rows_of(meters: &Meters) -> BTreeSet<Row> {
    let instruments = meters.read().into_iter();
    let row = |(name, instrument): (String, super::setting::Instrument)| {
        let all = instrument.points.keys().flat_map(|key| key.split(' '));
        let keys = all.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        let keys: BTreeSet<_> = keys.collect();
        assert!(!keys.is_empty(), "{name} was told nothing");
        let (kind, unit) = (instrument.kind.to_owned(), instrument.unit);
        (name, kind, unit, keys, instrument.description)
    };
    instruments.map(row).collect()
}

fn rows_in(chapter: &str) -> BTreeSet<Row> {
    let table = chapter
        .split("## ")
        .find(|part| part.starts_with("All instruments"));
    let table = table.expect("there is such a section");
    let rows = table.lines().filter(|line| line.matches('|').count() == 6);
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        let [name, kind, unit, attributes, description] = cells[..] else {
            panic!("{line}");
        };
        let attributes = attributes.split(", ").map(bare).collect();
        (
            bare(name),
            kind.to_owned(),
            bare(unit),
            attributes,
            description.to_owned(),
        )
    };
    // Without the head and what parts it from the rest.
    rows.skip(2).map(row).collect()
}

#[test]
fn the_table_of_instruments_is_what_they_are() {
    let chapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let chapter = fs::read_to_string(chapter).unwrap();
    run(async {
        let scene = Scene::new(Place::Connection);
        everything(&scene).await;
        assert_eq!(rows_in(&chapter), rows_of(&scene.meters));
    });
}

#[test]
fn the_buckets_of_calls_have_all_bounds_that_the_conventions_advise() {
    let advised = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    run(async {
        let scene = Scene::new(Place::Connection);
        everything(&scene).await;
        let instruments = scene.meters.read();
        for name in ["rpc.server.call.duration", "rpc.client.call.duration"] {
            let bounds = &instruments[name].bounds;
            assert!(bounds.is_sorted());
            assert!(
                advised.iter().all(|bound| bounds.contains(bound)),
                "{bounds:?}"
            );
        }
    });
}
