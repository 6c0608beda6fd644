//! Fair turns among those connections of a thread that always have something to read.
//!
//! In a turn of the event loop `capnp-rpc` takes one message of each connection. Where a thousand peers never
//! stop sending, each turn is a thousand messages long, and who asks once in a while waits for all of them. So
//! who is *behind* with its reading stands in [`Line`] with the others that are, and reads when its number is
//! called: one message, or what has come of one. All others read whenever they like. One that is alone in
//! being behind is called at once, each time.
//!
//! Whoever has had its turn calls the next. A connection may be called and not be polled, as whoever runs it
//! has stopped to: so somebody is always *on duty*, one that is polled, and calls the next but one after a
//! while. Who is called late may still read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

/// So many messages, and pieces of such, since there was nothing to read: the connection is behind. What was
/// read counts half each time that there is nothing.
const BEHIND: u8 = 16;

/// How often in a row a connection finds no more of a message that has begun before it gives up its turn. Of
/// these, two may come in one turn of the event loop.
const MAX_TRIES: u8 = 3;

/// How patient a line is with the one that is called.
const MAX_PATIENCE: u32 = 64;

/// What a look of the one on duty takes of the patience; one of any other takes 1. Two of them may come in one
/// turn of the event loop.
const ON_DUTY: u32 = 8;

/// So many messages of those that are not behind are read before one of those that are, if so many of these
/// wait.
const MAX_AHEAD: u64 = 8;

/// How often the one that is called waits for another message of them, where one has just been read, if so many
/// wait behind it.
const LETS_GO: u64 = 32;

/// For each so many that wait the one that is called waits once as well, in case that a message of them comes.
const CROWD: u64 = 4;

/// That there are any is remembered for so many messages of those that are behind.
const MEMORY: u32 = 512;

thread_local! {
    static LINE: Rc<Line> = Rc::default();
}

/// Where those connections of a thread stand that are behind. Unless one has its turn, nobody waits.
struct Line {
    /// Numbers below this have been called. It is never zero.
    called: Cell<u64>,
    /// The next number to be drawn: those from `called` on wait.
    drawn: Cell<u64>,
    /// The last one that was called has its turn.
    is_taken: Cell<bool>,
    /// Those who wait, unless they have left.
    waiting: RefCell<VecDeque<Option<Waker>>>,
    /// What has been taken of the patience with the last one that was called.
    waited: Cell<u32>,
    /// How many messages have been read since then by those who are not behind.
    ahead: Cell<u64>,
    /// For so many calls to come it is known that some are not behind.
    has_others: Cell<u32>,
    /// How often the one that was called is yet to let others go first.
    lets_go: Cell<u64>,
    /// What `called` was when somebody went on duty, who still is; or zero.
    watched: Cell<u64>,
}

/// A connection's place, in the line or out of it. Dropping it leaves the line.
pub(super) struct Place {
    line: Rc<Line>,
    /// What was read of late.
    load: Cell<u8>,
    /// Its number in the line, drawn when it is behind.
    number: Cell<Option<u64>>,
    /// What `called` was when it last went on duty; or zero.
    duty: Cell<u64>,
    tries: Cell<u8>,
}

impl Place {
    /// In the thread's line. At the thread's end each has a line of its own.
    pub(super) fn new() -> Self {
        Self::of(LINE.try_with(Rc::clone).unwrap_or_default())
    }

    fn of(line: Rc<Line>) -> Self {
        Self {
            line,
            load: Cell::default(),
            number: Cell::default(),
            duty: Cell::default(),
            tries: Cell::default(),
        }
    }

    /// May the connection read now? If not, it is woken when it may.
    #[inline]
    pub(super) fn may_read(&self, waker: &Waker) -> bool {
        if self.is_behind() {
            return self.is_called(waker);
        }
        if self.line.is_waited_in() {
            self.look();
        }
        true
    }

    /// A message was read.
    #[inline]
    pub(super) fn read(&self) {
        let load = self.load.get();
        if load < BEHIND {
            self.load.set(load + 1);
            self.line.goes_ahead();
        } else if let Some(number) = self.number.get() {
            self.had_turn(number);
        }
    }

    /// A piece of a message was read, and nothing more is there.
    #[cold]
    pub(super) fn read_piece(&self, waker: &Waker) {
        self.read();
        if self.is_behind() {
            waker.wake_by_ref();
        }
    }

    /// A message has begun, and no more of it is there.
    #[cold]
    pub(super) fn read_nothing(&self, waker: &Waker) {
        let tries = self.tries.get() + 1;
        if self.number.get().is_some() && tries < MAX_TRIES {
            self.tries.set(tries);
            waker.wake_by_ref();
        } else {
            self.leave();
        }
    }

    /// Nothing is there to be read, not even a piece.
    #[inline]
    pub(super) fn rest(&self) {
        self.load.set(self.load.get() / 2);
        if self.number.get().is_some() || self.duty.get() > 0 {
            self.leave();
        }
    }

    /// Leaves the line. Whoever was called in it has had its turn.
    #[cold]
    pub(super) fn leave(&self) {
        self.tries.set(0);
        let line = &self.line;
        let was_on_duty = self.duty.take() == line.called.get();
        let number = self.number.take();
        if number.is_none() && !was_on_duty {
            return;
        }
        if was_on_duty {
            line.watched.set(0);
        }
        if let Some(number) = number {
            line.leave(number);
        }
        if line.is_waited_in() && !line.is_watched() {
            line.wake_first();
        }
    }

