//! M7 *No copy*: what a call costs does not depend on its data, and what is alive costs little.
//!
//! In a process of its own, one test after the other: the global allocator counts for all threads.

use capnp::Error;
use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::membrane::Membrane;
use capspan_testkit::exchange::{Loop, MIB};
use capspan_testkit::link;
use capspan_testkit::memory::{Allocated, COUNTING, Counting, allocated};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

#[test]
fn no_copy() -> Result<(), Error> {
    for place in [Place::InProcess, Place::Connection] {
        a_mebibyte_with_a_capability_is_not_copied(place)?;
        what_a_call_adds_does_not_depend_on_its_data(place)?;
    }
    a_long_reason_is_not_copied_for_each_capability()?;
    live_capabilities_are_small_and_are_let_go_one_by_one()
}

/// Where the called object is.
#[derive(Clone, Copy, Debug)]
enum Place {
    InProcess,
    Connection,
}

fn a_mebibyte_with_a_capability_is_not_copied(place: Place) -> Result<(), Error> {
    let data = vec![7; MIB];
    let bare = counted(place, false, async |thing| echo_with(thing, &data).await)?;
    let membraned = counted(place, true, async |thing| echo_with(thing, &data).await)?;
    assert!(bare.bytes > 2 * MIB, "the data is in {bare:?}");
    let added = membraned.bytes as i64 - bare.bytes as i64;
    assert!(added < 4096, "{place:?}: {added} bytes more");
    Ok(())
}

fn what_a_call_adds_does_not_depend_on_its_data(place: Place) -> Result<(), Error> {
    let added = |length: usize| {
        let data = vec![7; length];
        let bare = counted(place, false, async |thing| echo(thing, &data).await)?;
        let membraned = counted(place, true, async |thing| echo(thing, &data).await)?;
        Ok::<_, Error>((
            membraned.times as i64 - bare.times as i64,
            membraned.bytes as i64 - bare.bytes as i64,
        ))
    };
    let (times, bytes) = added(0)?;
    assert!(times <= 5, "{place:?}: {times} allocations more");
    assert!(bytes < 1024, "{place:?}: {bytes} bytes more");
    for length in [1, 1000, MIB] {
        assert_eq!(added(length)?, (times, bytes), "{place:?}: {length} bytes");
    }
    Ok(())
}

/// What one call allocates, after a few that were not counted.
fn counted(
    place: Place,
    is_membraned: bool,
    call: impl AsyncFn(&thing::Client) -> Result<(), Error>,
) -> Result<Allocated, Error> {
    let event_loop = Loop::new();
    let (thing, disconnector) = event_loop.run(async {
        let served = match is_membraned {
            true => Membrane::new().export(World::new().thing()),
            false => World::new().thing(),
        };
        match place {
            Place::InProcess => (served, None),
            Place::Connection => {
                let served = Client::new(served.into_client_hook());
                let (thing, disconnector) = link::closable(link::direct(), served);
                (thing, Some(disconnector))
            }
        }
    });
    for _ in 0..3 {
        event_loop.run(call(&thing))?;
    }
    let (result, counted) = allocated(|| event_loop.run(call(&thing)));
    result?;
    drop(thing);
    if let Some(disconnector) = disconnector {
        event_loop.run(disconnector)?;
    }
    Ok(counted)
}

async fn echo(thing: &thing::Client, data: &[u8]) -> Result<(), Error> {
    let mut request = thing.echo_request();
    request.get().set_data(data);
    let response = request.send().promise.await?;
    assert_eq!(response.get()?.get_data()?.len(), data.len());
    Ok(())
}

async fn echo_with(thing: &thing::Client, data: &[u8]) -> Result<(), Error> {
    let mut request = thing.echo_with_request();
    request.get().set_data(data);
    request.get().set_thing(World::new().thing());
    let response = request.send().promise.await?;
    assert_eq!(response.get()?.get_data()?.len(), data.len());
    response.get()?.get_thing()?;
    Ok(())
}

/// 100,000 capabilities alive in one membrane.
fn live_capabilities_are_small_and_are_let_go_one_by_one() -> Result<(), Error> {
    const MANY: usize = 100_000;
    const BYTES_EACH: usize = 256;

    let few = lives(MANY / 10)?;
    let many = lives(MANY)?;
    assert!(
        many.made.kept <= (MANY * BYTES_EACH) as isize,
        "{:?}",
        many.made
    );
    // What is done when they go is the same for each: one step on the way out, however many there are.
    assert!(many.dropped.times <= MANY + 32, "{:?}", many.dropped);
    assert!(few.dropped.times <= MANY / 10 + 32, "{:?}", few.dropped);
    let left = many.made.kept + many.dropped.kept;
    assert!(left <= 0, "{left} bytes are left");
    Ok(())
}

struct Lives {
    made: Allocated,
    dropped: Allocated,
}

/// The reason of a revocation is kept once, however many it takes back.
fn a_long_reason_is_not_copied_for_each_capability() -> Result<(), Error> {
    const MANY: usize = 1_000;
    let world = World::new();
    let membrane = Membrane::new();
    let wrappers: Vec<_> = (0..MANY).map(|_| membrane.export(world.thing())).collect();
    let reason = capspan::Error::revoked("x".repeat(4096));
    let weak = membrane.downgrade();
    let (revoked, change) = allocated(|| weak.revoke(reason));
    assert!(revoked && wrappers.len() == MANY);
    assert!(change.bytes < MANY * 256, "{change:?}");
    Ok(())
}

/// Wraps so many capabilities, and lets them and their membrane go.
fn lives(count: usize) -> Result<Lives, Error> {
    let event_loop = Loop::new();
    let world = World::new();
    let things: Vec<_> = (0..count).map(|_| world.thing()).collect();
    let mut wrappers: Vec<thing::Client> = Vec::with_capacity(count);
    let (tasks, driver) = Tasks::new();
    let driver = event_loop.spawn(driver);
    let (membrane, made) = allocated(|| {
        let membrane = Membrane::builder().tasks(&tasks).build();
        wrappers.extend(things.iter().map(|thing| membrane.export(thing.clone())));
        membrane
    });
    drop(tasks);
    let (result, dropped) = allocated(|| {
        wrappers.clear();
        drop(membrane);
        event_loop.run(driver)
    });
    result.map_err(|error| Error::failed(error.to_string()))?;
    assert_eq!(world.live(), count, "the originals are held here");
    Ok(Lives { made, dropped })
}
