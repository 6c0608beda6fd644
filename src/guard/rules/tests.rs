//! Random sequences of messages from both sides, held against a plain model of the protocol.

mod model;
mod say;

use std::ops::Range;

use super::{Ledger, Verdict};
use crate::guard::breach::Breach;
use crate::guard::limits::GuardLimits;
use model::{Fate, Kind, Model, Stage, State};
use say::{Cap, Message, Target};

/// How many messages are in a sequence, at most.
const STEPS: usize = 250;

/// Ids are below this, so that they meet.
const IDS: u64 = 7;

/// Numbers that look random, the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % end
    }

    fn id(&mut self) -> u32 {
        self.below(IDS) as u32
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn one_of(&mut self, ids: impl Iterator<Item = u32>) -> Option<u32> {
        let ids: Vec<u32> = ids.collect();
        let at = self.below(ids.len().max(1) as u64) as usize;
        ids.get(at).copied()
    }
}

/// What the peer may say: mostly of what there is, so that it is legal; at times of anything.
struct Theirs<'a> {
    random: &'a mut Random,
    model: &'a Model,
}

impl Theirs<'_> {
    /// An id out of these, or any.
    fn id(&mut self, of: impl Iterator<Item = u32>) -> u32 {
        let any = self.random.id();
        match self.random.is(6) {
            true => any,
            false => self.random.one_of(of).unwrap_or(any),
        }
    }

    fn answer(&mut self) -> u32 {
        self.id(self.model.answers.keys().copied())
    }

    fn export(&mut self) -> u32 {
        self.id(self.model.exports.keys().copied())
    }

    fn target(&mut self) -> Target {
        match self.random.is(3) {
            true => Target::Answer(self.answer()),
            false => Target::Cap(self.export()),
        }
    }

    fn message(&mut self) -> Message {
        let model = self.model;
        match self.random.below(20) {
            0 => Message::Bootstrap(self.random.id()),
            1..=5 => {
                let target = self.target();
                Message::Call(self.random.id(), target, self.caps())
            }
            6..=8 => {
                let open = model.questions.iter();
                let open = open.filter(|(_, question)| !question.is_returned);
                let id = self.id(open.map(|(id, _)| *id));
                let caps = (!self.random.is(5)).then(|| self.caps());
                Message::Return(id, caps, self.random.is(4))
            }
            9 | 10 => Message::Finish(self.answer(), self.random.is(2)),
            11 => Message::Release(self.export(), 1 + self.random.below(3) as u32),
            12..=18 => {
                let promises = model.imports.iter();
                let promises = promises.filter(|(_, import)| import.kind == Kind::Promise);
                let id = self.id(promises.map(|(id, _)| *id));
                let cap = (!self.random.is(12)).then(|| self.cap());
                Message::Resolve(id, cap)
            }
            _ => Message::Loopback(self.target()),
        }
    }

    fn caps(&mut self) -> Vec<Cap> {
        (0..self.random.below(3)).map(|_| self.cap()).collect()
    }

    fn cap(&mut self) -> Cap {
        let id = self.random.id();
        match self.random.below(12) {
            0 => Cap::None,
            1 => Cap::Hosted(id),
            2..=5 => Cap::Promise(id),
            6..=8 => Cap::Yours(self.export()),
            _ => Cap::Answer(self.answer()),
        }
    }
}

