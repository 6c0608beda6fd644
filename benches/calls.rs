//! A call bare, through a membrane and in a whole session. `examples/ratios.rs` compares the same rows
//! in interleaved runs; this is for a closer look at one of them: `cargo bench -- in_process/none`.

use std::time::Instant;

use capspan_testkit::exchange::{Exchange, Loop, MIB, Row, Work};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn calls(criterion: &mut Criterion) {
    for row in Row::ALL {
        let mut group = criterion.benchmark_group(row.path().join("/"));
        if matches!(row.work, Work::Mib | Work::MibWithCap) {
            group.throughput(Throughput::Bytes(2 * MIB as u64));
        }
        for (name, set_up) in [
            ("bare", Exchange::bare as fn(Row) -> Exchange),
            ("ours", Exchange::ours),
        ] {
            let event_loop = Loop::new();
            let exchange = event_loop.run(async { set_up(row) });
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| {
                    event_loop.run(async {
                        let began = Instant::now();
                        let run = exchange.run(usize::try_from(times).unwrap_or(usize::MAX));
                        run.await.expect("nothing fails in an exchange");
                        began.elapsed()
                    })
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