    fn is_behind(&self) -> bool {
        self.load.get() >= BEHIND
    }

    /// Looks after others, not being behind itself.
    #[cold]
    fn look(&self) {
        if self.line.look(1) {
            self.line.wake_first();
        }
    }

    /// It was called, and has read.
    #[cold]
    fn had_turn(&self, number: u64) {
        self.tries.set(0);
        let line = &self.line;
        let is_last = number + 1 == line.called.get();
        if is_last && !line.is_waited_in() {
            return;
        }
        self.number.set(None);
        if is_last {
            line.call_next();
            // It is sure to come back: it has more to read.
            self.go_on_duty();
        }
    }

    #[cold]
    fn is_called(&self, waker: &Waker) -> bool {
        let line = &self.line;
        let number = match self.number.get() {
            Some(number) => number,
            None => {
                let number = line.draw();
                self.number.set(Some(number));
                number
            }
        };
        if number < line.called.get() {
            return !line.is_to_let_go(waker);
        }
        line.keep(number, waker);
        let is_on_duty = self.duty.get() == line.called.get() || !line.is_watched();
        let has_called = line.look(if is_on_duty { ON_DUTY } else { 1 });
        if is_on_duty || has_called {
            self.go_on_duty();
            waker.wake_by_ref();
        }
        number < line.called.get()
    }

    /// From now on it looks whether the one that was called comes.
    fn go_on_duty(&self) {
        let called = self.line.called.get();
        self.duty.set(called);
        self.line.watched.set(called);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            called: Cell::new(1),
            drawn: Cell::new(1),
            is_taken: Cell::default(),
            waiting: RefCell::default(),
            waited: Cell::default(),
            ahead: Cell::default(),
            has_others: Cell::default(),
            lets_go: Cell::default(),
            watched: Cell::default(),
        }
    }
}

/// Nothing is borrowed while a waker is woken or dropped: that may run anybody's code.
impl Line {
    fn is_waited_in(&self) -> bool {
        self.called.get() < self.drawn.get()
    }

    /// How many wait, or have left since.
    fn count_waiting(&self) -> u64 {
        self.drawn.get() - self.called.get()
    }

    fn is_watched(&self) -> bool {
        self.watched.get() == self.called.get()
    }

    /// A new number, which is called at once where nobody has a turn.
    fn draw(&self) -> u64 {
        let number = self.drawn.get();
        self.drawn.set(number + 1);
        if self.is_taken.replace(true) {
            self.waiting.borrow_mut().push_back(None);
        } else {
            self.called.set(number + 1);
            self.waited.set(0);
        }
        number
    }

    /// Keeps the waker of one who waits.
    fn keep(&self, number: u64, waker: &Waker) {
        let place = (number - self.called.get()) as usize;
        let is_kept = |it: &Option<Waker>| it.as_ref().is_some_and(|it| it.will_wake(waker));
        if self.waiting.borrow().get(place).is_some_and(is_kept) {
            return;
        }
        let waker = waker.clone();
        let old = self
            .waiting
            .borrow_mut()
            .get_mut(place)
            .map(|it| it.replace(waker));
        drop(old);
    }

    /// One that is not behind has read.
    fn goes_ahead(&self) {
        if self.is_waited_in() {
            self.ahead.set(self.ahead.get() + 1);
            self.lets_go.set(self.count_waiting().min(LETS_GO));
            self.has_others.set(MEMORY);
        }
    }

    /// Is the one that was called to wait yet, as others are busy that are not behind?
    fn is_to_let_go(&self, waker: &Waker) -> bool {
        let lets_go = self.lets_go.get();
        let waiting = self.count_waiting();
        if lets_go == 0 || waiting == 0 || self.ahead.get() > waiting.min(MAX_AHEAD) {
            return false;
        }
        self.lets_go.set(lets_go - 1);
        self.waited.set(0);
        waker.wake_by_ref();
        true
    }

    /// Somebody looks whether the one that was called comes. After a while the next is called.
    fn look(&self, patience: u32) -> bool {
        let waited = self.waited.get() + patience;
        self.waited.set(waited);
        let is_late = waited > MAX_PATIENCE;
        if is_late {
            self.call_next();
        }
        is_late
    }

    fn call_next(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let mut next = None;
        while next.is_none()
            && let Some(waker) = waiting.pop_front()
        {
            self.called.set(self.called.get() + 1);
            next = waker;
        }
        drop(waiting);
        self.is_taken.set(next.is_some());
        self.waited.set(0);
        self.ahead.set(0);
        let others = self.has_others.get();
        self.has_others.set(others.saturating_sub(1));
        self.lets_go.set(match others {
            0 => 0,
            _ => (self.count_waiting() / CROWD).min(LETS_GO),
        });
        next.into_iter().for_each(Waker::wake);
    }

    /// Nobody has this number any more.
    fn leave(&self, number: u64) {
        let called = self.called.get();
        if number + 1 == called {
            return self.call_next();
        }
        let Some(place) = number.checked_sub(called) else {
            return;
        };
        let mut waiting = self.waiting.borrow_mut();
        let waker = waiting.get_mut(place as usize).and_then(Option::take);
        while let Some(None) = waiting.back() {
            waiting.pop_back();
            self.drawn.set(self.drawn.get() - 1);
        }
        drop(waiting);
        drop(waker);
    }

    /// Wakes the first one that waits, so that it goes on duty.
    fn wake_first(&self) {
        let first = self.waiting.borrow().iter().flatten().next().cloned();
        first.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
