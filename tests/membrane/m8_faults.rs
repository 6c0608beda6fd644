//! M8 *Fail closed*: what can't be wrapped is unusable, never bare, and never a panic.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise};
use capnp::message::{Builder, Reader, ReaderOptions};
use capnp::private::capability::{ClientHook, ParamsHook};
use capnp::serialize::OwnedSegments;
use capnp::traits::{Imbue, ImbueMut};
use capspan::membrane::Membrane;
use capspan_testkit::membrane::events::{soon, start};
use capspan_testkit::membrane::raw::{self, NoResults, Ouroboros};
use capspan_testkit::membrane::scene::{Place, at, everywhere, label, typed};
use capspan_testkit::membrane::{World, bundle as shape, idle, run};
use capspan_testkit::probe_capnp::{bundle, probe};
use futures::FutureExt;

/// Parameters as a connection would have them.
struct Params {
    reader: Reader<OwnedSegments>,
    table: Vec<Option<Box<dyn ClientHook>>>,
}

impl Params {
    fn new(words: &[u8], options: ReaderOptions, table: Vec<Option<Box<dyn ClientHook>>>) -> Self {
        // Read with other options: it would refuse a message that is larger than the limit as a whole.
        let reader = capnp::serialize::read_message(words, ReaderOptions::default()).unwrap();
        let reader = Reader::new(reader.into_segments(), options);
        Self { reader, table }
    }

    /// A message of these words, in one segment, and a table with one object.
    fn of_words(words: &[u64], cap: probe::Client) -> Self {
        let mut bytes = (words.len() as u64)
            .checked_shl(32)
            .unwrap()
            .to_le_bytes()
            .to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        Self::new(
            &bytes,
            ReaderOptions::default(),
            vec![Some(cap.into_client_hook())],
        )
    }
}

impl ParamsHook for Params {
    fn get(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        let mut content: any_pointer::Reader<'_> = self.reader.get_root()?;
        content.imbue(&self.table);
        Ok(content)
    }
}

/// Hands `params` to an object behind a membrane, which looks at them with `look`.
fn look_behind<T: 'static>(
    params: Params,
    look: impl Fn(capnp::Result<any_pointer::Reader<'_>>) -> T + 'static,
) -> T {
    let seen = Rc::new(RefCell::new(None));
    let sees = seen.clone();
    let inner = raw::object(move |_method, params, _results| {
        *sees.borrow_mut() = Some(look(params.get()));
        Promise::ok(())
    });
    let wrapper = Membrane::new().export(inner);
    let call = wrapper
        .hook
        .call(0, 0, Box::new(params), Box::new(NoResults));
    let _ended = call.now_or_never();
    seen.take().expect("the object was called")
}

/// A filled bundle as it is on the wire, and its table.
fn bundle_words(world: &World) -> (Vec<u8>, Vec<Option<Box<dyn ClientHook>>>) {
    let (mut message, mut table) = (Builder::new_default(), Vec::new());
    let mut root: any_pointer::Builder<'_> = message.init_root();
    root.imbue_mut(&mut table);
    shape::fill(root.init_as(), |place| world.probe(place)).unwrap();
    (capnp::serialize::write_message_to_words(&message), table)
}

#[test]
fn m8_beyond_the_traversal_limit_nothing_is_read() {
    let world = World::new();
    let mut came_through = 0;
    for limit in 0..600 {
        let (words, table) = bundle_words(&world);
        let mut options = ReaderOptions::default();
        options.traversal_limit_in_words(Some(limit));
        // Whatever can be had is a wrapper: its brand is not that of a local object.
        let seen = look_behind(Params::new(&words, options, table), |content| {
            let caps = content
                .and_then(|content| content.get_as())
                .and_then(shape::caps);
            caps.map(|caps| {
                caps.iter()
                    .all(|(_, cap)| cap.as_client_hook().get_brand() != 0)
            })
        });
        match seen {
            Ok(all_wrapped) => {
                assert!(all_wrapped);
                came_through += 1;
            }
            Err(error) => {
                assert_eq!(error.kind, capnp::ErrorKind::ReadLimitExceeded);
                assert_eq!(came_through, 0, "more limit, less read");
            }
        }
    }
    assert!(came_through > 0, "the highest limit is enough");
    assert_eq!(world.live(), 0);
}

