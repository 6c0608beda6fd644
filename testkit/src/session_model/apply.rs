//! What an operation changes at once.

use capspan::trace::Outcome;

use super::graph::{Id, Layer, Target, Way};
use super::orders::{Kind, Order, Parent, Todo};
use super::reference::{
    Call, CallState, Came, EnricherState, Event, Exists, Hand, Handler, Model, Side,
};
use super::spans::{Author, MANY, Update, What, Writing};

impl Model {
    /// Does it. What it leads to comes with [`rest`](Self::rest).
    pub(super) fn apply(&mut self, todo: &Todo) {
        self.note(todo);
        self.time += 1;
        if !matches!(todo, Todo::Write { .. }) {
            self.send_all_pending();
        }
        self.batch.lets_go_of = None;
        match *todo {
            Todo::Start {
                route,
                kind,
                parent,
                cap,
                order,
                holds,
                limits,
            } => {
                self.start_event(route, kind, parent, cap, order, holds);
                self.limit_caller(limits);
            }
            Todo::Call {
                to,
                cap,
                order,
                holds,
            } => self.send(to, cap, order, holds),
            Todo::Prepare { to } => {
                let hand = self.another(to);
                self.requests.push(hand);
            }
            Todo::Copy { cap } => {
                let hand = self.another(cap);
                self.hands.push(hand);
            }
            Todo::Drop { cap } => {
                let hand = self.hands.remove(cap);
                self.drop_cap(hand);
            }
            Todo::DiscardRequest { request } => {
                let hand = self.requests.remove(request);
                self.drop_cap(hand);
            }
            Todo::DiscardResponse { response } => {
                let hand = self.responses.remove(response);
                self.drop_cap(hand);
            }
            Todo::Take { response } => {
                let hand = self.responses.remove(response);
                self.hands.push(hand);
            }
            Todo::Cancel { number } => self.cancel(number),
            Todo::DropHandle { event } => self.drop_session(event),
            Todo::Detach { event } => {
                self.events[event].has_handle = false;
                self.events[event].was_asked = true;
            }
            Todo::Done { event } => self.ask_for_end(event),
            Todo::Release { number } => self.let_go_on(number),
            Todo::Write { event, writing } => {
                self.next_number();
                self.write(event, writing);
            }
            Todo::Own {
                event,
                writing,
                is_caller,
            } => {
                self.next_number();
                let event = &mut self.events[event];
                let side = match is_caller {
                    true => &mut event.caller,
                    false => &mut event.callee,
                };
                if side.is_open() {
                    side.write(|text| text.write(writing, Author::Owner));
                }
            }
            Todo::Forget { object } => self.forget(object),
            Todo::Cut { route, .. } => self.cut_route(route),
            Todo::Connect { route } => {
                if self.layout.routes[route].is_connected && !self.is_cut[route] {
                    // To a callee that is drained.
                    self.cut_route(route);
                }
                self.is_cut[route] = false;
                self.is_drained[route] = false;
            }
            Todo::Pass { ticks } => self.pass(ticks),
            Todo::Drain { route } => self.drain(route),
        }
        self.complete_idle();
    }

    fn drop_cap(&mut self, hand: Hand) {
        // What it leads to is let go later, by others.
        let event = self.graph.event_of(hand.cap);
        self.batch.lets_go_of = event.filter(|event| self.graph.refs(*event) == 1);
        self.graph.let_go(hand.cap);
    }

    fn another(&mut self, hand: usize) -> Hand {
        let Hand { vat, cap } = self.hands[hand];
        let cap = self.graph.hold(cap);
        Hand { vat, cap }
    }

    fn start_event(
        &mut self,
        route: usize,
        kind: Kind,
        parent: Parent,
        cap: Option<usize>,
        order: Order,
        holds: bool,
    ) {
        let number = self.next_number();
        let way = self.layout.routes[route];
        let is_observed = match parent {
            Parent::Nobody => false,
            Parent::Request => true,
            Parent::Event(event) => self.events[event].callee.is_observed,
        };
        let event = self.graph.border();
        let name = format!("e{number}");
        let mut caller = Side::new(is_observed, Exists::Yes, &name, self.time);
        if !is_observed {
            caller.exists = Exists::NotYet;
        }
        describe(&mut caller, kind, number);
        let callee = Side::new(way.is_observed, Exists::NotYet, "", self.time);
        self.events.push(Event {
            number,
            route,
            kind,
            parent,
            order,
            caller,
            callee,
            handler: Handler::Fresh,
            has_handle: kind == Kind::Session,
            is_canceled_later: false,
            enricher: EnricherState::Open,
            pending: Update::default(),
            was_told: false,
            is_fresh: true,
            ended_by_others: false,
            asks: false,
            was_asked: false,
            was_taken: false,
            done: None,
            is_cut: false,
        });
        match kind {
            Kind::Session => {
                let cap = self.graph.top_level(event, Target::Pending);
                let vat = way.from;
                self.hands.push(Hand { vat, cap });
            }
            Kind::Scheduled | Kind::Custom => {
                self.graph.enter(event);
                let layer = (event, Way::Out);
                let given = cap.map(|cap| self.graph.cross(layer, self.hands[cap].cap));
                self.calls.push(Call {
                    number,
                    vat: way.from,
                    to: None,
                    event: Some(event),
                    given,
                    layers: vec![(event, Way::In)],
                    order,
                    holds,
                    state: CallState::Sent,
                    is_fresh: true,
                });
            }
        }
        if self.is_cut[route] || self.is_drained[route] {
            self.events[event].is_cut = self.is_cut[route];
            let outcome = match self.is_cut[route] {
                true => Outcome::Disconnected,
                false => Outcome::Overloaded,
            };
            self.end_event(event, outcome);
            // What it holds still is a dead connection's, or refused.
            let calls = self.calls.iter_mut();
            for call in calls.filter(|call| call.event == Some(event)) {
                call.state = CallState::Failed;
            }
        }
    }

