//! A meter that can be read, and who writes to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use capspan::export::Metrics;
use capspan::pipeline::Callee;
use capspan::session::LiveEvents;
use capspan::trace::{ManualClock, MemoryObserver, Timestamp, Tracer};
use capspan_testkit::calls::named;
use capspan_testkit::service::{Pair, Place, Script};
use capspan_testkit::testkit_capnp::thing;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};

/// Metrics of a process, and how to read them.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) metrics: Metrics,
    _provider: SdkMeterProvider,
    reader: Reader,
}

/// What was counted under one set of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    /// A sum; of a histogram, that of all it was told.
    pub(crate) sum: f64,
    /// How often a histogram was told.
    pub(crate) count: u64,
}

/// An instrument, with its points by their attributes as `key=value`, in the order of the keys.
#[derive(Clone, Debug)]
pub(crate) struct Instrument {
    pub(crate) kind: &'static str,
    pub(crate) unit: String,
    pub(crate) description: String,
    pub(crate) bounds: Vec<f64>,
    pub(crate) points: BTreeMap<String, Point>,
}

#[derive(Clone, Debug)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

impl Meters {
    pub(crate) fn new() -> Self {
        let reader = Reader(Arc::new(ManualReader::default()));
        let provider = SdkMeterProvider::builder()
            .with_reader(reader.clone())
            .build();
        Self {
            metrics: Metrics::new(&provider.meter("capspan")),
            _provider: provider,
            reader,
        }
    }

    /// All instruments, by their names.
    pub(crate) fn read(&self) -> BTreeMap<String, Instrument> {
        let mut collected = ResourceMetrics::default();
        self.reader.collect(&mut collected).unwrap();
        let scopes = collected.scope_metrics();
        let metrics = scopes.flat_map(|scope| scope.metrics());
        let mut all = BTreeMap::new();
        for metric in metrics {
            let (kind, bounds, points) = match metric.data() {
                AggregatedMetrics::F64(data) => read(data, |value| value),
                AggregatedMetrics::U64(data) => read(data, |value| value as f64),
                AggregatedMetrics::I64(data) => read(data, |value| value as f64),
            };
            let instrument = Instrument {
                kind,
                unit: metric.unit().to_owned(),
                description: metric.description().to_owned(),
                bounds,
                points,
            };
            let before = all.insert(metric.name().to_owned(), instrument);
            assert!(before.is_none(), "{} is there twice", metric.name());
        }
        all
    }

    /// The points of one instrument; none where it was never told anything.
    pub(crate) fn points(&self, name: &str) -> BTreeMap<String, Point> {
        let instrument = self.read().remove(name);
        instrument.map_or_else(BTreeMap::new, |instrument| instrument.points)
    }

    /// The sums of one instrument that are not zero.
    pub(crate) fn sums(&self, name: &str) -> BTreeMap<String, f64> {
        let points = self.points(name).into_iter();
        let sums = points.map(|(attributes, point)| (attributes, point.sum));
        sums.filter(|(_, sum)| *sum != 0.0).collect()
    }

    /// How often a histogram was told.
    pub(crate) fn counts(&self, name: &str) -> BTreeMap<String, u64> {
        let points = self.points(name).into_iter();
        points.map(|(key, point)| (key, point.count)).collect()
    }
}

fn read<T: Copy>(
    data: &MetricData<T>,
    number: impl Fn(T) -> f64,
) -> (&'static str, Vec<f64>, BTreeMap<String, Point>) {
    let mut bounds = Vec::new();
    let mut points = BTreeMap::new();
    let kind = match data {
        MetricData::Sum(sum) => {
            for point in sum.data_points() {
                let sum = number(point.value());
                points.insert(key(point.attributes()), Point { sum, count: 0 });
            }
            match sum.is_monotonic() {
                true => "counter",
                false => "up-down counter",
            }
        }
        MetricData::Histogram(histogram) => {
            for point in histogram.data_points() {
                bounds = point.bounds().collect();
                let (sum, count) = (number(point.sum()), point.count());
                points.insert(key(point.attributes()), Point { sum, count });
            }
            "histogram"
        }
        _ => panic!("there is no such instrument"),
    };
    (kind, bounds, points)
}

fn key<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut all: Vec<_> = attributes
        .map(|attribute| format!("{}={}", attribute.key, attribute.value))
        .collect();
    all.sort();
    all.join(" ")
}

/// A caller and a callee, both of which are counted and remembered.
pub(crate) struct Scene {
    pub(crate) meters: Meters,
    pub(crate) pair: Pair,
    pub(crate) spans: MemoryObserver,
    pub(crate) caller: Tracer,
    pub(crate) clock: ManualClock,
    pub(crate) live: LiveEvents,
}

impl Scene {
    pub(crate) fn new(place: Place) -> Self {
        Self::configured(place, |callee| callee)
    }

    pub(crate) fn configured(
        place: Place,
        configure: impl FnOnce(Callee<Script>) -> Callee<Script>,
    ) -> Self {
        let (meters, spans, live) = (Meters::new(), MemoryObserver::new(), LiveEvents::new());
        let clock = ManualClock::new(Timestamp::from_unix_nanos(1_000));
        let tracer = |service| {
            Tracer::new((spans.clone(), meters.metrics.observer()))
                .with_clock(clock.clone())
                .with_service(service)
        };
        let mut pair = Pair::configured(place, |callee| {
            let callee = callee.tracer(tracer("callee")).call_spans(named());
            configure(callee.live(&live))
        });
        pair.pipeline = pair.pipeline.clone().call_spans(named()).live(&live);
        Self {
            caller: tracer("caller"),
            meters,
            pair,
            spans,
            clock,
            live,
        }
    }

    /// A session, as the root of a trace.
    pub(crate) fn open(&self) -> capspan::session::Session<thing::Client> {
        let event = self.pair.pipeline.event("open");
        event.parent(self.caller.root()).open_session()
    }

    /// Makes sure that nothing is left, and that nothing counts as alive.
    pub(crate) async fn finish(self) {
        let Self { meters, pair, .. } = self;
        pair.finish().await;
        for name in ["event", "call", "capability"] {
            let alive = meters.sums(&format!("capspan.{name}.active"));
            assert!(alive.is_empty(), "{name}: {alive:?}");
        }
    }
}