const CAP: u64 = 3;

#[test]
fn m8_an_index_that_is_not_in_the_table() {
    for index in [1, 2, 1000, u32::MAX] {
        let world = World::new();
        // A struct with two capabilities: the one object there is, and another.
        let words = [0x0002_0000_0000_0000, CAP, CAP | u64::from(index) << 32];
        let params = Params::of_words(&words, world.probe("there"));
        look_behind(params, move |content| {
            let fields: any_pointer::Reader<'_> = content.unwrap();
            let op = |field| {
                [capnp::private::capability::PipelineOp::GetPointerField(
                    field,
                )]
            };
            assert_ne!(fields.get_pipelined_cap(&op(0)).unwrap().get_brand(), 0);
            assert!(fields.get_pipelined_cap(&op(1)).is_err());
        });
    }
    // The same where the message is nothing but the pointer.
    let params = Params::of_words(&[CAP | 7 << 32], World::new().probe("there"));
    look_behind(params, |content| {
        assert!(content.unwrap().get_as_capability::<Client>().is_err());
    });
}

#[test]
fn m8_malformed_pointers_hide_nothing() {
    // Struct pointers that lead out of the segment or back to themselves, lists that are none, far
    // pointers to nowhere, unknown kinds; beside each, a capability that is to be wrapped.
    let bad = [
        0x0001_0000_7fff_fffc,
        0x0001_0000_ffff_fff8,
        0x0000_0007_0000_0001,
        0xffff_fff7_0000_0001,
        0x0000_0009_0000_0002,
        0x0000_0000_0000_0006,
        0x0000_0000_0000_0007,
        u64::MAX,
    ];
    for bad in bad {
        let world = World::new();
        let params = Params::of_words(&[0x0002_0000_0000_0000, bad, CAP], world.probe("there"));
        look_behind(params, move |content| {
            let op = [capnp::private::capability::PipelineOp::GetPointerField(1)];
            let cap = content.unwrap().get_pipelined_cap(&op).unwrap();
            assert_ne!(cap.get_brand(), 0, "bare beside {bad:#x}");
        });
    }
}

#[test]
fn m8_a_capability_behind_a_far_pointer_is_not_bare() {
    // A far pointer to a capability pointer: nobody writes that, a deep copy would follow it.
    let world = World::new();
    let words = [0x0001_0000_0000_0000, 2 << 3 | 2, CAP];
    let params = Params::of_words(&words, world.probe("hidden"));
    look_behind(params, |content| {
        let (mut copy, mut table) = (Builder::new_default(), Vec::new());
        let mut root: any_pointer::Builder<'_> = copy.init_root();
        root.imbue_mut(&mut table);
        let copied = root.set_as(content.unwrap());
        assert!(
            copied.is_err(),
            "it was wrapped after all: say so in the docs"
        );
        assert!(table.is_empty());
    });
}

#[test]
fn m8_a_promise_that_resolved_to_itself() {
    run(async {
        let promise = Ouroboros::default();
        let asked = promise.asked.clone();
        let wrapper = Membrane::new().export(typed(Client::new(Box::new(promise))));
        assert!((1..=64).contains(&asked.get()), "{}", asked.get());
        let error = label(&wrapper).await.unwrap_err();
        assert!(error.extra.contains("64"), "it names the limit: {error}");
        assert!(wrapper.as_client_hook().get_resolved().is_none());
        soon(wrapper.as_client_hook().when_resolved())
            .await
            .unwrap();
    });
}

#[test]
fn m8_a_promise_that_resolves_to_itself_later() {
    run(async {
        let (resolve, resolution) = futures::channel::oneshot::channel::<probe::Client>();
        let promise: probe::Client = capnp_rpc::new_future_client(async {
            resolution
                .await
                .map_err(|_| capnp::Error::failed("never".into()))
        });
        let membrane = Membrane::new();
        let wrapper = membrane.export(promise.clone());
        let when = start(wrapper.as_client_hook().when_resolved());
        idle().await;
        let _ = resolve.send(promise);
        let _either_way = soon(when).await;
        let error = label(&wrapper).await.unwrap_err();
        assert!(error.extra.contains("64"), "it names the limit: {error}");
    });
}

