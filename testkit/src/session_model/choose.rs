//! Makes an operation's choices: what is there, and what may be done with it.

use super::graph::Id;
use super::ops::{Limits, Op};
use super::orders::{Gives, How, Kind, Order, Parent, Todo};
use super::reference::{Call, CallState, EVENTS_STARTED, Event, Handler, Model};
use super::spans::{What, Writing};

/// The place that a number chooses among so many.
fn place(number: u8, of: usize) -> Option<usize> {
    usize::from(number).checked_rem(of)
}

fn one_of<T: Copy>(number: u8, of: &[T]) -> Option<T> {
    Some(of[place(number, of.len())?])
}

impl Model {
    /// What an operation means now; `None`: there is nothing to choose from.
    pub(super) fn choose(&self, op: Op) -> Option<Todo> {
        match op {
            Op::Open {
                route,
                parent,
                does,
            } => self.start(Kind::Session, route, parent, None, does),
            Op::Run {
                route,
                parent,
                does,
            } => self.start(Kind::Scheduled, route, parent, None, does),
            Op::Custom { route, cap, does } => {
                self.start(Kind::Custom, route, cap / 16, Some(cap % 16), does)
            }
            Op::Call { to, cap, order } => self.call(to, cap, order),
            Op::Prepare { to } => {
                let to = place(to, self.hands.len())?;
                let may = self.is_usable(self.hands[to].cap) && self.requests.len() < 4;
                may.then_some(Todo::Prepare { to })
            }
            Op::Copy { cap } => {
                let cap = place(cap, self.hands.len())?;
                Some(Todo::Copy { cap })
            }
            Op::Drop { cap } => {
                let cap = place(cap, self.hands.len())?;
                Some(Todo::Drop { cap })
            }
            Op::Discard { message } => {
                let all = self.requests.len() + self.responses.len();
                let at = place(message, all)?;
                Some(match at.checked_sub(self.requests.len()) {
                    None => Todo::DiscardRequest { request: at },
                    Some(response) => Todo::DiscardResponse { response },
                })
            }
            Op::Take { response } => {
                let response = place(response, self.responses.len())?;
                Some(Todo::Take { response })
            }
            Op::Cancel { call } => {
                let is_cancelable = |state| matches!(state, CallState::Sent | CallState::Waits);
                let calls = self.calls.iter().filter(|call| is_cancelable(call.state));
                let calls: Vec<u32> = calls.map(|call| call.number).collect();
                let number = one_of(call, &calls)?;
                Some(Todo::Cancel { number })
            }
            Op::DropHandle { session } => self.drop_handle(session),
            Op::Detach { session } => {
                let event = one_of(session, &self.with_handle())?;
                Some(Todo::Detach { event })
            }
            Op::Done { session } => {
                let event = one_of(session, &self.with_handle())?;
                Some(Todo::Done { event })
            }
            Op::Release { waiting } => self.release(waiting),
            Op::Write { event, what } => {
                let event = one_of(event, &self.delivered())?;
                let writing = self.writing(what);
                Some(Todo::Write { event, writing })
            }
            Op::Own { event, what } => {
                let is_caller = event & 0x80 != 0;
                let events = match is_caller {
                    true => self.with_handle(),
                    false => self.delivered(),
                };
                Some(Todo::Own {
                    event: one_of(event & 0x7f, &events)?,
                    writing: self.writing(what),
                    is_caller,
                })
            }
            Op::Forget { object } => {
                let keepers = self.graph.keepers();
                let (_, object, _) = one_of(object, &keepers)?;
                Some(Todo::Forget { object })
            }
            Op::Cut { route, how, pieces } => self.cut(route, how, pieces),
            Op::Connect { route } => {
                let route = place(route, self.is_cut.len())?;
                let may = self.is_cut[route] || self.is_drained[route];
                may.then_some(Todo::Connect { route })
            }
            Op::Pass { ticks } => {
                let ticks = self.certain(u64::from(1 + ticks % 4));
                Some(Todo::Pass { ticks })
            }
            Op::Drain { route } => {
                let route = place(route, self.is_drained.len())?;
                (!self.is_drained[route]).then_some(Todo::Drain { route })
            }
        }
    }

    fn writing(&self, what: u8) -> Writing {
        Writing::choose(what, i64::from(self.last_number) + 1)
    }

