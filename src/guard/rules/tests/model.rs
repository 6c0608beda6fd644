//! What `rpc.capnp` says of calls, capabilities and promises, as plainly as it can be kept.
//!
//! Each use of an id is a node of a graph; what leads to what is its edges.

mod ours;
mod promises;

use std::collections::BTreeMap;

use super::say::{Cap, Message, Target};
use crate::guard::breach::Breach;

/// One use of an id, of whichever table: they are all numbered together.
pub(super) type Node = usize;

/// Where a node leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// It is an object or an error.
    End,
    /// To another.
    To(Node),
    /// Only the peer knows.
    Theirs,
    /// Only this side knows.
    Ours,
    /// The peer has let go of what this side knows.
    Lost,
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Pass,
    Withhold,
    Cut(Breach),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    Running,
    /// Finished first; is it pipelined on?
    Finished(bool),
    Returned,
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) node: Node,
    pub(super) stage: Stage,
    pub(super) is_pipelined: bool,
    /// Capabilities of this side's in its results; the first is the one that a way leads to.
    results: Vec<u32>,
    first: Option<Cap>,
}

#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) node: Node,
    pub(super) is_returned: bool,
    pub(super) is_canceled: bool,
    /// Something is pipelined on it, or stands for it.
    pub(super) is_named: bool,
    params: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Export {
    pub(super) node: Node,
    pub(super) count: u32,
    pub(super) is_promise: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Object,
    Promise,
    Waiting,
    Resolved,
}

#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) node: Node,
    pub(super) count: u32,
    pub(super) kind: Kind,
}

/// A resolution that waits: what was named, its node, and the node at which nobody knows further.
#[derive(Clone, Debug)]
struct Held {
    cap: Cap,
    to: Option<Node>,
    at: Node,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    max_calls: usize,
    pub(super) answers: BTreeMap<u32, Answer>,
    pub(super) questions: BTreeMap<u32, Question>,
    pub(super) exports: BTreeMap<u32, Export>,
    pub(super) imports: BTreeMap<u32, Import>,
    pub(super) graph: Vec<State>,
    /// Where nodes lead to whoever knows of it: nothing is forgotten here.
    truth: Vec<State>,
    /// Promises of the peer's whose resolution was let through.
    pub(super) passed: Vec<Node>,
    held: BTreeMap<u32, Held>,
    spare_finishes: u32,
    spare_resolves: u32,
    /// What was refused by the last message.
    pub(super) refused: Vec<Breach>,
}

/// Where a way ends.
#[derive(PartialEq)]
enum End {
    Settled,
    Theirs(Node),
    Ours(Node),
    Lost,
    Back,
}

impl Model {
    pub(super) fn new(max_calls: usize) -> Self {
        Self {
            max_calls,
            ..Self::default()
        }
    }

    fn node(&mut self, state: State) -> Node {
        self.graph.push(state);
        self.truth.push(state);
        self.graph.len() - 1
    }

    /// It is known now where `node` leads to.
    fn leads(&mut self, node: Node, to: Option<Node>) {
        let state = to.map_or(State::End, State::To);
        self.graph[node] = state;
        self.truth[node] = state;
    }

    fn walk(&self, at: Option<Node>, from: Node) -> End {
        Self::walk_in(&self.graph, at, from)
    }

    fn walk_in(graph: &[State], mut at: Option<Node>, from: Node) -> End {
        while let Some(node) = at {
            if node == from {
                return End::Back;
            }
            at = match graph[node] {
                State::End => None,
                State::To(next) => Some(next),
                State::Theirs => return End::Theirs(node),
                State::Ours => return End::Ours(node),
                State::Lost => return End::Lost,
            };
        }
        End::Settled
    }

    /// Nothing that was let through leads in a circle, or to what this side has not kept.
    pub(super) fn is_sound(&self) -> bool {
        self.passed.iter().all(|from| {
            let State::To(to) = self.truth[*from] else {
                return true;
            };
            let end = Self::walk_in(&self.truth, Some(to), *from);
            matches!(end, End::Settled | End::Theirs(_))
        })
    }

    /// Would `cap`, said by this side, lead to `node`?
    pub(super) fn would_lead(&self, cap: Cap, node: Node) -> bool {
        self.walk(self.ours(cap), node) == End::Back
    }

    pub(super) fn waiting(&self) -> usize {
        self.held.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        let counts =
            |answer: &&Answer| matches!(answer.stage, Stage::Running | Stage::Finished(true));
        self.answers.values().filter(counts).count()
    }

    /// How many references the resolutions that wait have to `id`.
    pub(super) fn held_references(&self, id: u32) -> u32 {
        let caps = self.held.values().map(|held| held.cap);
        caps.filter(|cap| *cap == Cap::Hosted(id) || *cap == Cap::Promise(id))
            .count() as u32
    }

