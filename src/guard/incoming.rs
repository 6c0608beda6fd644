//! Messages from the peer: each is judged before `capnp-rpc` gets it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use capnp_rpc::rpc_capnp::message;
use futures::future::LocalBoxFuture;

use super::breach::Breach;
use super::handle::Guard;
use super::outgoing::Outgoing;
use super::rules::{Cut, Verdict};
use super::source::{Message, Received, Source};
use super::turns::Place;
use super::waker::keep;
use crate::timer::Timer;

/// A message that has come, and its length, where that is known.
type Arrived = (Message, u64);

/// The peer's messages.
pub(super) struct Inbox<V> {
    pub(super) guard: Guard,
    pub(super) source: RefCell<Box<dyn Source<V>>>,
    clock: RefCell<Clock>,
    place: Place,
    is_closed: Cell<bool>,
}

/// What waits for a message that takes too long.
#[derive(Default)]
struct Clock {
    has_begun: bool,
    has_any: bool,
    waiting: Option<Waiting>,
    /// A message is arriving.
    is_half: bool,
    /// Since when nothing is read, as it is not its turn.
    held_since: Option<Instant>,
}

struct Waiting {
    breach: Breach,
    deadline: Instant,
    sleep: LocalBoxFuture<'static, ()>,
    /// How long nothing was read meanwhile.
    held: Duration,
}

/// Messages that are withheld before others get their turn. Of those that pass, `capnp-rpc` takes one a turn.
const AT_ONCE: usize = 4;