/// What `capnp-rpc` may say: it is always legal.
fn ours(random: &mut Random, model: &Model) -> Option<Message> {
    match random.below(12) {
        0 => Some(Message::Bootstrap(free_question(random, model)?)),
        1..=3 => {
            let caps = our_caps(random, model);
            let id = free_question(random, model)?;
            let target = match our_cap(random, model)? {
                Cap::Yours(id) => Target::Cap(id),
                Cap::Answer(id) => Target::Answer(id),
                _ => return None,
            };
            Some(Message::Call(id, target, caps))
        }
        4..=6 => {
            // What was canceled never returns.
            let open = model.answers.iter().filter(|(_, answer)| {
                matches!(answer.stage, Stage::Running | Stage::Finished(true))
            });
            let id = random.one_of(open.map(|(id, _)| *id))?;
            let is_finished = model.answers[&id].stage != Stage::Running;
            let caps = (!is_finished && !random.is(6)).then(|| our_caps(random, model));
            let needs_none = caps.as_ref().is_some_and(Vec::is_empty);
            // It does not answer with what waits for the answer itself.
            let node = model.answers[&id].node;
            let first = caps.as_ref().and_then(|caps| caps.first());
            let leads_back = first.is_some_and(|cap| model.would_lead(*cap, node));
            (!leads_back).then_some(Message::Return(id, caps, needs_none))
        }
        7 => {
            let over = model.questions.iter().filter(|(_, question)| {
                question.is_returned || !(question.is_named || question.is_canceled)
            });
            let id = random.one_of(over.map(|(id, _)| *id))?;
            Some(Message::Finish(id, !model.questions[&id].is_returned))
        }
        8 | 9 => {
            let id = random.one_of(model.imports.keys().copied())?;
            let import = &model.imports[&id];
            // A promise is kept by whatever leads to it.
            let is_led_to = |state: &State| *state == State::To(import.node);
            if import.kind != Kind::Resolved && model.graph.iter().any(is_led_to) {
                return None;
            }
            let known = import.count - model.held_references(id);
            (known > 0).then_some(Message::Release(id, known))
        }
        _ => {
            let unkept = model
                .exports
                .iter()
                .filter(|(_, export)| model.graph[export.node] == State::Ours);
            let id = random.one_of(unkept.map(|(id, _)| *id))?;
            let cap = our_cap(random, model);
            let node = model.exports[&id].node;
            let leads_back = cap.is_some_and(|cap| model.would_lead(cap, node));
            (!leads_back).then_some(Message::Resolve(id, cap))
        }
    }
}

fn free_question(random: &mut Random, model: &Model) -> Option<u32> {
    random.one_of((0..IDS as u32).filter(|id| !model.questions.contains_key(id)))
}

fn our_caps(random: &mut Random, model: &Model) -> Vec<Cap> {
    (0..random.below(3))
        .filter_map(|_| our_cap(random, model))
        .collect()
}

fn our_cap(random: &mut Random, model: &Model) -> Option<Cap> {
    let id = random.id();
    match random.below(6) {
        0 | 1 => match model.exports.get(&id) {
            // It says only the first time that something is a promise, and of a kept one nothing more.
            Some(export) if export.is_promise && model.graph[export.node] != State::Ours => None,
            Some(_) => Some(Cap::Hosted(id)),
            None if random.is(3) => Some(Cap::Hosted(id)),
            None => Some(Cap::Promise(id)),
        },
        2..=4 => {
            let known = model
                .imports
                .iter()
                .filter(|(id, import)| import.count > model.held_references(**id));
            let known = known.filter(|(_, import)| import.kind != Kind::Resolved);
            random.one_of(known.map(|(id, _)| *id)).map(Cap::Yours)
        }
        _ => {
            let waiting = model
                .questions
                .iter()
                .filter(|(_, question)| !question.is_returned && !question.is_canceled);
            random.one_of(waiting.map(|(id, _)| *id)).map(Cap::Answer)
        }
    }
}

/// What happened in sequences, for who wonders whether anything did.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    withheld: usize,
    refused: usize,
    cut: usize,
    said: usize,
    promises_passed: usize,
    /// How many promises waited at once, at most, and how often one did.
    waited: usize,
    waits: usize,
}

