//! What is counted for OpenTelemetry: against what a [`MemoryObserver`](capspan::trace::MemoryObserver) saw.
#![cfg(feature = "metrics")]

mod alive;
mod calls;
mod exporters;
mod methods;
mod refusals;
mod setting;
mod spans;
mod table;
mod threads;
