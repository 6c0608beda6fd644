//! Does one operation after the other, in the model and for real, and compares after each.

use std::collections::HashMap;
use std::fmt;

use capnp::Error;

use super::graph::{Node, Reason};
use super::ops::{Op, Sequence};
use super::reference::{Expected, Gives, Lie, Model};
use super::system::{System, reason};

/// Where the two differ.
#[derive(Clone, Debug)]
pub struct Fault {
    /// After how many operations.
    pub step: usize,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after operation {}: {}", self.step, self.what)
    }
}

/// What was done in a sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Operations that found something to choose from.
    pub ops: usize,
    /// Of these, how many came to an error, as they had to.
    pub failed: usize,
    /// Membranes that were complete before the end.
    pub complete: usize,
}

/// Does a sequence, and tells what was done, or the first difference.
pub fn check(sequence: &Sequence) -> Result<Done, Fault> {
    check_with(sequence, None)
}

/// The same with a mistake in the model, to see that it is found.
pub fn check_with(sequence: &Sequence, lie: Option<Lie>) -> Result<Done, Fault> {
    let mut both = Both {
        model: Model::new(&sequence.layout, lie),
        system: System::new(&sequence.layout),
        vats: sequence.layout.vats.into(),
        next: 0,
        identities: HashMap::new(),
    };
    let mut done = Done::default();
    // Nothing comes of nothing.
    for vat in 0..sequence.layout.vats {
        both.step(Op::Introduce { vat }, &mut done)
            .map_err(|what| Fault { step: 0, what })?;
    }
    for (step, &op) in sequence.ops.iter().enumerate() {
        both.step(op, &mut done).map_err(|what| {
            let what = format!("{op:?}: {what}");
            Fault { step, what }
        })?;
    }
    let complete = (0..both.model.edges()).filter(|&edge| both.model.is_complete(edge));
    done.complete = complete.count();
    both.end().map_err(|what| Fault {
        step: sequence.ops.len(),
        what: format!("when all was let go: {what}"),
    })?;
    Ok(done)
}

struct Both {
    model: Model,
    system: System,
    vats: usize,
    /// Whom to call next.
    next: usize,
    identities: HashMap<usize, (usize, usize)>,
}

type Checked = Result<(), String>;

impl Both {
    fn step(&mut self, op: Op, done: &mut Done) -> Checked {
        let Some((op, expected)) = self.model.apply(op) else {
            return Ok(());
        };
        done.ops += 1;
        done.failed += usize::from(expected.is_err());
        let gave = self.system.apply(op);
        let gave = gave.ok_or_else(|| format!("{op:?} waits; it must give {expected:?}"))?;
        agree(&expected, &gave).map_err(|what| format!("{op:?} {what}"))?;
        self.settle()?;
        self.compare()?;
        match op {
            Op::Revoke { .. } => self.call_all(),
            _ => self.call_next(),
        }
    }

    /// Lets both go on until nothing more comes of it.
    fn settle(&mut self) -> Checked {
        loop {
            let (expected, ended) = (self.model.turn(), self.system.turn());
            let places = |at: &[usize]| format!("{at:?}");
            let (must, did): (Vec<_>, Vec<_>) = (
                expected.iter().map(|end| end.0).collect(),
                ended.iter().map(|end| end.0).collect(),
            );
            if must != did {
                let (must, did) = (places(&must), places(&did));
                return Err(format!("calls {must} must have ended, and {did} have"));
            }
            for ((at, expected), (_, ended)) in expected.iter().zip(&ended) {
                agree(expected, ended).map_err(|what| format!("call {at} {what}"))?;
            }
            self.model.sweep();
            if ended.is_empty() {
                return Ok(());
            }
        }
    }

    fn compare(&mut self) -> Checked {
        for vat in 0..self.vats {
            let (must, is) = (self.model.live(vat), self.system.live(vat));
            if must != is {
                return Err(format!(
                    "vat {vat} must have {must:?} live objects and calls, and has {is:?}"
                ));
            }
        }
        for edge in 0..self.model.edges() {
            if self.model.graph.is_connection(edge) {
                continue;
            }
            let (must, is) = (self.model.is_complete(edge), self.system.is_complete(edge));
            if is != Some(must) {
                return Err(format!(
                    "membrane {edge}: complete must be {must}, and is {is:?}"
                ));
            }
        }
        self.compare_identities()
    }

    /// The same capability is the same, another is another, and only what is of the vat itself is bare.
    fn compare_identities(&mut self) -> Checked {
        let (must, is) = (self.model.hands.len(), self.system.hands());
        if must != is {
            return Err(format!("{must} capabilities must be held, and {is} are"));
        }
        self.identities.clear();
        for at in 0..must {
            let hand = self.model.hands[at];
            let id = self.model.graph.settled(hand.cap);
            let (vat, identity) = self.system.identity(at);
            if vat != hand.vat {
                return Err(format!("vat {vat} holds {at}, not vat {}", hand.vat));
            }
            if self.model.graph.route(id).is_err() {
                // What is broken says so when it is called; that is all.
                continue;
            }
            let bare = !matches!(self.model.graph.node(id), Node::Wrapper { .. });
            if bare != (identity.0 == 0) {
                return Err(format!(
                    "{at} must be bare: {bare}; its brand: {}",
                    identity.0
                ));
            }
            let known = *self.identities.entry(id).or_insert(identity);
            if known != identity {
                return Err(format!("{at} must be another reference to what is held"));
            }
        }
        let mut all: Vec<_> = self.identities.values().collect();
        all.sort_unstable();
        all.dedup();
        match all.len() == self.identities.len() {
            true => Ok(()),
            false => Err("what must be two is one".into()),
        }
    }

    /// One at a time is enough: a sequence is long.
    fn call_next(&mut self) -> Checked {
        self.next += 1;
        match self.next.checked_rem(self.model.hands.len()) {
            Some(at) => self.call(at),
            None => Ok(()),
        }
    }

    fn call_all(&mut self) -> Checked {
        (0..self.model.hands.len()).try_for_each(|at| self.call(at))
    }

    fn call(&mut self, at: usize) -> Checked {
        let Some(expected) = self.model.label(at) else {
            return Ok(());
        };
        let gave = self.system.label(at);
        let gave = gave.ok_or_else(|| format!("a call on {at} waits, not {expected:?}"))?;
        let (expected, gave) = (expected.map(Gives::Text), gave.map(Gives::Text));
        agree(&expected, &gave).map_err(|what| format!("a call on {at} {what}"))
    }

    fn end(&mut self) -> Checked {
        self.call_all()?;
        self.model.let_all_go();
        self.model.sweep();
        self.system.let_all_go();
        if let Some((_, node)) = self.model.graph.alive().next() {
            return Err(format!("the model has left {node:?}"));
        }
        self.compare()
    }
}

/// Did it come to what it must?
fn agree(expected: &Expected, gave: &Result<Gives, Error>) -> Checked {
    let well = match (expected, gave) {
        (Ok(must), Ok(gave)) => must == gave,
        (Err(Reason::Cut), Err(error)) => error.kind == capnp::ErrorKind::Disconnected,
        (Err(must), Err(error)) => error.extra.contains(&says(*must)),
        _ => false,
    };
    match well {
        true => Ok(()),
        false => Err(format!("must give {expected:?}, and gives {gave:?}")),
    }
}

/// What an error says.
fn says(must: Reason) -> String {
    match must {
        Reason::Revoked(edge) => reason(edge),
        Reason::Cut => "disconnected".into(),
        Reason::BrokenPromise => "the promise is broken".into(),
        Reason::BrokenStream => "an empty push".into(),
    }
}
