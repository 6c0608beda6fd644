//! A plain model of events: what each side holds, which spans there are, and what they say.

use capspan::trace::Outcome;

use super::graph::{Graph, Id, Layer};
use super::ops::{Layout, Limits};
use super::orders::{Kind, Order, Parent};
use super::spans::{Text, Update};

/// How many capabilities are held at once; with more, the oldest is let go.
pub(super) const HANDS: usize = 12;

/// How many events are started in a sequence.
pub(super) const EVENTS_STARTED: usize = 24;

#[derive(Clone)]
pub(super) struct Hand {
    pub(super) vat: u8,
    pub(super) cap: Id,
}

/// An event, both sides of it.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) number: u32,
    pub(super) route: usize,
    pub(super) kind: Kind,
    pub(super) parent: Parent,
    pub(super) order: Order,
    pub(super) caller: Side,
    pub(super) callee: Side,
    pub(super) handler: Handler,
    pub(super) has_handle: bool,
    /// Nobody can cancel it any more who could before.
    pub(super) is_canceled_later: bool,
    /// The callee has learned that the caller's span is over, or will.
    pub(super) enricher: EnricherState,
    /// What the callee has written to the caller's span, and not sent.
    pub(super) pending: Update,
    /// Has the service been told of it?
    pub(super) was_told: bool,
    /// Started since all came to rest.
    pub(super) is_fresh: bool,
    /// Complete by what somebody else let go, which comes later than the operation that leads to it.
    pub(super) ended_by_others: bool,
    /// Has the caller asked how it ends, as a call has failed? It waits for the answer with its own end.
    pub(super) asks: bool,
    /// Has `done` been asked by its handle? What that says is the end on the caller's side as well, if that
    /// goes on.
    pub(super) was_asked: bool,
    /// Has a limit of the caller's taken the session from its handle?
    pub(super) was_taken: bool,
    /// What `done` was answered; `None`: not yet.
    pub(super) done: Option<Done>,
    /// Was its connection cut?
    pub(super) is_cut: bool,
}

/// One side of an event, and its span.
#[derive(Clone)]
pub(super) struct Side {
    pub(super) is_observed: bool,
    pub(super) exists: Exists,
    /// Does it know of the event's end? A caller of a session that is neither observed nor limited does not.
    pub(super) has_life: bool,
    pub(super) limits: Limits,
    /// The time when it began.
    pub(super) began: u64,
    /// Since when nothing has been in flight, where nothing is: at the earliest and at the latest.
    pub(super) idles: (u64, u64),
    /// How it may have ended; `None`: it goes on.
    pub(super) end: Option<Vec<Outcome>>,
    /// When it ended, at the earliest and at the latest.
    pub(super) ended: (u64, u64),
    pub(super) started: (u64, u64),
    /// What its span says, but for its end: the last of these, or before a cut that came amid writings any of
    /// them.
    pub(super) texts: Vec<Text>,
    pub(super) any_text: bool,
    /// Had it ended when all came to rest last?
    pub(super) had_ended: bool,
}

/// Is there a side, and with it a span?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exists {
    NotYet,
    Yes,
    /// It was cut, or canceled, while it began.
    Maybe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    /// It has not begun.
    Fresh,
    Waits,
    MayGoOn,
    Answered,
    /// It failed, or was given up.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnricherState {
    Open,
    /// What is sent now is still sent; then nothing more.
    Closing,
    Cut,
}

/// What `done` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    End(Vec<Outcome>),
    Fails,
    /// An end, or an error: it was cut or canceled at the same time.
    Either,
}

/// A call under way, also one that is an event.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) vat: u8,
    /// What it was made on; `None`: it is an event.
    pub(super) to: Option<Id>,
    pub(super) event: Option<usize>,
    pub(super) given: Option<Id>,
    pub(super) layers: Vec<Layer>,
    pub(super) order: Order,
    pub(super) holds: bool,
    pub(super) state: CallState,
    pub(super) is_fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    Sent,
    Waits,
    MayGoOn,
    Failed,
    /// What it crosses has ended at the same time.
    Either,
}

/// What comes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) number: u32,
    pub(super) gives: Came,
    /// Does the caller see on its span what was written before the return? `None`: nothing was, or nothing is
    /// promised.
    pub(super) shows: Option<(usize, bool)>,
    pub(super) holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Nothing,
    Cap,
    /// The number of the object that was called back.
    Number(u32),
    Error,
    /// Anything: what came is let go.
    Either,
}

/// A call that has come to its end, and what it gives.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) expected: Expected,
    pub(super) vat: u8,
    pub(super) cap: Option<Id>,
    pub(super) layers: Vec<Layer>,
}

/// What is let go by both, at the same place.
#[derive(Clone, Copy, Debug)]
pub(super) enum LetGo {
    Hand(usize),
    Request(usize),
    Response(usize),
}

