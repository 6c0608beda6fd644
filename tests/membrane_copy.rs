//! M7 *No copy*: what a call costs does not depend on its data.
//!
//! Counted are the bytes that a whole exchange allocates, from the first object to the end of the event
//! loop, with and without a membrane.

use capspan::membrane::Membrane;
use capspan_testkit::events::soon;
use capspan_testkit::scene::{Place, label};
use capspan_testkit::testkit_capnp::probe;
use capspan_testkit::{World, connect, run};

const PLACES: [Place; 3] = [Place::InProcess, Place::ServerEnd, Place::ClientEnd];
const MIB: usize = 1024 * 1024;

/// Carries `bytes` of data and a capability in one message to an object and back.
fn exchange(place: Place, membrane: Option<Membrane>, bytes: usize) -> u64 {
    let payload = vec![7; bytes];
    let info = allocation_counter::measure(|| {
        run(async {
            let inside = World::new();
            let wrap = |cap: probe::Client| match &membrane {
                Some(membrane) => membrane.export(cap),
                None => cap,
            };
            let inner = inside.probe("inner");
            let (wrapper, _connection) = match place {
                Place::InProcess => (wrap(inner), None),
                Place::ServerEnd => {
                    let connection = connect(wrap(inner));
                    (connection.bootstrap.clone(), Some(connection))
                }
                Place::ClientEnd => {
                    let connection = connect(inner);
                    (wrap(connection.bootstrap.clone()), Some(connection))
                }
            };
            let mut request = wrapper.bundle_request();
            let mut bundle = request.get().init_bundle();
            bundle.set_data(&payload);
            bundle.set_plain(World::new().probe("given"));
            let response = soon(request.send().promise).await.unwrap();
            let bundle = response.get().unwrap().get_bundle().unwrap();
            assert_eq!(bundle.get_data().unwrap().len(), payload.len());
            assert_eq!(label(&bundle.get_plain().unwrap()).await.unwrap(), "given");
        });
    });
    info.bytes_total
}

/// What a membrane adds to an exchange of so many bytes.
fn added(place: Place, bytes: usize) -> u64 {
    let bare = exchange(place, None, bytes);
    assert!(bare > 2 * bytes as u64, "the measurement sees the payload");
    exchange(place, Some(Membrane::new()), bytes) - bare
}

#[test]
fn m7_a_mebibyte_costs_what_a_byte_costs() {
    for place in PLACES {
        // Once before: what the process keeps for itself is not the membrane's.
        added(place, 1);
        let (small, big) = (added(place, 1), added(place, MIB));
        assert!(small > 0 && big > 0, "the measurement sees the membrane");
        assert!(big < 4096, "{place:?}: {big} bytes");
        assert!(
            big.abs_diff(small) < 256,
            "{place:?}: {small} bytes and {big}"
        );
    }
}

/// What sending a request allocates, with pointers in it but for capabilities.
fn sending(depth: u32) -> u64 {
    let wrapper = Membrane::new().export(World::new().probe("inner"));
    let mut request = wrapper.bundle_request();
    let mut holder = request.get().init_bundle().init_nested();
    for _ in 0..depth {
        holder = holder.init_inner();
    }
    allocation_counter::measure(|| drop(request.send())).bytes_total
}

#[test]
fn m7_without_a_capability_a_request_is_not_walked() {
    // A walk would need a stack as deep as the message.
    assert_eq!(sending(1), sending(1000));
}
