//! A caller that makes exchanges, many at a time.

use std::cell::RefCell;
use std::ops::Range;

use capnp::Error;
use capnp::capability::FromClientHook as _;
use futures::{StreamExt as _, stream};

use super::{LANES, Vat};
use crate::legal_capnp::number;
use crate::random::Random;

/// As many numbers of the peer's are held at a time.
const HELD: usize = 24;

/// Makes exchanges with a peer's [`Number`](crate::legal_capnp::number).
pub struct Caller {
    pub(super) vat: Vat,
    held: RefCell<Vec<Held>>,
}

/// A number, and what it must say.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) number: number::Client,
    pub(super) value: u32,
    /// Is it an object of the caller's own?
    pub(super) is_own: bool,
}

impl Caller {
    /// A caller whose own objects are in `vat`. `service` has the value `value`.
    pub fn new(service: number::Client, value: u32, vat: Vat) -> Self {
        let held = Held {
            number: service,
            value,
            is_own: false,
        };
        Self {
            vat,
            held: RefCell::new(vec![held]),
        }
    }

    /// Makes an exchange for each seed.
    ///
    /// # Panics
    ///
    /// Where one does not give what it must: with its seed.
    pub async fn exchanges(&self, seeds: Range<u64>) {
        let exchanges = stream::iter(seeds).map(async |seed| {
            let mut random = Random::new(seed);
            if let Err(error) = self.exchange(&mut random).await {
                panic!("exchange {seed}: {error}");
            }
        });
        exchanges.buffer_unordered(LANES).collect::<()>().await;
    }

    /// Makes an exchange for each seed, over a connection that may be lost: each comes to an end.
    pub async fn attempts(&self, seeds: Range<u64>) {
        let attempts = stream::iter(seeds).map(async |seed| {
            let _ended = self.exchange(&mut Random::new(seed)).await;
        });
        attempts.buffer_unordered(LANES).collect::<()>().await;
    }

    /// A number of the peer's that is held.
    pub(super) fn theirs(&self, random: &mut Random) -> Held {
        let held = self.held.borrow();
        held[usize::from(random.below(HELD as u8)) % held.len()].clone()
    }

    /// A number of its own.
    pub(super) fn own(&self, random: &mut Random) -> Held {
        let value = random.value();
        Held {
            number: self.vat.number(value),
            value,
            is_own: true,
        }
    }

    /// One or the other.
    pub(super) fn any(&self, random: &mut Random) -> Held {
        match random.below(2) {
            0 => self.own(random),
            _ => self.theirs(random),
        }
    }

    /// Holds a number of the peer's, in place of another if there are enough.
    pub(super) fn hold(&self, random: &mut Random, number: number::Client, value: u32) {
        let mut held = self.held.borrow_mut();
        let new = Held {
            number,
            value,
            is_own: false,
        };
        if held.len() < HELD {
            held.push(new);
            return;
        }
        let place = usize::from(random.below(HELD as u8));
        let old = std::mem::replace(&mut held[place], new);
        drop(held);
        drop(old);
    }
}

/// Waits until it is known what a capability leads to.
pub(super) async fn resolved(number: &number::Client) -> Result<(), Error> {
    let mut hook = number.clone().into_client_hook();
    loop {
        hook = match hook.get_resolved() {
            Some(resolved) => resolved,
            // `capnp-rpc` never answers this where it has resolved before.
            None => match hook.when_more_resolved() {
                Some(resolved) => resolved.await?,
                None => return Ok(()),
            },
        };
    }
}

/// Is it what it must be?
pub(super) fn is<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), Error> {
    if got == want {
        return Ok(());
    }
    Err(Error::failed(format!("{what} is {got:?}, not {want:?}")))
}
