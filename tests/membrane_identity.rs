//! M2 identity and M3 promises: what crosses twice is the same; what comes back is the original; a
//! promise behaves as what it resolves to.

use capnp::Result;
use capnp::capability::FromClientHook;
use capspan::Error;
use capspan_testkit::membraned::{Membraned, PLACES, Place, identity, number, resolved};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;

async fn swap(object: &thing::Client, thing: &thing::Client) -> Result<thing::Client> {
    let mut request = object.swap_request();
    request.get().set_thing(thing.clone());
    request.send().promise.await?.get()?.get_thing()
}

async fn promise(object: &thing::Client, thing: Option<&thing::Client>) -> Result<thing::Client> {
    let mut request = object.promise_request();
    if let Some(thing) = thing {
        request.get().set_thing(thing.clone());
    }
    request.send().promise.await?.get()?.get_thing()
}

#[test]
fn m2_what_passes_in_and_back_out_is_the_original() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let outside = membraned.outside.thing();
            let back = swap(&membraned.object, &outside).await?;
            assert_eq!(identity(&back), identity(&outside), "{place:?}");
            // So it is out of the membrane's reach.
            membraned.membrane.revoke(Error::revoked("taken back"));
            assert_eq!(number(&back).await?, 1);
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m2_what_passes_out_and_back_in_is_the_original() -> Result<()> {
    run(async {
        let membraned = Membraned::new(Place::InProcess).await;
        let mut request = membraned.object.store_request();
        request.get().set_thing(membraned.object.clone());
        request.send().promise.await?;
        let stored = membraned.bare.take_request().send().promise.await?;
        let stored = stored.get()?.get_thing()?;
        assert_eq!(identity(&stored), identity(&membraned.bare));
        Ok(())
    })
}

#[test]
fn m2_what_crosses_twice_is_the_same() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let answer = membraned.object.make_request().send().promise.await?;
            let first = answer.get()?.get_thing()?;
            let second = swap(&membraned.object, &first).await?;
            assert_eq!(identity(&second), identity(&first), "{place:?}");
            assert_ne!(identity(&first), identity(&membraned.object));
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m2_an_object_is_the_same_wrapper_inside_each_time_it_comes() -> Result<()> {
    run(async {
        let membraned = Membraned::new(Place::InProcess).await;
        let outside = membraned.outside.thing();
        let mut identities = Vec::new();
        for _ in 0..2 {
            let mut request = membraned.object.store_request();
            request.get().set_thing(outside.clone());
            request.send().promise.await?;
            let stored = membraned.bare.take_request().send().promise.await?;
            let stored = stored.get()?.get_thing()?;
            identities.push((identity(&stored), stored));
        }
        assert_eq!(identities[0].0, identities[1].0);
        assert_ne!(identities[0].0, identity(&outside), "it is bare");
        Ok(())
    })
}

#[test]
fn m2_two_membranes_on_each_other_are_two() -> Result<()> {
    run(async {
        let inner = Membraned::new(Place::InProcess).await;
        let outer = capspan::membrane::Membrane::new();
        let object = outer.export(inner.object.clone());
        let outside = inner.outside.thing();
        assert_eq!(
            identity(&swap(&object, &outside).await?),
            identity(&outside)
        );
        let answer = object.make_request().send().promise.await?;
        let made = answer.get()?.get_thing()?;
        assert_eq!(number(&made).await?, 2);
        inner.membrane.revoke(Error::revoked("taken back"));
        assert!(number(&made).await.is_err());
        Ok(())
    })
}

#[test]
fn m3_a_promise_that_resolves_inside() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let promised = promise(&membraned.object, None).await?;
            let early = promised.number_request().send().promise;
            let waiting = promised.as_client_hook().when_resolved();
            membraned.inside.open_gate();
            assert_eq!(early.await?.get()?.get_number(), 2, "{place:?}");
            waiting.await?;
            until_idle().await;
            // The same answer however often it is asked.
            assert_eq!(identity(&promised), identity(&promised));
            assert_eq!(number(&promised).await?, 2);
            assert_eq!(number(&resolved(&promised)).await?, 2);
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m3_a_promise_that_resolves_to_the_other_side_is_the_original() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let outside = membraned.outside.thing();
            let promised = promise(&membraned.object, Some(&outside)).await?;
            let early = promised.number_request().send().promise;
            membraned.inside.open_gate();
            assert_eq!(early.await?.get()?.get_number(), 1, "{place:?}");
            until_idle().await;
            // A call drives the embargo of `capnp-rpc`'s, which nobody else does.
            assert_eq!(number(&promised).await?, 1);
            assert_eq!(identity(&promised), identity(&outside), "{place:?}");
            // Calls do not cross any more.
            let original = resolved(&promised);
            membraned.membrane.revoke(Error::revoked("taken back"));
            assert_eq!(number(&original).await?, 1);
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m3_a_wrapper_asked_after_its_promise_has_resolved_answers_at_once() -> Result<()> {
    // Where the inner promise is one of `capnp-rpc`'s, which by itself would never say so.
    run(async {
        let membraned = Membraned::new(Place::AtClient).await;
        let promised = promise(&membraned.object, None).await?;
        membraned.inside.open_gate();
        until_idle().await;
        let hook = promised.as_client_hook();
        for _ in 0..2 {
            let more = hook.when_more_resolved();
            let more = more.expect("it was a promise").await?;
            assert_eq!(more.get_ptr(), identity(&promised).1);
            hook.when_resolved().await?;
        }
        Ok(())
    })
}

#[test]
fn m3_a_promise_that_fails() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let answer = membraned.object.broken_request().send().promise.await?;
            let promised = answer.get()?.get_thing()?;
            let early = promised.number_request().send().promise;
            membraned.inside.open_gate();
            for error in [early.await.err(), number(&promised).await.err()] {
                let error = error.expect("it did not fail");
                assert!(error.extra.ends_with("it could not be made"), "{error}");
            }
            Result::Ok(())
        })?;
    }
    Ok(())
}
