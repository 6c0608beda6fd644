//! Collectors that are slow, down, or wrong: the service goes on, and each record is counted.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use capspan::export::{Otel, OtelBuilder};
use capspan::trace::{EnrichRules, MemoryObserver, SpanKind, SpanLimits, Tracer, Value};
use capspan_testkit::collector::{Reply, Server};
use capspan_testkit::exported::{Exported, Random, shown};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use crate::wire::spans;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

fn emit(otel: &Otel, count: usize) {
    let tracer = Tracer::new(otel.observer()).with_service("users");
    for _ in 0..count {
        tracer.root().start("work", SpanKind::Internal).end();
    }
}

/// Where nobody listens, nor will: no other test is on this address.
fn free_place(any_port: &str) -> SocketAddr {
    TcpListener::bind(any_port).unwrap().local_addr().unwrap()
}

fn to(server: &Server) -> OtelBuilder {
    Otel::builder().endpoint(server.url()).export_timeout(LONG)
}

#[test]
fn every_field_of_random_spans_is_on_the_wire() {
    let server = Server::start(|_| Reply::ok());
    let otel = to(&server).build().unwrap();
    let seen = MemoryObserver::new();
    let tracer = Tracer::new((seen.clone(), otel.observer())).with_service("users");
    let mut random = Random::new(1);
    for round in 0..100 {
        let rules = EnrichRules::default().keep_late(round % 2 == 0);
        let mut tracer = tracer.clone().with_enrich_rules(rules);
        if round % 3 == 0 {
            tracer = tracer.with_limits(SpanLimits::default().max_attributes(4).max_events(2));
        }
        random.span(&tracer.root(), 2);
    }
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!(
        counts.exported,
        (seen.closed().len() + seen.late().len()) as u64
    );
    let requests = server.so_far();
    let of = |path| requests.iter().filter(move |request| request.path == path);
    let mut exported: Vec<_> = of("/v1/traces").flat_map(spans).collect();
    assert!(of("/v1/logs").count() > 0);
    let mut wanted: Vec<_> = seen.closed().iter().map(Exported::from).collect();
    for list in [&mut wanted, &mut exported] {
        list.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        // The wire does not tell of what an empty list is a list.
        for said in list.iter_mut().flat_map(|span| {
            let events = span.events.iter_mut().map(|event| &mut event.attributes);
            events.chain([&mut span.attributes])
        }) {
            for value in said.values_mut() {
                if format!("{value:?}").ends_with("List([])") {
                    *value = Value::TextList(Vec::new());
                }
            }
        }
    }
    assert_eq!(wanted.len(), exported.len());
    for (wanted, exported) in wanted.iter().zip(&exported) {
        assert_eq!(shown(wanted), shown(exported));
    }
}

#[test]
fn headers_go_with_each_request() {
    let server = Server::start(|_| Reply::ok());
    let otel = to(&server).header("x-token", "secret").build().unwrap();
    emit(&otel, 1);
    assert_eq!(otel.shutdown_blocking(LONG).exported, 1);
    let request = &server.so_far()[0];
    for header in ["x-token: secret", "content-type: application/x-protobuf"] {
        assert!(
            request.headers.iter().any(|known| known == header),
            "{request:?}"
        );
    }
}

#[test]
fn what_may_be_taken_later_is_sent_again() {
    let replies = [
        Reply::status(503),
        Reply::Answer(429, "retry-after: 0\r\n", Vec::new()),
        Reply::status(502),
        Reply::Close,
        Reply::status(504),
        Reply::ok(),
    ];
    let sent = replies.len();
    let server = Server::start(move |number| replies[number].clone());
    let otel = to(&server).build().unwrap();
    emit(&otel, 3);
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!((counts.emitted, counts.exported), (3, 3));
    let requests = server.so_far();
    assert_eq!(requests.len(), sent);
    assert!(
        requests
            .iter()
            .all(|request| request.body == requests[0].body)
    );
    let told = "the collector answers 504 Gateway Timeout";
    assert_eq!(otel.last_failure().as_deref(), Some(told));
}

#[test]
fn what_is_refused_is_not_sent_again() {
    for status in [400, 401, 404, 413, 500, 501, 302] {
        let server = Server::start(move |_| {
            Reply::Answer(status, "location: http://127.0.0.1:9/\r\n", Vec::new())
        });
        let otel = to(&server).build().unwrap();
        emit(&otel, 3);
        let counts = otel.flush_blocking(LONG);
        assert_eq!(
            (counts.emitted, counts.dropped_export_failed),
            (3, 3),
            "{status}"
        );
        assert_eq!(server.so_far().len(), 1, "{status}");
        let told = otel.last_failure().unwrap();
        assert!(told.contains(&status.to_string()), "{told}");
    }
}

