//! A plug-in in a sandbox. The host has a service and gives it to the plug-in through a membrane, which
//! lets a few methods through and counts the calls. Then the host takes it back, in the middle of a call,
//! and learns when nothing is left.
//!
//! ```sh
//! cargo run --example sandbox
//! ```
//!
//! Both are in one process here. That the plug-in were at the other end of a connection would change
//! nothing: what is served there is the wrapper.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use capnp::Error;
use capnp::traits::HasTypeId;
use capspan::Tasks;
use capspan::membrane::{AllowList, Call, Chain, Membrane, Policy, Verdict};
use capspan_testkit::membrane::World;
use capspan_testkit::probe_capnp::{cursor, probe};

// The ordinals of the methods that are spoken of here, as in testkit/schema/probe.capnp.
const ECHO: u16 = 0;
const LABEL: u16 = 2;
const MAKE: u16 = 3;
const STORE: u16 = 4;
const WAIT: u16 = 9;
const OPEN: u16 = 15;
const CALL: u16 = 16;

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, host())
}

async fn host() -> Result<(), Error> {
    let (tasks, driver) = Tasks::new();
    tokio::task::spawn_local(driver);
    let world = World::new();
    let service = world.probe("the library");

    // The list holds for calls in both directions: `echo` is there for calls on what the plug-in passes.
    let allowed = AllowList::new()
        .method::<probe::Client>(ECHO)
        .method::<probe::Client>(LABEL)
        .method::<probe::Client>(MAKE)
        .method::<probe::Client>(WAIT)
        .method::<probe::Client>(OPEN)
        .method::<probe::Client>(CALL)
        .interface::<cursor::Client>();
    // A chain ends where a policy refuses: the second counter sees what the list lets through.
    let (asked, passed) = (Rc::new(Counter::default()), Rc::new(Counter::default()));
    let policy = Chain::new()
        .with(asked.clone())
        .with(allowed)
        .with(passed.clone());
    let membrane = Membrane::builder().tasks(&tasks).policy(policy).build();

    let completion = membrane.completion();
    let handle = membrane.downgrade();
    let for_plug_in = membrane.export(service);
    drop(membrane); // From here on nothing but what the plug-in holds keeps it open.
    tasks.spawn(handle.revoke_when(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        say("host", "time is up: I take everything back");
        capspan::Error::revoked("the plug-in had 50 ms")
    }));
    say("host", "the plug-in may begin");

    plug_in(for_plug_in).await?;

    completion.await;
    say("host", "nothing refers through the membrane any more");
    say("host", format!("objects alive: {}", world.live()));
    let passed = passed.calls.borrow();
    for (call, asked) in &*asked.calls.borrow() {
        let passed = passed.get(call).unwrap_or(&0);
        say("host", format!("{call}: {passed} of {asked} passed"));
    }
    Ok(())
}

/// Knows nothing of the membrane.
async fn plug_in(service: probe::Client) -> Result<(), Error> {
    let response = service.label_request().send().promise.await?;
    let label = response.get()?.get_label()?.to_str()?;
    say("plug-in", format!("I was given {label}"));

    // What comes of a call is wrapped as well: each `next` on the cursor is judged and counted.
    let mut request = service.open_request();
    request.get().set_text("little by little");
    let cursor = request.send().promise.await?.get()?.get_cursor()?;
    let words = read(&cursor).await?;
    say("plug-in", format!("I read {words:?}"));

    // So is what is passed in: the service calls back, which is a call outbound.
    let own = World::new().probe("the plug-in's own");
    let mut request = service.call_request();
    request.get().set_to(own);
    request.get().set_data(b"hello");
    let response = request.send().promise.await?;
    let echo = String::from_utf8_lossy(response.get()?.get_data()?).into_owned();
    say("plug-in", format!("the service called me: {echo:?}"));

    // What is not on the list is refused, on the service and on what comes of it.
    let refused = service.store_request().send().promise.await;
    told("store on the service", refused.map(drop));
    let child = service.make_request().send().promise.await?;
    let child = child.get()?.get_probe()?;
    let refused = child.store_request().send().promise.await;
    told("store on what it made", refused.map(drop));

    // This is never answered: the service waits for something that does not happen.
    say("plug-in", "I wait");
    let waited = service.wait_request().send().promise.await;
    told("wait", waited.map(drop));
    let late = child.label_request().send().promise.await;
    told("label on what it made", late.map(drop));
    say("plug-in", "I let go of everything");
    Ok(())
}

async fn read(cursor: &cursor::Client) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    loop {
        let response = cursor.next_request().send().promise.await?;
        let next = response.get()?;
        if next.get_done() {
            return Ok(words);
        }
        words.push(next.get_word()?.to_string()?);
    }
}

/// A policy that has nothing against anything, and counts calls by direction and method.
#[derive(Default)]
struct Counter {
    calls: RefCell<BTreeMap<String, usize>>,
}

impl Counter {
    fn count(&self, call: &Call<'_>) -> Verdict {
        let way = if call.is_inbound() {
            "inbound"
        } else {
            "outbound"
        };
        let key = format!("{way} {}", name(call));
        *self.calls.borrow_mut().entry(key).or_default() += 1;
        Verdict::Forward
    }
}

impl Policy for Counter {
    fn inbound_call(&self, call: &Call<'_>) -> Verdict {
        self.count(call)
    }

    fn outbound_call(&self, call: &Call<'_>) -> Verdict {
        self.count(call)
    }
}

fn name(call: &Call<'_>) -> String {
    let method = match (call.interface_id(), call.method_id()) {
        (probe::Client::TYPE_ID, ECHO) => "Probe.echo",
        (probe::Client::TYPE_ID, LABEL) => "Probe.label",
        (probe::Client::TYPE_ID, MAKE) => "Probe.make",
        (probe::Client::TYPE_ID, STORE) => "Probe.store",
        (probe::Client::TYPE_ID, WAIT) => "Probe.wait",
        (probe::Client::TYPE_ID, OPEN) => "Probe.open",
        (probe::Client::TYPE_ID, CALL) => "Probe.call",
        (cursor::Client::TYPE_ID, 0) => "Cursor.next",
        (interface, method) => return format!("{interface:#x}.{method}"),
    };
    method.to_owned()
}

fn told(what: &str, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => say("plug-in", format!("{what}: done")),
        Err(error) => say("plug-in", format!("{what}: {}", error.extra)),
    }
}

fn say(who: &str, what: impl AsRef<str>) {
    println!("{who:>8}: {}", what.as_ref());
}