/// One sequence: the ledger does what the model says.
fn check(seed: u64, tally: &mut Tally) {
    let mut random = Random(seed);
    let max_calls = if random.is(3) { 2 } else { 100 };
    let mut ledger = Ledger::new(GuardLimits::default().max_calls(max_calls));
    let mut model = Model::new(max_calls);
    let mut story = Vec::new();
    for _ in 0..STEPS {
        if random.is(3) {
            let Some(message) = ours(&mut random, &model) else {
                continue;
            };
            story.push(format!("ours: {message:?}"));
            model.say(&message);
            let sent = ledger.sent(&message.write(true));
            assert!(sent.is_ok(), "seed {seed}: {sent:?} after {story:#?}");
            tally.said += 1;
        } else {
            let mut theirs = Theirs {
                random: &mut random,
                model: &model,
            };
            let message = theirs.message();
            let mut next = model.clone();
            let fate = next.hear(&message);
            // Most of what is said at random ends a connection.
            if matches!(fate, Fate::Cut(_)) && !random.is(500) {
                continue;
            }
            story.push(format!("theirs: {message:?}"));
            model = next;
            let written = message.write(false);
            let segments = written.get_segments_for_output();
            // Where it is known, most is read of it at once.
            let is_known = segments.len() == 1 && (seed ^ story.len() as u64).is_multiple_of(2);
            let segment = is_known.then(|| segments[0]);
            let heard = match ledger.receive(segment, || written.get_root_as_reader(), 0) {
                Ok(Verdict::Pass | Verdict::Abort) => Fate::Pass,
                Ok(Verdict::Withhold) => Fate::Withhold,
                Err(cut) => Fate::Cut(cut.breach),
            };
            assert_eq!(heard, fate, "seed {seed}: {story:#?}");
            match fate {
                Fate::Pass => tally.passed += 1,
                Fate::Withhold => tally.withheld += 1,
                Fate::Cut(_) => {
                    tally.cut += 1;
                    break;
                }
            }
        }
        let refused: Vec<_> = ledger.refused.drain(..).map(|it| it.breach).collect();
        assert_eq!(refused, model.refused, "seed {seed}: {story:#?}");
        let usage = ledger.usage();
        let is = [
            usage.calls,
            usage.unfinished,
            usage.exports,
            usage.imports,
            usage.waiting,
        ];
        let should = [
            model.in_flight(),
            model.answers.len(),
            model.exports.len(),
            model.imports.len(),
            model.waiting(),
        ];
        assert_eq!(is, should, "seed {seed}: {story:#?}");
        assert!(model.is_sound(), "seed {seed}: {story:#?}");
        tally.refused += model.refused.len();
        tally.waited = tally.waited.max(model.waiting());
        tally.waits += model.waiting();
    }
    tally.promises_passed += model.passed.len();
}

/// The seeds of a test; others where `CAPSPAN_SEQUENCES` says so, as `FIRST..LAST`.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(others) = std::env::var("CAPSPAN_SEQUENCES") else {
        return usual;
    };
    let others = others.split_once("..");
    let others = others.and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    others.expect("CAPSPAN_SEQUENCES is FIRST..LAST")
}

#[test]
fn sequences_of_both_sides() {
    let mut tally = Tally::default();
    for seed in seeds(0..10_000) {
        check(seed, &mut tally);
    }
    println!("{tally:?}");
}

#[test]
fn what_a_promise_resolves_to_is_not_taken_for_what_that_leads_to() {
    let mut ledger = Ledger::new(GuardLimits::default());
    for (is_ours, message) in [
        (false, Message::Bootstrap(0)),
        (
            false,
            Message::Call(1, Target::Answer(0), vec![Cap::Promise(5)]),
        ),
        (false, Message::Call(2, Target::Answer(0), vec![])),
        (true, Message::Bootstrap(3)),
        (false, Message::Resolve(5, Some(Cap::Answer(0)))),
        // It leads from one call to the next.
        (true, Message::Return(0, Some(vec![Cap::Answer(3)]), false)),
        (false, Message::Return(3, Some(vec![Cap::Answer(2)]), false)),
        (true, Message::Return(2, Some(vec![Cap::Promise(7)]), false)),
        // Now nothing leads there any more.
        (false, Message::Finish(0, false)),
    ] {
        assert!(ledger.refused.is_empty());
        let written = message.write(is_ours);
        match is_ours {
            true => drop(ledger.sent(&written).expect("it was written here")),
            false => drop(ledger.receive(None, || written.get_root_as_reader(), 0)),
        }
    }
    let refused: Vec<_> = ledger.refused.iter().map(|it| it.breach).collect();
    assert_eq!(refused, [Breach::ResolveLost]);
}
