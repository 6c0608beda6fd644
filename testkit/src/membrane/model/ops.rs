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
    /// Any graph of membranes: one behind the other, side by side, against each other, in a ring.
    Graphs,
    /// Any graph of membranes and connections. What is left out: a capability from a pipeline that goes over
    /// a connection is not passed on, nor is its call given up, while it waits (`Model::may_pass`,
    /// `Model::may_cancel`); no request is held for a promise that is over a connection (`Model::prepare`);
    /// no stream over a connection fails.
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

/// How many bytes make a layout.
const HEAD: usize = 6;

/// How many bytes make an operation.
const SIZE: usize = 4;

/// What kinds of operation there are: how often each comes, from which stage on, and how it is read.
type Kinds = [(u8, Stage, fn([u8; 3]) -> Op); 28];

const KINDS: Kinds = {
    use Stage::{Objects, Promises};
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
        (2, Promises, |[to, cap, _]| Op::Hang { to, cap }),
        (2, Promises, |[to, cap, _]| Op::Wait { to, cap }),
        (3, Promises, |[to, cap, more]| Op::Pipeline {
            to,
            cap,
            keep: more & 1 == 1,
        }),
        (2, Promises, |[to, ..]| Op::Ask { to }),
        (2, Promises, |[call, ..]| Op::Cancel { call }),
        (3, Promises, |[vat, ..]| Op::Resolve { vat }),
        (4, Promises, |[of, cap, target]| Op::Promise {
            of,
            cap,
            target,
        }),
        (2, Promises, |[to, cap, bytes]| Op::Stream {
            to,
            cap,
            bytes,
        }),
        (1, Promises, |[to, ..]| Op::Streamed { to }),
    ]
};

impl Sequence {
    /// How many bytes make a layout and this many operations.
    pub const fn size(ops: usize) -> usize {
        HEAD + SIZE * ops
    }

    /// Reads a layout and operations. Whatever the bytes are, they are some.
    pub fn decode(bytes: &[u8], stage: Stage) -> Self {
        let (given, rest) = bytes.split_at(bytes.len().min(HEAD));
        let mut head = [0; HEAD];
        head[..given.len()].copy_from_slice(given);
        let layout = Layout::choose(head, stage);
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
    /// A graph in which each vat can be reached from each. Several edges may be between the same two, either
    /// way round.
    fn choose([size, edges @ ..]: [u8; HEAD], stage: Stage) -> Self {
        let (vats, count) = match stage {
            Stage::Objects | Stage::Promises => (2, 1),
            _ => (2 + size % 3, 1 + size / 3 % 5),
        };
        // First each vat is joined to one before it, then any two to each other.
        let count = usize::from(count.max(vats - 1));
        let edges = edges.iter().zip(1..).take(count);
        let edges = edges.map(|(&edge, at)| {
            let (turned, edge) = (edge & 1 == 1, edge >> 1);
            let (kind, edge) = (Kind::choose(edge, stage), edge / 4);
            let (one, other) = match at < vats {
                true => (edge % at, at),
                false => {
                    let (one, more) = (edge % vats, edge / vats % (vats - 1));
                    (one, (one + 1 + more) % vats)
                }
            };
            match turned {
                true => (other, one, kind),
                false => (one, other, kind),
            }
        });
        let edges = edges.collect();
        Self { vats, edges }
    }

    /// Is there a connection?
    pub fn has_connections(&self) -> bool {
        self.edges.iter().any(|edge| edge.2 == Kind::Connection)
    }

    /// The same without an edge, and without the vats that only this one led to; `None`: it has no other.
    pub fn without(&self, edge: usize) -> Option<Self> {
        let mut edges = self.edges.clone();
        edges.remove(edge);
        let is_joined = |vat: &u8| edges.iter().any(|edge| edge.0 == *vat || edge.1 == *vat);
        let joined: Vec<u8> = (0..self.vats).filter(is_joined).collect();
        let place = |vat: u8| joined.iter().take_while(|joined| **joined < vat).count() as u8;
        for edge in &mut edges {
            (edge.0, edge.1) = (place(edge.0), place(edge.1));
        }
        let vats = joined.len() as u8;
        (!edges.is_empty()).then_some(Self { vats, edges })
    }
}

impl Kind {
    fn choose(choice: u8, stage: Stage) -> Self {
        match (choice % 4, stage) {
            (2 | 3, Stage::Connections) => Self::Connection,
            (0 | 2, _) => Self::Plain,
            _ => Self::Driven,
        }
    }
}

impl Op {
    fn decode([kind, rest @ ..]: [u8; SIZE], stage: Stage) -> Self {
        let kinds = || KINDS.iter().filter(|kind| stage >= kind.1);
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
