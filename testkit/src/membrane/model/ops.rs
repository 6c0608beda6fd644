//! What can be done, read from bytes.

/// Vats, and the membranes between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many vats there are.
    pub vats: u8,
    /// What is between them: the inside, the outside, and what it is.
    pub edges: Vec<(u8, u8, Kind)>,
}

/// What may be between two vats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A membrane without a driver.
    Plain,
    /// A membrane with one.
    Driven,
    /// A connection, of which the inside is the server. To revoke it is to cut it.
    Connection,
}

/// How much of all that can be done is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// One membrane; objects and calls that return at once.
    Objects,
    /// One membrane; promises, pipelines, calls in flight and streams, too.
    Promises,
    /// Several membranes: one behind the other, side by side, in a ring.
    Graphs,
    /// Membranes and connections, but no promises.
    Connections,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Objects,
        Self::Promises,
        Self::Graphs,
        Self::Connections,
    ];

    /// Is what begins at stage `from` done in this one?
    fn has(self, from: Self) -> bool {
        match (self, from) {
            (Self::Connections, Self::Promises) => false,
            (_, Self::Connections) => self >= Self::Promises,
            _ => self >= from,
        }
    }
}

/// A layout, and what is done in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Where.
    pub layout: Layout,
    /// What.
    pub ops: Vec<Op>,
}

/// One operation. Numbers choose among what is there, modulo how much it is; where there is nothing to
/// choose from, it does nothing. So any part of a sequence is a sequence.
///
/// `to`, `through`, `of` and `cap` choose a capability that a vat holds. `cap` is one of the same vat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    /// A vat gets a new object of its own.
    Introduce { vat: u8 },
    /// A capability is handed through a membrane, in or out, by the membrane's handle.
    Pass { edge: u8, cap: u8 },
    /// A second reference to the same.
    Copy { cap: u8 },
    /// Asks for a new object.
    Make { to: u8 },
    /// Passes a capability as a parameter; the object keeps it.
    Store { to: u8, cap: u8 },
    /// The object forgets what it keeps.
    Clear { to: u8 },
    /// Gets what the object keeps.
    Take { to: u8 },
    /// Passes a capability, which comes back.
    LoopBack { through: u8, cap: u8 },
    /// The object calls the capability that it is passed.
    Call { through: u8, cap: u8 },
    /// The object calls the capability that it is passed, passes it another, and gives what that gives.
    Relay { through: u8, to: u8, cap: u8 },
    /// Builds a request with a parameter, and does not send it.
    Prepare { to: u8, cap: u8 },
    /// Sends one that was built.
    Send { request: u8 },
    /// Gets a response with a new object, and does not take the object out.
    Hold { to: u8 },
    /// Takes the object out of such a response.
    Open { response: u8 },
    /// Lets go of a capability.
    Drop { cap: u8 },
    /// Lets go of a request or a response.
    Discard { message: u8 },
    /// Takes everything back that crossed a membrane.
    Revoke { edge: u8 },
    /// Lets go of a membrane's handle.
    Leave { edge: u8 },
    /// Another membrane between the same vats, in place of one without a handle.
    Renew { edge: u8 },
    /// Calls, with a parameter; it never returns.
    Hang { to: u8, cap: u8 },
    /// Calls, with a parameter; it returns a new object when the gate of the object's vat opens.
    Wait { to: u8, cap: u8 },
    /// The same, and takes a capability from its pipeline.
    Pipeline { to: u8, cap: u8, keep: bool },
    /// Calls what may be a promise still.
    Ask { to: u8 },
    /// Drops the promise of a call.
    Cancel { call: u8 },
    /// Opens a vat's gate.
    Resolve { vat: u8 },
    /// Asks for a promise: to a new object, to the capability passed, to an error, to another promise.
    Promise { of: u8, cap: u8, target: u8 },
    /// One call of a stream, with a parameter. One without data breaks the stream.
    Stream { to: u8, cap: u8, bytes: u8 },
    /// What came through the stream.
    Streamed { to: u8 },
}

/// How many bytes make an operation.
const SIZE: usize = 4;

/// What kinds of operation there are: how often each comes, from which stage on, and how it is read.
type Kinds = [(u8, Stage, fn([u8; 3]) -> Op); 28];