#[test]
fn what_a_collector_refuses_of_a_batch_is_counted() {
    let server = Server::start(|_| {
        let response = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 2,
                error_message: "too old".to_owned(),
            }),
        };
        Reply::Answer(200, "", response.encode_to_vec())
    });
    let otel = to(&server).build().unwrap();
    emit(&otel, 5);
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!((counts.exported, counts.dropped_export_failed), (3, 2));
    let told = "the collector refuses 2 of them: too old";
    assert_eq!(otel.last_failure().as_deref(), Some(told));
}

#[test]
fn who_wants_to_be_left_alone_is() {
    let server = Server::start(|_| Reply::Answer(503, "retry-after: 30\r\n", Vec::new()));
    let builder = to(&server).export_timeout(SHORT).batch_size(2);
    let otel = builder.build().unwrap();
    emit(&otel, 6);
    // The first batch can't wait for so long; the others wait.
    server.requests.recv_timeout(LONG).unwrap();
    let counts = otel.shutdown_blocking(SHORT);
    assert_eq!(
        (counts.dropped_export_failed, counts.dropped_shut_down),
        (2, 4)
    );
    assert_eq!(server.so_far().len(), 0);
}

#[test]
fn a_collector_that_comes_late_gets_all() {
    let address = free_place("127.0.0.2:0");
    let builder = Otel::builder().endpoint(format!("http://{address}"));
    let otel = builder
        .export_timeout(LONG)
        .batch_delay(Duration::ZERO)
        .build()
        .unwrap();
    emit(&otel, 100);
    while otel.last_failure().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(otel.counts().queued, 100);
    let server = Server::start_at(address, |_| Reply::ok());
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!((counts.emitted, counts.exported), (100, 100));
    assert_eq!(
        server
            .so_far()
            .iter()
            .map(|request| spans(request).len())
            .sum::<usize>(),
        100
    );
}

#[test]
fn without_a_collector_all_is_counted_and_little_is_kept() {
    let address = free_place("127.0.0.3:0");
    let otel = Otel::builder()
        .endpoint(format!("http://{address}"))
        .export_timeout(SHORT)
        .max_records(50)
        .build()
        .unwrap();
    emit(&otel, 1000);
    assert!(otel.counts().queued <= 50);
    let counts = otel.flush_blocking(LONG);
    assert_eq!(
        (counts.emitted, counts.exported, counts.queued),
        (1000, 0, 0)
    );
    assert!(counts.dropped_export_failed >= 50, "{counts:?}");
    assert_eq!(counts.dropped(), 1000);
    let told = otel.last_failure().unwrap();
    assert!(told.contains("refused"), "{told}");
}

#[test]
fn whoever_hangs_is_cut() {
    for reply in [Reply::Hang, Reply::Half] {
        let server = Server::start(move |_| reply.clone());
        let builder = to(&server)
            .export_timeout(SHORT)
            .max_records(20)
            .batch_size(10);
        let otel = builder.build().unwrap();
        emit(&otel, 10);
        server.requests.recv_timeout(LONG).unwrap();
        // It hangs now: nobody here waits for it.
        emit(&otel, 100);
        let counts = otel.counts();
        assert_eq!(counts.emitted, 110);
        assert!(
            counts.dropped_queue_full >= 80 && counts.queued <= 20,
            "{counts:?}"
        );
        let began = Instant::now();
        let counts = otel.flush_blocking(LONG);
        assert_eq!((counts.exported, counts.queued), (0, 0), "{counts:?}");
        assert_eq!(counts.dropped(), 110);
        assert!(began.elapsed() < LONG / 2);
    }
}

#[test]
fn a_collector_that_is_killed_midway_loses_what_is_counted() {
    let (say, is_first) = mpsc::channel();
    let server = Server::start(move |number| match number {
        0 => Reply::ok(),
        _ => {
            let _ = say.send(());
            Reply::Hang
        }
    });
    let address = server.address;
    let otel = to(&server).export_timeout(SHORT).build().unwrap();
    emit(&otel, 10);
    assert_eq!(otel.flush_blocking(LONG).exported, 10);
    emit(&otel, 10);
    let flush = otel.flush();
    is_first.recv_timeout(LONG).unwrap();
    drop(server);
    let counts = futures::executor::block_on(flush);
    assert_eq!((counts.exported, counts.dropped_export_failed), (10, 10));
    emit(&otel, 10);
    let counts = otel.flush_blocking(LONG);
    assert_eq!((counts.exported, counts.dropped_export_failed), (10, 20));
    // There is another one.
    let server = Server::start_at(address, |_| Reply::ok());
    emit(&otel, 10);
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!((counts.emitted, counts.exported), (40, 20));
    assert_eq!(spans(&server.so_far()[0]).len(), 10);
}

#[test]
fn an_event_loop_is_not_in_the_way() {
    let server = Server::start(|_| Reply::ok());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let otel = to(&server).build().unwrap();
        emit(&otel, 10);
        assert_eq!(otel.flush().await.exported, 10);
        emit(&otel, 10);
        assert_eq!(otel.shutdown(LONG).await.exported, 20);
    });
}
