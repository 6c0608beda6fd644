//! What a service's own `tracing` stack wants to add.

use tracing::Span;

use crate::trace::SpanRecord;

/// Is told of each span of `tracing`'s that [`TracingSpans`](super::TracingSpans) makes, with the record that it
/// stands for: here `tracing-opentelemetry` may be given a parent in another process, or attributes by their keys.
///
/// The contract is that of an [`Observer`](crate::trace::Observer). It is not told of spans that are not enabled.
/// `docs/export.md` says what one does for `tracing-opentelemetry`.
pub trait TracingHook {
    /// The span was made; nothing was told of it but the fields that it began with.
    fn opened(&self, span: &Span, record: &SpanRecord) {
        let _ = (span, record);
    }

    /// The span has ended, and all is told of it.
    fn closing(&self, span: &Span, record: &SpanRecord) {
        let _ = (span, record);
    }
}
