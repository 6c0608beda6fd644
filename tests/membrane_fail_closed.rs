//! M8 fail closed: a capability that can't be wrapped is unusable, never bare, and nothing panics.

use capnp::capability::{FromClientHook, Promise, Request};
use capnp::message::ReaderOptions;
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::traits::Imbue;
use capnp::{Result, any_pointer};
use capspan::Error;
use capspan::membrane::Membrane;
use capspan_testkit::bundle;
use capspan_testkit::membraned::{Membraned, PLACES, number};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

#[test]
fn m8_what_is_looked_at_after_all_was_taken_back_is_broken() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let response = membraned.object.fill_request().send().promise.await?;
            membraned.membrane.revoke(Error::revoked("taken back"));
            for thing in bundle::each(response.get()?.get_bundle()?)? {
                let error = number(&thing).await.expect_err("it is bare");
                assert!(error.extra.contains("taken back"), "{error}");
            }
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m8_new_crossings_after_all_was_taken_back_are_broken() {
    let membrane = Membrane::new();
    let world = World::new();
    membrane.downgrade().revoke(Error::revoked("taken back"));
    run(async {
        for thing in [
            membrane.export(world.thing()),
            membrane.import(world.thing()),
        ] {
            assert!(number(&thing).await.is_err());
        }
        assert_eq!(world.calls(), 0);
    });
}

#[test]
fn m8_a_null_capability_that_is_asked_for_late() -> Result<()> {
    // Over a connection `capnp-rpc`'s own pipeline would panic here.
    for place in PLACES {
        for waits in [false, true] {
            run(async {
                let membraned = Membraned::new(place).await;
                if place == capspan_testkit::membraned::Place::AtServer {
                    return Ok(()); // There the caller has nothing of ours.
                }
                let call = membraned.object.nothing_request().send();
                if waits {
                    call.promise.await?;
                } else {
                    until_idle().await;
                    drop(call.promise);
                }
                let nothing = call.pipeline.get_thing();
                assert!(number(&nothing).await.is_err());
                Result::Ok(())
            })?;
        }
    }
    Ok(())
}

/// A promise that has resolved to itself.
struct Endless;

impl ClientHook for Endless {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Self)
    }

    fn new_call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _size_hint: Option<capnp::MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        panic!("it is called")
    }

    fn call(
        &self,
        _interface_id: u64,
        _method_id: u16,
        _params: Box<dyn ParamsHook>,
        _results: Box<dyn ResultsHook>,
    ) -> Promise<(), capnp::Error> {
        panic!("it is called")
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        1
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        Some(self.add_ref())
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, capnp::Error>> {
        Some(Promise::ok(self.add_ref()))
    }

    fn when_resolved(&self) -> Promise<(), capnp::Error> {
        Promise::ok(())
    }
}

#[test]
fn m8_a_promise_that_resolves_to_itself() {
    run(async {
        let hook: Box<dyn ClientHook> = Box::new(Endless);
        let thing: thing::Client = Membrane::new().export(FromClientHook::new(hook));
        let error = number(&thing).await.expect_err("it was called");
        assert!(
            error.extra.contains("the limit of resolution hops is 64"),
            "{error}"
        );
    });
}

/// Parameters as they come from a peer.
struct Received {
    message: capnp::message::Reader<capnp::serialize::OwnedSegments>,
    table: Vec<Option<Box<dyn ClientHook>>>,
}

impl ParamsHook for Received {
    fn get(&self) -> Result<any_pointer::Reader<'_>> {
        let mut root: any_pointer::Reader<'_> = self.message.get_root()?;
        root.imbue(&self.table);
        Ok(root)
    }
}

struct NoResults;

impl ResultsHook for NoResults {
    fn get(&mut self) -> Result<any_pointer::Builder<'_>> {
        Err(capnp::Error::failed("nobody wants them".into()))
    }

    fn set_pipeline(&mut self) -> Result<()> {
        Ok(())
    }

    fn allow_cancellation(&self) {}

    fn tail_call(
        self: Box<Self>,
        _request: Box<dyn capnp::private::capability::RequestHook>,
    ) -> Promise<(), capnp::Error> {
        Promise::ok(())
    }

    fn direct_tail_call(
        self: Box<Self>,
        request: Box<dyn capnp::private::capability::RequestHook>,
    ) -> (
        Promise<(), capnp::Error>,
        Box<dyn capnp::private::capability::PipelineHook>,
    ) {
        (Promise::ok(()), request.send().pipeline.hook)
    }
}

/// What becomes of a `hold` that arrives with these words and this table, at an object inside.
async fn deliver(
    segments: &[u8],
    table: Vec<Option<Box<dyn ClientHook>>>,
    options: ReaderOptions,
) -> Result<()> {
    let world = World::new();
    let object = Membrane::new().export(world.thing());
    let message = capnp::serialize::read_message(segments, options)?;
    let (hold, method) = {
        use capnp::traits::HasTypeId;
        (thing::Client::TYPE_ID, 21)
    };
    let params = Box::new(Received { message, table });
    object
        .as_client_hook()
        .call(hold, method, params, Box::new(NoResults))
        .await
}

fn held(outside: &World) -> (Vec<u8>, Vec<Option<Box<dyn ClientHook>>>) {
    let mut message = capnp::message::Builder::new_default();
    let mut table = Vec::new();
    {
        use capnp::traits::ImbueMut;
        let mut root: any_pointer::Builder<'_> = message.init_root();
        root.imbue_mut(&mut table);
        let params: thing::hold_params::Builder<'_> = root.init_as();
        bundle::fill(params.init_bundle(), 0, || outside.thing());
    }
    (capnp::serialize::write_message_to_words(&message), table)
}

#[test]
fn m8_a_message_beyond_its_traversal_limit_is_refused() {
    run(async {
        let outside = World::new();
        let (words, table) = held(&outside);
        let mut options = ReaderOptions::default();
        options.traversal_limit_in_words(Some(words.len() / 8 + 16));
        let error = deliver(&words, table, options)
            .await
            .expect_err("it passed");
        assert_eq!(error.kind, capnp::ErrorKind::ReadLimitExceeded);
        assert_eq!(outside.live(), 0);

        let (words, table) = held(&outside);
        deliver(&words, table, ReaderOptions::default())
            .await
            .expect("with the usual limit it passes");
    });
}

#[test]
fn m8_an_index_that_is_not_in_the_table_is_no_capability() {
    run(async {
        let outside = World::new();
        let (words, mut table) = held(&outside);
        table.truncate(3);
        let error = deliver(&words, table, ReaderOptions::default()).await;
        let error = error.expect_err("there were capabilities for all");
        assert_eq!(
            error.kind,
            capnp::ErrorKind::MessageContainsInvalidCapabilityPointer
        );
    });
}

#[test]
fn m8_any_word_of_a_message_may_be_wrong() {
    run(async {
        let outside = World::new();
        let (words, _) = held(&outside);
        let mut state = 7_u64;
        for _ in 0..2000 {
            // xorshift64: each round another word gets other bits.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut wrong = words.clone();
            let at = 8 + (state as usize % (wrong.len() / 8 - 1)) * 8;
            wrong[at..at + 8].copy_from_slice(&state.rotate_left(29).to_le_bytes());
            let (_, table) = held(&outside);
            let _refused_or_not = deliver(&wrong, table, ReaderOptions::default()).await;
        }
        assert_eq!(outside.live(), 0);
    });
}
