//! What ends an event on one side before the other knows of it: a limit of time, or a callee that is drained.

use capspan::trace::Outcome;

use super::graph::{Layer, Way};
use super::ops::Limits;
use super::orders::{Kind, Todo};
use super::reference::{Done, Event, Handler, Model, Side};

impl Side {
    /// Has a limit been reached at this time: at the latest, and at the earliest?
    fn is_due(&self, is_busy: bool, at: u64) -> (bool, bool) {
        if !self.has_life || self.end.is_some() {
            return (false, false);
        }
        let is_reached = |limit: Option<u8>, since: u64| {
            limit.is_some_and(|limit| since + u64::from(limit) <= at)
        };
        let total = is_reached(self.limits.total, self.began);
        let idle = self.limits.idle.filter(|_| !is_busy);
        let (first, last) = self.idles;
        (
            total || is_reached(idle, last),
            total || is_reached(idle, first),
        )
    }
}

impl Event {
    fn side(&self, is_caller: bool) -> &Side {
        match is_caller {
            true => &self.caller,
            false => &self.callee,
        }
    }

    /// The callee has ended it, and the caller does not know.
    fn is_over_for_callee(&self) -> bool {
        self.callee.end.is_some() && self.caller.has_life && self.caller.end.is_none()
    }
}

impl Model {
    /// The caller's limits of the event that has been started last.
    pub(super) fn limit_caller(&mut self, limits: Limits) {
        let Some(event) = self.events.last_mut() else {
            return;
        };
        let callees = self.layout.routes[event.route].limits;
        let is_limited = limits != Limits::default();
        let caller = &mut event.caller;
        caller.has_life = caller.is_observed || is_limited || event.kind != Kind::Session;
        caller.limits = limits;
        caller.began = self.now;
        caller.idles = (self.now, self.now);
        event.callee.limits = callees;
    }

    /// Something has been in flight until now on both sides of these borders; or may have been.
    pub(super) fn happens(&mut self, layers: &[Layer], is_certain: bool) {
        for (event, _) in layers {
            let Event { caller, callee, .. } = &mut self.events[*event];
            for side in [caller, callee] {
                side.idles.1 = self.now;
                if is_certain {
                    side.idles.0 = self.now;
                }
            }
        }
    }

    /// The caller asks how it ends.
    pub(super) fn asks(&mut self, event: usize) {
        self.events[event].asks = true;
    }

    /// A call has failed at the last of these borders: callers on this side of it see that. Those beyond see
    /// that it is given up.
    pub(super) fn fails_at_the_last(&mut self, layers: &[Layer]) {
        for (at, layer) in layers.iter().enumerate() {
            if at + 1 < layers.len() || layer.1 == Way::In {
                self.asks(layer.0);
            }
        }
    }

    /// `done` is asked by the handle of a session.
    pub(super) fn ask_for_end(&mut self, event: usize) {
        self.dones.push(event);
        let its = &mut self.events[event];
        if its.was_taken && !its.was_asked {
            // There is no callee to ask any more.
            its.done = match its.caller.end.as_deref() {
                Some([end]) => Some(Done::End(vec![*end])),
                _ => Some(Done::Either),
            };
        }
        its.was_asked = true;
    }

    fn is_busy(&self, event: usize) -> bool {
        let mut calls = self.calls.iter().flat_map(|call| &call.layers);
        self.events[event].handler != Handler::Answered || calls.any(|layer| layer.0 == event)
    }

    /// The sides whose limits are reached at this time; `None`: that is not certain.
    fn due(&self, at: u64) -> Option<Vec<(usize, bool)>> {
        let mut due = Vec::new();
        for (event, its) in self.events.iter().enumerate() {
            let is_busy = self.is_busy(event);
            for is_caller in [true, false] {
                match its.side(is_caller).is_due(is_busy, at) {
                    (true, _) => due.push((event, is_caller)),
                    (false, true) => return None,
                    _ => {}
                }
            }
        }
        Some(due)
    }

    /// As much time, or so much more that it is certain which limits are reached.
    pub(super) fn certain(&self, ticks: u64) -> u64 {
        let mut certain = ticks..;
        let found = certain.find(|ticks| self.due(self.now + ticks).is_some());
        found.unwrap_or(ticks)
    }

    /// Time passes. What is due comes at once.
    pub(super) fn pass(&mut self, ticks: u64) {
        self.now += ticks;
        let due = self.due(self.now).unwrap_or_default();
        let instead = due
            .iter()
            .map(|(event, _)| (*event, self.if_last(*event, &due)));
        let instead: Vec<_> = instead.collect();
        for &(event, is_caller) in &due {
            self.end_side(event, is_caller, Outcome::Timeout);
            if is_caller && due.contains(&(event, false)) {
                self.both_are_due(event);
            }
        }
        for (event, is_caller) in due {
            self.end_from(event, is_caller, Outcome::Timeout);
        }
        for (event, ends) in instead {
            let Event { caller, callee, .. } = &mut self.events[event];
            for (side, more) in [caller, callee].into_iter().zip(ends) {
                if let Some(ends) = &mut side.end {
                    ends.extend(more);
                }
            }
        }
    }

