//! Does one operation after the other, in the model and for real, and compares when all has come to rest.

use std::fmt;

use capnp::Error;
use capspan::session::SessionEnd;

use super::ops::{Sequence, Step};
use super::orders::Todo;
use super::reference::{Came, Done, Expected, Handler, Model};
use super::system::{Ended, Got, System};
use super::tree::Tree;

/// Where the two differ.
#[derive(Clone, Debug)]
pub struct Fault {
    /// After how many operations.
    pub step: usize,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after operation {}: {}", self.step, self.what)
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Operations that found something to choose from.
    pub ops: usize,
    /// Of these, before how many not all had come to rest.
    pub at_once: usize,
    /// Events that were started.
    pub events: usize,
    /// Spans that were opened.
    pub spans: usize,
    /// Of the callees' sides, how many ended with each outcome, in the order of
    /// [`Outcome::ALL`](capspan::trace::Outcome::ALL).
    pub outcomes: [usize; 7],
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.ops += more.ops;
        self.at_once += more.at_once;
        self.events += more.events;
        self.spans += more.spans;
        for (outcome, more) in self.outcomes.iter_mut().zip(more.outcomes) {
            *outcome += more;
        }
    }
}

type Checked = Result<(), String>;

/// Does a sequence, and tells what was done, or the first difference.
pub fn check(sequence: &Sequence) -> Result<Tally, Fault> {
    let mut both = Both {
        model: Model::new(&sequence.layout),
        system: System::new(&sequence.layout),
        tree: Tree::default(),
    };
    let mut tally = Tally::default();
    for (step, op) in (1..).zip(&sequence.steps) {
        both.step(*op, &mut tally).map_err(|what| Fault {
            step,
            what: format!("{op:?}: {what}"),
        })?;
    }
    both.end(&mut tally).map_err(|what| Fault {
        step: sequence.steps.len(),
        what: format!("when all was let go: {what}"),
    })?;
    Ok(tally)
}

struct Both {
    model: Model,
    system: System,
    tree: Tree,
}

impl Both {
    fn step(&mut self, Step { op, rests }: Step, tally: &mut Tally) -> Checked {
        let is_first = self.model.batch.vat.is_none();
        let mut todo = self.model.choose(op);
        if todo.is_some_and(|todo| self.model.waits_for_rest(&todo)) {
            self.rest()?;
            todo = self.model.choose(op);
        } else {
            tally.at_once += usize::from(!is_first && todo.is_some());
        }
        if let Some(todo) = todo {
            tally.ops += 1;
            self.apply(&todo);
        }
        match rests || self.model.batch.is_closed {
            true => self.rest(),
            false => Ok(()),
        }
    }

    fn apply(&mut self, todo: &Todo) {
        self.model.apply(todo);
        self.system.apply(todo, self.model.last_number);
    }

    /// Lets both go on until nothing more comes of it, and compares.
    fn rest(&mut self) -> Checked {
        loop {
            let (expected, ended) = (self.model.rest(), self.system.turn());
            let is_over = ended.is_empty();
            self.compare_calls(&expected, ended)?;
            let let_go = self.model.let_go_next();
            if let Some(let_go) = let_go {
                self.system.let_go(let_go);
            } else if is_over {
                break;
            }
        }
        let (must, are) = (self.model.take_dones(), self.system.take_dones());
        compare_dones(&must, &are)?;
        self.model.rested();
        self.compare()
    }

    fn compare_calls(&mut self, expected: &[Expected], ended: Vec<Ended>) -> Checked {
        let must: Vec<u32> = expected.iter().map(|call| call.number).collect();
        let did: Vec<u32> = ended.iter().map(|call| call.number).collect();
        if must != did {
            return Err(format!("calls {must:?} must have ended, and {did:?} have"));
        }
        for (expected, ended) in expected.iter().zip(ended) {
            agree(expected, &ended)?;
            if let (Came::Cap, Ok(got)) = (expected.gives, ended.got) {
                self.system.hold(got);
            }
        }
        Ok(())
    }

    fn compare(&mut self) -> Checked {
        let Self {
            model,
            system,
            tree,
        } = self;
        for (at, vat) in system.vats.iter().enumerate() {
            let (must, are) = (model.graph.live(at as u8), system.stage.live(at as u8));
            if must != are {
                return Err(format!(
                    "vat {at} must have {must} live objects, and has {are}"
                ));
            }
            let (least, most) = model.late[at];
            let late = vat.tracer.late_updates();
            if !(least..=most).contains(&late) {
                return Err(format!(
                    "vat {at} must have refused {least} to {most} late updates, and has {late}"
                ));
            }
        }
        if model.drained != system.drained {
            let (must, are) = (model.drained, system.drained);
            return Err(format!("drains must have cut {must} events, not {are}"));
        }
        let spans = system.seen.spans();
        for (at, vat) in system.vats.iter().enumerate() {
            let service = at.to_string();
            let own = spans.iter().map(|span| &span.record);
            let own = own.filter(|span| span.service() == service);
            // One for each span, and one for each trace that begins with it.
            let must: usize = own
                .map(|span| 2 - usize::from(span.parent_span_id().is_some()))
                .sum();
            if must != vat.ids.drawn() {
                let drawn = vat.ids.drawn();
                return Err(format!("vat {at} must have drawn {must} ids, not {drawn}"));
            }
        }
        let not_observed = |event: &usize| !model.events[*event].caller.is_observed;
        for event in (0..model.events.len()).filter(not_observed) {
            let event = system.stage.event(event);
            if event.is_some_and(|event| event.enricher().is_observed()) {
                return Err("an enricher must not be there where nobody observes".into());
            }
        }
        tree.check(model, &spans)
    }

