//! What goes on by itself in the model: services answer, calls return, events end.

use capspan::trace::Outcome;

use super::apply::describe;
use super::graph::{Id, Way};
use super::orders::{Gives, Kind};
use super::reference::{
    Batch, Call, CallState, Came, Done, Ended, EnricherState, Exists, Expected, HANDS, Hand,
    Handler, LetGo, Model,
};
use super::spans::{Author, Text, What, Writing};

impl Model {
    /// Lets everything go on that can. Gives the calls that have ended, by their numbers; their results are
    /// held.
    pub(super) fn rest(&mut self) -> Vec<Expected> {
        self.go_on();
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_by_key(|ended| ended.expected.number);
        let ended = ended.into_iter().map(|ended| {
            if let Some(cap) = ended.cap {
                let vat = ended.vat;
                match ended.expected.holds {
                    true => self.responses.push(Hand { vat, cap }),
                    false => self.hands.push(Hand { vat, cap }),
                }
            }
            ended.expected
        });
        ended.collect()
    }

    /// What of all that is held is to be let go now: what is too much, and messages of which nobody knows
    /// whether they hold what is in them still, as their event is over.
    pub(super) fn let_go_next(&mut self) -> Option<LetGo> {
        let is_dead = |hand: &Hand, model: &Self| !model.is_usable(hand.cap);
        let responses = self.responses.iter();
        let (hand, let_go) = if self.hands.len() > HANDS {
            (self.hands.remove(0), LetGo::Hand(0))
        } else if let Some(at) = self.requests.iter().position(|hand| is_dead(hand, self)) {
            (self.requests.remove(at), LetGo::Request(at))
        } else if let Some(at) = responses
            .clone()
            .position(|hand| is_dead(hand, self) || responses.len() > 4)
        {
            (self.responses.remove(at), LetGo::Response(at))
        } else {
            return None;
        };
        self.graph.let_go(hand.cap);
        self.complete_idle();
        Some(let_go)
    }

    /// What `done` has given to those who asked, by their places.
    pub(super) fn take_dones(&mut self) -> Vec<(usize, Done)> {
        let mut given = Vec::new();
        for at in 0..self.dones.len() {
            let event = self.dones[at];
            if let Some(done) = self.done_of(event) {
                self.events[event].done = Some(done.clone());
                given.push((at, done));
            }
        }
        for (at, _) in given.iter().rev() {
            self.dones.remove(*at);
        }
        given
    }

    fn done_of(&self, event: usize) -> Option<Done> {
        let event = &self.events[event];
        if let Some(done) = &event.done {
            return Some(done.clone());
        }
        let end = event.callee.end.as_ref()?;
        Some(match (event.handler, event.callee.exists) {
            _ if event.is_cut => Done::Either,
            (_, Exists::Maybe) => Done::Either,
            (Handler::Answered, _) => Done::End(end.clone()),
            _ => Done::Fails,
        })
    }

    /// All has come to rest.
    pub(super) fn rested(&mut self) {
        let now = self.time;
        for event in &mut self.events {
            if std::mem::take(&mut event.is_fresh) {
                event.callee.started.1 = now;
            }
            if event.enricher == EnricherState::Closing {
                event.enricher = EnricherState::Cut;
            }
            for side in [&mut event.caller, &mut event.callee] {
                if !side.had_ended && side.end.is_some() {
                    side.had_ended = true;
                    side.ended.1 = now;
                }
                if !side.any_text {
                    let last = side.texts.len() - 1;
                    side.texts.drain(..last);
                }
            }
        }
        for call in &mut self.calls {
            call.is_fresh = false;
        }
        self.batch = Batch::default();
        self.late_at_rest = self.late;
        self.rested_at = now;
    }

    pub(super) fn go_on(&mut self) {
        self.send_all_pending();
        loop {
            let mut any = false;
            for event in 0..self.events.len() {
                any |= self.handle(event);
            }
            let mut at = 0;
            while at < self.calls.len() {
                match self.work(at) {
                    Worked::Nothing => at += 1,
                    Worked::Some => (any, at) = (true, at + 1),
                    Worked::Ended => any = true,
                }
            }
            self.complete_idle();
            if !any {
                return;
            }
        }
    }