const KINDS: Kinds = {
    use Stage::{Objects, Promises};
    /// Also where there are connections.
    const CALLS: Stage = Stage::Connections;
    [
        (4, Objects, |[vat, ..]| Op::Introduce { vat }),
        (4, Objects, |[edge, cap, _]| Op::Pass { edge, cap }),
        (1, Objects, |[cap, ..]| Op::Copy { cap }),
        (3, Objects, |[to, ..]| Op::Make { to }),
        (6, Objects, |[to, cap, _]| Op::Store { to, cap }),
        (1, Objects, |[to, ..]| Op::Clear { to }),
        (5, Objects, |[to, ..]| Op::Take { to }),
        (3, Objects, |[through, cap, _]| Op::LoopBack {
            through,
            cap,
        }),
        (2, Objects, |[through, cap, _]| Op::Call { through, cap }),
        (3, Objects, |[through, to, cap]| Op::Relay {
            through,
            to,
            cap,
        }),
        (2, Objects, |[to, cap, _]| Op::Prepare { to, cap }),
        (2, Objects, |[request, ..]| Op::Send { request }),
        (2, Objects, |[to, ..]| Op::Hold { to }),
        (1, Objects, |[response, ..]| Op::Open { response }),
        (3, Objects, |[cap, ..]| Op::Drop { cap }),
        (1, Objects, |[message, ..]| Op::Discard { message }),
        (1, Objects, |[edge, ..]| Op::Revoke { edge }),
        (1, Objects, |[edge, ..]| Op::Leave { edge }),
        (2, Objects, |[edge, ..]| Op::Renew { edge }),
        (2, CALLS, |[to, cap, _]| Op::Hang { to, cap }),
        (2, CALLS, |[to, cap, _]| Op::Wait { to, cap }),
        (3, Promises, |[to, cap, more]| Op::Pipeline {
            to,
            cap,
            keep: more & 1 == 1,
        }),
        (2, Promises, |[to, ..]| Op::Ask { to }),
        (2, CALLS, |[call, ..]| Op::Cancel { call }),
        (3, CALLS, |[vat, ..]| Op::Resolve { vat }),
        (4, Promises, |[of, cap, target]| Op::Promise {
            of,
            cap,
            target,
        }),
        (2, CALLS, |[to, cap, bytes]| Op::Stream { to, cap, bytes }),
        (1, CALLS, |[to, ..]| Op::Streamed { to }),
    ]
};

impl Sequence {
    /// Reads a layout and operations. Whatever the bytes are, they are some.
    pub fn decode(bytes: &[u8], stage: Stage) -> Self {
        let (head, rest) = bytes.split_at(bytes.len().min(SIZE));
        let byte = |at: usize| head.get(at).copied().unwrap_or(0);
        let layout = Layout::choose([byte(0), byte(1), byte(2), byte(3)], stage);
        let ops = rest
            .chunks_exact(SIZE)
            .map(|op| Op::decode([op[0], op[1], op[2], op[3]], stage));
        Self {
            layout,
            ops: ops.collect(),
        }
    }
}

impl Layout {
    fn choose([shape, driven, ..]: [u8; 4], stage: Stage) -> Self {
        use Edge::{Link, Membrane};
        let edges: &[(u8, u8, Edge)] = match (stage, shape % 6) {
            (Stage::Objects | Stage::Promises, _) => &[(0, 1, Membrane)],
            (Stage::Graphs, 0) => &[(0, 1, Membrane)],
            // One behind the other.
            (Stage::Graphs, 1) => &[(0, 1, Membrane), (1, 2, Membrane)],
            // One inside of two.
            (Stage::Graphs, 2) => &[(0, 1, Membrane), (0, 2, Membrane)],
            // Side by side.
            (Stage::Graphs, 3) => &[(0, 1, Membrane), (0, 1, Membrane)],
            // A ring.
            (Stage::Graphs, 4) => &[(0, 1, Membrane), (1, 2, Membrane), (2, 0, Membrane)],
            // Against each other, and two more.
            (Stage::Graphs, _) => &[
                (0, 1, Membrane),
                (1, 0, Membrane),
                (1, 2, Membrane),
                (2, 3, Membrane),
            ],
            // At the server's end, at the client's, at both.
            (Stage::Connections, 0 | 1) => &[(0, 1, Membrane), (1, 2, Link)],
            (Stage::Connections, 2) => &[(0, 1, Link), (1, 2, Membrane)],
            (Stage::Connections, 3) => &[(0, 1, Membrane), (1, 2, Link), (2, 3, Membrane)],
            // Beside one.
            (Stage::Connections, 4) => &[(0, 1, Membrane), (0, 1, Link)],
            // A ring.
            (Stage::Connections, _) => &[(0, 1, Membrane), (1, 2, Link), (2, 0, Link)],
        };
        let kind = |at: usize, edge: &Edge| match edge {
            Link => Kind::Connection,
            Membrane if driven >> at & 1 == 1 => Kind::Driven,
            Membrane => Kind::Plain,
        };
        let all = edges.iter().enumerate();
        Self {
            vats: 1 + edges
                .iter()
                .map(|edge| edge.0.max(edge.1))
                .max()
                .unwrap_or(0),
            edges: all
                .map(|(at, (inside, outside, edge))| (*inside, *outside, kind(at, edge)))
                .collect(),
        }
    }
}

/// A [`Kind`], but for what is chosen.
enum Edge {
    Membrane,
    Link,
}

impl Op {
    fn decode([kind, rest @ ..]: [u8; SIZE], stage: Stage) -> Self {
        let kinds = || KINDS.iter().filter(|kind| stage.has(kind.1));
        let total: u8 = kinds().map(|kind| kind.0).sum();
        let mut left = kind % total;
        for (weight, _, make) in kinds() {
            match left.checked_sub(*weight) {
                Some(less) => left = less,
                None => return make(rest),
            }
        }
        unreachable!("it is less than the sum")
    }
}