    fn send(&mut self, to: usize, cap: Option<usize>, order: Order, holds: bool) {
        let number = self.next_number();
        let Hand { vat, cap: to } = self.hands[to];
        let to = self.graph.hold(to);
        let layers: Option<Vec<Layer>> = match self.graph.pending(to) {
            Some(event) => Some(vec![(event, Way::In)]),
            None => self.graph.path(to).map(|path| path.layers),
        };
        let is_sent = layers.is_some();
        if !is_sent {
            let way = self.graph.way(to);
            self.happens(&way, true);
            self.fails_at_the_last(&way);
        }
        let layers = layers.unwrap_or_default();
        let given = cap.filter(|_| is_sent).map(|cap| {
            let cap = self.graph.hold(self.hands[cap].cap);
            let layers = layers.iter().map(|layer| (layer.0, layer.1.back()));
            self.graph.cross_all(layers, cap)
        });
        for layer in &layers {
            self.graph.enter(layer.0);
        }
        self.calls.push(Call {
            number,
            vat,
            to: Some(to),
            event: None,
            given,
            layers,
            order,
            holds,
            state: match is_sent {
                true => CallState::Sent,
                false => CallState::Failed,
            },
            is_fresh: true,
        });
    }

    fn cancel(&mut self, number: u32) {
        let Some(at) = self.calls.iter().position(|call| call.number == number) else {
            unreachable!("it was chosen among those that there are");
        };
        if let Some(event) = self.calls[at].event {
            self.callee_may_not_know(event);
            // The call first: it does not fail.
            self.let_call_go(at);
            self.calls.remove(at);
            self.end_event(event, Outcome::Canceled);
        } else {
            self.let_call_go(at);
            self.calls.remove(at);
        }
    }

    /// An event that is given up as it begins: its callee may see all of it, or that it was announced and
    /// never delivered, or nothing, as messages overtake what they start. What its service has done by then,
    /// it has done.
    fn callee_may_not_know(&mut self, event: usize) {
        let event = &mut self.events[event];
        if !event.is_fresh || event.callee.exists != Exists::NotYet {
            return;
        }
        let mut ends = vec![Outcome::Canceled];
        match (event.order.waits, event.order.fails, event.kind) {
            (true, ..) => {}
            (_, true, _) => ends.push(Outcome::Exception),
            (.., Kind::Session) => {}
            _ => ends.push(Outcome::Ok),
        }
        event.callee.exists = Exists::Maybe;
        event.callee.end = Some(ends);
        event.callee.ended = (self.rested_at + 1, self.time);
    }

    fn drop_session(&mut self, event: usize) {
        self.events[event].has_handle = false;
        let Event {
            caller,
            callee,
            handler,
            ..
        } = &self.events[event];
        let is_opening = *handler != Handler::Answered;
        if callee.end.is_some() {
            // It has not learned of that.
            self.end_side(event, true, Outcome::Canceled);
            return;
        }
        match caller.has_life {
            // All that the application had of it is gone, which is its right: it goes on over there.
            true if caller.end.is_some() => {}
            true => {
                self.callee_may_not_know(event);
                let may_be_ok = self.may_be_done_first(event);
                self.end_event(event, Outcome::Canceled);
                if let Some(ends) = &mut self.events[event].callee.end {
                    ends.extend(may_be_ok.then_some(Outcome::Ok));
                }
            }
            false if is_opening => self.events[event].is_canceled_later = true,
            false => self.end_event(event, Outcome::Canceled),
        }
    }

    /// What was called and let go before the handle has gone out by then, and the cancellation goes a turn later:
    /// the callee may be done with all of it when that comes.
    fn may_be_done_first(&self, event: usize) -> bool {
        if !self.layout.routes[self.events[event].route].is_connected {
            return false;
        }
        let mut done = self.clone();
        done.go_on();
        let ends = done.events[event].callee.end.as_deref();
        ends == Some(&[Outcome::Ok])
    }