    /// Events to which nothing refers any more are complete.
    pub(super) fn complete_idle(&mut self) {
        self.complete_half();
        for event in self.graph.take_idle() {
            if self.graph.is_over(event) || self.graph.refs(event) > 0 {
                continue;
            }
            self.events[event].ended_by_others |= self.batch.lets_go_of != Some(event);
            // A caller that is done with what it has not got yet does not end the callee's part.
            match self.events[event].handler {
                Handler::Answered => self.end_event(event, Outcome::Ok),
                _ => self.end_side(event, true, Outcome::Ok),
            }
        }
    }

    /// The callee's side begins.
    fn begin(&mut self, event: usize) {
        let now = (self.rested_at + 1, self.time);
        let event = &mut self.events[event];
        event.was_told = true;
        event.callee.exists = Exists::Yes;
        event.callee.started = now;
        event.callee.has_life = true;
        event.callee.began = self.now;
        event.callee.idles = (self.now, self.now);
        let name = match event.kind {
            Kind::Session => "session".to_owned(),
            Kind::Scheduled => "scheduled".to_owned(),
            Kind::Custom => format!("c{}", event.number),
        };
        event.callee.texts = vec![Text::new(&name)];
        describe(&mut event.callee, event.kind, event.number);
        event.callee.texts[0].set("event", event.number, Author::Owner);
    }

    /// The handler of a session.
    fn handle(&mut self, at: usize) -> bool {
        let event = &self.events[at];
        if event.kind != Kind::Session {
            return false;
        }
        let (order, number) = (event.order, event.number);
        match event.handler {
            Handler::Fresh => self.begin(at),
            Handler::MayGoOn => {}
            _ => return false,
        }
        if order.waits && self.events[at].handler == Handler::Fresh {
            self.events[at].handler = Handler::Waits;
            return true;
        }
        if let Some((event, writing)) = order.writes {
            self.write_in_order(event, writing, number);
        }
        if order.fails {
            let event = &mut self.events[at];
            let route = self.layout.routes[event.route];
            // In one process a service may fail before it is seen that all was dropped in the same turn.
            if event.is_fresh
                && !route.is_connected
                && let Some(ends) = &mut event.caller.end
            {
                ends.push(Outcome::Exception);
            }
            self.end_event(at, Outcome::Exception);
            return true;
        }
        self.events[at].handler = Handler::Answered;
        self.happens(&[(at, Way::In)], true);
        let to = self.layout.routes[self.events[at].route].to;
        let given = self.graph.object(to, number);
        if !self.graph.settle(at, given) {
            self.graph.let_go(given);
        }
        if self.graph.refs(at) == 0 {
            self.end_event(at, Outcome::Ok);
        } else if self.events[at].is_canceled_later {
            self.end_event(at, Outcome::Canceled);
        }
        true
    }

    fn write_in_order(&mut self, event: usize, writing: Writing, number: u32) {
        self.write(event, writing);
        let (what, number) = (What::Shown, number.into());
        self.write(event, Writing { what, number });
        self.send_pending(event);
    }

    fn work(&mut self, at: usize) -> Worked {
        let call = &self.calls[at];
        let order = call.order;
        match call.state {
            CallState::Failed => return self.end_call(at, Came::Error, None, None),
            CallState::Either => return self.end_call(at, Came::Either, None, None),
            CallState::Waits => return Worked::Nothing,
            CallState::MayGoOn => return self.finish(at, None),
            CallState::Sent => {}
        }
        if call.to.is_some_and(|to| self.graph.pending(to).is_some()) {
            return Worked::Nothing;
        }
        if let Some(event) = call.event {
            self.begin(event);
        } else if order.keeps {
            let given = self.calls[at].given.map(|given| self.graph.hold(given));
            self.graph.keep(self.object_of(at), given);
        }
        let called = match (order.calls_back, self.calls[at].given) {
            (true, Some(given)) => {
                let way = self.graph.way(given);
                self.happens(&way, true);
                let Some(path) = self.graph.path(given) else {
                    self.fails_at_the_last(&way);
                    return self.end_call(at, Came::Error, None, None);
                };
                Some(self.graph.of_object(path.object).1)
            }
            _ => None,
        };
        if order.waits {
            self.calls[at].state = CallState::Waits;
            if let Some(event) = self.calls[at].event {
                self.events[event].handler = Handler::Waits;
            }
            return Worked::Some;
        }
        self.finish(at, called)
    }

