//! Exporters that remember what they took, and fail, hang or panic where they are told to.

use std::sync::{Arc, Mutex};

use capspan_testkit::exported::{Exported, ExportedEvent, ExportedLink, Said};
use opentelemetry::logs::AnyValue;
use opentelemetry::{Array, Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Take,
    Fail,
    Panic,
    /// Until whoever waits gives up.
    Hang,
}

/// Both exporters. A clone is a handle to the same memory, with a resource of its own.
#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) memory: Arc<Mutex<Memory>>,
    decide: Arc<dyn Fn(usize) -> Fate + Send + Sync>,
    resource: Option<Resource>,
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) spans: Vec<(String, SpanData)>,
    pub(crate) logs: Vec<(String, SdkLogRecord)>,
    pub(crate) batches: Vec<usize>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) shutdowns: usize,
}

impl Taken {
    /// Takes all.
    pub(crate) fn new() -> Self {
        Self::deciding(|_| Fate::Take)
    }

    /// Is asked what becomes of a batch of so many records.
    pub(crate) fn deciding(decide: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Self {
        Self {
            memory: Arc::default(),
            decide: Arc::new(decide),
            resource: None,
        }
    }

    /// All spans so far, as they are on the wire.
    pub(crate) fn exported(&self) -> Vec<Exported> {
        let memory = self.memory.lock().unwrap();
        memory
            .spans
            .iter()
            .map(|(service, span)| exported(service, span))
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.exported().into_iter().map(|span| span.name).collect()
    }

    fn service(&self) -> String {
        let resource = self.resource.as_ref().expect("a resource comes first");
        resource.get(&Key::new("service.name")).unwrap().to_string()
    }

    async fn decided(&self, count: usize) -> OTelSdkResult {
        match (self.decide)(count) {
            Fate::Take => Ok(()),
            Fate::Fail => Err(OTelSdkError::InternalFailure("as told".to_owned())),
            // Without a word on the standard error.
            Fate::Panic => std::panic::resume_unwind(Box::new("as told")),
            Fate::Hang => std::future::pending().await,
        }
    }
}

impl SpanExporter for Taken {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.decided(batch.len()).await?;
        let mut memory = self.memory.lock().unwrap();
        memory.batches.push(batch.len());
        let service = self.service();
        memory
            .spans
            .extend(batch.into_iter().map(|span| (service.clone(), span)));
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = Some(resource.clone());
        self.memory.lock().unwrap().resources.push(resource.clone());
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.memory.lock().unwrap().shutdowns += 1;
        Ok(())
    }
}

impl LogExporter for Taken {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let records: Vec<_> = batch.iter().map(|(record, _)| record.clone()).collect();
        self.decided(records.len()).await?;
        let mut memory = self.memory.lock().unwrap();
        let service = self.service();
        memory
            .logs
            .extend(records.into_iter().map(|record| (service.clone(), record)));
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = Some(resource.clone());
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taken")
    }
}

fn exported(service: &str, span: &SpanData) -> Exported {
    let context = &span.span_context;
    Exported {
        service: service.to_owned(),
        trace_id: context.trace_id().to_string(),
        span_id: context.span_id().to_string(),
        parent: match span.parent_span_id {
            opentelemetry::SpanId::INVALID => String::new(),
            id => id.to_string(),
        },
        has_remote_parent: span.parent_span_is_remote,
        flags: context.trace_flags().to_u8(),
        trace_state: context.trace_state().header(),
        name: span.name.to_string(),
        kind: match span.span_kind {
            opentelemetry::trace::SpanKind::Client => "CLIENT",
            opentelemetry::trace::SpanKind::Server => "SERVER",
            _ => "INTERNAL",
        },
        start: nanos(span.start_time),
        end: nanos(span.end_time),
        status: match span.status {
            opentelemetry::trace::Status::Unset => "UNSET",
            opentelemetry::trace::Status::Ok => "OK",
            opentelemetry::trace::Status::Error { .. } => "ERROR",
        },
        message: match &span.status {
            opentelemetry::trace::Status::Error { description } => description.to_string(),
            _ => String::new(),
        },
        attributes: said(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| ExportedEvent {
                name: event.name.to_string(),
                time: nanos(event.timestamp),
                attributes: said(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| ExportedLink {
                trace_id: link.span_context.trace_id().to_string(),
                span_id: link.span_context.span_id().to_string(),
                trace_state: link.span_context.trace_state().header(),
                flags: link.span_context.trace_flags().to_u8(),
                attributes: said(&link.attributes),
            })
            .collect(),
        dropped: [
            span.dropped_attributes_count,
            span.events.dropped_count,
            span.links.dropped_count,
        ],
    }
}

fn nanos(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

fn said(attributes: &[KeyValue]) -> Said {
    let said: Said = attributes
        .iter()
        .map(|attribute| (attribute.key.to_string(), value(&attribute.value)))
        .collect();
    assert_eq!(said.len(), attributes.len(), "a key stands twice");
    said
}

fn value(value: &opentelemetry::Value) -> capspan::trace::Value {
    use opentelemetry::Value;
    match value {
        Value::Bool(is) => (*is).into(),
        Value::I64(number) => (*number).into(),
        Value::F64(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(Array::Bool(list)) => list.clone().into(),
        Value::Array(Array::I64(list)) => list.clone().into(),
        Value::Array(Array::F64(list)) => list.clone().into(),
        Value::Array(Array::String(list)) => list
            .iter()
            .map(|text| text.as_str().to_owned())
            .collect::<Vec<_>>()
            .into(),
        other => panic!("{other:?}"),
    }
}

/// The attributes of a log record that are neither maps nor lists of them, nor counts of what was dropped.
pub(crate) fn said_in_log(record: &SdkLogRecord) -> Said {
    record
        .attributes_iter()
        .filter(|(key, _)| !key.as_str().starts_with("capspan.dropped."))
        .filter_map(|(key, value)| Some((key.to_string(), plain(value)?)))
        .collect()
}

fn plain(value: &AnyValue) -> Option<capspan::trace::Value> {
    use capspan::trace::Value;
    Some(match value {
        AnyValue::Int(number) => (*number).into(),
        AnyValue::Double(number) => (*number).into(),
        AnyValue::Boolean(is) => (*is).into(),
        AnyValue::String(text) => text.as_str().into(),
        AnyValue::ListAny(list) => match list.first() {
            Some(AnyValue::Map(_)) | None => return None,
            Some(AnyValue::Int(_)) => Value::IntList(list.iter().map(int).collect()),
            Some(AnyValue::Double(_)) => Value::FloatList(list.iter().map(float).collect()),
            Some(AnyValue::Boolean(_)) => Value::BoolList(
                list.iter()
                    .map(|it| *it == AnyValue::Boolean(true))
                    .collect(),
            ),
            Some(_) => Value::TextList(list.iter().map(|it| text(it).into()).collect()),
        },
        _ => return None,
    })
}

fn int(value: &AnyValue) -> i64 {
    match value {
        AnyValue::Int(number) => *number,
        other => panic!("{other:?}"),
    }
}

fn float(value: &AnyValue) -> f64 {
    match value {
        AnyValue::Double(number) => *number,
        other => panic!("{other:?}"),
    }
}

fn text(value: &AnyValue) -> &str {
    match value {
        AnyValue::String(text) => text.as_str(),
        other => panic!("{other:?}"),
    }
}