impl<V: 'static> Inbox<V> {
    pub(super) fn new(guard: Guard, source: Box<dyn Source<V>>) -> Self {
        Self {
            guard,
            source: RefCell::new(source),
            clock: RefCell::default(),
            place: Place::new(),
            is_closed: Cell::default(),
        }
    }

    /// Nothing is read any more. The stream is let go of: else it would stay open for as long as anybody keeps
    /// a capability of the connection.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.place.leave();
        // Who is reading lets go of it then.
        if let Ok(mut source) = self.source.try_borrow_mut() {
            source.stop();
        }
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<capnp::Result<Received>> {
        let inner = &self.guard.inner;
        if self.is_closed.get() {
            return Poll::Pending;
        }
        for _ in 0..AT_ONCE {
            inner.relay.ask(false);
            if inner.relay.has_any() {
                self.settle(cx);
            }
            let has_more = inner.ledger.borrow().has_more();
            if has_more {
                self.reply();
                inner.tell_refused();
            }
            inner.cut_if_due();
            if let Some(over) = inner.over() {
                return Poll::Ready(Err(over.reason.clone().into()));
            }
            if !self.place.may_read(cx.waker()) {
                keep(&inner.relay.waker, cx.waker());
                self.hold();
                return Poll::Pending;
            }
            if has_more && let Some(injected) = inner.injected() {
                self.place.read();
                return Poll::Ready(Ok(Some(Box::new(injected))));
            }
            let Poll::Ready(read) = self.read(cx) else {
                inner.lose_if_unwritten();
                if let Some(over) = inner.over() {
                    return Poll::Ready(Err(over.reason.clone().into()));
                }
                keep(&inner.relay.waker, cx.waker());
                return self.wait(cx);
            };
            let arrived = match self.arrived(read) {
                Ok(Some(arrived)) => arrived,
                Ok(None) => return Poll::Ready(Ok(None)),
                Err(error) => return Poll::Ready(Err(error)),
            };
            match self.judge(arrived) {
                Ok(Some(message)) => return Poll::Ready(Ok(Some(message))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Lets those go on that stand for promises, if these have resolved.
    fn settle(&self, cx: &mut Context<'_>) {
        let inner = &self.guard.inner;
        inner.relay.poll(cx);
        for _ in 0..inner.relay.circles() {
            let text = "a promise that the peer gave back has become itself";
            let mut ledger = inner.ledger.borrow_mut();
            ledger.refuse(Breach::ReturnCycle, text);
        }
    }

    fn read(&self, cx: &mut Context<'_>) -> Poll<capnp::Result<Option<Message>>> {
        let arrived = &self.guard.inner.arrived;
        let before = arrived.so_far();
        let read = {
            let mut source = self.source.borrow_mut();
            let read = source.poll_read(cx);
            if self.is_closed.get() {
                source.stop();
            }
            read
        };
        match arrived.so_far() {
            _ if read.is_ready() => self.place.read(),
            0 => self.place.rest(),
            now if now > before => self.place.read_piece(cx.waker()),
            _ => self.place.read_nothing(cx.waker()),
        }
        read
    }

    /// Notes a message, or an end.
    fn arrived(&self, read: capnp::Result<Option<Message>>) -> capnp::Result<Option<Arrived>> {
        let inner = &self.guard.inner;
        match read {
            Ok(Some(message)) => {
                self.clock.borrow_mut().message();
                Ok(Some((message, inner.arrived.message())))
            }
            Ok(None) => {
                inner.ending.close();
                Ok(None)
            }
            Err(_) if inner.arrived.has_no_room.get() => {
                let bytes = inner.arrived.claimed();
                let text = format!("a message of {bytes} bytes has no room in the budget");
                Err(inner.cut(Cut::new(Breach::Budget, text)).into())
            }
            Err(error) => Err(inner.lose(error).into()),
        }
    }

    /// Judges a message. Gives the one that `capnp-rpc` gets next, if there is any.
    fn judge(&self, (message, bytes): Arrived) -> capnp::Result<Received> {
        let inner = &self.guard.inner;
        match inner.judge(&message, bytes)? {
            Verdict::Pass => Ok(Some(message.into_boxed())),
            Verdict::Abort => Err(inner.give_up(&message).into()),
            Verdict::Withhold => Ok(None),
        }
    }

    /// Sends what the guard has to say.
    fn reply(&self) {
        loop {
            let Some(reply) = self.guard.inner.ledger.borrow_mut().replies.pop_front() else {
                return;
            };
            let message = self.source.borrow_mut().draft(32);
            let mut message = Outgoing::new(message, self.guard.clone());
            if write(&mut message, reply).is_ok() {
                message.send_unnoted();
            }
        }
    }

    /// Nothing has come: is it too late?
    fn wait(&self, cx: &mut Context<'_>) -> Poll<capnp::Result<Received>> {
        let inner = &self.guard.inner;
        let Some(timer) = &inner.options.timer else {
            return Poll::Pending;
        };
        let mut clock = self.clock.borrow_mut();
        let limits = &inner.options.limits;
        if !clock.has_begun {
            clock.has_begun = true;
            let deadline = timer.now() + limits.first_message;
            clock.wait_until(deadline, Breach::FirstMessage, &**timer);
        }
        if inner.arrived.so_far() > 0 && !clock.is_half {
            clock.is_half = true;
            if clock.has_any {
                let deadline = timer.now() + limits.half_message;
                clock.wait_until(deadline, Breach::HalfMessage, &**timer);
            }
        }
        let breach = std::task::ready!(clock.poll(&**timer, cx));
        let (text, limit) = match breach {
            Breach::FirstMessage => ("no message came within", limits.first_message),
            _ => ("a message was not whole after", limits.half_message),
        };
        let cut = Cut::new(breach, format!("{text} {limit:?}"));
        drop(clock);
        Poll::Ready(Err(inner.cut(cut).into()))
    }

    /// It is not the connection's turn. That is not held against the peer, which may be sending.
    #[cold]
    fn hold(&self) {
        let mut clock = self.clock.borrow_mut();
        if clock.waiting.is_some() && clock.held_since.is_none() {
            let timer = self.guard.inner.options.timer.as_ref();
            clock.held_since = timer.map(|timer| timer.now());
        }
    }
}

impl Clock {
    fn message(&mut self) {
        self.has_any = true;
        self.has_begun = true;
        self.is_half = false;
        self.waiting = None;
        self.held_since = None;
    }

    fn wait_until(&mut self, deadline: Instant, breach: Breach, timer: &dyn Timer) {
        self.waiting = Some(Waiting {
            breach,
            deadline,
            sleep: timer.sleep_until(deadline),
            held: Duration::ZERO,
        });
    }

    /// What is too late, if it is.
    #[cold]
    fn poll(&mut self, timer: &dyn Timer, cx: &mut Context<'_>) -> Poll<Breach> {
        let held_since = self.held_since.take();
        let Some(waiting) = &mut self.waiting else {
            return Poll::Pending;
        };
        if let Some(since) = held_since {
            waiting.held += timer.now().saturating_duration_since(since);
        }
        loop {
            std::task::ready!(waiting.sleep.as_mut().poll(cx));
            let held = std::mem::take(&mut waiting.held);
            if held.is_zero() {
                return Poll::Ready(waiting.breach);
            }
            waiting.deadline += held;
            waiting.sleep = timer.sleep_until(waiting.deadline);
        }
    }
}

fn write(message: &mut Outgoing, reply: super::rules::Reply) -> capnp::Result<()> {
    use capnp_rpc::OutgoingMessage;
    let body: message::Builder<'_> = message.get_body()?.init_as();
    reply.write(body)
}