    fn object_of(&self, at: usize) -> Id {
        let path = self.calls[at].to.and_then(|to| self.graph.path(to));
        match path {
            Some(path) => path.object,
            None => unreachable!("the call has arrived"),
        }
    }

    /// The service returns.
    fn finish(&mut self, at: usize, called: Option<u32>) -> Worked {
        let Call {
            number,
            event,
            order,
            ..
        } = self.calls[at];
        let shows = order.writes.and_then(|(written, writing)| {
            self.write_in_order(written, writing, number);
            let is_shown = self.events[written].caller.text().shows(number);
            let is_shown = is_shown && self.events[written].caller.is_observed;
            self.is_shown_in_order(at, written)
                .then_some((written, is_shown))
        });
        if order.fails {
            let ended = self.end_call(at, Came::Error, None, shows);
            if let Some(event) = event {
                self.end_event(event, Outcome::Exception);
            }
            return ended;
        }
        let (vat, object) = match event {
            Some(event) => (self.layout.routes[self.events[event].route].to, None),
            None => {
                let object = self.object_of(at);
                (self.graph.of_object(object).0, Some(object))
            }
        };
        let given = self.calls[at].given;
        let cap = match order.gives {
            Gives::Nothing => None,
            Gives::New => Some(self.graph.object(vat, number)),
            Gives::Kept => object.and_then(|object| self.graph.of_object(object).2),
            Gives::Given => given,
        };
        match order.gives {
            Gives::Kept | Gives::Given => {
                cap.map(|cap| self.graph.hold(cap));
            }
            Gives::New if event.is_some() && order.keeps => {
                let given = given.map(|given| self.graph.hold(given));
                self.graph.keep(cap.unwrap_or_default(), given);
            }
            _ => {}
        }
        let layers = self.calls[at].layers.clone();
        let cap = cap.map(|cap| self.graph.cross_all(layers.into_iter().rev(), cap));
        let came = match (cap, called) {
            (Some(_), _) => Came::Cap,
            (None, Some(called)) => Came::Number(called),
            (None, None) => Came::Nothing,
        };
        if let Some(event) = event {
            self.events[event].handler = Handler::Answered;
        }
        self.end_call(at, came, cap, shows)
    }

    /// Is what is written before a call returns promised to be seen by its caller? Only where the return and the
    /// writing go the same way.
    fn is_shown_in_order(&self, at: usize, written: usize) -> bool {
        match *self.calls[at].layers {
            [(event, Way::In)] => self.events[event].route == self.events[written].route,
            _ => false,
        }
    }

    fn end_call(
        &mut self,
        at: usize,
        gives: Came,
        cap: Option<Id>,
        shows: Option<(usize, bool)>,
    ) -> Worked {
        let call = &self.calls[at];
        let ended = Ended {
            expected: Expected {
                number: call.number,
                gives,
                shows,
                holds: call.holds,
            },
            vat: call.vat,
            cap,
            layers: call.layers.clone(),
        };
        let layers = ended.layers.clone();
        self.ended.push(ended);
        self.happens(&layers, true);
        if gives == Came::Error {
            layers.iter().for_each(|layer| self.asks(layer.0));
        }
        self.let_call_go(at);
        self.calls.remove(at);
        Worked::Ended
    }
}

/// What became of a call.
enum Worked {
    Nothing,
    Some,
    Ended,
}
