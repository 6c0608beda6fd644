//! Capabilities and messages, as whoever has no schema handles them.

use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise, Response};
use capnp::private::capability::{ClientHook, ParamsHook, PipelineOp};
use capnp::{Error, Result};
use futures::FutureExt;

use super::service::INTERFACE;
use crate::testkit_capnp::bundle;

/// How far a promise is followed to what it has resolved to.
const MAX_HOPS: usize = 64;

pub(super) type Hook = Box<dyn ClientHook>;

/// A promise that becomes `hook` when that is settled.
pub(super) fn becomes(hook: Hook) -> Hook {
    let settled = settled(hook);
    let client: Client = capnp_rpc::new_future_client(settled.map(|hook| hook.map(Client::new)));
    client.into_client_hook()
}

/// What a promise has resolved to by now.
pub(super) fn followed(mut hook: Hook) -> Hook {
    for _ in 0..MAX_HOPS {
        match hook.get_resolved() {
            Some(next) => hook = next,
            None => break,
        }
    }
    hook
}

/// What it is in the end.
pub(super) fn settled(hook: Hook) -> impl Future<Output = Result<Hook>> {
    let hook = followed(hook);
    let resolved = hook.when_resolved();
    async move {
        resolved.await?;
        Ok(followed(hook))
    }
}

type Answer = Promise<Response<any_pointer::Owned>, Error>;

/// Calls it with these; the answer, and what its first pointer will lead to.
pub(super) fn send(to: &dyn ClientHook, given: Vec<Hook>) -> (Answer, Hook) {
    let mut request = followed(to.add_ref()).new_call(INTERFACE, 0, None);
    put(request.get(), fit_for(to, given));
    let sent = request.send();
    let next = sent.pipeline.get_pointer_field(0).as_cap();
    (sent.promise, next)
}

pub(super) fn stream(to: &dyn ClientHook, given: Vec<Hook>) -> Promise<(), Error> {
    let mut request = followed(to.add_ref()).new_call(INTERFACE, 0, None);
    put(request.get(), fit_for(to, given));
    request.hook.send_streaming()
}

/// Who calls a promise of its own process's with that promise in it can't blame its peer.
fn fit_for(to: &dyn ClientHook, mut given: Vec<Hook>) -> Vec<Hook> {
    if is_own_promise(to) {
        given.retain(|given| !is_own_promise(&**given));
    }
    given
}

fn is_own_promise(hook: &dyn ClientHook) -> bool {
    let hook = followed(hook.add_ref());
    hook.get_brand() == 0 && hook.when_more_resolved().is_some()
}

/// What the first two pointers lead to.
pub(super) fn given(params: &dyn ParamsHook) -> Vec<Hook> {
    let content = params.get().ok();
    content.map_or_else(Vec::new, found)
}

pub(super) fn caps(response: &Response<any_pointer::Owned>) -> Vec<Hook> {
    let content = response.get().ok();
    content.map_or_else(Vec::new, found)
}

fn found(content: any_pointer::Reader<'_>) -> Vec<Hook> {
    let at = |at| content.get_pipelined_cap(&[PipelineOp::GetPointerField(at)]);
    [0, 1].into_iter().filter_map(|i| at(i).ok()).collect()
}

/// Puts capabilities where [`found`] finds them.
pub(super) fn put(content: any_pointer::Builder<'_>, given: Vec<Hook>) {
    let mut bundle = content.init_as::<bundle::Builder<'_>>();
    let mut given = given.into_iter();
    if let Some(first) = given.next() {
        bundle.set_plain(FromClientHook::new(first));
    }
    if let Some(second) = given.next() {
        bundle.get_any().set_as_capability(second);
    }
}