    /// Events of which the service has been told, and that it can write to.
    fn delivered(&self) -> Vec<usize> {
        let events = (0..self.events.len()).rev();
        let events = events.filter(|&event| {
            let event = &self.events[event];
            event.was_told
        });
        events.collect()
    }

    fn with_handle(&self) -> Vec<usize> {
        let events = (0..self.events.len()).rev();
        events
            .filter(|&event| self.events[event].has_handle)
            .collect()
    }

    fn drop_handle(&self, session: u8) -> Option<Todo> {
        let event = one_of(session, &self.with_handle())?;
        // Left out: a caller that is not observed cancels later, when the service has answered; what has been
        // called meanwhile may be done or not.
        let is_pending = |cap: Id| self.graph.pending(cap) == Some(event);
        let mut calls = self.calls.iter().filter_map(|call| call.to);
        let is_certain = self.events[event].caller.has_life || !calls.any(is_pending);
        is_certain.then_some(Todo::DropHandle { event })
    }

    fn release(&self, waiting: u8) -> Option<Todo> {
        let handlers = self.events.iter();
        let handlers = handlers.filter(|event| event.handler == Handler::Waits);
        let handlers = handlers.map(|event| event.number);
        let calls = self
            .calls
            .iter()
            .filter(|call| call.state == CallState::Waits);
        let calls = calls.filter(|call| call.event.is_none());
        let waiting_ones: Vec<u32> = handlers.chain(calls.map(|call| call.number)).collect();
        let number = one_of(waiting, &waiting_ones)?;
        Some(Todo::Release { number })
    }

    fn cut(&self, route: u8, how: u8, pieces: u8) -> Option<Todo> {
        let route = place(route, self.is_cut.len())?;
        let how = match how % 8 {
            0 => How::CallersDriver,
            1 => How::CalleesDriver,
            _ => How::Wire([
                usize::from(pieces % 16),
                usize::from(how / 8).max(usize::from(pieces / 16)),
            ]),
        };
        let may = self.layout.routes[route].is_connected && !self.is_cut[route];
        may.then_some(Todo::Cut { route, how })
    }

    /// `does`: three bits choose among what a handler does, the others what it writes.
    fn start(&self, kind: Kind, route: u8, parent: u8, cap: Option<u8>, does: u8) -> Option<Todo> {
        if self.events.len() == EVENTS_STARTED {
            return None;
        }
        let limits = Limits::choose(route / 16);
        let route = place(route % 16, self.layout.routes.len())?;
        let from = self.layout.routes[route].from;
        let cap = cap.and_then(|cap| self.passable(from, cap));
        let mut order = Order::NEW;
        match does % 8 {
            0 => order.fails = true,
            1 => order.waits = true,
            2 if kind == Kind::Session => (order.waits, order.fails) = (true, does & 8 == 0),
            2 => order.gives = Gives::Nothing,
            3 if kind == Kind::Custom => order.gives = Gives::Given,
            4 if kind == Kind::Custom => order.keeps = true,
            _ => {}
        }
        if order.gives == Gives::Given && cap.is_none() || kind == Kind::Scheduled {
            order.gives = Gives::Nothing;
        }
        order.keeps &= cap.is_some();
        let what = What::choose(does / 8);
        if does & 0x80 != 0 && what != What::Many {
            let number = i64::from(self.last_number) + 1;
            // The event itself, which is not there yet.
            order.writes = Some((self.events.len(), Writing { what, number }));
        }
        let holds = kind == Kind::Custom && does & 0x40 != 0 && order.gives == Gives::New;
        Some(Todo::Start {
            route,
            kind,
            parent: self.parent(from, parent),
            cap,
            order,
            holds,
            limits,
        })
    }

    fn parent(&self, vat: u8, choice: u8) -> Parent {
        let here = (0..self.events.len()).filter(|&event| {
            let event = &self.events[event];
            let is_here = self.layout.routes[event.route].to == vat;
            is_here && event.was_told
        });
        let here: Vec<usize> = here.collect();
        match choice % 8 {
            0 | 1 => Parent::Nobody,
            2..5 => Parent::Request,
            _ => match one_of(choice / 8, &here) {
                Some(event) => Parent::Event(event),
                None => Parent::Request,
            },
        }
    }

