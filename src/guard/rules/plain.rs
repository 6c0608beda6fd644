//! What most messages say, read from their words in one pass.
//!
//! The readers of `capnp` follow one pointer after the other with checks of their own, and the same one each time that
//! it is asked for; that costs as much as all else that the guard does of a message. Most are plain: calls, their
//! results, and what ends both, in one segment, with few capabilities or none. What is plain means the same to those
//! readers; all else is left to them, so that nothing is judged to be wrong here.

use smallvec::SmallVec;

use super::entries::{Asked, On, Sent};
use super::pointers::{Cap, Caps};
use super::{Cut, Ledger, Verdict};

/// A plain message. Its capabilities are objects and promises of either side, and nothing that a call will bring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// A call whose results go to its caller.
    Call {
        id: u32,
        on: Target,
        caps: Caps,
    },
    /// Results.
    Return {
        id: u32,
        releases_params: bool,
        needs_no_finish: bool,
        caps: Caps,
    },
    Finish {
        id: u32,
        releases_results: bool,
    },
    Release {
        id: u32,
        count: u32,
    },
}

/// What a plain call is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Cap(u32),
    /// On what a call will bring, so many steps down.
    Answer {
        id: u32,
        steps: u32,
    },
}

/// As many capabilities as a plain message may have.
const MAX_CAPS: u32 = 8;

impl Plain {
    /// Reads the only segment of a message, if it is a plain one.
    pub(super) fn read(segment: &[u8]) -> Option<Self> {
        let words = Words(segment.as_chunks().0);
        let message = words.at(0, 1, 1)?;
        // By the ordinals of `Message` in `rpc.capnp`.
        match message.u16(0) {
            2 => {
                let call = words.at(message.pointer(0), 3, 3)?;
                let target = words.at(call.pointer(0), 1, 1)?;
                let params = words.at(call.pointer(1), 0, 2)?;
                if call.u16(3) != 0 {
                    return None;
                }
                Some(Self::Call {
                    id: call.u32(0),
                    on: match target.u16(2) {
                        0 => Target::Cap(target.u32(0)),
                        1 => words.answer(target.pointer(0))?,
                        _ => return None,
                    },
                    caps: words.caps(params.pointer(1))?,
                })
            }
            3 => {
                let ret = words.at(message.pointer(0), 2, 1)?;
                if ret.u16(3) != 0 {
                    return None;
                }
                let results = words.at(ret.pointer(0), 0, 2)?;
                Some(Self::Return {
                    id: ret.u32(0),
                    // It is true unless it is said not to be.
                    releases_params: !ret.bit(32),
                    needs_no_finish: ret.bit(33),
                    caps: words.caps(results.pointer(1))?,
                })
            }
            4 => {
                let finish = words.at(message.pointer(0), 1, 0)?;
                Some(Self::Finish {
                    id: finish.u32(0),
                    // The same.
                    releases_results: !finish.bit(32),
                })
            }
            6 => {
                let release = words.at(message.pointer(0), 1, 0)?;
                Some(Self::Release {
                    id: release.u32(0),
                    count: release.u32(1),
                })
            }
            _ => None,
        }
    }

    /// The same, of a message of this side's.
    pub(super) fn of(sent: &Sent) -> Option<Self> {
        match *sent.get_segments_for_output() {
            [segment] => Self::read(segment),
            _ => None,
        }
    }
}

/// Is it a call, as far as its only segment says? Nothing is known of one that says nothing.
pub(in crate::guard) fn is_call(segment: &[u8]) -> Option<bool> {
    let words = Words(segment.as_chunks().0);
    Some(words.at(0, 1, 1)?.u16(0) == 2)
}

/// May it tell an error, as far as its only segment says? It is an `Abort`, a `Return` or `Resolve` of one, or can't be
/// read.
pub(in crate::guard) fn may_tell_an_error(segment: &[u8]) -> bool {
    let words = Words(segment.as_chunks().0);
    let Some(message) = words.at(0, 1, 1) else {
        return true;
    };
    // By the ordinals of `Message`, and of what they are a part of, in `rpc.capnp`.
    match message.u16(0) {
        1 => true,
        3 => words
            .at(message.pointer(0), 2, 1)
            .is_none_or(|ret| ret.u16(3) == 1),
        5 => words
            .at(message.pointer(0), 1, 1)
            .is_none_or(|resolve| resolve.u16(2) == 1),
        _ => false,
    }
}

