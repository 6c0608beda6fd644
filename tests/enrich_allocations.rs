//! How often an enrichment allocates, in process.
//!
//! In a process of its own: the global allocator counts for all threads.

use capspan::Tasks;
use capspan::enrich::{Enricher, export};
use capspan::trace::{NoopObserver, SpanKind, Tracer};
use capspan_testkit::memory::{COUNTING, Counting, allocated};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

#[test]
fn an_enrichment_allocates_what_it_keeps() {
    let (tasks, _driver) = Tasks::new();
    let tracer = Tracer::new(NoopObserver);
    let span = tracer.root().start("call", SpanKind::Client);
    let enricher = Enricher::from_capability(export(span.downgrade()), &tasks);
    let times = |work: &dyn Fn(&Enricher)| allocated(|| work(&enricher)).1.times;

    // What is written on a span at all, the list of attributes, that of the callee's keys, and the key in both.
    assert_eq!(times(&|caller| caller.set_attribute("rows", 1)), 5);
    assert_eq!(times(&|caller| caller.set_attribute("more", 1)), 2);
    assert_eq!(times(&|caller| caller.set_attribute("rows", 2)), 0);
    // The text.
    assert_eq!(times(&|caller| caller.set_attribute("rows", "many")), 1);

    span.end();
    let nobody = Enricher::none();
    let unobserved = allocated(|| nobody.set_attribute("rows", "many")).1.times;
    assert_eq!(unobserved, 0, "S6");
}