    fn let_go_on(&mut self, number: u32) {
        if let Some(event) = self.event_of_number(number) {
            self.events[event].handler = Handler::MayGoOn;
        }
        let mut calls = self.calls.iter_mut();
        if let Some(call) = calls.find(|call| call.number == number) {
            call.state = CallState::MayGoOn;
        }
    }

    /// Writes to the caller's span as the callee. Over a connection what is written in one turn goes together.
    pub(super) fn write(&mut self, event: usize, writing: Writing) {
        let its = &mut self.events[event];
        let route = self.layout.routes[its.route];
        if !its.caller.is_observed || its.callee.end.is_some() {
            return;
        }
        if route.is_connected {
            if its.enricher != EnricherState::Cut {
                its.pending.merge(Update::of(writing));
            }
        } else if its.caller.is_open() {
            let caller = &mut its.caller;
            caller.write(|text| text.write(writing, Author::Callee));
        } else {
            let updates = match writing.what {
                What::Nothing => 0,
                What::Many => MANY as u64,
                _ => 1,
            };
            self.count_late(route.from, updates);
        }
    }

    /// What was written goes.
    pub(super) fn send_pending(&mut self, event: usize) {
        let its = &mut self.events[event];
        let update = std::mem::take(&mut its.pending);
        if update.is_empty() {
            return;
        }
        if its.caller.is_open() {
            let caller = &mut its.caller;
            caller.write(|text| text.apply(&update, Author::Callee));
        } else {
            its.enricher = EnricherState::Closing;
            let from = self.layout.routes[its.route].from;
            self.count_late(from, 1);
        }
    }

    pub(super) fn send_all_pending(&mut self) {
        (0..self.events.len()).for_each(|event| self.send_pending(event));
    }

    fn count_late(&mut self, vat: u8, updates: u64) {
        let late = &mut self.late[usize::from(vat)];
        *late = (late.0 + updates, late.1 + updates);
    }

    fn forget(&mut self, number: u32) {
        let keepers = self.graph.keepers();
        let keeper = keepers.iter().find(|keeper| keeper.1 == number);
        if let Some(&(object, ..)) = keeper {
            self.graph.keep(object, None);
        }
    }

    /// What was under way may have been done or not, so the model does it, and then says of everything that has
    /// changed that it may be as it was.
    fn cut_route(&mut self, route: usize) {
        self.go_on();
        self.is_cut[route] = true;
        for event in 0..self.events.len() {
            if self.events[event].route == route && !self.events[event].is_cut {
                self.cut_event(event);
            }
        }
        let mut lost: Vec<Id> = Vec::new();
        for ended in &mut self.ended {
            let mut layers = ended.layers.iter();
            if layers.any(|layer| self.events[layer.0].route == route) {
                ended.expected.gives = Came::Either;
                ended.expected.shows = None;
                lost.extend(ended.cap.take());
            }
        }
        for cap in lost {
            self.graph.let_go(cap);
        }
        let from = usize::from(self.layout.routes[route].from);
        self.late[from].0 = self.late_at_rest[from].0;
    }

    fn cut_event(&mut self, event: usize) {
        let now = (self.rested_at + 1, self.time);
        let its = &mut self.events[event];
        its.is_cut = true;
        if its.is_fresh && its.callee.exists == Exists::Yes {
            its.callee.exists = Exists::Maybe;
            its.was_told = false;
        }
        for side in [&mut its.caller, &mut its.callee] {
            side.any_text |= side.texts.len() > 1;
            if side.had_ended || side.exists == Exists::NotYet && !side.has_life {
                continue;
            }
            // What has ended now may have done so before.
            let mut ends = side.end.take().unwrap_or_default();
            ends.push(Outcome::Disconnected);
            if side.exists == Exists::Maybe {
                // It may have been announced, and given up before it was delivered.
                ends.push(Outcome::Canceled);
            }
            side.end = Some(ends);
            side.ended = now;
        }
        if its.handler != Handler::Answered {
            its.handler = Handler::Over;
        }
        self.sever(event);
    }
}

/// What is told of an event on its span by its kind.
pub(super) fn describe(side: &mut Side, kind: Kind, number: u32) {
    let trigger = match kind {
        Kind::Session => return,
        Kind::Scheduled => "timer",
        Kind::Custom => "other",
    };
    let name = match kind {
        Kind::Scheduled => "scheduled",
        _ => "custom",
    };
    let text = &mut side.texts[0];
    text.set("capspan.event.kind", name, Author::Owner);
    text.set("faas.trigger", trigger, Author::Owner);
    if kind == Kind::Scheduled {
        text.set("faas.cron", number, Author::Owner);
    }
}
