//! M1 closure: no capability crosses unwrapped, wherever it lies in a message and however it gets there.
//!
//! What has crossed is shown to be wrapped by taking it back: a bare capability would go on working.

use capnp::Result;
use capspan::Error;
use capspan_testkit::bundle;
use capspan_testkit::membraned::{Membraned, PLACES, number, resolved};
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::testkit_capnp::thing;

/// Bytes before each capability: in one segment of the message, and over several, by far pointers.
const BULKS: [u32; 2] = [0, 40_000];

fn revoke(membraned: &Membraned) {
    assert!(membraned.membrane.revoke(Error::revoked("taken back")));
}

async fn assert_taken_back(thing: &thing::Client) {
    let error = number(thing).await.expect_err("it still works");
    assert!(error.extra.contains("taken back"), "{error}");
}

#[test]
fn m1_results() -> Result<()> {
    for place in PLACES {
        for bulk in BULKS {
            run(async {
                let membraned = Membraned::new(place).await;
                let mut request = membraned.object.fill_request();
                request.get().set_bulk(bulk);
                let response = request.send().promise.await?;
                let things = bundle::each(response.get()?.get_bundle()?)?;
                assert_eq!(things.len(), bundle::PLACES);
                for (index, thing) in (2..).zip(&things) {
                    assert_eq!(number(thing).await?, index, "{place:?} {bulk}");
                }
                revoke(&membraned);
                for thing in &things {
                    assert_taken_back(thing).await;
                }
                Result::Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn m1_parameters() -> Result<()> {
    for place in PLACES {
        for bulk in BULKS {
            run(async {
                let membraned = Membraned::new(place).await;
                let mut request = membraned.object.hold_request();
                let mut made = Vec::new();
                bundle::fill(request.get().init_bundle(), bulk, || {
                    made.push(membraned.outside.thing());
                    made[made.len() - 1].clone()
                });
                request.send().promise.await?;
                let held = |index| {
                    let mut request = membraned.bare.call_held_request();
                    request.get().set_index(index);
                    request.send().promise
                };
                for index in 0..bundle::PLACES as u32 {
                    let answer = held(index).await?;
                    assert_eq!(answer.get()?.get_number(), index + 1, "{place:?} {bulk}");
                }
                let calls = membraned.outside.calls();
                revoke(&membraned);
                for index in 0..bundle::PLACES as u32 {
                    let error = held(index).await.err().expect("it still works");
                    assert!(error.extra.contains("taken back"), "{error}");
                }
                assert_eq!(membraned.outside.calls(), calls);
                Result::Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn m1_what_went_in_comes_back_out_where_it_was() -> Result<()> {
    for place in PLACES {
        for bulk in BULKS {
            run(async {
                let membraned = Membraned::new(place).await;
                let mut request = membraned.object.reflect_request();
                bundle::fill(request.get().init_bundle(), bulk, || {
                    membraned.outside.thing()
                });
                let response = request.send().promise.await?;
                let things = bundle::each(response.get()?.get_bundle()?)?;
                for (index, thing) in (1..).zip(&things) {
                    assert_eq!(number(thing).await?, index, "{place:?} {bulk}");
                }
                Result::Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn m1_a_thousand_in_one_message() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let mut request = membraned.object.many_request();
            request.get().set_count(1000);
            let response = request.send().promise.await?;
            let things = response.get()?.get_things()?;
            let things: Vec<thing::Client> = things.iter().collect::<Result<_>>()?;
            assert_eq!(number(&things[0]).await?, 2);
            assert_eq!(number(&things[999]).await?, 1001);
            revoke(&membraned);
            for thing in &things {
                assert_taken_back(thing).await;
            }
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m1_a_capability_that_was_overwritten_in_a_request() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let mut request = membraned.object.call_request();
            request.get().set_thing(membraned.outside.thing());
            request.get().set_thing(membraned.outside.thing());
            let response = request.send().promise.await?;
            assert_eq!(response.get()?.get_number(), 2, "{place:?}");

            let mut request = membraned.object.reflect_request();
            let mut bundle = request.get().init_bundle();
            bundle.set_plain(membraned.outside.thing());
            let mut list = bundle.reborrow().init_list(1);
            use capnp::capability::FromClientHook;
            list.set(0, membraned.outside.thing().into_client_hook());
            bundle.set_plain(membraned.outside.thing());
            let response = request.send().promise.await?;
            let bundle = response.get()?.get_bundle()?;
            assert_eq!(number(&bundle.get_plain()?).await?, 5, "{place:?}");
            assert_eq!(number(&bundle.get_list()?.get(0)?).await?, 4, "{place:?}");
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m1_pipelined_before_and_after_the_answer() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let sent = membraned.object.make_request().send();
            let before = sent.pipeline.get_thing();
            assert_eq!(number(&before).await?, 2);
            let _answer = sent.promise.await?;
            let after = sent.pipeline.get_thing();
            assert_eq!(number(&after).await?, 2);
            revoke(&membraned);
            assert_taken_back(&before).await;
            assert_taken_back(&after).await;
            assert_taken_back(&sent.pipeline.get_thing()).await;
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m1_early_results() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let sent = membraned.object.early_request().send();
            let early = sent.pipeline.get_thing();
            assert_eq!(number(&early).await?, 2, "{place:?}");
            membraned.inside.open_gate();
            let answer = sent.promise.await?;
            let late = answer.get()?.get_thing()?;
            assert_eq!(number(&late).await?, 2);
            revoke(&membraned);
            assert_taken_back(&early).await;
            assert_taken_back(&late).await;
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m1_the_resolution_of_a_promise() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            let answer = membraned.object.promise_request().send().promise.await?;
            let promised = answer.get()?.get_thing()?;
            membraned.inside.open_gate();
            assert_eq!(number(&promised).await?, 2);
            until_idle().await;
            let resolved = resolved(&promised);
            assert_eq!(number(&resolved).await?, 2);
            revoke(&membraned);
            assert_taken_back(&promised).await;
            assert_taken_back(&resolved).await;
            Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn m1_errors_keep_kind_and_text() {
    use capnp::ErrorKind::{Disconnected, Failed, Overloaded, Unimplemented};
    let kinds = [Failed, Overloaded, Disconnected, Unimplemented];
    for place in PLACES {
        for (number, kind) in (0..).zip(kinds) {
            run(async {
                let membraned = Membraned::new(place).await;
                let mut request = membraned.object.fail_request();
                request.get().set_kind(number);
                request.get().set_text("so be it");
                let error = request.send().promise.await.err().expect("it did not fail");
                assert_eq!(error.kind, kind, "{place:?}");
                assert!(error.extra.ends_with("so be it"), "{error}");
            });
        }
    }
}

#[test]
fn m1_streams() -> Result<()> {
    for place in PLACES {
        run(async {
            let membraned = Membraned::new(place).await;
            for _ in 0..10 {
                let mut request = membraned.object.push_request();
                request.get().set_data(&[7; 1000]);
                request.send().await?;
            }
            let pushed = membraned.object.pushed_request().send().promise.await?;
            assert_eq!(pushed.get()?.get_bytes(), 10_000);
            revoke(&membraned);
            let mut request = membraned.object.push_request();
            request.get().set_data(&[7; 1000]);
            let streamed = request.send().await;
            let after = membraned.object.pushed_request().send().promise.await;
            // Over a connection the failure of a stream shows with the next call.
            assert!(streamed.is_err() || after.is_err(), "{place:?}");
            Result::Ok(())
        })?;
    }
    Ok(())
}