    /// How an event would have ended, on the caller's side and on the callee's, if its own limit were seen last:
    /// the other events may have held the last of it.
    fn if_last(&self, event: usize, due: &[(usize, bool)]) -> [Option<Outcome>; 2] {
        let others = due.iter().filter(|(other, _)| *other != event);
        let mut then = self.clone();
        for &(other, is_caller) in others {
            then.end_from(other, is_caller, Outcome::Timeout);
            then.complete_idle();
        }
        let ends = |then: &Self, model: &Self, is_caller| {
            let was_open = model.events[event].side(is_caller).end.is_none();
            let end = then.events[event].side(is_caller).end.as_ref();
            end.filter(|_| was_open)?.first().copied()
        };
        [ends(&then, self, true), ends(&then, self, false)]
    }

    /// The limits of both sides are reached at the same time: whichever is seen first ends it, and the other
    /// may learn of that before it sees its own.
    fn both_are_due(&mut self, event: usize) {
        let Event {
            kind,
            handler,
            caller,
            callee,
            ..
        } = &mut self.events[event];
        let is_answered = *handler == Handler::Answered;
        callee.end = Some(match (kind, is_answered) {
            // To the callee it is complete.
            (Kind::Scheduled | Kind::Custom, true) => vec![Outcome::Timeout, Outcome::Ok],
            _ => vec![Outcome::Timeout, Outcome::Canceled],
        });
        callee.ended = (self.rested_at + 1, self.time);
        if !is_answered {
            caller.end = Some(vec![Outcome::Timeout, Outcome::Exception]);
        }
    }

    /// A callee takes no more events, and ends those that it has.
    pub(super) fn drain(&mut self, route: usize) {
        self.is_drained[route] = true;
        let running = |event: &Event| {
            event.route == route && event.callee.has_life && event.callee.end.is_none()
        };
        let events = 0..self.events.len();
        let running: Vec<_> = events.filter(|at| running(&self.events[*at])).collect();
        self.drained += running.len();
        // All of them before anything comes of it.
        for event in &running {
            self.end_side(*event, false, Outcome::Revoked);
        }
        for event in running {
            self.end_from(event, false, Outcome::Revoked);
        }
    }

    /// One side of an event ends it, and the other learns what it can.
    fn end_from(&mut self, event: usize, is_caller: bool, outcome: Outcome) {
        self.end_side(event, is_caller, outcome);
        let Event {
            kind,
            handler,
            caller,
            ..
        } = &self.events[event];
        let is_answered = *handler == Handler::Answered;
        let has_life = caller.has_life;
        match (is_caller, kind) {
            // Without its session, or its call, it is canceled for the callee.
            (true, Kind::Session) => {
                self.events[event].was_taken = true;
                self.end_side(event, false, Outcome::Canceled);
            }
            (true, _) if !is_answered => self.end_side(event, false, Outcome::Canceled),
            // All that came of it is let go, on this side: see `complete_half`.
            (true, _) => {}
            // The call that was to deliver it fails.
            (false, _) if !is_answered => self.end_side(event, true, Outcome::Exception),
            (false, _) if !has_life => self.end_side(event, true, outcome),
            // It has to be asked for: see `complete_half`.
            (false, _) => {}
        }
        if !is_answered {
            self.events[event].handler = Handler::Over;
        }
        self.sever(event);
    }

    /// Events that are over on one side, and on the other not yet.
    pub(super) fn complete_half(&mut self) {
        for event in 0..self.events.len() {
            let its = &self.events[event];
            let is_session = its.kind == Kind::Session;
            let is_held = self.graph.held((event, Way::In)) > 0;
            if its.is_over_for_callee() && is_session && (its.asks || its.was_asked) {
                let mut learned = its.callee.end.clone().unwrap_or_default();
                if !its.asks && !is_held {
                    // What others held of it they have let go at the same time.
                    learned.push(Outcome::Ok);
                }
                self.end_side(event, true, learned[0]);
                self.events[event].caller.end = Some(learned);
            } else if its.is_over_for_callee() && !is_held {
                // All that the caller had of it is gone, as it wanted.
                self.events[event].ended_by_others |= self.batch.lets_go_of != Some(event);
                self.end_side(event, true, Outcome::Ok);
            } else if its.caller.end.is_some()
                && its.callee.has_life
                && its.callee.end.is_none()
                && its.handler == Handler::Answered
                && self.graph.held((event, Way::Out)) == 0
            {
                // The callee sees that all is let go.
                self.end_side(event, false, Outcome::Ok);
            }
        }
    }

    /// Must all come to rest before it is done, and after? It is about an event that is over for its callee, and
    /// its caller is about to learn that; or it is refused.
    pub(super) fn stands_alone(&self, todo: &Todo) -> bool {
        let is_half = |event: usize| self.events[event].is_over_for_callee();
        match *todo {
            Todo::Start { route, .. } => self.is_drained[route],
            Todo::Call { to, .. } => {
                let way = self.graph.way(self.hands[to].cap);
                way.iter().any(|layer| is_half(layer.0))
            }
            Todo::Done { event } | Todo::Detach { event } => is_half(event),
            _ => false,
        }
    }
}
