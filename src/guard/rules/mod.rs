//! What a correct peer can send, as the protocol has it (`rpc.capnp` of Cap'n Proto): a ledger of both
//! sides' calls and capabilities, kept by looking at each message on its way.
//!
//! It mirrors the tables of `capnp-rpc`, and is asked before those are: so that nothing gets there which
//! they take on trust. It does no input or output: what it has to say to either side it leaves in
//! [`Ledger::replies`] and [`Ledger::inbox`].
//!
//! - [`calls`]: the peer's calls, from their arrival to `Return` and `Finish`.
//! - [`carried`]: those of them that others are made on.
//! - [`returns`]: this side's calls.
//! - [`caps`]: capabilities of either side, and their references.
//! - [`resolves`]: promises, and what they lead to. No circle is closed here.
//! - [`leads`]: what a capability leads to.
//! - [`promised`]: promises of this side's, where the peer gives them back.
//! - [`tails`]: calls whose results stay here.
//! - [`odd`]: embargoes, and messages that no peer has to understand.
//! - [`instead`]: messages that get through changed.
//! - [`plain`]: what most messages say, read at once.
//! - [`table`], [`entries`], [`pointers`], [`replies`]: what these are made of.

mod calls;
mod caps;
mod carried;
mod entries;
mod instead;
mod leads;
mod odd;
mod plain;
mod pointers;
mod promised;
mod replies;
mod resolves;
mod returns;
mod table;
mod tails;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};

use capnp_rpc::rpc_capnp::message;

use super::breach::Breach;
use super::limits::GuardLimits;
use entries::{Answer, Export, Import, Passed, Question};
use promised::Promised;
use resolves::Promises;
use table::Table;

use entries::Serial;
pub(super) use entries::{Sent, size};
use plain::Plain;
pub(super) use plain::{is_call, may_tell_an_error};
pub(super) use replies::{Injected, Reply};

/// Why a connection can't go on.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) breach: Breach,
    pub(super) text: String,
}

/// What becomes of a message of the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// `capnp-rpc` gets it.
    Pass,
    /// The peer gives up the connection.
    Abort,
    /// `capnp-rpc` does not, or gets what is in the inbox.
    Withhold,
}

/// What the guard did where it did not let a message through and the connection goes on.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) breach: Breach,
    pub(super) text: String,
}

/// Both sides' calls and capabilities.
pub(super) struct Ledger {
    limits: GuardLimits,
    answers: Table<Answer>,
    questions: Table<Question>,
    exports: Table<Export>,
    imports: Table<Import>,
    promises: Promises,
    promised_answers: Promised,
    /// The length of the message that is judged, where it is known.
    bytes: u64,
    /// How many capabilities `capnp-rpc` counts more references to than the peer.
    surplus: u64,
    embargoes: HashSet<u32>,
    /// How many of the answers have not returned, and the bytes of their calls.
    in_flight: usize,
    bytes_in_flight: u64,
    /// `Finish`es that the peer may send of calls that needed none.
    spare_finishes: u64,
    /// `Resolve`s that may come of promises which this side has let go of.
    spare_resolves: u64,
    /// Calls so far, and those that were finished before they returned.
    begun: u64,
    canceled: u64,
    /// What is used up of a budget that is shared with others.
    pub(super) full: Option<&'static str>,
    next_serial: Serial,
    /// How many of the answers have results that stay here.
    tails: usize,
    /// How many promises of this side's the peer holds that it has not been told the end of.
    promised: usize,
    /// For the peer.
    pub(super) replies: VecDeque<Reply>,
    /// For `capnp-rpc`, before anything else from the peer.
    pub(super) inbox: VecDeque<Injected>,
    /// For who counts.
    pub(super) refused: Vec<Refused>,
}