    /// A capability that a vat holds and may pass, by its place.
    fn passable(&self, vat: u8, choice: u8) -> Option<usize> {
        let hands = (0..self.hands.len()).filter(|&hand| {
            let hand = &self.hands[hand];
            hand.vat == vat && self.is_usable(hand.cap)
        });
        let hands: Vec<usize> = hands.collect();
        // Often there is one, and often none is passed.
        match usize::from(choice).checked_rem(hands.len() + 1)? {
            0 => None,
            at => Some(hands[at - 1]),
        }
    }

    fn call(&self, to: u8, cap: u8, choice: u8) -> Option<Todo> {
        let to = place(to, self.hands.len())?;
        let hand = &self.hands[to];
        let pending = self.graph.pending(hand.cap);
        if pending.is_some_and(|event| self.events[event].is_canceled_later)
            || self.calls.len() == 8
        {
            return None;
        }
        // Left out: `capnp-rpc` 0.27.3 panics where a call with a capability is made on what has been broken.
        let is_alive = pending.is_some() || self.is_usable(hand.cap);
        let cap = self.passable(hand.vat, cap).filter(|_| is_alive);
        let object = self.graph.path(hand.cap).map(|path| path.object);
        let kept = object.and_then(|object| self.graph.of_object(object).2);
        let mut order = Order::NEW;
        match choice % 16 {
            0 => order.gives = Gives::Nothing,
            1 => order.fails = true,
            2..5 => order.waits = true,
            5 => (order.waits, order.gives) = (true, Gives::Nothing),
            6..9 if cap.is_some() => (order.keeps, order.gives) = (true, Gives::Nothing),
            9 if cap.is_some() => (order.keeps, order.waits) = (true, true),
            10 if cap.is_some() => order.gives = Gives::Given,
            11 if cap.is_some() => {
                (order.calls_back, order.gives) = (true, Gives::Nothing);
            }
            12 if kept.is_some_and(|kept| self.is_usable(kept)) => order.gives = Gives::Kept,
            _ => {}
        }
        // Of an object that is not there yet, the model does not know what it keeps.
        // What it kept before may be the last that holds the event which it writes to.
        let ends_none = !order.keeps || kept.is_none();
        if object.is_some() && ends_none && choice & 0x30 != 0 {
            order.writes = self.written_by(object, choice);
        }
        // Left out: the return lets go of what was given, before what was written to an event of another route
        // has arrived: these ways know nothing of each other. So that must not be all that holds the event.
        let given = cap.map(|cap| self.graph.way(self.hands[cap].cap));
        let own = self.graph.event_of(hand.cap);
        let own = own.map(|event| self.events[event].route);
        order.writes = order.writes.filter(|(event, _)| {
            let mut layers = given.iter().flatten();
            own == Some(self.events[*event].route) || layers.all(|layer| layer.0 != *event)
        });
        let holds = choice & 0xc0 == 0 && order.gives == Gives::New;
        Some(Todo::Call {
            to,
            cap,
            order,
            holds,
        })
    }

    /// An object writes to the caller's span of one of its vat's events.
    fn written_by(&self, object: Option<Id>, choice: u8) -> Option<(usize, Writing)> {
        let vat = self.graph.of_object(object?).0;
        let here = self.delivered().into_iter();
        let here = here.filter(|&event| self.layout.routes[self.events[event].route].to == vat);
        let here: Vec<usize> = here.collect();
        let event = one_of(choice / 64, &here)?;
        let what = match What::choose(choice.rotate_left(3)) {
            What::Many => What::Several,
            what => what,
        };
        let number = i64::from(self.last_number) + 1;
        Some((event, Writing { what, number }))
    }

