//! The numbers of this process as Prometheus reads them.
//!
//! OpenTelemetry's names become Prometheus' by the rules that it has for that: `rpc.server.call.duration` in
//! seconds is `rpc_server_call_duration_seconds`, a counter ends in `_total`. What each means is in
//! `docs/metrics.md`.

use std::fmt;

use capspan::export::Metrics;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use crate::failure::Failure;

/// What is counted in this process, and its text. Clones are handles to the same numbers, and may go to other
/// threads.
#[derive(Clone)]
pub struct MetricsText {
    metrics: Metrics,
    registry: Registry,
    /// The numbers are its.
    _provider: SdkMeterProvider,
}

impl MetricsText {
    /// What the text is to be served as: the text format's version 0.0.4.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Of a process of this name, in which nothing has happened yet.
    ///
    /// # Errors
    /// Where the meter can't be made; nothing is known that leads to it.
    pub fn new(service: &str) -> Result<Self, Failure> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // All are of one scope, whose name on each line says nothing.
            .scope_info_enabled(false)
            .build()
            .map_err(|error| Failure::told(format!("metrics: {error}")))?;
        let resource = Resource::builder().with_service_name(service.to_owned());
        let provider = SdkMeterProvider::builder()
            .with_reader(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self {
            metrics: Metrics::new(&provider.meter("capspan")),
            registry,
            _provider: provider,
        })
    }

    /// Who counts, on each thread.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// All numbers as they are now. It takes a millisecond or so where there are many methods.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let encoded = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        if let Err(error) = encoded {
            // What stands before it is whole.
            text += &format!("# the rest is missing: {}\n", one_line(&error.to_string()));
        }
        text
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl fmt::Debug for MetricsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsText").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capspan::export::ExportCounts;

    #[test]
    fn what_is_counted_stands_in_the_text_with_its_kind_and_its_meaning() {
        let numbers = MetricsText::new("capspan proxy").unwrap();
        let counts = || ExportCounts::new(3, 2).dropped("queue_full", 1);
        numbers.metrics().exporter("a \"file\"\n", counts);
        let text = numbers.text();
        for line in [
            "# HELP capspan_export_dropped_total Records that nobody will see.",
            "# TYPE capspan_export_dropped_total counter",
            r#"capspan_export_dropped_total{capspan_export_cause="queue_full",capspan_exporter="a \"file\"\n"} 1"#,
            "# TYPE capspan_event_active gauge",
            r#"capspan_event_active{capspan_side="server"} 0"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(text.contains(r#"service_name="capspan proxy""#), "{text}");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn it_may_be_asked_on_any_thread() {
        let numbers = MetricsText::new("test").unwrap();
        let elsewhere = numbers.clone();
        let text = std::thread::spawn(move || elsewhere.text()).join().unwrap();
        assert_eq!(text, numbers.text());
    }
}