/// The words of a segment.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [[u8; 8]]);

/// A struct among them, which has as many words as were asked for.
#[derive(Clone, Copy)]
struct Struct<'a> {
    data: &'a [[u8; 8]],
    /// Where its pointers are.
    pointers: usize,
}

impl<'a> Words<'a> {
    /// A word as a number.
    fn number(self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.get(at)?))
    }

    /// Where the pointer at `at` leads, if it is one of this kind; and its upper half.
    fn follow(self, at: usize, kind: u64) -> Option<(usize, u32)> {
        let pointer = self.number(at)?;
        if pointer & 3 != kind {
            return None;
        }
        let offset = (pointer as u32).cast_signed() >> 2;
        let place = (at + 1).checked_add_signed(offset as isize)?;
        Some((place, (pointer >> 32) as u32))
    }

    /// The struct that the pointer at `at` leads to, if it has at least so many words.
    fn at(self, at: usize, data: usize, pointers: usize) -> Option<Struct<'a>> {
        let (place, size) = self.follow(at, 0)?;
        let (has_data, has_pointers) = (size as usize & 0xffff, size as usize >> 16);
        if has_data < data || has_pointers < pointers {
            return None;
        }
        let all = self.0.get(place..place + has_data + has_pointers)?;
        Some(Struct {
            data: &all[..has_data],
            pointers: place + has_data,
        })
    }

    /// The list of structs that the pointer at `at` leads to: how many there are, the place of the first, and how
    /// many words each has. They have at least one word of data.
    fn list(self, at: usize) -> Option<(u32, usize, usize)> {
        if self.number(at)? == 0 {
            return Some((0, 0, 0));
        }
        let (place, size) = self.follow(at, 1)?;
        // 7 is the kind of lists that begin with a word like a pointer, which says what they are made of.
        let (kind, words) = (size & 7, (size >> 3) as usize);
        let tag = self.number(place)?;
        let (tag_kind, count) = (tag as u32 & 3, tag as u32 >> 2);
        let (data, pointers) = ((tag >> 32) as u16, (tag >> 48) as u16);
        let each = usize::from(data) + usize::from(pointers);
        self.0.get(place..place + 1 + words)?;
        let is_whole = u64::from(count) * each as u64 <= words as u64;
        if kind != 7 || tag_kind != 0 || data == 0 || !is_whole {
            return None;
        }
        Some((count, place + 1, each))
    }

    /// A `PromisedAnswer`.
    fn answer(self, at: usize) -> Option<Target> {
        let answer = self.at(at, 1, 1)?;
        let (steps, ..) = self.list(answer.pointer(0))?;
        Some(Target::Answer {
            id: answer.u32(0),
            steps,
        })
    }

    /// A table of capabilities.
    fn caps(self, at: usize) -> Option<Caps> {
        let (count, first, each) = self.list(at)?;
        if count > MAX_CAPS {
            return None;
        }
        let mut caps = SmallVec::new();
        for descriptor in self
            .0
            .get(first..)?
            .chunks(each.max(1))
            .take(count as usize)
        {
            let descriptor = Struct {
                data: descriptor,
                pointers: 0,
            };
            let id = descriptor.u32(1);
            caps.push(match descriptor.u16(0) {
                0 => Cap::None,
                1 => Cap::Sender {
                    id,
                    is_promise: false,
                },
                2 => Cap::Sender {
                    id,
                    is_promise: true,
                },
                3 => Cap::Receiver(id),
                _ => return None,
            });
        }
        Some(caps)
    }
}