    /// Must all come to rest before this is done? What comes of it together with what is under way would not be
    /// certain: it depends on who is first.
    pub(super) fn waits_for_rest(&self, todo: &Todo) -> bool {
        let batch = &self.batch;
        let Some(vat) = batch.vat else { return false };
        if batch.is_closed
            || self.stands_alone(todo)
            || self.vat_of(todo).is_some_and(|its| its != vat)
        {
            return true;
        }
        if let Todo::Call { to, .. } = todo
            && !self.is_usable(self.hands[*to].cap)
            && self.events.iter().any(Event::is_ending)
        {
            return true;
        }
        match todo {
            Todo::Call { order, .. } | Todo::Start { order, .. } => {
                let written = order.writes.and_then(|(event, _)| self.events.get(event));
                let is_ending = written.is_some_and(Event::is_ending);
                // Calls under way may be the last that hold it, and return before.
                let may_end = written.is_some() && batch.has_let_go;
                is_ending || may_end || batch.has_effect && !order.is_pure()
            }
            // Whether it cancels is seen when it is dropped; what others let go has not gone then.
            Todo::DropHandle { event } => {
                let event = &self.events[*event];
                let later = event.ended_by_others || batch.lets_go_later;
                batch.has_effect || event.is_ending() && later
            }
            Todo::Cut { .. } => batch.has_effect,
            Todo::Drop { .. }
            | Todo::DiscardRequest { .. }
            | Todo::DiscardResponse { .. }
            | Todo::Forget { .. } => batch.writes_later,
            Todo::Cancel { number } => {
                let call = self.calls.iter().find(|call| call.number == *number);
                let is_done = |call: &Call| call.is_fresh && !call.order.is_pure();
                batch.writes_later || call.is_some_and(is_done)
            }
            Todo::Write { writing, .. } => {
                batch.has_more_than_writings || writing.what == What::Many
            }
            Todo::Own { .. } => batch.has_more_than_writings,
            Todo::Release { .. }
            | Todo::Connect { .. }
            | Todo::Pass { .. }
            | Todo::Drain { .. } => true,
            _ => false,
        }
    }

    /// Who does it; `None`: nobody's turn.
    fn vat_of(&self, todo: &Todo) -> Option<u8> {
        let route = |event: usize| self.layout.routes[self.events[event].route];
        Some(match *todo {
            Todo::Start { route, .. } => self.layout.routes[route].from,
            Todo::Call { to, .. } | Todo::Prepare { to } => self.hands[to].vat,
            Todo::Copy { cap } | Todo::Drop { cap } => self.hands[cap].vat,
            Todo::DiscardRequest { request } => self.requests[request].vat,
            Todo::DiscardResponse { response } | Todo::Take { response } => {
                self.responses[response].vat
            }
            Todo::Cancel { number } => self.calls.iter().find(|call| call.number == number)?.vat,
            Todo::DropHandle { event }
            | Todo::Detach { event }
            | Todo::Done { event }
            | Todo::Own {
                event,
                is_caller: true,
                ..
            } => route(event).from,
            Todo::Write { event, .. } | Todo::Own { event, .. } => route(event).to,
            Todo::Forget { object } => {
                let keepers = self.graph.keepers();
                keepers.iter().find(|keeper| keeper.1 == object)?.2
            }
            Todo::Release { .. }
            | Todo::Cut { .. }
            | Todo::Connect { .. }
            | Todo::Pass { .. }
            | Todo::Drain { .. } => return None,
        })
    }

    /// Remembers what is under way.
    pub(super) fn note(&mut self, todo: &Todo) {
        let vat = self.vat_of(todo).or(self.batch.vat).unwrap_or_default();
        let is_alone = self.stands_alone(todo);
        let batch = &mut self.batch;
        batch.is_closed |= is_alone;
        batch.vat = Some(vat);
        match todo {
            Todo::Call { order, .. } | Todo::Start { order, .. } => {
                batch.has_effect |= !order.is_pure();
                batch.writes_later |= order.writes.is_some();
            }
            Todo::Release { .. }
            | Todo::Cut { .. }
            | Todo::Connect { .. }
            | Todo::Pass { .. }
            | Todo::Drain { .. } => batch.is_closed = true,
            Todo::Write { writing, .. } => batch.is_closed |= writing.what == What::Many,
            Todo::Drop { .. }
            | Todo::DiscardRequest { .. }
            | Todo::DiscardResponse { .. }
            | Todo::Cancel { .. }
            | Todo::DropHandle { .. }
            | Todo::Forget { .. } => {
                let at_once = matches!(todo, Todo::Drop { .. });
                batch.has_let_go = true;
                batch.lets_go_later |= !at_once;
            }
            _ => {}
        }
        batch.has_more_than_writings |= !matches!(todo, Todo::Write { .. } | Todo::Own { .. });
    }
}
