//! What is to come of a case, by plain functions of its three axes.

use super::policy::REFUSED;
use super::{Case, Place, Subject, Treatment};
use crate::membrane::scene::REASON;

/// The guarantees of a membrane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Closure: nothing crosses unwrapped.
    M1,
    /// Identity.
    M2,
    /// Promises behave as what they resolved to.
    M3,
    /// Order of calls.
    M4,
    /// Revocation.
    M5,
    /// Completion.
    M6,
    /// Data arrives as it was sent.
    M7,
    /// What can't be wrapped is unusable.
    M8,
}

/// A side of the membrane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whoever calls the subject as it was given out.
    Outside,
    /// Whoever calls it as it came back in.
    Inside,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One that every policy lets through.
    Label,
    /// The one that a policy may redirect or refuse.
    Swap,
}

/// What comes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This object answers.
    By(&'static str),
    /// It fails, and the error says this.
    Fails(&'static str),
}

/// What has happened before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing that matters: what is a promise has resolved, and has been called since.
    Working,
    /// Nothing: what is a promise has not resolved.
    Unresolved,
    /// It was revoked, and the subject was not resolved then.
    RevokedUnresolved,
    /// It was revoked, and the subject was resolved then.
    RevokedResolved,
}

/// The guard that calls are redirected to.
pub const GUARD: &str = "guard";

/// What a broken capability says.
pub const BROKEN: &str = "it was broken from the first";

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Outside, Self::Inside];
}

impl Method {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Label, Self::Swap];
}

impl Subject {
    /// Where the object is that it leads to in the end, and its label; `None`: there is none.
    pub fn home(self) -> Option<(Side, &'static str)> {
        match self {
            Self::ObjectInside | Self::SelfReference => Some((Side::Inside, "thing")),
            Self::PromiseInside | Self::ResolvedPromiseInside => {
                Some((Side::Inside, "inner's promise"))
            }
            Self::ObjectOutside | Self::InAndBackOut | Self::PromiseToTheOtherSide => {
                Some((Side::Outside, "own"))
            }
            Self::Broken | Self::Null => None,
        }
    }

    /// Is it a promise until a gate opens?
    pub fn is_unresolved(self) -> bool {
        matches!(self, Self::PromiseInside | Self::PromiseToTheOtherSide)
    }

    /// Is it a promise, or was it one?
    pub fn is_promise(self) -> bool {
        match self {
            Self::PromiseInside | Self::ResolvedPromiseInside | Self::PromiseToTheOtherSide => true,
            // To `capnp-rpc`, what is broken is a promise that will fail.
            Self::Broken | Self::Null => true,
            Self::ObjectInside | Self::ObjectOutside | Self::InAndBackOut | Self::SelfReference => {
                false
            }
        }
    }
}

impl Case {
    /// What comes of a call on the subject from `side`.
    pub fn answer(self, side: Side, method: Method, when: When) -> Answer {
        let Some((home, label)) = self.subject.home() else {
            // A policy is asked before anybody looks whether there is somebody.
            let judged = self.judged(side, method);
            return match judged.filter(|_| self.meets_policy(side) && !when.is_revoked()) {
                Some(answer) => answer,
                None if self.subject == Subject::Broken && !when.is_revoked() => {
                    Answer::Fails(BROKEN)
                }
                // Broken or revoked: either will do.
                None => Answer::Fails(""),
            };
        };
        // A promise that has crossed leads to the other side until it is known to lead back.
        let leads_back = side == Side::Outside && self.subject == Subject::PromiseToTheOtherSide;
        match when {
            When::Unresolved if leads_back => match (self.treatment, method) {
                (Treatment::Refuse, Method::Swap) => Answer::Fails(REFUSED),
                // In, and from there on its way out.
                (Treatment::RedirectOutbound, Method::Swap) => Answer::By(GUARD),
                _ => Answer::By(label),
            },
            When::RevokedUnresolved if leads_back => Answer::Fails(REASON),
            _ if home == side => Answer::By(label),
            _ if when.is_revoked() => Answer::Fails(REASON),
            _ => self.judged(side, method).unwrap_or(Answer::By(label)),
        }
    }

