//! What this side says, and what it knows of its own.

use super::{Export, Kind, Model, Question, Stage, State};
use crate::guard::rules::tests::say::{Cap, Message, Target};

impl Model {
    /// This side says it.
    pub(in crate::guard::rules::tests) fn say(&mut self, message: &Message) {
        self.refused.clear();
        match message {
            Message::Bootstrap(id) => self.ask(*id, None, &[]),
            Message::Call(id, target, caps) => self.ask(*id, Some(*target), caps),
            Message::Return(id, caps, no_finish) => self.answer(*id, caps.as_deref(), *no_finish),
            Message::Finish(id, _) => {
                if let Some(question) = self.questions.get_mut(id) {
                    match question.is_returned {
                        true => drop(self.questions.remove(id)),
                        false => question.is_canceled = true,
                    }
                }
            }
            Message::Release(id, count) => self.let_go(*id, *count),
            Message::Resolve(id, cap) => {
                self.give(cap.as_slice());
                let to = cap.and_then(|cap| self.ours(cap));
                let node = self.exports[id].node;
                self.leads(node, to);
                self.kept(node);
            }
            Message::Loopback(_) => {}
        }
    }

    fn ask(&mut self, id: u32, target: Option<Target>, caps: &[Cap]) {
        if let Some(Target::Answer(on)) = target
            && let Some(on) = self.questions.get_mut(&on)
        {
            on.is_named = true;
        }
        let params = self.give(caps);
        let question = Question {
            node: self.node(State::Ours),
            is_returned: false,
            is_canceled: false,
            is_named: false,
            params,
        };
        self.questions.insert(id, question);
    }

    fn give(&mut self, caps: &[Cap]) -> Vec<u32> {
        let mut given = Vec::new();
        for cap in caps {
            let (id, is_promise) = match *cap {
                Cap::Hosted(id) => (id, false),
                Cap::Promise(id) => (id, true),
                Cap::Answer(id) => {
                    if let Some(question) = self.questions.get_mut(&id) {
                        question.is_named = true;
                    }
                    continue;
                }
                _ => continue,
            };
            given.push(id);
            match self.exports.get_mut(&id) {
                Some(export) => export.count += 1,
                None => {
                    let node = self.node(if is_promise { State::Ours } else { State::End });
                    let count = 1;
                    let export = Export {
                        node,
                        count,
                        is_promise,
                    };
                    self.exports.insert(id, export);
                }
            }
        }
        given
    }

    fn answer(&mut self, id: u32, caps: Option<&[Cap]>, no_finish: bool) {
        let all = caps.unwrap_or_default();
        let results = self.give(all);
        let leads = all.first().and_then(|cap| self.ours(*cap));
        let Some(answer) = self.answers.get_mut(&id) else {
            return;
        };
        let node = answer.node;
        let is_finished = matches!(answer.stage, Stage::Finished(_));
        if is_finished || no_finish {
            self.spare_finishes += u32::from(!is_finished);
            self.leads(node, None);
            self.kept(node);
            self.answers.remove(&id);
            self.graph[node] = State::Lost;
        } else {
            answer.stage = Stage::Returned;
            answer.results = results;
            answer.first = all.first().copied();
            self.leads(node, leads);
            // What it stood for is named by the thing itself, if that is this side's.
            if let Some(Cap::Hosted(_) | Cap::Promise(_)) = all.first() {
                for held in self.held.values_mut() {
                    if held.at == node && held.to == Some(node) {
                        held.to = leads;
                    }
                }
            }
            self.kept(node);
        }
    }

    pub(super) fn let_go(&mut self, id: u32, count: u32) {
        let Some(import) = self.imports.get_mut(&id) else {
            return;
        };
        import.count -= count;
        if import.count > 0 {
            return;
        }
        let kind = import.kind;
        let node = import.node;
        self.imports.remove(&id);
        match kind {
            Kind::Promise => {
                self.spare_resolves += 1;
                self.leads(node, None);
            }
            Kind::Waiting => {
                if let Some(held) = self.held.remove(&id) {
                    self.leads(node, None);
                    self.give_back(held.cap);
                }
            }
            Kind::Object | Kind::Resolved => {}
        }
    }
}
