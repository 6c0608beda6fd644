//! What a callee writes to the span of its caller: E1 to E6.

mod across;
mod chain;
mod cut;
mod enricher;
mod enrichment;
mod faults;
mod flush;
mod guarantees;
mod late;
mod model;
mod rules;
mod turns;
mod values;