    /// The same after a revocation of one membrane, where another may stand before it.
    pub fn answer_revoked(self, which: usize, side: Side, method: Method, when: When) -> Answer {
        let nearest = match side {
            Side::Outside => 0,
            Side::Inside => self.place.membranes() - 1,
        };
        let answer = self.answer(side, method, when);
        let is_wrapped = match self.subject.home() {
            Some(_) => answer == Answer::Fails(REASON),
            None => self.meets_policy(side),
        };
        match self.judged(side, method) {
            Some(judged) if which != nearest && is_wrapped => judged,
            _ => answer,
        }
    }

    /// Is what leads nowhere wrapped, as `side` has it?
    fn meets_policy(self, side: Side) -> bool {
        match (self.subject, side) {
            (Subject::Null, Side::Outside) => {
                // To a connection of `capnp-rpc`'s, a null is its own client's, and broken.
                !matches!(self.place, Place::ServerEnd | Place::Proxy)
            }
            (Subject::Null, Side::Inside) => {
                // So it comes in as a capability from outside.
                matches!(
                    self.place,
                    Place::ServerEnd | Place::Proxy | Place::BothEnds
                )
            }
            (_, side) => side == Side::Outside,
        }
    }

    /// What a policy makes of a call from `side` that crosses; `None`: it goes on.
    fn judged(self, side: Side, method: Method) -> Option<Answer> {
        match (self.treatment, method, side) {
            (Treatment::Refuse, Method::Swap, _) => Some(Answer::Fails(REFUSED)),
            (Treatment::RedirectInbound, Method::Swap, Side::Outside)
            | (Treatment::RedirectOutbound, Method::Swap, Side::Inside) => Some(Answer::By(GUARD)),
            _ => None,
        }
    }

    /// When the subject is called for the first time, before a treatment.
    pub fn first(self) -> When {
        match self.subject.is_unresolved() {
            true => When::Unresolved,
            false => When::Working,
        }
    }

    /// When the subject is called after a treatment that found it as it was at first.
    pub fn treated(self) -> When {
        match (self.treatment.revokes(), self.first()) {
            (false, first) => first,
            (true, When::Unresolved) => When::RevokedUnresolved,
            (true, _) => When::RevokedResolved,
        }
    }

    /// When the subject is called so that the call is in flight during a treatment.
    pub fn queued(self) -> When {
        match self.treatment {
            // Answered before.
            Treatment::RevokedDuring if !self.subject.is_unresolved() => When::Working,
            _ => self.treated(),
        }
    }

    /// When the subject is called after it has been called.
    pub fn settled(self) -> When {
        match self.treated() {
            When::Unresolved => When::Working,
            treated => treated,
        }
    }

    /// Does who answers a call from `side` with `answer` stand on the other side?
    pub fn has_crossed(self, side: Side, answer: Answer) -> bool {
        let stands = match (answer, self.treatment) {
            (Answer::Fails(_), _) => return false,
            (Answer::By("own"), _) | (Answer::By(GUARD), Treatment::RedirectInbound) => {
                Side::Outside
            }
            (Answer::By(_), _) => Side::Inside,
        };
        stands != side
    }
}

impl When {
    fn is_revoked(self) -> bool {
        matches!(self, Self::RevokedUnresolved | Self::RevokedResolved)
    }
}

/// Why `guarantee` says nothing in `case`; `None`: it does.
pub fn skipped(guarantee: Guarantee, case: Case) -> Option<&'static str> {
    let nowhere = case.subject.home().is_none();
    match guarantee {
        Guarantee::M2 if nowhere => Some("what is broken is nobody, and never the same"),
        Guarantee::M2 if case.treatment.revokes() => Some("nothing crosses a second time"),
        Guarantee::M3 if !case.subject.is_promise() => Some("it is no promise"),
        Guarantee::M4 if nowhere => Some("no call arrives"),
        _ => None,
    }
}