/// Fields by their places, as `capnpc` has them: counted in their own size from the beginning of the data.
impl Struct<'_> {
    fn word(self, at: usize) -> u64 {
        self.data
            .get(at)
            .map_or(0, |word| u64::from_le_bytes(*word))
    }

    fn u16(self, at: usize) -> u16 {
        (self.word(at / 4) >> (at % 4 * 16)) as u16
    }

    fn u32(self, at: usize) -> u32 {
        (self.word(at / 2) >> (at % 2 * 32)) as u32
    }

    fn bit(self, at: usize) -> bool {
        self.word(at / 64) >> (at % 64) & 1 == 1
    }

    fn pointer(self, at: usize) -> usize {
        self.pointers + at
    }
}

impl Ledger {
    /// Judges a plain message of the peer's. `None` is for one that there is more to say about.
    pub(super) fn plain(&mut self, message: &Plain, bytes: u64) -> Option<Result<Verdict, Cut>> {
        match *message {
            Plain::Call { id, on, ref caps } => {
                self.plain_call(id, on, caps, bytes)?;
                Some(Ok(Verdict::Pass))
            }
            Plain::Return {
                id,
                releases_params,
                ref caps,
                ..
            } if caps.is_empty() => self.plain_return(id, releases_params),
            Plain::Return { .. } => None,
            Plain::Finish {
                id,
                releases_results,
            } => Some(self.finish(id, releases_results)),
            Plain::Release { id, count } => Some(self.release(id, count)),
        }
    }

    /// Begins a call to which nothing is to be said.
    fn plain_call(&mut self, id: u32, on: Target, caps: &[Cap], bytes: u64) -> Option<()> {
        self.check_unused(id).ok()?;
        let (on, answer) = match on {
            Target::Cap(id) => (Self::on_promise(id, self.exports.get(id)?), None),
            Target::Answer { id, steps }
                if steps <= u32::from(self.limits.pipeline_depth) && !self.is_refused(id) =>
            {
                (self.on_answer(id), Some(id))
            }
            Target::Answer { .. } => return None,
        };
        let bytes = bytes + Self::cap_bytes(caps);
        if self.no_room_for_a_call(bytes).is_some()
            || on != On::Nothing && self.depth(on) > self.limits.pipeline_depth
        {
            return None;
        }
        if !caps.is_empty() {
            // What it gives back may be what the call waits for.
            let gives_back = caps.iter().any(|cap| matches!(cap, Cap::Receiver(_)));
            if gives_back || self.too_many(caps).is_some() {
                return None;
            }
            caps.iter().try_for_each(|cap| self.check_cap(cap)).ok()?;
            self.take_caps(caps);
        }
        answer
            .into_iter()
            .for_each(|answer| self.pipelined_on(answer));
        self.begin(id, on, bytes);
        self.carry(id, on);
        Some(())
    }

    /// Results without capabilities of a call that nothing was pipelined on.
    fn plain_return(&mut self, id: u32, releases: bool) -> Option<Result<Verdict, Cut>> {
        let question = self.questions.get_mut(id)?;
        if question.stage != Asked::Waiting
            || !question.pipelined.is_empty()
            || !question.mentions.is_empty()
        {
            return None;
        }
        question.stage = Asked::Returned;
        let params = std::mem::take(&mut question.params);
        let released = match releases {
            true => self.release_params(&params),
            false => Ok(()),
        };
        Some(released.map(|()| Verdict::Pass))
    }

    /// Notes a plain message of this side's. Is it one that the peer has caused? `None` is for one that there is
    /// more to note of.
    pub(super) fn plain_sent(&mut self, message: &Plain, sent: &Sent) -> Option<bool> {
        match *message {
            Plain::Call {
                id,
                on: Target::Cap(_),
                ref caps,
            } => {
                let passed = self.pass_caps(caps, None);
                self.asked_for(id, passed);
                return Some(false);
            }
            Plain::Call { .. } => return None,
            Plain::Return {
                id,
                needs_no_finish,
                ref caps,
                ..
            } => self.answered_with(id, needs_no_finish, caps, sent),
            Plain::Finish { id, .. } => self.finished(id),
            Plain::Release { id, count } => self.let_go(id, count),
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests;
