//! What exporting the spans of calls costs the calls, whatever the collector does:
//!
//! ```sh
//! cargo run --release --features otel --example export
//! ```
//!
//! One session over a Unix socket, its two sides in one thread, each with a span for each call: so a call is two
//! spans that are exported. The calls are made one at a time, in turn in each of the settings, in batches of
//! about a millisecond; told is the median of a call, and the median of its ratio to the same without export in
//! the same round. The collector is a thread of this process that reads and answers, and does not look at spans.

use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use capnp::capability::{Client, FromClientHook as _};
use capspan::Tasks;
use capspan::export::Otel;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::session::{CallSpans, SessionHandle};
use capspan::trace::{NoopObserver, Tracer};
use capspan_testkit::collector::{Reply, Server};
use capspan_testkit::greeter_capnp::greeter;
use tokio::net::UnixStream;
use tokio::task::spawn_local;
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

/// Calls of a batch, and rounds in which each setting has a batch.
const BATCH: u32 = 20;
const ROUNDS: usize = 3000;

struct Greeter;

impl greeter::Server for Greeter {
    async fn greet(
        self: Rc<Self>,
        _: greeter::GreetParams,
        mut results: greeter::GreetResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_text("Hello!");
        Ok(())
    }
}

struct Greetings;

impl Service for Greetings {
    async fn open_session(self: Rc<Self>, _: EventContext) -> Result<Client, capnp::Error> {
        let greeter: greeter::Client = capnp_rpc::new_client(Greeter);
        Ok(Client::new(greeter.into_client_hook()))
    }
}

/// A session whose calls are told of, and where to.
struct Setting {
    name: &'static str,
    greeter: greeter::Client,
    otel: Option<Otel>,
    batches: Vec<Duration>,
    _kept: (SessionHandle, Option<Server>),
}

impl Setting {
    fn open(name: &'static str, exported: Option<Server>) -> Result<Self, Box<dyn Error>> {
        let otel = match &exported {
            Some(server) => {
                let builder = Otel::builder().endpoint(server.url());
                Some(builder.export_timeout(Duration::from_secs(2)).build()?)
            }
            None => None,
        };
        let tracer = |service| match &otel {
            Some(otel) => Tracer::new(otel.observer()).with_service(service),
            None => Tracer::new(NoopObserver).with_service(service),
        };
        let calls = CallSpans::new().interface::<greeter::Client>("Greeter", ["greet"]);
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let (near, far) = UnixStream::pair()?;
        let callee = Callee::new(Greetings, &tasks).tracer(tracer("callee"));
        let callee = callee.call_spans(calls.clone());
        let (reader, writer) = far.into_split();
        let (serving, driver) =
            Connection::serve(reader.compat(), writer.compat_write(), |ending| {
                callee.bootstrap(ending)
            });
        // Both connections last as long as the process.
        std::mem::forget(serving);
        spawn_local(driver);
        let (reader, writer) = near.into_split();
        let (connection, driver) = Connection::connect(reader.compat(), writer.compat_write());
        spawn_local(driver);
        let pipeline = Pipeline::over(&connection, &tasks).call_spans(calls);
        std::mem::forget(connection);
        let event = pipeline.event("greet").parent(tracer("caller").root());
        let session = event.open_session();
        let (greeter, session): (greeter::Client, _) = session.into_parts();
        Ok(Self {
            name,
            greeter,
            otel,
            batches: Vec::new(),
            _kept: (session, exported),
        })
    }

    async fn batch(&mut self) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        for _ in 0..BATCH {
            let mut request = self.greeter.greet_request();
            request.get().set_name("Ada");
            request.send().promise.await?;
        }
        self.batches.push(began.elapsed() / BATCH);
        Ok(())
    }
}

async fn measure() -> Result<Vec<Setting>, Box<dyn Error>> {
    // A port at which nobody listens any more.
    let mut gone = Server::start(|_| Reply::ok());
    gone.stop();
    let mut settings = vec![
        Setting::open("not exported", None)?,
        Setting::open("not exported, again", None)?,
        Setting::open("collector takes all", Some(Server::start(|_| Reply::ok())))?,
        Setting::open("collector absent", Some(gone))?,
        Setting::open(
            "collector answers 503",
            Some(Server::start(|_| Reply::status(503))),
        )?,
        Setting::open("collector hangs", Some(Server::start(|_| Reply::Hang)))?,
    ];
    for _ in 0..ROUNDS {
        for setting in &mut settings {
            setting.batch().await?;
        }
    }
    for setting in &mut settings {
        if let Some(otel) = &setting.otel {
            otel.shutdown(Duration::from_secs(3)).await;
        }
    }
    Ok(settings)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    let settings = tokio::task::LocalSet::new().block_on(&runtime, measure())?;
    let bare = settings[0].batches.clone();
    println!("{:<24} {:>9} {:>7}   counts", "", "a call", "ratio");
    for setting in &settings {
        let ratios = setting.batches.iter().zip(&bare);
        let ratios = ratios.map(|(ours, bare)| ours.as_secs_f64() / bare.as_secs_f64());
        let micros = setting
            .batches
            .iter()
            .map(|batch| batch.as_secs_f64() * 1e6);
        let (ratio, micros) = (median(ratios.collect()), median(micros.collect()));
        let counts = setting.otel.as_ref().map(Otel::counts);
        let counts = counts.map_or(String::new(), |counts| format!("{counts:?}"));
        println!(
            "{:<24} {micros:>6.1} µs {ratio:>7.3}   {counts}",
            setting.name
        );
    }
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
