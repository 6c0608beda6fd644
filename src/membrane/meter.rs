//! A policy that counts calls and their latencies by method.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::policy::{Call, CallWatch, Policy};
use crate::clock::{Clock, Timestamp};

/// How many methods are told apart. Peers may call what does not exist.
const MAX_METHODS: usize = 256;

/// The longest latency that is told apart from longer ones, in microseconds: an hour.
const MAX_MICROS: u64 = 3_600_000_000;

/// Two digits: latencies are right to a hundredth.
const DIGITS: u8 = 2;

/// Counts the calls that pass through a membrane, and measures how long they take: by interface, method
/// and direction. Clones are handles to the same counts, and one meter may serve many membranes.
///
/// It tells 256 methods apart; the calls of further ones are counted together, without a method. A method
/// costs about 13 KiB.
///
/// ```
/// # use std::rc::Rc;
/// # use capspan::membrane::{Membrane, Meter};
/// # use capspan::trace::SystemClock;
/// let meter = Meter::new(Rc::new(SystemClock::new()));
/// let membrane = Membrane::builder().policy(meter.clone()).build();
/// // …
/// for (method, calls) in meter.methods() {
///     println!("{method:?}: {} calls, {:?} at most", calls.begun(), calls.max_latency());
/// }
/// # drop(membrane);
/// ```
#[derive(Clone)]
pub struct Meter {
    inner: Rc<Inner>,
}

struct Inner {
    clock: Rc<dyn Clock>,
    methods: RefCell<BTreeMap<Method, Rc<RefCell<Calls>>>>,
}

/// What calls are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method {
    /// The interface's id; zero for the methods that are counted together.
    pub interface_id: u64,
    /// The method's ordinal.
    pub method_id: u16,
    /// From outside in?
    pub is_inbound: bool,
}

/// The calls of one method.
#[derive(Clone, Default)]
pub struct Calls {
    begun: u64,
    returned: u64,
    failed: u64,
    canceled: u64,
    /// In microseconds; of calls that returned or failed.
    latency: Option<Histogram<u32>>,
}

impl Meter {
    /// A meter that has counted nothing. `clock` is read twice a call.
    pub fn new(clock: Rc<dyn Clock>) -> Self {
        Self {
            inner: Rc::new(Inner {
                clock,
                methods: RefCell::default(),
            }),
        }
    }

    /// What it has counted so far, in the order of ids.
    pub fn methods(&self) -> Vec<(Method, Calls)> {
        let methods = self.inner.methods.borrow();
        let copies = methods
            .iter()
            .map(|(method, calls)| (*method, calls.borrow().clone()));
        copies.collect()
    }

    /// Begins anew, for all its handles. Calls in flight are not counted any more.
    pub fn clear(&self) {
        self.inner.methods.borrow_mut().clear();
    }
}

impl Policy for Meter {
    fn call_begins(&self, call: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        let mut method = Method {
            interface_id: call.interface_id(),
            method_id: call.method_id(),
            is_inbound: call.is_inbound(),
        };
        // Before anything is borrowed: it may be anybody's clock.
        let began = self.inner.clock.now();
        let mut methods = self.inner.methods.borrow_mut();
        if methods.len() >= MAX_METHODS && !methods.contains_key(&method) {
            method.interface_id = 0;
            method.method_id = 0;
        }
        let calls = methods.entry(method).or_default().clone();
        calls.borrow_mut().begun += 1;
        Some(Rc::new(Measured {
            began,
            clock: self.inner.clock.clone(),
            calls,
        }))
    }
}

/// A call that is being measured.
struct Measured {
    calls: Rc<RefCell<Calls>>,
    clock: Rc<dyn Clock>,
    began: Timestamp,
}

impl CallWatch for Measured {
    fn ended(&self, result: Result<(), &capnp::Error>) {
        let took = self.clock.now().duration_since(self.began);
        let mut calls = self.calls.borrow_mut();
        match result {
            Ok(()) => calls.returned += 1,
            Err(_) => calls.failed += 1,
        }
        calls.record(took);
    }

    fn canceled(&self) {
        self.calls.borrow_mut().canceled += 1;
    }
}

impl Calls {
    /// How many have begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// How many have returned.
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// How many have failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// How many were canceled, or their answers never looked at.
    pub fn canceled(&self) -> u64 {
        self.canceled
    }

    /// How many are under way.
    pub fn in_flight(&self) -> u64 {
        self.begun - self.returned - self.failed - self.canceled
    }

    /// The latency that `quantile` of the calls, from 0 to 1, did not exceed, to a hundredth; zero where
    /// none has ended.
    pub fn latency(&self, quantile: f64) -> Duration {
        let latency = self.latency.as_ref();
        Duration::from_micros(latency.map_or(0, |l| l.value_at_quantile(quantile)))
    }

    /// The longest latency, to a hundredth and up to an hour.
    pub fn max_latency(&self) -> Duration {
        self.latency(1.0)
    }

    /// All latencies, in microseconds; `None` where no call has ended.
    pub fn latencies(&self) -> Option<&Histogram<u32>> {
        self.latency.as_ref()
    }

    fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(MAX_MICROS);
        if self.latency.is_none() {
            // The bounds are those that the histogram asks for: it can't fail.
            self.latency = Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok();
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(micros.max(1));
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("begun", &self.begun)
            .field("returned", &self.returned)
            .field("failed", &self.failed)
            .field("canceled", &self.canceled)
            .field("max_latency", &self.max_latency())
            .finish()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}
