//! What several connections may have together.

use std::cell::Cell;
use std::rc::Rc;

use super::handle::Usage;

/// How much all connections with it may have at once: those of a tenant, or of a whole thread.
///
/// Clones share it. With all of it used up calls are answered `overloaded` on each of its connections; a
/// message of more than 16 KiB that begins to arrive, or one in answer that waits for a peer to read, ends the
/// connection. So does a call of a peer that was refused many and finishes none of them, when as many are
/// unfinished again as there may be.
///
/// ```
/// # use capspan::guard::{Budget, GuardOptions};
/// let budget = Budget::new().calls(50_000).capabilities(100_000).bytes(256 << 20);
/// let options = GuardOptions::default().budget(&budget);
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Cell<Amounts>,
    used: Cell<Amounts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    calls: usize,
    capabilities: usize,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    /// 65,536 calls, 262,144 capabilities, 256 MiB.
    pub fn new() -> Self {
        let limits = Amounts {
            calls: 65_536,
            capabilities: 262_144,
            bytes: 256 << 20,
        };
        Self {
            inner: Rc::new(Inner {
                limits: Cell::new(limits),
                used: Cell::default(),
            }),
        }
    }

    /// Calls of peers' that are not finished.
    #[must_use]
    pub fn calls(self, count: usize) -> Self {
        self.limit(|limits| limits.calls = count)
    }

    /// Capabilities, those of peers' and those that they hold.
    #[must_use]
    pub fn capabilities(self, count: usize) -> Self {
        self.limit(|limits| limits.capabilities = count)
    }

    /// Bytes of calls in flight, of messages that have begun to arrive, all that they say they will have, and
    /// of what waits for peers to read it, with 1 KiB for each message of that.
    #[must_use]
    pub fn bytes(self, count: u64) -> Self {
        self.limit(|limits| limits.bytes = count)
    }

    fn limit(self, set: impl FnOnce(&mut Amounts)) -> Self {
        let mut limits = self.inner.limits.get();
        set(&mut limits);
        self.inner.limits.set(limits);
        self
    }

    /// What is used up, if anything is: `calls`, `capabilities` or `bytes`.
    pub fn used_up(&self) -> Option<&'static str> {
        let (used, limits) = (self.inner.used.get(), self.inner.limits.get());
        if used.calls >= limits.calls {
            Some("calls")
        } else if used.capabilities >= limits.capabilities {
            Some("capabilities")
        } else if used.bytes >= limits.bytes {
            Some("bytes")
        } else {
            None
        }
    }
}

/// So many calls that are over, and that the peer has not finished, are not held against it.
const FREE_UNFINISHED: usize = 64;

/// What one connection has of a budget. Dropping it gives all back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    has: Cell<Amounts>,
}

impl Share {
    pub(super) fn of(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            has: Cell::default(),
        }
    }

    pub(super) fn used_up(&self) -> Option<&'static str> {
        self.budget.used_up()
    }

    /// Are there bytes left, whatever else is used up?
    pub(super) fn has_bytes(&self) -> bool {
        self.budget.inner.used.get().bytes < self.budget.inner.limits.get().bytes
    }

    /// How many calls the connection has left unfinished that are over, if there are twice as many as the
    /// budget has, and this one has a good part in that. Those that were refused take room as well.
    pub(super) fn overdraft(&self, usage: Usage) -> Option<usize> {
        let (used, limits) = (self.budget.inner.used.get(), self.budget.inner.limits.get());
        let over = usage.unfinished.saturating_sub(usage.calls);
        (used.calls >= limits.calls.saturating_mul(2) && over > FREE_UNFINISHED).then_some(over)
    }

    /// Notes what the connection has now.
    pub(super) fn set(&self, usage: Usage, bytes: u64) {
        let now = Amounts {
            calls: usage.unfinished,
            capabilities: usage.exports + usage.imports,
            bytes: usage.call_bytes + bytes,
        };
        let had = self.has.replace(now);
        if had == now {
            return;
        }
        let mut used = self.budget.inner.used.get();
        used.calls = used.calls - had.calls + now.calls;
        used.capabilities = used.capabilities - had.capabilities + now.capabilities;
        used.bytes = used.bytes - had.bytes + now.bytes;
        self.budget.inner.used.set(used);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(Usage::default(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let budget = Budget::new().calls(3).capabilities(10).bytes(100);
        let (one, other) = (Share::of(&budget), Share::of(&budget));
        let usage = |unfinished, exports, imports, call_bytes| Usage {
            unfinished,
            exports,
            imports,
            call_bytes,
            ..Usage::default()
        };
        one.set(usage(2, 3, 3, 40), 10);
        assert_eq!(budget.used_up(), None);
        other.set(usage(1, 0, 0, 0), 0);
        assert_eq!(other.used_up(), Some("calls"));
        one.set(usage(0, 3, 7, 0), 0);
        assert_eq!(budget.used_up(), Some("capabilities"));
        one.set(usage(0, 3, 0, 50), 50);
        assert_eq!(budget.used_up(), Some("bytes"));
        assert!(!other.has_bytes());
        other.set(usage(3, 0, 0, 0), 0);
        assert_eq!(budget.used_up(), Some("calls"));
        assert!(!other.has_bytes(), "whatever else is used up");
        one.set(usage(0, 3, 0, 50), 49);
        assert!(other.has_bytes());
        drop(one);
        drop(other);
        assert_eq!(budget.inner.used.get(), Amounts::default());
    }
}
