//! What a run does, as a fuzzer's bytes say.

use super::pipe::End;

/// Bytes of a step.
const STEP: usize = 6;
/// As many steps as a run has.
pub const STEPS: usize = 64;

/// A run.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) setup: Setup,
    pub(super) steps: Vec<Step>,
}

/// What holds for all of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// The peer is the client of a bootstrap object of ours; else ours is the client of the peer's.
    pub(super) serves: bool,
    /// How often the peer breaks rules.
    pub(super) faults: Faults,
    /// The peer gives back what it was given, by name or as an answer. A correct one may then close a circle, which
    /// it can't know.
    pub(super) gives_back: bool,
    /// The limits are small, and so is what the connection holds; the peer reads for some of the time only.
    pub(super) is_narrow: bool,
    /// How it ends.
    pub(super) ending: Ending,
}

/// How often a peer breaks rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    /// It is correct.
    None,
    /// Now and then: so that it gets far before.
    Few,
    Many,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The peer ends its stream, or breaks both.
    Peer(End),
    /// The peer gives up, and says so.
    Abort,
    /// Our side drops what drives it.
    Dropped,
}

/// One thing that the peer, or our side, does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// What is done.
    pub(super) kind: Kind,
    /// Ids are whatever comes, not what the tables say.
    pub(super) is_loose: bool,
    /// Nothing else happens before the next step.
    pub(super) is_hasty: bool,
    /// What else there is to decide.
    pub(super) draw: Draw,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bootstrap,
    Call,
    Return,
    Finish,
    Release,
    Resolve,
    /// Answers a disembargo of ours.
    Echo,
    /// Asks for a disembargo.
    Disembargo,
    /// Our side does something.
    Ours,
    /// The event loop turns a few times, and the peer reads nothing.
    Turn,
    // From here on: what only a hostile peer does.
    /// The same message once more.
    Again,
    /// A message of levels 3 and 4, or of no level.
    Foreign,
    /// `Unimplemented`, of whatever.
    Unimplemented,
    Abort,
    /// A message with bits turned over.
    Garbled,
    /// Words as they come.
    Raw,
    /// Bytes that are no frame, or half of one.
    Frame,
}

/// Decisions, each drawn from what is left: where it is used up, all are 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(pub(super) u64);

impl Script {
    /// Reads a run; `None` where there is none.
    pub fn decode(input: &[u8]) -> Option<Self> {
        let (&setup, steps) = input.split_first()?;
        let setup = Setup {
            serves: setup & 1 != 0,
            faults: match setup >> 1 & 3 {
                0 => Faults::None,
                1 => Faults::Many,
                _ => Faults::Few,
            },
            ending: match setup >> 3 & 3 {
                0 => Ending::Peer(End::Closed),
                1 => Ending::Peer(End::Reset),
                2 => Ending::Abort,
                _ => Ending::Dropped,
            },
            gives_back: setup >> 5 & 3 != 0,
            is_narrow: setup >> 7 != 0,
        };
        let steps = steps.chunks_exact(STEP).take(STEPS);
        let steps = steps.map(|bytes| Step::decode(bytes, setup.faults));
        Some(Self {
            setup,
            steps: steps.collect(),
        })
    }

    /// How many bytes as many steps take.
    pub const fn size(steps: usize) -> usize {
        1 + STEP * steps
    }

    /// The first byte of a run that breaks no rule and is else the same.
    pub const fn without_faults(first: u8) -> u8 {
        first & !6
    }

    /// Leaves out whatever it can while `fails` holds.
    pub fn shrink(mut self, fails: impl Fn(&Self) -> bool) -> Self {
        loop {
            let length = self.steps.len();
            for at in (0..length).rev() {
                let mut shorter = self.clone();
                shorter.steps.remove(at);
                if fails(&shorter) {
                    self = shorter;
                }
            }
            if self.steps.len() == length {
                return self;
            }
        }
    }
}

impl Step {
    fn decode(bytes: &[u8], faults: Faults) -> Self {
        let has_faults = match faults {
            Faults::None => false,
            Faults::Few => bytes[STEP - 1] & 7 == 7,
            Faults::Many => true,
        };
        let kind = match bytes[0] & 31 {
            0 => Kind::Bootstrap,
            1..=8 => Kind::Call,
            9..=12 => Kind::Return,
            13..=14 => Kind::Finish,
            15 => Kind::Release,
            16..=17 => Kind::Resolve,
            18 => Kind::Echo,
            19 => Kind::Disembargo,
            20..=23 => Kind::Ours,
            24 => Kind::Turn,
            _ if !has_faults => Kind::Call,
            25 => Kind::Again,
            26 => Kind::Foreign,
            27 => Kind::Unimplemented,
            28 => Kind::Abort,
            29 => Kind::Garbled,
            30 => Kind::Raw,
            _ => Kind::Frame,
        };
        let mut draw = [0; 8];
        draw[..STEP - 1].copy_from_slice(&bytes[1..]);
        Self {
            kind,
            is_loose: has_faults && bytes[0] & 0x60 == 0x60,
            is_hasty: bytes[0] & 0x80 != 0,
            draw: Draw(u64::from_le_bytes(draw)),
        }
    }
}

impl Draw {
    /// One of as many.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let count = count.max(1) as u64;
        let drawn = self.0 % count;
        self.0 /= count;
        drawn as usize
    }

    /// Once in as many times. Not where all is used up.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of these; `None` where there is none.
    pub(super) fn among<T: Copy>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let from: Vec<T> = from.into_iter().collect();
        from.get(self.below(from.len())).copied()
    }

    /// Any number, mostly a small one.
    pub(super) fn any_id(&mut self) -> u32 {
        match self.below(12) {
            small @ 0..8 => small as u32,
            8 => 1000,
            9 => u32::MAX,
            10 => 1 << 31,
            _ => self.0 as u32,
        }
    }
}