/// What was done since all came to rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    pub(super) vat: Option<u8>,
    pub(super) has_effect: bool,
    /// Does a service write when it gets to it?
    pub(super) writes_later: bool,
    pub(super) has_more_than_writings: bool,
    pub(super) has_let_go: bool,
    /// Was something let go that holds others, which are let go later?
    pub(super) lets_go_later: bool,
    /// Whose capability, or message, is let go by the operation itself.
    pub(super) lets_go_of: Option<usize>,
    pub(super) is_closed: bool,
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) layout: Layout,
    pub(super) graph: Graph,
    pub(super) events: Vec<Event>,
    pub(super) calls: Vec<Call>,
    pub(super) hands: Vec<Hand>,
    pub(super) requests: Vec<Hand>,
    pub(super) responses: Vec<Hand>,
    /// Events whose end is waited for.
    pub(super) dones: Vec<usize>,
    pub(super) ended: Vec<Ended>,
    pub(super) batch: Batch,
    pub(super) is_cut: Vec<bool>,
    /// Callees that take no more events.
    pub(super) is_drained: Vec<bool>,
    /// How many events were cut by that.
    pub(super) drained: usize,
    /// In the units of limits.
    pub(super) now: u64,
    /// Updates that came too late, at the least and at the most, by the caller's vat.
    pub(super) late: [(u64, u64); 3],
    pub(super) late_at_rest: [(u64, u64); 3],
    pub(super) last_number: u32,
    /// It moves with each operation.
    pub(super) time: u64,
    pub(super) rested_at: u64,
}

impl Event {
    /// Has one side of it ended since all came to rest?
    pub(super) fn is_ending(&self) -> bool {
        let mut sides = [&self.caller, &self.callee].into_iter();
        sides.any(|side| side.end.is_some() && !side.had_ended)
    }
}

impl Side {
    pub(super) fn new(is_observed: bool, exists: Exists, name: &str, time: u64) -> Self {
        Self {
            is_observed,
            exists,
            has_life: false,
            limits: Limits::default(),
            began: 0,
            idles: (0, 0),
            end: None,
            ended: (0, 0),
            started: (time, time),
            texts: vec![Text::new(name)],
            any_text: false,
            had_ended: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.end.is_none() && self.exists == Exists::Yes
    }

    pub(super) fn text(&self) -> &Text {
        match self.texts.last() {
            Some(text) => text,
            None => unreachable!("there is always one"),
        }
    }

    /// Changes what its span says.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Text)) {
        let mut text = self.text().clone();
        write(&mut text);
        self.texts.push(text);
    }
}

impl Model {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            graph: Graph::default(),
            events: Vec::new(),
            calls: Vec::new(),
            hands: Vec::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            dones: Vec::new(),
            ended: Vec::new(),
            batch: Batch::default(),
            is_cut: vec![false; layout.routes.len()],
            is_drained: vec![false; layout.routes.len()],
            drained: 0,
            now: 0,
            late: [(0, 0); 3],
            late_at_rest: [(0, 0); 3],
            last_number: 0,
            time: 0,
            rested_at: 0,
            layout: layout.clone(),
        }
    }

    pub(super) fn next_number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }

    /// Is a capability one that can be passed and called?
    pub(super) fn is_usable(&self, cap: Id) -> bool {
        self.graph.path(cap).is_some()
    }

    /// Ends one side of an event, unless it has ended or there is none.
    pub(super) fn end_side(&mut self, event: usize, is_caller: bool, outcome: Outcome) {
        let now = (self.rested_at + 1, self.time);
        let event = &mut self.events[event];
        let side = match is_caller {
            true => &mut event.caller,
            false => &mut event.callee,
        };
        if side.end.is_none() {
            side.end = Some(vec![outcome]);
            side.ended = now;
        }
    }

    /// Ends both sides of an event: nothing that crossed leads anywhere, and calls fail.
    pub(super) fn end_event(&mut self, event: usize, outcome: Outcome) {
        self.end_side(event, true, outcome);
        self.end_side(event, false, outcome);
        if self.events[event].handler != Handler::Answered {
            self.events[event].handler = Handler::Over;
        }
        self.sever(event);
    }

    /// Calls that cross the event fail.
    pub(super) fn sever(&mut self, event: usize) {
        self.graph.sever(event);
        for at in 0..self.calls.len() {
            let call = &self.calls[at];
            let crossing = call.layers.iter().position(|layer| layer.0 == event);
            let Some(crossing) = crossing.filter(|_| call.state != CallState::Failed) else {
                continue;
            };
            let layers = call.layers[..=crossing].to_vec();
            self.fails_at_the_last(&layers);
            self.calls[at].state = match self.calls[at].is_fresh {
                true => CallState::Either,
                false => CallState::Failed,
            };
            self.let_call_go(at);
        }
    }

    /// What a call refers to is let go, and what it crosses.
    pub(super) fn let_call_go(&mut self, at: usize) {
        let call = &mut self.calls[at];
        let (to, given, layers) = (
            call.to.take(),
            call.given.take(),
            std::mem::take(&mut call.layers),
        );
        let is_certain = !call.is_fresh;
        for cap in to.into_iter().chain(given) {
            self.graph.let_go(cap);
        }
        self.happens(&layers, is_certain);
        for layer in layers {
            self.graph.leave(layer.0);
        }
    }

    pub(super) fn event_of_number(&self, number: u32) -> Option<usize> {
        self.events.iter().position(|event| event.number == number)
    }
}