    /// Everybody lets go of everything, in one order or another; then nothing is left.
    fn end(mut self, tally: &mut Tally) -> Checked {
        self.rest()?;
        self.count(tally);
        while let Some(todo) = self.next_to_let_go() {
            self.apply(&todo);
            self.rest()?;
        }
        if let Some(event) = self.model.events.iter().find(|event| {
            event.callee.end.is_none() || event.caller.is_observed && event.caller.end.is_none()
        }) {
            return Err(format!("the model has left e{} open", event.number));
        }
        let (seen, stage) = (self.system.seen.clone(), self.system.stage.clone());
        let vats = self.system.vats.len();
        for service in self.system.end() {
            if service.strong_count() > 0 {
                return Err("a service is alive".into());
            }
        }
        if let Some(vat) = (0..vats).find(|vat| stage.live(*vat as u8) > 0) {
            return Err(format!("objects of vat {vat} are alive"));
        }
        let spans = seen.spans();
        match spans
            .iter()
            .find(|span| (span.opened, span.closed) != (1, 1))
        {
            Some(span) => Err(format!("{:?} must have closed once", span.record)),
            None => Ok(()),
        }
    }

    /// What is to be let go next at the end.
    fn next_to_let_go(&self) -> Option<Todo> {
        let model = &self.model;
        if let Some(call) = model.calls.last() {
            return Some(Todo::Cancel {
                number: call.number,
            });
        }
        if !model.requests.is_empty() {
            return Some(Todo::DiscardRequest { request: 0 });
        }
        if !model.responses.is_empty() {
            return Some(Todo::DiscardResponse { response: 0 });
        }
        if !model.hands.is_empty() {
            return Some(Todo::Drop { cap: 0 });
        }
        if let Some((_, object, _)) = model.graph.keepers().first() {
            return Some(Todo::Forget { object: *object });
        }
        let mut events = model.events.iter();
        if let Some(event) = events.find(|event| event.handler == Handler::Waits) {
            return Some(Todo::Release {
                number: event.number,
            });
        }
        let event = model.events.iter().position(|event| event.has_handle)?;
        Some(Todo::DropHandle { event })
    }

    fn count(&self, tally: &mut Tally) {
        tally.events += self.model.events.len();
        tally.spans += self.system.seen.spans().len();
        for span in self.system.seen.spans().iter() {
            if let Some(outcome) = span.record.outcome() {
                let outcomes = capspan::trace::Outcome::ALL;
                let place = outcomes.iter().position(|it| *it == outcome);
                tally.outcomes[place.unwrap_or_default()] += 1;
            }
        }
    }
}

/// Did a call come to what it must?
fn agree(expected: &Expected, ended: &Ended) -> Checked {
    let well = match (expected.gives, &ended.got) {
        (Came::Either, _) => true,
        (Came::Nothing, Ok(Got::Nothing)) | (Came::Error, Err(_)) => true,
        (Came::Number(must), Ok(Got::Number(is))) => must == *is,
        (Came::Cap, Ok(Got::Cap(_))) => !expected.holds,
        (Came::Cap, Ok(Got::Response(_))) => expected.holds,
        _ => false,
    };
    if !well {
        let got = said(&ended.got);
        return Err(format!("{expected:?}, and it gives {got}"));
    }
    match expected.shows {
        Some((event, must)) if must != ended.shows => Err(format!(
            "call {} must show what it wrote on event {event}: {must}",
            expected.number
        )),
        _ => Ok(()),
    }
}

fn said(got: &Result<Got, Error>) -> String {
    match got {
        Ok(Got::Nothing) => "nothing".into(),
        Ok(Got::Number(number)) => format!("the number {number}"),
        Ok(Got::Cap(_)) => "a capability".into(),
        Ok(Got::Response(_)) => "a response".into(),
        Err(error) => error.to_string(),
    }
}

fn compare_dones(must: &[(usize, Done)], are: &[(usize, capspan::Result<SessionEnd>)]) -> Checked {
    let places = (
        must.iter().map(|done| done.0).collect::<Vec<_>>(),
        are.iter().map(|done| done.0).collect::<Vec<_>>(),
    );
    if places.0 != places.1 {
        return Err(format!("`done` must have answered {places:?}"));
    }
    for ((_, must), (_, is)) in must.iter().zip(are) {
        let well = match (must, is) {
            (Done::Either, _) | (Done::Fails, Err(_)) => true,
            (Done::End(ends), Ok(end)) => ends.contains(&end.outcome()),
            _ => false,
        };
        if !well {
            return Err(format!("`done` must give {must:?}, and gives {is:?}"));
        }
    }
    Ok(())
}
