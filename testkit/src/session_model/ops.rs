//! What can be done, read from bytes.

/// Vats, and the ways on which one starts events on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many vats there are.
    pub vats: u8,
    /// The ways.
    pub routes: Vec<Route>,
}

/// A way on which one vat starts events on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The caller's vat.
    pub from: u8,
    /// The callee's vat.
    pub to: u8,
    /// Is there a connection between the two? If not, they share an event loop and a driver.
    pub is_connected: bool,
    /// Is the callee observed?
    pub is_observed: bool,
    /// Does the callee join the caller's trace?
    pub joins_trace: bool,
    /// How long an event may take on the callee's side.
    pub limits: Limits,
}

/// How long one side of an event may take, and how long it may idle; in units of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: Option<u8>,
    /// With nothing in flight.
    pub idle: Option<u8>,
}

/// Where the vats of a sequence may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Two vats in one process.
    Process,
    /// Two vats with a connection between them.
    Connection,
    /// Two or three vats and up to four ways of either kind, in any direction.
    Graph,
}

/// A layout, and what is done in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Where.
    pub layout: Layout,
    /// What.
    pub steps: Vec<Step>,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub op: Op,
    /// Does everything come to rest after it? If not, the next operation follows at once, where what comes of
    /// both is certain.
    pub rests: bool,
}

/// What is done. Numbers choose among what is there, modulo how much it is; where there is nothing to choose
/// from, it does nothing. So any part of a sequence is a sequence. Where an event is started, the high half of
/// `route` chooses the caller's limits of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    /// Opens a session. `parent` chooses whose child it is, `does` what the service's handler does.
    Open { route: u8, parent: u8, does: u8 },
    /// Delivers a scheduled run.
    Run { route: u8, parent: u8, does: u8 },
    /// Delivers a custom event; with a capability, if `cap` chooses one.
    Custom { route: u8, cap: u8, does: u8 },
    /// Calls a capability. `order` chooses what the object does.
    Call { to: u8, cap: u8, order: u8 },
    /// Begins a request, and does not send it.
    Prepare { to: u8 },
    /// A second reference to the same.
    Copy { cap: u8 },
    /// Lets go of a capability.
    Drop { cap: u8 },
    /// Lets go of an unsent request or of a response.
    Discard { message: u8 },
    /// Takes the capability out of a response.
    Take { response: u8 },
    /// Drops the future of a call, or of an event that is one.
    Cancel { call: u8 },
    /// Drops the handle of a session.
    DropHandle { session: u8 },
    /// Lets a session go on with nobody to cancel it.
    Detach { session: u8 },
    /// Waits for a session's end.
    Done { session: u8 },
    /// Lets one go on whom its service keeps waiting.
    Release { waiting: u8 },
    /// The callee writes to the caller's span.
    Write { event: u8, what: u8 },
    /// The callee writes to its own span, or the caller to its own.
    Own { event: u8, what: u8 },
    /// An object lets go of what it keeps.
    Forget { object: u8 },
    /// Cuts a connection: the wire, after so many pieces that are on their way, or one side's driver.
    Cut { route: u8, how: u8, pieces: u8 },
    /// Another connection in place of one that was cut, and another callee in place of one that was drained.
    Connect { route: u8 },
    /// Time passes: limits may be reached.
    Pass { ticks: u8 },
    /// A callee takes no more events, and those that it has are cut.
    Drain { route: u8 },
}

/// How many bytes make a layout.
const HEAD: usize = 9;

/// How many bytes make an operation.
const SIZE: usize = 4;

/// What kinds of operations there are: how often each comes, and how it is read.
type Kinds = [(u8, fn([u8; 3]) -> Op); 21];

