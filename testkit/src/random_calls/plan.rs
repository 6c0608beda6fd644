//! What is done in a session, read from bytes.

use std::time::Duration;

use capspan::session::TimeLimits;
use capspan::trace::Outcome;

use crate::run::PausedTime;
use crate::service::Place;

/// A session, what is called in it, and how it ends.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long the session may last: the caller's limits, and the callee's.
    pub limits: [Limits; 2],
    /// Has each call a span: on the caller's side, and on the callee's?
    pub has_call_spans: [bool; 2],
    /// What is done.
    pub steps: Vec<Step>,
    /// What happens then.
    pub end: End,
    /// Is all that the caller holds dropped right after that? If not, when no call is under way any more.
    pub drops_at_once: bool,
}

/// How long a session may last on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: Option<Duration>,
    /// With nothing in flight.
    pub idle: Option<Duration>,
}

/// One operation. Numbers choose among what is there, modulo how much it is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is done.
    pub op: Op,
    /// The capability it is done with.
    pub on: u8,
    /// What it is given, if anything: an object of the caller's if even, or else another capability of the session.
    pub given: u8,
    /// What becomes of the call's promise.
    pub fate: Fate,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Make,
    /// The same, and its pipeline is kept.
    MakeAndKeep,
    Gated,
    Early,
    Never,
    Store,
    Take,
    Call,
    Swap,
    Promise,
    Broken,
    Push,
    Fail {
        kind: u8,
    },
    Nothing,
    Many,
    Reflect,
    /// The callee's gate opens.
    OpenGate,
    /// Time passes.
    Pass(Duration),
    /// The caller lets go of a capability.
    Drop,
}

/// What becomes of a call's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is dropped at once.
    Drop,
    /// It is waited for, so long and no longer, before anything else is done.
    Within(Duration),
    /// It is waited for.
    Wait,
    /// The same, and its response is held for some time.
    Hold,
}

/// What happens when all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The caller lets go of all, and waits.
    LetGo,
    /// Time passes before that: limits are reached.
    Wait,
    /// The caller cancels the session.
    Cancel,
    /// Where there is a connection, it is cut.
    Cut,
}

/// How many bytes there are before the steps.
const HEAD: usize = 5;

/// How many bytes make a step.
const SIZE: usize = 6;

impl Plan {
    /// How many steps there are at most.
    pub const STEPS: usize = 24;

    /// How many bytes make the longest plan.
    pub const BYTES: usize = HEAD + SIZE * Self::STEPS;

    /// Reads a plan. Whatever the bytes are, they are one.
    pub fn decode(bytes: &[u8]) -> Self {
        let (given, rest) = bytes.split_at(bytes.len().min(HEAD));
        let mut head = [0; HEAD];
        head[..given.len()].copy_from_slice(given);
        let [caller, callee, traits, steps, end] = head;
        let steps = 1 + usize::from(steps) % Self::STEPS;
        let steps = rest.chunks_exact(SIZE).take(steps);
        Self {
            limits: [caller, callee].map(Limits::decode),
            has_call_spans: [1, 2].map(|side| traits & 3 & side != side),
            steps: steps.map(Step::decode).collect(),
            end: End::decode(end),
            drops_at_once: traits & 4 != 0,
        }
    }

    /// Does nobody end the session before its calls are over?
    pub(super) fn is_unhindered(&self) -> bool {
        !self.is_limited() && matches!(self.end, End::LetGo | End::Wait)
    }

    fn is_limited(&self) -> bool {
        self.limits.iter().any(|its| *its != Limits::default())
    }

    /// May the session, or a call, end like this?
    pub(super) fn may_end(&self, outcome: Outcome, place: Place) -> bool {
        match outcome {
            Outcome::Timeout => self.is_limited(),
            Outcome::Disconnected => self.is_cut(place),
            _ => true,
        }
    }

    fn is_cut(&self, place: Place) -> bool {
        self.end == End::Cut && place != Place::InProcess
    }

    /// Is the session over after that, whatever is under way?
    pub(super) fn ends_all(&self, place: Place) -> bool {
        match self.end {
            End::LetGo => false,
            End::Wait => self.limits.iter().any(|its| its.total.is_some()),
            End::Cancel => true,
            End::Cut => self.is_cut(place),
        }
    }
}

impl Limits {
    fn decode(byte: u8) -> Self {
        let [two, three, six] = [2, 3, 6].map(Duration::from_secs).map(Some);
        let (total, idle) = match byte % 6 {
            0 => (three, None),
            1 => (None, two),
            2 => (six, two),
            _ => (None, None),
        };
        Self { total, idle }
    }

    /// The same for an event, if it has any.
    pub(super) fn to_time(self) -> Option<TimeLimits> {
        let none = TimeLimits::new(PausedTime);
        match (self.total, self.idle) {
            (None, None) => None,
            (Some(total), None) => Some(none.total(total)),
            (None, Some(idle)) => Some(none.idle(idle)),
            (Some(total), Some(idle)) => Some(none.total(total).idle(idle)),
        }
    }
}

impl Step {
    fn decode(bytes: &[u8]) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        Self {
            op: Op::decode(byte(0), byte(5)),
            on: byte(1),
            given: byte(2),
            fate: Fate::decode(byte(3), byte(4)),
        }
    }
}

impl Op {
    fn decode(kind: u8, more: u8) -> Self {
        match kind % 20 {
            0 => Self::MakeAndKeep,
            1 => Self::Gated,
            2 => Self::Early,
            3 => Self::Never,
            4 => Self::Store,
            5 => Self::Take,
            6 => Self::Call,
            7 => Self::Swap,
            8 => Self::Promise,
            9 => Self::Broken,
            10 => Self::Push,
            11 => Self::Fail { kind: more % 4 },
            12 => Self::Nothing,
            13 => Self::Many,
            14 => Self::Reflect,
            15 if more < 64 => Self::OpenGate,
            16 => Self::Pass(Duration::from_millis(6 * u64::from(more))),
            17 => Self::Drop,
            _ => Self::Make,
        }
    }
}

impl Fate {
    fn decode(kind: u8, more: u8) -> Self {
        match kind % 4 {
            0 => Self::Drop,
            1 => Self::Within(Duration::from_millis(1 + u64::from(more))),
            2 => Self::Wait,
            _ => Self::Hold,
        }
    }
}

impl End {
    fn decode(byte: u8) -> Self {
        match byte % 5 {
            0 => Self::Cancel,
            1 => Self::Cut,
            2 => Self::Wait,
            _ => Self::LetGo,
        }
    }
}
