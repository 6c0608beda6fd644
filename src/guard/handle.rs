//! What is known of a guarded connection: what its peer has, and what it was refused.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::breach::Breach;
use super::budget::Share;
use super::bytes::{Count, Counted};
use super::ending::Ending;
use super::options::GuardOptions;
use super::outgoing::Queue;
use super::over::Over;
use super::pace::Pace;
use super::relay::Relay;
use super::rules::{Cut, Injected, Ledger, Refused, Verdict};
use super::source::Message;
use crate::error::Error;

/// A guarded connection, to be asked what its peer has and what it was refused. Clones are handles to the
/// same one.
#[derive(Clone)]
pub struct Guard {
    pub(super) inner: Rc<Inner>,
}

/// What the peer of a connection has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Its calls that have not returned.
    pub calls: usize,
    /// The bytes of these, where bytes are counted, and of results that are kept until it has done with them: those
    /// with capabilities, and those that stay here.
    pub call_bytes: u64,
    /// Its calls that are not over for both sides.
    pub unfinished: usize,
    /// Capabilities of this side's that it holds.
    pub exports: usize,
    /// Capabilities of its own that this side holds.
    pub imports: usize,
    /// Its promises that wait for what they resolve to.
    pub waiting: usize,
}

pub(super) struct Inner {
    pub(super) options: GuardOptions,
    pub(super) ending: Ending,
    pub(super) ledger: RefCell<Ledger>,
    pub(super) pace: RefCell<Pace>,
    pub(super) arrived: Count,
    pub(super) queue: Queue,
    pub(super) relay: Rc<Relay>,
    /// Why the connection can't go on.
    over: OnceCell<Over>,
    /// What it is to be ended for, where `capnp-rpc` was busy.
    due: Cell<Option<Cut>>,
    /// Why nothing can be written any more, which ends it as well.
    unwritten: OnceCell<capnp::Error>,
    share: Option<Share>,
    counts: [Cell<u64>; Breach::ALL.len()],
    /// How long the peer may still read after the end.
    farewell: RefCell<Option<LocalBoxFuture<'static, ()>>>,
    /// Who writes messages.
    pub(super) writer: RefCell<Option<Waker>>,
}