const KINDS: Kinds = [
    (14, |[route, parent, does]| Op::Open {
        route,
        parent,
        does,
    }),
    (3, |[route, parent, does]| Op::Run {
        route,
        parent,
        does,
    }),
    (6, |[route, cap, does]| Op::Custom { route, cap, does }),
    (25, |[to, cap, order]| Op::Call { to, cap, order }),
    (2, |[to, ..]| Op::Prepare { to }),
    (1, |[cap, ..]| Op::Copy { cap }),
    (12, |[cap, ..]| Op::Drop { cap }),
    (4, |[message, ..]| Op::Discard { message }),
    (3, |[response, ..]| Op::Take { response }),
    (5, |[call, ..]| Op::Cancel { call }),
    (6, |[session, ..]| Op::DropHandle { session }),
    (3, |[session, ..]| Op::Detach { session }),
    (5, |[session, ..]| Op::Done { session }),
    (8, |[waiting, ..]| Op::Release { waiting }),
    (9, |[event, what, _]| Op::Write { event, what }),
    (4, |[event, what, _]| Op::Own { event, what }),
    (4, |[object, ..]| Op::Forget { object }),
    (2, |[route, how, pieces]| Op::Cut { route, how, pieces }),
    (6, |[route, ..]| Op::Connect { route }),
    (5, |[ticks, ..]| Op::Pass { ticks }),
    (1, |[route, ..]| Op::Drain { route }),
];

/// The sum of how often each comes.
const TOTAL: u8 = 128;

impl Sequence {
    /// How many bytes make a layout and this many operations.
    pub const fn size(steps: usize) -> usize {
        HEAD + SIZE * steps
    }

    /// Reads a layout and operations. Whatever the bytes are, they are some.
    pub fn decode(bytes: &[u8], stage: Stage) -> Self {
        let (given, rest) = bytes.split_at(bytes.len().min(HEAD));
        let mut head = [0; HEAD];
        head[..given.len()].copy_from_slice(given);
        let steps = rest
            .chunks_exact(SIZE)
            .map(|step| Step::decode([step[0], step[1], step[2], step[3]]));
        Self {
            layout: Layout::choose(head, stage),
            steps: steps.collect(),
        }
    }
}

impl Layout {
    fn choose([size, routes @ ..]: [u8; HEAD], stage: Stage) -> Self {
        let (vats, count) = match stage {
            Stage::Process | Stage::Connection => (2, 1),
            Stage::Graph => (2 + size % 2, 2 + size / 2 % 3),
        };
        let (ends, traits) = routes.split_at(HEAD / 2);
        let routes = ends.iter().zip(traits).take(count.into());
        let routes = routes.map(|(ends, traits)| {
            let (from, apart) = (ends % vats, 1 + ends / vats % (vats - 1));
            Route {
                from,
                to: (from + apart) % vats,
                is_connected: match stage {
                    Stage::Process => false,
                    Stage::Connection => true,
                    Stage::Graph => traits & 3 != 0,
                },
                is_observed: traits >> 2 & 7 != 0,
                joins_trace: traits >> 5 & 3 != 0,
                limits: Limits::choose(ends / 8),
            }
        });
        let routes = routes.collect();
        Self { vats, routes }
    }
}

impl Limits {
    /// Mostly none.
    pub(super) fn choose(choice: u8) -> Self {
        let (total, idle) = match choice % 16 {
            10 => (Some(1), None),
            11 => (Some(3), None),
            12 => (None, Some(2)),
            13 => (None, Some(1)),
            14 => (None, Some(3)),
            15 => (Some(4), Some(2)),
            _ => (None, None),
        };
        Self { total, idle }
    }
}

impl Step {
    fn decode([kind, rest @ ..]: [u8; SIZE]) -> Self {
        Self {
            op: Op::decode(kind % TOTAL, rest),
            rests: kind >= TOTAL,
        }
    }
}

impl Op {
    fn decode(kind: u8, rest: [u8; 3]) -> Self {
        let mut left = kind;
        for (weight, make) in KINDS {
            match left.checked_sub(weight) {
                Some(less) => left = less,
                None => return make(rest),
            }
        }
        unreachable!("it is less than the sum")
    }
}

const _: () = {
    let (mut total, mut at) = (0, 0);
    while at < KINDS.len() {
        total += KINDS[at].0;
        at += 1;
    }
    assert!(total == TOTAL);
};
