//! What a thousand hostile connections cost an honest one on the same thread, and the process.
//!
//!     cargo run --release --example crowd [CONNECTIONS] [SECONDS] [MESSAGES A SECOND]
//!
//! The hostile ones send what they can; those that a guard ends stay away. The honest one makes a call a
//! millisecond. By default with the limits that are the default, and one budget for all hostile ones.

use std::time::{Duration, Instant};

use capnp::capability::Client;
use capspan::guard::{Budget, GuardLimits, GuardOptions};
use capspan_testkit::crowd::Crowd;
use capspan_testkit::link::{direct, watched};
use capspan_testkit::wire_peer::{Service, method};

/// What each of the hostile ones does, it does so often: more than there is time for.
const ROUNDS: u32 = 20_000;

/// How long calls take, one a millisecond, for a while. They are made by a task, which has its turn as those
/// of the hostile ones have theirs.
async fn latencies(object: &Client, time: Duration) -> Vec<Duration> {
    let object = object.clone();
    let calls = tokio::task::spawn_local(async move {
        let began = Instant::now();
        let mut latencies = Vec::new();
        while began.elapsed() < time {
            let sent = Instant::now();
            let call = object.hook.new_call(0, method::ECHO, None).send();
            let answer = call.promise.await;
            latencies.push(sent.elapsed());
            answer.expect("an answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.sort();
        latencies
    });
    calls.await.expect("no panic")
}

fn say(when: &str, latencies: &[Duration]) -> Duration {
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    let (median, late) = (at(0.5), at(0.99));
    println!(
        "{when}: {} calls, median {median:?}, 99 of 100 within {late:?}",
        latencies.len()
    );
    median
}

/// The most that the process has had of memory, in MiB, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|it| it.parse::<u32>().expect("a number"));
    let count = arguments.next().unwrap_or(1_000);
    let seconds = arguments.next().unwrap_or(10);
    let messages = arguments.next();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (client, _server) = watched(direct(), |_| Service::new().object());
        let honest: Client = client.bootstrap();
        let time = Duration::from_secs(seconds.into());
        latencies(&honest, time / 10).await;
        let alone = say("alone", &latencies(&honest, time / 2).await);
        let mut limits = GuardLimits::default();
        if let Some(messages) = messages {
            limits = limits.messages_a_second(messages);
        }
        let budget = Budget::new();
        let options = GuardOptions::default().limits(limits).budget(&budget);
        let crowd = Crowd::new(count as usize, ROUNDS, &options);
        let among = say(&format!("among {count}"), &latencies(&honest, time).await);
        println!(
            "ratio of the medians: {:.2}",
            among.as_secs_f64() / alone.as_secs_f64()
        );
        println!("{} ended; refused: {:?}", crowd.ended(), crowd.refused());
        if let Some(peak) = peak_mib() {
            println!("peak of memory: {peak} MiB");
        }
    });
}
