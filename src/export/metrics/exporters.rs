//! What exporters say of themselves.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::instruments::{EXPORT_CAUSE, EXPORTER};

/// What has become of the records that an exporter was given: to be made anew each time that it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportCounts {
    emitted: u64,
    exported: u64,
    queued: u64,
    dropped: Vec<(&'static str, u64)>,
}

impl ExportCounts {
    /// Of `emitted` records that it was given, `exported` have got where they were to go.
    pub fn new(emitted: u64, exported: u64) -> Self {
        Self {
            emitted,
            exported,
            ..Self::default()
        }
    }

    /// How many wait, or are on their way.
    #[must_use]
    pub fn queued(mut self, count: u64) -> Self {
        self.queued = count;
        self
    }

    /// How many were dropped for this cause, a short word such as `queue_full`.
    #[must_use]
    pub fn dropped(mut self, cause: &'static str, count: u64) -> Self {
        self.dropped.push((cause, count));
        self
    }
}

#[cfg(feature = "otel")]
impl From<crate::export::OtelCounts> for ExportCounts {
    fn from(counts: crate::export::OtelCounts) -> Self {
        Self::new(counts.emitted, counts.exported)
            .queued(counts.queued)
            .dropped("queue_full", counts.dropped_queue_full)
            .dropped("export_failed", counts.dropped_export_failed)
            .dropped("shut_down", counts.dropped_shut_down)
    }
}

/// All that have been named.
#[derive(Default)]
pub(super) struct Exporters {
    all: Mutex<Vec<Arc<Exporter>>>,
}

struct Exporter {
    attributes: [KeyValue; 1],
    counts: Box<dyn Fn() -> ExportCounts + Send + Sync>,
}

impl Exporters {
    pub(super) fn add(
        &self,
        name: String,
        counts: impl Fn() -> ExportCounts + Send + Sync + 'static,
    ) {
        let exporter = Arc::new(Exporter {
            attributes: [KeyValue::new(EXPORTER, name)],
            counts: Box::new(counts),
        });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(exporter);
    }

    /// Asks each, with nothing locked: it is anybody's code.
    fn each(&self, tell: impl Fn(&[KeyValue; 1], ExportCounts)) {
        let lock = || self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let all = lock().clone();
        for exporter in &all {
            tell(&exporter.attributes, (exporter.counts)());
        }
    }

    /// Makes the instruments that show it.
    pub(super) fn observe(self: &Arc<Self>, meter: &Meter) {
        let counter = |name, description, observe: fn(&Told<'_>, &ExportCounts)| {
            let exporters = self.clone();
            let _for_the_meter = meter
                .u64_observable_counter(name)
                .with_unit("{record}")
                .with_description(description)
                .with_callback(move |instrument| {
                    exporters.each(|exporter, counts| {
                        let told = Told {
                            instrument,
                            exporter,
                        };
                        observe(&told, &counts);
                    });
                })
                .build();
        };
        counter(
            "capspan.export.emitted",
            "Records that exporters were given.",
            |told, counts| told.instrument.observe(counts.emitted, told.exporter),
        );
        counter(
            "capspan.export.exported",
            "Records that have got where they were to go.",
            |told, counts| told.instrument.observe(counts.exported, told.exporter),
        );
        counter(
            "capspan.export.dropped",
            "Records that nobody will see.",
            |told, counts| {
                for (cause, count) in &counts.dropped {
                    let [exporter] = told.exporter;
                    let attributes = [KeyValue::new(EXPORT_CAUSE, *cause), exporter.clone()];
                    told.instrument.observe(*count, &attributes);
                }
            },
        );
        let exporters = self.clone();
        let _for_the_meter = meter
            .i64_observable_up_down_counter("capspan.export.queued")
            .with_unit("{record}")
            .with_description("Records that wait to be exported, or are on their way.")
            .with_callback(move |instrument| {
                exporters.each(|exporter, counts| {
                    let queued = i64::try_from(counts.queued).unwrap_or(i64::MAX);
                    instrument.observe(queued, exporter);
                });
            })
            .build();
    }
}

/// Where the counts of one exporter go.
struct Told<'a> {
    instrument: &'a dyn AsyncInstrument<u64>,
    exporter: &'a [KeyValue; 1],
}

impl fmt::Debug for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporters").finish_non_exhaustive()
    }
}
