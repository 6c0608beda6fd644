//! A real collector that comes late, is killed, and comes back.

use capspan::trace::{SpanKind, Tracer};
use capspan_interop::Collector;

use crate::{LONG, printed, run, to};

#[test]
fn killed_midway_and_started_again() {
    run(async {
        let mut collector = Collector::start(None);
        let address = collector.address();
        let otel = to(&collector);
        let tracer = Tracer::new(otel.observer()).with_service("users");
        let emit = |name: &str| {
            for _ in 0..100 {
                tracer.root().start(name, SpanKind::Internal).end();
            }
        };
        emit("before");
        // It may not be there yet: then it is tried again.
        assert_eq!(otel.flush().await.exported, 100);
        tracer.root().start("then", SpanKind::Internal).end();
        otel.flush().await;
        let before = collector.until("then").await;
        assert_eq!(
            before.iter().filter(|span| span.name == "before").count(),
            100
        );
        collector.kill().await;

        emit("meanwhile");
        let flush = otel.flush();
        assert_eq!(otel.counts().queued, 100);
        let mut collector = Collector::start(Some(address));
        assert_eq!(flush.await.exported, 201);
        let after = printed(&mut collector, &otel).await;
        assert_eq!(
            after.iter().filter(|span| span.name == "meanwhile").count(),
            100
        );
        let counts = otel.shutdown(LONG).await;
        assert_eq!((counts.emitted, counts.exported), (202, 202));
    });
}
