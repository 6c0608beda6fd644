//! What guards refuse, counted.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;

use super::Shared;
use super::instruments::{BREACH, ENDS_CONNECTION};
use crate::guard::{GuardObserver, Refusal};

/// Counts what guards refuse; made by [`Metrics::guard_observer`](super::Metrics::guard_observer).
#[derive(Clone)]
pub struct RefusalMetrics {
    shared: Arc<Shared>,
}

impl RefusalMetrics {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
        }
    }
}

impl GuardObserver for RefusalMetrics {
    fn refused(&self, refusal: &Refusal<'_>) {
        let attributes = [
            KeyValue::new(BREACH, refusal.breach.name()),
            KeyValue::new(ENDS_CONNECTION, refusal.ends),
        ];
        self.shared.instruments.refusals.add(1, &attributes);
    }
}

impl fmt::Debug for RefusalMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalMetrics").finish_non_exhaustive()
    }
}
