//! Where a hook of this side's leads to, over promises that have resolved and what stands for them.

use std::task::{Context, Poll};

use capnp::Error;
use capnp::capability::Promise;
use futures::FutureExt;

use super::stand_in::{Hook, brand, end_of};

/// As many as may lead to each other.
const MAX_HOPS: usize = 64;

/// What it has become, as far as that is known.
pub(super) fn innermost(hook: Hook) -> Hook {
    let mut at = end_of(hook);
    for _ in 0..MAX_HOPS {
        match at.get_resolved() {
            Some(next) if at.get_brand() != brand() => at = end_of(next),
            _ => return at,
        }
    }
    at
}

/// Can it become something else, and does nothing stand for it yet? To be asked of an innermost one.
pub(super) fn is_promise(hook: &Hook) -> bool {
    let leads_on = || hook.get_resolved().is_some() || hook.when_more_resolved().is_some();
    hook.get_brand() != brand() && leads_on()
}

/// From a promise to its end.
pub(super) struct Way {
    pub(super) at: Hook,
    more: Option<Promise<Hook, Error>>,
    pub(super) hops: usize,
}

impl From<Hook> for Way {
    fn from(at: Hook) -> Self {
        Self {
            at,
            more: None,
            hops: 0,
        }
    }
}

impl Way {
    fn go(&mut self, next: Hook) {
        self.at = next;
        self.more = None;
        self.hops += 1;
    }

    /// Goes on. It ends at what is none of `capnp-rpc`'s promises.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Hook, Error>> {
        while self.hops <= MAX_HOPS {
            if self.at.get_brand() == brand() {
                return Poll::Ready(Ok(self.at.add_ref()));
            }
            if let Some(next) = self.at.get_resolved() {
                self.go(next);
                continue;
            }
            if self.more.is_none() {
                self.more = self.at.when_more_resolved();
            }
            let Some(more) = &mut self.more else {
                return Poll::Ready(Ok(self.at.add_ref()));
            };
            let polled = more.poll_unpin(cx);
            // A promise that is fulfilled before its call returns says so only when that does.
            match (polled, self.at.get_resolved()) {
                (_, Some(next)) | (Poll::Ready(Ok(next)), None) => self.go(next),
                (Poll::Ready(Err(error)), None) => return Poll::Ready(Err(error)),
                (Poll::Pending, None) => return Poll::Pending,
            }
        }
        let text = format!("a promise leads over more than {MAX_HOPS} others");
        Poll::Ready(Err(Error::failed(text)))
    }
}