    /// The peer says it.
    pub(super) fn hear(&mut self, message: &Message) -> Fate {
        self.refused.clear();
        self.heard(message).unwrap_or_else(Fate::Cut)
    }

    fn heard(&mut self, message: &Message) -> Result<Fate, Breach> {
        match message {
            Message::Bootstrap(id) => self.call(*id, None, &[]),
            Message::Call(id, target, caps) => self.call(*id, Some(*target), caps),
            Message::Return(id, caps, release) => self.returned(*id, caps.as_deref(), *release),
            Message::Finish(id, release) => self.finish(*id, *release),
            Message::Release(id, count) => self.release(*id, *count).map(|()| Fate::Pass),
            Message::Resolve(id, cap) => self.resolve(*id, *cap),
            Message::Loopback(target) => self.loopback(*target),
        }
    }

    fn call(&mut self, id: u32, target: Option<Target>, caps: &[Cap]) -> Result<Fate, Breach> {
        if self.answers.contains_key(&id) {
            return Err(Breach::QuestionInUse);
        }
        let on = match target {
            Some(Target::Cap(on)) if !self.exports.contains_key(&on) => {
                return Err(Breach::UnknownExport);
            }
            Some(Target::Answer(on)) => Some(on),
            _ => None,
        };
        caps.iter().try_for_each(|cap| self.check(*cap))?;
        let on_refused = on.and_then(|on| self.answers.get(&on));
        let on_refused = on_refused.is_some_and(|on| on.stage == Stage::Refused);
        let is_refused = on_refused || self.in_flight() >= self.max_calls;
        let node = self.node(if is_refused { State::End } else { State::Ours });
        let answer = Answer {
            node,
            stage: if is_refused {
                Stage::Refused
            } else {
                Stage::Running
            },
            is_pipelined: false,
            results: Vec::new(),
            first: None,
        };
        if is_refused {
            self.not_taken(caps);
            self.refused.push(match on_refused {
                true => Breach::OnRefused,
                false => Breach::CallsInFlight,
            });
        } else {
            self.take(caps);
            let named = caps.iter().filter_map(|cap| match cap {
                Cap::Answer(answer) => Some(*answer),
                _ => None,
            });
            for named in named.chain(on) {
                if let Some(answer) = self.answers.get_mut(&named) {
                    answer.is_pipelined = true;
                }
            }
        }
        self.answers.insert(id, answer);
        Ok(if is_refused {
            Fate::Withhold
        } else {
            Fate::Pass
        })
    }