#[test]
fn m8_a_promise_that_resolves_to_its_own_wrapper() {
    run(async {
        let (resolve, resolution) = futures::channel::oneshot::channel::<probe::Client>();
        let promise: probe::Client = capnp_rpc::new_future_client(async {
            resolution
                .await
                .map_err(|_| capnp::Error::failed("never".into()))
        });
        let membrane = Membrane::new();
        let wrapper = membrane.export(promise.clone());
        let when = start(wrapper.as_client_hook().when_resolved());
        idle().await;
        let _ = resolve.send(wrapper.clone());
        let _either_way = soon(when).await;
        label(&wrapper).await.unwrap_err();
        // Or the promise and the wrapper keep each other.
        assert!(membrane.revoke(capspan::Error::revoked("the end")));
    });
}

/// How the outside may come to ask for a capability of an answer that has none.
#[derive(Clone, Copy, Debug)]
enum Asks {
    WhenItHasLooked,
    WhenItHasNot,
    WhenItNoLongerWaits,
    WhileAnotherWaits,
}

#[test]
fn m8_a_null_capability_asked_for_late() {
    // The pipeline of a connection's own calls panics then.
    use Asks::*;
    for asks in [
        WhenItHasLooked,
        WhenItHasNot,
        WhenItNoLongerWaits,
        WhileAnotherWaits,
    ] {
        at(&[Place::InProcess, Place::ClientEnd], async |scene| {
            // Answered with a null pointer where a capability should be.
            let sent = scene.wrapper.stored_request().send();
            let (pipeline, mut promise) = (sent.pipeline, sent.promise);
            let _held: Box<dyn std::any::Any> = match asks {
                WhenItHasLooked => Box::new(soon(&mut promise).await.map(drop)),
                WhenItHasNot => Box::new(promise),
                WhenItNoLongerWaits => {
                    drop(promise);
                    Box::new(())
                }
                WhileAnotherWaits => Box::new(start(promise)),
            };
            idle().await;
            let late = pipeline.get_cap();
            let error = start(late.label_request().send().promise);
            idle().await;
            if error.is_finished() {
                soon(error)
                    .await
                    .err()
                    .unwrap_or_else(|| panic!("{asks:?}"));
            } else {
                // In process a call is not begun before it is waited for.
                assert!(scene.place == Place::InProcess && !matches!(asks, WhenItHasLooked));
            }
        });
    }
}

#[test]
fn m8_a_field_that_the_answer_does_not_have() {
    at(&[Place::InProcess, Place::ClientEnd], async |scene| {
        let mut request = scene.wrapper.echo_request();
        request
            .get()
            .set_data(b"data where a capability is asked for");
        let sent = request.hook.send();
        let _response = soon(sent.promise).await.unwrap();
        for field in [0, 1, u16::MAX] {
            let late = sent.pipeline.get_pointer_field(field).as_cap();
            label(&late.cast_to()).await.unwrap_err();
            let deep = sent
                .pipeline
                .get_pointer_field(field)
                .get_pointer_field(3)
                .as_cap();
            label(&deep.cast_to()).await.unwrap_err();
        }
    });
}

#[test]
fn m8_a_wrong_type_gives_nothing() {
    everywhere(async |scene| {
        // A capability where the service expects a struct, and the other way round.
        let client = Client::new(scene.wrapper.as_client_hook().add_ref());
        let mut request =
            client.new_call::<any_pointer::Owned, any_pointer::Owned>(interface(), 6, None);
        let outer = scene.outside.probe("outer").into_client_hook();
        request.hook.get().set_as_capability(outer);
        soon(request.hook.send().promise).await.err().unwrap();
        let mut request = scene.wrapper.any_request();
        request
            .get()
            .get_any()
            .init_as::<bundle::Builder<'_>>()
            .set_data(b"no capability");
        let response = soon(request.send().promise).await.unwrap();
        let any = response.get().unwrap().get_any();
        assert!(any.get_as_capability::<Client>().is_err());
        assert_eq!(label(&scene.wrapper).await.unwrap(), "inner");
    });
}

fn interface() -> u64 {
    <probe::Client as capnp::traits::HasTypeId>::TYPE_ID
}
