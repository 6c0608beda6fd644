//! The kinds of calls.

use capnp::Error;
use capnp::capability::FromClientHook;
use capspan::membrane::Membrane;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use futures::future::join;

/// What is done once: one, two or four calls that reach an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Data in, the same out.
    Echo,
    /// A capability in and the same out; then several, all over a message.
    Capabilities,
    /// A new capability out, which is called.
    Make,
    /// A new capability in, which is called back.
    CallBack,
    /// A call on a result that is not there yet.
    Pipelined,
    /// A promise out, which is called before it resolves; results that are there before the return.
    Promises,
    /// Calls of a stream.
    Stream,
    /// A call that fails, and one on a capability that is null.
    Errors,
    /// A call that is canceled, and one on its results that are never there.
    Canceled,
    /// A call that returns and one that is revoked, through a membrane of their own around the other.
    Revoked,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Echo,
        Self::Capabilities,
        Self::Make,
        Self::CallBack,
        Self::Pipelined,
        Self::Promises,
        Self::Stream,
        Self::Errors,
        Self::Canceled,
        Self::Revoked,
    ];

    /// Are there calls that are finished before they have returned?
    pub(crate) fn is_canceled(self) -> bool {
        matches!(self, Self::Canceled | Self::Revoked)
    }

    /// Calls `service`, and passes objects of `outside`.
    pub(crate) async fn call(self, service: &thing::Client, outside: &World) -> Result<(), Error> {
        match self {
            Self::Echo => echo(service).await,
            Self::Capabilities => capabilities(service, outside).await,
            Self::Make => number(&make(service).await?).await,
            Self::CallBack => call_back(service, outside).await,
            Self::Pipelined => pipelined(service).await,
            Self::Promises => promises(service).await,
            Self::Stream => stream(service).await,
            Self::Errors => errors(service).await,
            Self::Canceled => canceled(service, outside).await,
            Self::Revoked => revoked(service, outside).await,
        }
    }
}

async fn echo(service: &thing::Client) -> Result<(), Error> {
    let mut request = service.echo_request();
    request.get().set_data(b"echo");
    let response = request.send().promise.await?;
    assert_eq!(response.get()?.get_data()?, b"echo");
    Ok(())
}

async fn capabilities(service: &thing::Client, outside: &World) -> Result<(), Error> {
    let given = outside.thing();
    let mut request = service.swap_request();
    request.get().set_thing(given.clone());
    let response = request.send().promise.await?;
    response.get()?.get_thing()?;

    let mut request = service.reflect_request();
    let mut bundle = request.get().init_bundle();
    bundle.set_plain(given.clone());
    let mut list = bundle.reborrow().init_list(2);
    list.set(0, given.into_client_hook());
    list.set(1, outside.thing().into_client_hook());
    let nested = bundle.init_nested();
    nested.init_choice().set_chosen(service.clone());
    let response = request.send().promise.await?;
    assert_eq!(response.get()?.get_bundle()?.get_list()?.len(), 2);
    Ok(())
}

async fn make(service: &thing::Client) -> Result<thing::Client, Error> {
    let response = service.make_request().send().promise.await?;
    response.get()?.get_thing()
}

async fn number(thing: &thing::Client) -> Result<(), Error> {
    let response = thing.number_request().send().promise.await?;
    assert!(response.get()?.get_number() > 0);
    Ok(())
}

async fn call_back(service: &thing::Client, outside: &World) -> Result<(), Error> {
    let mut request = service.call_request();
    request.get().set_thing(outside.thing());
    let response = request.send().promise.await?;
    assert!(response.get()?.get_number() > 0);
    Ok(())
}

async fn pipelined(service: &thing::Client) -> Result<(), Error> {
    let made = service.make_request().send();
    let thing = made.pipeline.get_thing();
    let (made, number) = join(made.promise, number(&thing)).await;
    made?;
    number
}

async fn promises(service: &thing::Client) -> Result<(), Error> {
    let promised = service.promise_request().send().promise.await?;
    number(&promised.get()?.get_thing()?).await?;
    let early = service.early_request().send();
    let thing = early.pipeline.get_thing();
    let (early, number) = join(early.promise, number(&thing)).await;
    early?;
    number
}

async fn stream(service: &thing::Client) -> Result<(), Error> {
    for _ in 0..3 {
        let mut push = service.push_request();
        push.get().set_data(b"some");
        push.send().await?;
    }
    let pushed = service.pushed_request().send().promise.await?;
    assert!(pushed.get()?.get_bytes() >= 12);
    Ok(())
}

async fn errors(service: &thing::Client) -> Result<(), Error> {
    let mut request = service.fail_request();
    request.get().set_text("as it was asked to");
    let failed = request.send().promise.await;
    assert!(failed.is_err_and(|error| error.extra.contains("as it was asked to")));
    let nothing = service.nothing_request().send();
    let null = nothing.pipeline.get_thing();
    let (nothing, number) = join(nothing.promise, number(&null)).await;
    assert!(nothing.is_ok() && number.is_err());
    Ok(())
}

async fn canceled(service: &thing::Client, outside: &World) -> Result<(), Error> {
    let mut request = service.never_request();
    request.get().set_thing(outside.thing());
    let sent = request.send();
    let thing = sent.pipeline.get_thing();
    let waits = join(sent.promise, number(&thing));
    begun(waits, service).await
}

async fn revoked(service: &thing::Client, outside: &World) -> Result<(), Error> {
    let membrane = Membrane::new();
    let service = membrane.export(service.clone());
    let mut request = service.never_request();
    request.get().set_thing(outside.thing());
    let mut never = request.send().promise;
    number(&service).await?;
    assert!((&mut never).now_or_never().is_none());
    membrane.revoke(capspan::Error::revoked("the lease is over"));
    assert!(never.await.is_err());
    Ok(())
}

/// Lets `call` begin, and drops it.
async fn begun<T>(call: impl Future<Output = T>, service: &thing::Client) -> Result<(), Error> {
    let mut call = std::pin::pin!(call);
    assert!(call.as_mut().now_or_never().is_none());
    // Over a connection it has arrived when a later one has returned.
    number(service).await
}
