//! A table of scenarios: what crosses × where the membrane stands × what is done to it.
//!
//! - [`Case`]: one combination of the three, and [`each`], which runs a test over all of them.
//! - [`Scenario`]: the world of one case.
//! - [`expect`](mod@expect): what is to come of it, by plain functions.

pub mod expect;
mod policy;
mod setup;

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use super::run;
pub use expect::{Answer, Guarantee, Method, Side, When};
pub use setup::{Scenario, call, given_in, is_answer, store, stored};

/// A capability that the outside has, and how it came to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An object inside, made there and given out.
    ObjectInside,
    /// A promise inside, which resolves to an object there.
    PromiseInside,
    /// The same, resolved.
    ResolvedPromiseInside,
    /// An object of its own.
    ObjectOutside,
    /// An object of its own that has passed in and back out.
    InAndBackOut,
    /// A promise inside, which resolves to an object of its own.
    PromiseToTheOtherSide,
    /// A broken capability that somebody inside had.
    Broken,
    /// A capability asked of an answer that has none.
    Null,
    /// An object inside that holds itself, by way of the outside, as it gave it out.
    SelfReference,
}

/// Where the membrane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between two objects of one process.
    InProcess,
    /// At the server's end of a connection.
    ServerEnd,
    /// At the client's end of a connection.
    ClientEnd,
    /// In process, with another membrane inside.
    Stacked,
    /// At both ends of a connection: what crosses, crosses it twice.
    BothEnds,
    /// In a proxy between two connections.
    Proxy,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// All pass.
    Pass,
    /// Inbound calls of one method go to a guard outside.
    RedirectInbound,
    /// Outbound calls of one method go to a guard inside.
    RedirectOutbound,
    /// Calls of one method are refused in both directions.
    Refuse,
    /// It is revoked when the subject has crossed and nobody has called it.
    RevokedBefore,
    /// It is revoked while calls are in flight.
    RevokedDuring,
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What crosses.
    pub subject: Subject,
    /// Where.
    pub place: Place,
    /// What is done to the membrane.
    pub treatment: Treatment,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ObjectInside,
        Self::PromiseInside,
        Self::ResolvedPromiseInside,
        Self::ObjectOutside,
        Self::InAndBackOut,
        Self::PromiseToTheOtherSide,
        Self::Broken,
        Self::Null,
        Self::SelfReference,
    ];
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InProcess,
        Self::ServerEnd,
        Self::ClientEnd,
        Self::Stacked,
        Self::BothEnds,
        Self::Proxy,
    ];

    /// How many membranes there are.
    pub fn membranes(self) -> usize {
        if self == Self::Stacked { 2 } else { 1 }
    }
}

impl Treatment {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pass,
        Self::RedirectInbound,
        Self::RedirectOutbound,
        Self::Refuse,
        Self::RevokedBefore,
        Self::RevokedDuring,
    ];

    /// Does it come to a revocation?
    pub fn revokes(self) -> bool {
        matches!(self, Self::RevokedBefore | Self::RevokedDuring)
    }
}

impl Case {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Subject::ALL.into_iter().flat_map(|subject| {
            Place::ALL.into_iter().flat_map(move |place| {
                Treatment::ALL.map(|treatment| Self {
                    subject,
                    place,
                    treatment,
                })
            })
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} × {:?} × {:?}",
            self.subject, self.place, self.treatment
        )
    }
}

/// Runs `test` for each case in which `guarantee` says something, with a driver and without one.
///
/// # Panics
/// Where it fails in any case: says in which, and why. Where `ran` is not the number of cases.
pub fn each(guarantee: Guarantee, ran: usize, test: impl AsyncFn(Scenario)) {
    each_of(guarantee, |_| true, ran, test);
}

/// Runs `test` for those of the cases.
///
/// # Panics
/// As [`each`] does.
pub fn each_of(
    guarantee: Guarantee,
    those: impl Fn(Case) -> bool,
    ran: usize,
    test: impl AsyncFn(Scenario),
) {
    let (mut failed, mut count) = (Vec::new(), 0);
    for case in Case::all() {
        if expect::skipped(guarantee, case).is_some() || !those(case) {
            continue;
        }
        count += 1;
        for driven in [false, true] {
            let once = || run(async { test(Scenario::new(case, driven).await).await });
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(once)) {
                let driver = if driven { "with" } else { "without" };
                failed.push(format!("{case}, {driver} a driver: {}", said(&*panic)));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{guarantee:?} fails {} times of {}:\n{}",
        failed.len(),
        2 * count,
        failed.join("\n")
    );
    assert_eq!(count, ran, "cases of {guarantee:?}");
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it does not say")
}