impl Guard {
    pub(super) fn new(options: GuardOptions, ending: Ending) -> Self {
        let share = options.budget.as_ref().map(Share::of);
        let inner = Inner {
            ledger: RefCell::new(Ledger::new(options.limits)),
            pace: RefCell::new(Pace::new(&options)),
            ending,
            arrived: Count::default(),
            queue: Queue::default(),
            relay: Relay::new(),
            over: OnceCell::new(),
            due: Cell::default(),
            unwritten: OnceCell::new(),
            share,
            counts: [const { Cell::new(0) }; Breach::ALL.len()],
            farewell: RefCell::default(),
            writer: RefCell::default(),
            options,
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// How often the guard stepped in for this.
    pub fn count(&self, breach: Breach) -> u64 {
        self.inner.counts[breach.index()].get()
    }

    /// How often it stepped in, for whatever reason.
    pub fn refused(&self) -> u64 {
        self.inner.counts.iter().map(Cell::get).sum()
    }

    /// What the peer has now.
    pub fn usage(&self) -> Usage {
        self.inner.ledger.borrow().usage()
    }

    /// Bytes that wait for the peer to read them, where bytes are counted.
    pub fn queued_bytes(&self) -> u64 {
        self.inner.queue.bytes()
    }

    /// The connection's end. Where the guard ended it, the reason says so.
    pub fn ending(&self) -> &Ending {
        &self.inner.ending
    }

    /// A stream to read from whose bytes are counted: put it around what the network reads from, so that the
    /// limits of calls' bytes are in force, and that of the time that a message takes.
    ///
    /// [`Connection::connect`](super::Connection::connect) and
    /// [`Connection::serve`](super::Connection::serve) do that themselves, in both directions.
    pub fn counting_reader<R>(&self, reader: R) -> Counted<R> {
        Counted::new(reader, self)
    }

    /// A stream to write to whose bytes are counted: put it around what the network writes to before it does,
    /// so that the limits of bytes that wait are in force.
    pub fn counting_writer<W>(&self, writer: W) -> Counted<W> {
        self.inner.queue.count();
        Counted::new(writer, self)
    }
}

impl Inner {
    /// Judges a message that has come.
    pub(super) fn judge(&self, incoming: &Message, bytes: u64) -> Result<Verdict, Error> {
        let judged = self.try_judge(incoming, bytes);
        self.account();
        judged.map_err(|cut| self.cut(cut))
    }

    fn try_judge(&self, incoming: &Message, bytes: u64) -> Result<Verdict, Cut> {
        let mut ledger = self.ledger.borrow_mut();
        self.pace.borrow_mut().message(bytes)?;
        ledger.full = self.share.as_ref().and_then(Share::used_up);
        let message = || incoming.get_body()?.get_as();
        let verdict = ledger.receive(incoming.segment(), message, bytes)?;
        if ledger.full.is_some() && !ledger.refused.is_empty() {
            self.check_overdraft(ledger.usage())?;
        }
        self.pace
            .borrow_mut()
            .calls(ledger.begun(), ledger.canceled())?;
        Ok(verdict)
    }

    /// What `capnp-rpc` gets before anything that comes.
    pub(super) fn injected(&self) -> Option<Injected> {
        let injected = self.ledger.borrow_mut().inbox.pop_front()?;
        self.relay.ask(injected.takes);
        Some(injected)
    }

    /// What was refused takes room as well, until the peer has done with it.
    fn check_overdraft(&self, usage: Usage) -> Result<(), Cut> {
        let overdraft = self.share.as_ref().and_then(|share| share.overdraft(usage));
        let Some(calls) = overdraft else {
            return Ok(());
        };
        let text = format!("{calls} calls are not finished, and the budget is used up twice");
        Err(Cut::new(Breach::Budget, text))
    }

    /// Tells of what was refused, now that nothing is borrowed.
    pub(super) fn tell_refused(&self) {
        let refused = std::mem::take(&mut self.ledger.borrow_mut().refused);
        for Refused { breach, text } in refused {
            self.tell(breach, &text, false);
        }
    }

    /// Notes what the connection has of its budget.
    #[inline]
    pub(super) fn account(&self) {
        if let Some(share) = &self.share {
            self.account_to(share);
        }
    }

    fn account_to(&self, share: &Share) {
        let bytes = self.queue.budget_bytes() + self.arrived.claimed();
        share.set(self.ledger.borrow().usage(), bytes);
    }

    /// Is there room in the budget for more bytes?
    pub(super) fn has_room(&self) -> bool {
        self.share.as_ref().is_none_or(Share::has_bytes)
    }

    /// Ends the connection. Gives the reason, the first one if there are several.
    pub(super) fn cut(&self, cut: Cut) -> Error {
        let over = Over::cut(self.peer(), &cut);
        if self.over.get().is_none() {
            self.tell_refused();
            self.tell(cut.breach, &cut.text, true);
        }
        self.end(over)
    }

    /// A stream has failed. Gives the reason of the end.
    pub(super) fn lose(&self, error: capnp::Error) -> Error {
        self.end(Over::lost(self.peer(), error))
    }

    /// The peer has said that it gives up. Gives the reason of the end.
    pub(super) fn give_up(&self, message: &Message) -> Error {
        self.end(Over::given_up(self.peer(), message))
    }

    /// The connection can't go on. Gives the first reason.
    fn end(&self, over: Over) -> Error {
        let over = match self.over.get() {
            Some(over) => over,
            None => {
                let over = self.over.get_or_init(|| over);
                self.ending.end(over.reason.clone());
                self.wake();
                over
            }
        };
        over.reason.clone()
    }

    /// Ends the connection when nothing of `capnp-rpc` is borrowed any more: as soon as it reads.
    pub(super) fn cut_soon(&self, cut: Cut) {
        if self.over.get().is_none() {
            let earlier = self.due.take();
            self.due.set(earlier.or(Some(cut)));
            self.wake();
        }
    }

    /// Nothing can be written any more. Who reads ends the connection when all is read that has come: what it answers, or
    /// says of its end, is not lost. So all that is called fails in the turn in which others learn of the end.
    pub(super) fn lose_soon(&self, error: &capnp::Error) {
        if self.unwritten.get().is_none() {
            let _first = self.unwritten.set(error.clone());
            self.wake();
        }
    }

    /// Cuts it, if that is due.
    pub(super) fn cut_if_due(&self) {
        if let Some(cut) = self.due.take() {
            self.cut(cut);
        }
    }

    /// Ends it if nothing can be written any more, as nothing is there to be read.
    pub(super) fn lose_if_unwritten(&self) {
        if let Some(error) = self.unwritten.get()
            && self.ending.reason().is_none()
        {
            self.lose(error.clone());
        }
    }

    /// Why the connection can't go on.
    pub(super) fn over(&self) -> Option<&Over> {
        self.over.get()
    }

    /// Is nobody waited for any more who reads what is left? Whoever was cut off is not, and others not for ever.
    pub(super) fn is_left(&self, cx: &mut Context<'_>) -> bool {
        if self.over().is_some_and(|over| over.is_cut) && self.queue.bytes() > 0 {
            return true;
        }
        let (Some(timer), Some(_)) = (&self.options.timer, self.ending.reason()) else {
            return false;
        };
        let until = timer.now() + self.options.limits.last_message;
        let mut farewell = self.farewell.borrow_mut();
        let farewell = farewell.get_or_insert_with(|| timer.sleep_until(until));
        farewell.poll_unpin(cx).is_ready()
    }

    /// Lets who reads, and who writes, look again.
    pub(super) fn wake(&self) {
        let wakers = [self.relay.waker.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Forgets all that it knows: the connection is over.
    pub(super) fn close(&self) {
        let limits = self.options.limits;
        let over = self.ledger.replace(Ledger::new(limits));
        drop(over);
        let lost = Error::disconnected("the connection is over");
        self.relay.end(self.ending.reason().unwrap_or(&lost));
        if let Some(share) = &self.share {
            share.set(Usage::default(), 0);
        }
    }

    fn tell(&self, breach: Breach, text: &str, ends: bool) {
        let count = &self.counts[breach.index()];
        count.set(count.get() + 1);
        if let Some(observer) = &self.options.observer {
            observer.refused(&super::Refusal {
                peer: self.peer(),
                breach,
                text,
                ends,
            });
        }
    }

    pub(super) fn peer(&self) -> &str {
        self.options.peer.as_deref().unwrap_or("the peer")
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("ending", &self.inner.ending)
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
