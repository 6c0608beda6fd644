//! M6 completion: whatever refers through a membrane keeps it, alone; letting it go completes it.
//! And taking it all back.

use capnp::Result;
use capnp::capability::{Promise, RemotePromise};
use capspan::Error;
use capspan::membrane::Membrane;
use capspan::trace::{ManualClock, Timestamp};
use capspan_testkit::membraned::{Membraned, PLACES, Place, number};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;
use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

/// What is held of a membrane, alone: each by its name.
const HELD: [&str; 9] = [
    "a wrapper",
    "an unsent request",
    "an unsent request with a capability in it",
    "a call in flight",
    "the promise of a call in flight",
    "a capability pipelined on a call that has not returned",
    "a response with a capability that was not looked at",
    "a response with a capability that was",
    "a capability from outside that the inside holds",
];

async fn hold(name: &str, membraned: &Membraned) -> Result<Box<dyn Any>> {
    let object = &membraned.object;
    let in_flight = || object.never_request().send();
    Ok(match name {
        "a wrapper" => Box::new(object.clone()),
        "an unsent request" => Box::new(object.number_request()),
        "an unsent request with a capability in it" => {
            let mut request = object.call_request();
            request.get().set_thing(membraned.outside.thing());
            Box::new(request)
        }
        "a call in flight" => {
            let call: RemotePromise<thing::never_results::Owned> = in_flight();
            until_idle().await;
            Box::new(call)
        }
        "the promise of a call in flight" => {
            let promise: Promise<_, _> = in_flight().promise;
            Box::new(promise)
        }
        "a capability pipelined on a call that has not returned" => {
            Box::new(in_flight().pipeline.get_thing())
        }
        "a response with a capability that was not looked at" => {
            Box::new(object.make_request().send().promise.await?)
        }
        "a response with a capability that was" => {
            let response = object.make_request().send().promise.await?;
            number(&response.get()?.get_thing()?).await?;
            Box::new(response)
        }
        "a capability from outside that the inside holds" => {
            let mut request = object.store_request();
            request.get().set_thing(membraned.outside.thing());
            request.send().promise.await?;
            let taken = membraned.bare.take_request().send().promise.await?;
            Box::new(taken.get()?.get_thing()?)
        }
        _ => unreachable!("it is in the list"),
    })
}

#[test]
fn m6_each_reference_alone_keeps_it_and_letting_it_go_completes_it() -> Result<()> {
    for place in PLACES {
        for driven in [false, true] {
            for name in HELD {
                run(async {
                    let membraned = match driven {
                        false => Membraned::new(place).await,
                        true => Membraned::driven(place).await,
                    };
                    let completion = membraned.completion.clone();
                    let held = hold(name, &membraned).await?;
                    let Membraned {
                        object,
                        bare,
                        inside,
                        outside,
                        ..
                    } = membraned;
                    drop(object);
                    until_idle().await;
                    assert!(
                        !completion.is_complete(),
                        "{place:?}: {name} does not keep it"
                    );
                    drop(held);
                    until_idle().await;
                    assert!(completion.is_complete(), "{place:?}: {name} is gone");
                    assert_eq!(completion.await.at(), None);
                    drop(bare);
                    until_idle().await;
                    assert_eq!((inside.live(), outside.live()), (0, 0), "{place:?}: {name}");
                    Result::Ok(())
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn m6_the_membrane_itself_keeps_it_and_its_weak_handle_does_not() {
    let membrane = Membrane::new();
    let (weak, completion) = (membrane.downgrade(), membrane.completion());
    assert!(!completion.is_complete() && !weak.is_unreferenced());
    drop(membrane);
    assert!(completion.is_complete() && weak.is_unreferenced());
    assert!(!weak.revoke(Error::revoked("too late")));
}

#[test]
fn m6_what_is_inside_is_gone_when_it_is_complete_and_the_moment_is_that_of_the_last_drop() {
    run(async {
        let world = capspan_testkit::world::World::new();
        let clock = ManualClock::new(Timestamp::from_unix_nanos(100));
        let (tasks, driver) = capspan::Tasks::new();
        let membrane = Membrane::builder()
            .tasks(&tasks)
            .clock(Rc::new(clock.clone()) as Rc<dyn capspan::trace::Clock>)
            .build();
        let completion = membrane.completion();
        let object = membrane.export(world.thing());
        drop(membrane);
        clock.advance(Duration::from_nanos(5));
        drop(object);
        clock.advance(Duration::from_nanos(5));
        assert!(!completion.is_complete() && world.live() == 1);
        tokio::task::spawn_local(driver);
        let completed = completion.await;
        assert_eq!(world.live(), 0);
        assert_eq!(completed.at(), Some(Timestamp::from_unix_nanos(105)));
    });
}

#[test]
fn taking_back_fails_calls_in_flight_and_drops_what_is_inside_at_once() -> Result<()> {
    for place in [Place::InProcess, Place::AtClient] {
        run(async {
            let membraned = Membraned::new(place).await;
            let made = {
                let answer = membraned.object.make_request().send().promise.await?;
                answer.get()?.get_thing()?
            };
            let mut request = membraned.object.never_request();
            request.get().set_thing(membraned.outside.thing());
            let call = request.send();
            let waiting = tokio::task::spawn_local(call.promise);
            until_idle().await;
            assert_eq!((membraned.inside.live(), membraned.outside.live()), (2, 1));

            assert!(membraned.membrane.revoke(Error::revoked("taken back")));
            assert!(!membraned.membrane.revoke(Error::revoked("again")));
            if place == Place::InProcess {
                assert_eq!((membraned.inside.live(), membraned.outside.live()), (1, 0));
            }
            let error = waiting
                .await
                .ok()
                .and_then(Result::err)
                .expect("it goes on");
            assert!(error.extra.contains("taken back"), "{error}");
            assert!(number(&made).await.is_err());
            drop(made);
            until_idle().await;
            assert_eq!((membraned.inside.live(), membraned.outside.live()), (1, 0));
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn taking_back_from_within_a_call_ends_with_that_turn() -> Result<()> {
    run(async {
        let membraned = Membraned::new(Place::InProcess).await;
        // The call goes in, back out to an object of ours, which takes everything back.
        struct Revoker(capspan::membrane::WeakMembrane);
        impl thing::Server for Revoker {
            async fn number(
                self: Rc<Self>,
                _params: thing::NumberParams,
                _results: thing::NumberResults,
            ) -> Result<()> {
                assert!(self.0.revoke(Error::revoked("from within")));
                Ok(())
            }
        }
        let mut request = membraned.object.call_request();
        let revoker = capnp_rpc::new_client(Revoker(membraned.membrane.clone()));
        request.get().set_thing(revoker);
        let error = request.send().promise.await.err().expect("it was answered");
        assert!(error.extra.contains("from within"), "{error}");
        assert!(number(&membraned.object).await.is_err());
        assert_eq!(number(&membraned.bare).await?, 1);
        Ok(())
    })
}