    fn check(&self, cap: Cap) -> Result<(), Breach> {
        let kind = |id| self.imports.get(&id).map(|import: &Import| import.kind);
        match cap {
            Cap::Yours(id) if !self.exports.contains_key(&id) => Err(Breach::UnknownExport),
            Cap::Hosted(id) | Cap::Promise(id) => match kind(id) {
                Some(Kind::Waiting | Kind::Resolved) => Err(Breach::ResolveTwice),
                Some(Kind::Object) if cap == Cap::Promise(id) => Err(Breach::ResolveNotOpen),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn take(&mut self, caps: &[Cap]) {
        for cap in caps {
            let (id, kind, state) = match *cap {
                Cap::Hosted(id) => (id, Kind::Object, State::End),
                Cap::Promise(id) => (id, Kind::Promise, State::Theirs),
                _ => continue,
            };
            match self.imports.get_mut(&id) {
                Some(import) => import.count += 1,
                None => {
                    let node = self.node(state);
                    let count = 1;
                    self.imports.insert(id, Import { node, count, kind });
                }
            }
        }
    }

    fn not_taken(&mut self, caps: &[Cap]) {
        for cap in caps {
            if let Cap::Promise(id) = cap
                && !self.imports.contains_key(id)
            {
                self.spare_resolves += 1;
            }
        }
    }

    fn returned(
        &mut self,
        id: u32,
        caps: Option<&[Cap]>,
        release_params: bool,
    ) -> Result<Fate, Breach> {
        let question = self.questions.get(&id).cloned();
        let question = question.filter(|question| !question.is_returned);
        let question = question.ok_or(Breach::ReturnNotOpen)?;
        let all = caps.unwrap_or_default();
        all.iter().try_for_each(|cap| self.check(*cap))?;
        let mut fate = Fate::Pass;
        if question.is_canceled {
            self.questions.remove(&id);
            self.not_taken(all);
        } else {
            let first = all.first().and_then(|cap| self.theirs(*cap));
            let mut to = None;
            if question.is_named && self.walk(first, question.node) == End::Back {
                self.not_taken(all);
                self.refused.push(Breach::ReturnCycle);
                fate = Fate::Withhold;
            } else {
                self.take(all);
                // What has just been taken has a node only now.
                to = all.first().and_then(|cap| self.theirs(*cap));
            }
            self.leads(question.node, to);
            if let Some(question) = self.questions.get_mut(&id) {
                question.is_returned = true;
            }
            self.kept(question.node);
        }
        if release_params {
            question
                .params
                .iter()
                .try_for_each(|export| self.release(*export, 1))?;
        }
        if let Some(question) = self.questions.get_mut(&id) {
            question.params.clear();
        }
        Ok(fate)
    }

    /// The node of what the peer names.
    fn theirs(&self, cap: Cap) -> Option<Node> {
        match cap {
            Cap::None => None,
            Cap::Hosted(id) | Cap::Promise(id) => Some(self.imports.get(&id)?.node),
            Cap::Yours(id) => Some(self.exports.get(&id)?.node),
            Cap::Answer(id) => Some(self.answers.get(&id)?.node),
        }
    }

    /// The node of what this side names.
    fn ours(&self, cap: Cap) -> Option<Node> {
        match cap {
            Cap::None => None,
            Cap::Hosted(id) | Cap::Promise(id) => Some(self.exports.get(&id)?.node),
            Cap::Yours(id) => Some(self.imports.get(&id)?.node),
            Cap::Answer(id) => Some(self.questions.get(&id)?.node),
        }
    }

    fn finish(&mut self, id: u32, release: bool) -> Result<Fate, Breach> {
        let Some(answer) = self.answers.get_mut(&id) else {
            self.spare_finishes = self
                .spare_finishes
                .checked_sub(1)
                .ok_or(Breach::FinishNotOpen)?;
            return Ok(Fate::Withhold);
        };
        let node = answer.node;
        match answer.stage {
            Stage::Finished(_) => return Err(Breach::FinishNotOpen),
            Stage::Running => {
                answer.stage = Stage::Finished(answer.is_pipelined);
                self.graph[node] = State::Lost;
                self.gone(node);
            }
            Stage::Returned => {
                let results = std::mem::take(&mut answer.results);
                self.answers.remove(&id);
                if release {
                    results
                        .iter()
                        .try_for_each(|export| self.release(*export, 1))?;
                }
                self.graph[node] = State::Lost;
                self.gone(node);
            }
            Stage::Refused => {
                self.answers.remove(&id);
                self.graph[node] = State::Lost;
                return Ok(Fate::Withhold);
            }
        }
        Ok(Fate::Pass)
    }

    fn release(&mut self, id: u32, count: u32) -> Result<(), Breach> {
        let below = Breach::ReleaseBelowZero;
        let export = self.exports.get_mut(&id).ok_or(below)?;
        export.count = export.count.checked_sub(count).ok_or(below)?;
        if export.count == 0 {
            let (node, export_is_promise) = (export.node, export.is_promise);
            self.exports.remove(&id);
            // An object stays one, whoever lets go of it.
            if export_is_promise {
                self.graph[node] = State::Lost;
            }
            self.gone(node);
        }
        Ok(())
    }

    fn resolve(&mut self, id: u32, cap: Option<Cap>) -> Result<Fate, Breach> {
        match cap {
            Some(Cap::None) => return Err(Breach::Malformed),
            Some(Cap::Hosted(to) | Cap::Promise(to)) if to == id => {}
            Some(cap) => self.check(cap)?,
            None => {}
        }
        let Some(import) = self.imports.get(&id) else {
            let left = self.spare_resolves.checked_sub(1);
            self.spare_resolves = left.ok_or(Breach::ResolveNotOpen)?;
            self.not_taken(cap.as_slice());
            return Ok(Fate::Withhold);
        };
        let (node, kind) = (import.node, import.kind);
        match (kind, cap) {
            (Kind::Object, _) => {
                self.not_taken(cap.as_slice());
                Ok(Fate::Withhold)
            }
            (Kind::Waiting | Kind::Resolved, _) => Err(Breach::ResolveTwice),
            (Kind::Promise, None) => {
                self.leads(node, None);
                self.set_kind(id, Kind::Resolved);
                Ok(Fate::Pass)
            }
            (Kind::Promise, Some(cap)) => {
                self.take(&[cap]);
                let to = self.theirs(cap);
                Ok(self.decide(id, node, cap, to))
            }
        }
    }

    fn loopback(&self, target: Target) -> Result<Fate, Breach> {
        let leads_back =
            match target {
                Target::Cap(id) => self.exports.get(&id).is_some_and(|export| {
                    export.is_promise && self.graph[export.node] != State::Ours
                }),
                Target::Answer(id) => self.answers.get(&id).is_some_and(|answer| {
                    answer.stage == Stage::Returned && answer.first.is_some()
                }),
            };
        leads_back.then_some(Fate::Pass).ok_or(Breach::Disembargo)
    }
}