impl Ledger {
    pub(super) fn new(limits: GuardLimits) -> Self {
        Self {
            limits,
            answers: Table::default(),
            questions: Table::default(),
            exports: Table::default(),
            imports: Table::default(),
            promises: Promises::default(),
            promised_answers: Promised::default(),
            bytes: 0,
            surplus: 0,
            embargoes: HashSet::new(),
            in_flight: 0,
            bytes_in_flight: 0,
            spare_finishes: 0,
            spare_resolves: 0,
            begun: 0,
            canceled: 0,
            full: None,
            next_serial: 0,
            tails: 0,
            promised: 0,
            replies: VecDeque::new(),
            inbox: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    /// Judges a message of the peer's, which took `bytes` on the wire. `Err` ends the connection.
    ///
    /// Where it is known to have one segment only, that is all that is looked at of most messages.
    pub(super) fn receive<'a>(
        &mut self,
        segment: Option<&[u8]>,
        message: impl FnOnce() -> capnp::Result<message::Reader<'a>>,
        bytes: u64,
    ) -> Result<Verdict, Cut> {
        if let Some(plain) = segment.and_then(Plain::read)
            && let Some(verdict) = self.plain(&plain, bytes)
        {
            return verdict;
        }
        self.receive_any(message()?, bytes)
    }

    fn receive_any(&mut self, message: message::Reader<'_>, bytes: u64) -> Result<Verdict, Cut> {
        self.bytes = bytes;
        match message.which() {
            Ok(message::Call(call)) => self.call(message, call?, bytes),
            Ok(message::Return(ret)) => self.returned(message, ret?),
            Ok(message::Finish(finish)) => {
                let finish = finish?;
                self.finish(finish.get_question_id(), finish.get_release_result_caps())
            }
            Ok(message::Release(release)) => {
                let release = release?;
                self.release(release.get_id(), release.get_reference_count())
            }
            Ok(message::Resolve(resolve)) => self.resolve(resolve?),
            Ok(message::Bootstrap(bootstrap)) => self.bootstrap(bootstrap?.get_question_id()),
            Ok(message::Disembargo(disembargo)) => self.disembargo(message, disembargo?),
            Ok(message::Unimplemented(echo)) => self.unimplemented(echo?),
            Ok(message::Abort(_)) => Ok(Verdict::Abort),
            Ok(_) | Err(capnp::NotInSchema(_)) => self.answer_unimplemented(message),
        }
    }

    /// Notes a message of this side's, which is on its way. Is it one that the peer has caused?
    pub(super) fn sent(&mut self, sent: &Sent) -> capnp::Result<bool> {
        if let Some(plain) = Plain::of(sent)
            && let Some(is_caused) = self.plain_sent(&plain, sent)
        {
            return Ok(is_caused);
        }
        let message: message::Reader<'_> = sent.get_root_as_reader()?;
        match message.which()? {
            message::Call(call) => {
                self.asked(call?)?;
                return Ok(false);
            }
            message::Bootstrap(bootstrap) => {
                self.asked_for(bootstrap?.get_question_id(), Passed::new());
                return Ok(false);
            }
            message::Return(ret) => self.answered(ret?, sent)?,
            message::Finish(finish) => self.finished(finish?.get_question_id()),
            message::Release(release) => {
                let release = release?;
                self.let_go(release.get_id(), release.get_reference_count());
            }
            message::Resolve(resolve) => self.resolved(resolve?)?,
            message::Disembargo(disembargo) => self.embargoed(disembargo?)?,
            _ => {}
        }
        Ok(true)
    }

    /// Calls of the peer's that have not returned, their bytes, the capabilities of this side's that it
    /// holds, and those of the peer's that this side does.
    pub(super) fn usage(&self) -> super::Usage {
        super::Usage {
            calls: self.in_flight,
            call_bytes: self.bytes_in_flight,
            unfinished: self.answers.len(),
            exports: self.exports.len(),
            imports: self.imports.len(),
            waiting: self.promises.waiting(),
        }
    }

    /// How many calls the peer has made.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// How many of them were finished before they had returned.
    pub(super) fn canceled(&self) -> u64 {
        self.canceled
    }

    /// Has it anything to do with a message of this side's before it is sent?
    pub(super) fn minds(&self) -> bool {
        self.promised > 0
            || self.surplus > 0
            || self.tails > 0
            || self.promised_answers.is_waiting()
    }

    /// Has it anything to say?
    pub(super) fn has_more(&self) -> bool {
        !(self.inbox.is_empty() && self.replies.is_empty() && self.refused.is_empty())
    }

    fn serial(&mut self) -> Serial {
        self.next_serial = self.next_serial.wrapping_add(1);
        self.next_serial
    }

    /// Counts what the connection survives.
    pub(super) fn refuse(&mut self, breach: Breach, text: impl Into<String>) {
        let text = text.into();
        self.refused.push(Refused { breach, text });
    }
}

impl Cut {
    pub(super) fn new(breach: Breach, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { breach, text }
    }
}

impl From<capnp::Error> for Cut {
    fn from(error: capnp::Error) -> Self {
        Self::new(
            Breach::Malformed,
            format!("a message can't be read: {error}"),
        )
    }
}

impl From<capnp::NotInSchema> for Cut {
    fn from(error: capnp::NotInSchema) -> Self {
        Self::new(
            Breach::Malformed,
            format!("a message has a kind that is not known: {error}"),
        )
    }
}

/// References by id.
type Counts = HashMap<u32, u32>;
