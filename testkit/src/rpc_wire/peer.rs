//! The peer: what it says next. By its tables it says what a correct peer can say; where a step is loose, the ids
//! are whatever comes.

use capnp_rpc::rpc_capnp::exception;

use super::action::Action;
use super::messages::{Content, finish, message, write_cap, write_payload, write_target};
use super::script::{Draw, Kind, Step};
use super::service::INTERFACE;
use super::tables::{Descriptor, Export, Op, Question, Tables, Target, given};

/// A peer that speaks by itself.
#[derive(Default)]
pub(super) struct Peer {
    /// Does it give back what it was given?
    pub(super) gives_back: bool,
    /// Does a promise of its resolve to what is not there yet as well?
    pub(super) resolves_to_promises: bool,
    pub(super) tables: Tables,
    /// What it has sent last.
    pub(super) last: Vec<u8>,
}

/// One step's decisions.
pub(super) struct Turn<'a> {
    pub(super) gives_back: bool,
    pub(super) resolves_to_promises: bool,
    pub(super) tables: &'a mut Tables,
    pub(super) draw: Draw,
    pub(super) is_loose: bool,
}

impl Peer {
    /// What it sends in this step, if there is anything that it can.
    pub(super) fn say(&mut self, step: &Step) -> Option<Vec<u8>> {
        let mut turn = Turn {
            gives_back: self.gives_back,
            resolves_to_promises: self.resolves_to_promises,
            tables: &mut self.tables,
            draw: step.draw,
            is_loose: step.is_loose,
        };
        let said = match step.kind {
            Kind::Bootstrap => turn.bootstrap(),
            Kind::Call => turn.call(),
            Kind::Return => turn.returns(),
            Kind::Finish => turn.finish(),
            Kind::Release => turn.release(),
            Kind::Resolve => turn.resolve(),
            Kind::Echo => turn.echo(),
            Kind::Disembargo => turn.disembargo(),
            Kind::Ours | Kind::Turn => None,
            Kind::Again => Some(self.last.clone()),
            Kind::Garbled => turn.garbled(&self.last),
            kind => Some(turn.foreign(kind)),
        };
        if let Some(said) = &said {
            self.last.clone_from(said);
        }
        said
    }
}

impl Turn<'_> {
    fn bootstrap(&mut self) -> Option<Vec<u8>> {
        let id = self.new_question();
        let question = Question {
            is_bootstrap: true,
            is_fresh: true,
            ..Question::default()
        };
        self.tables.questions.entry(id).or_insert(question);
        Some(message(|root| {
            root.init_bootstrap().set_question_id(id);
        }))
    }

    fn call(&mut self) -> Option<Vec<u8>> {
        let target = self.target()?;
        let action = Action::ALL[self.draw.below(Action::ALL.len())];
        let id = self.new_question();
        let (content, caps) = self.payload(false);
        // One that stays: as all peers do it, with the answer that takes its results.
        let answers = self.tables.answers.iter();
        let open = answers.filter(|(_, answer)| !answer.is_returned && !answer.is_bootstrap);
        let open: Vec<u32> = open.map(|(id, _)| *id).collect();
        let takes = match !self.is_loose && self.draw.once_in(6) {
            true => self.draw.among(open),
            false => None,
        };
        let is_kept = takes.is_some() || self.draw.once_in(if self.is_loose { 4 } else { 12 });
        let is_third = self.is_loose && self.draw.once_in(4);
        let question = Question {
            is_fresh: action.is_fresh(),
            is_kept: is_kept && takes.is_none(),
            ..Question::default()
        };
        self.tables.questions.entry(id).or_insert(question);
        let mut said = message(|root| {
            let mut call = root.init_call();
            call.set_question_id(id);
            call.set_interface_id(INTERFACE);
            call.set_method_id(action as u16);
            write_target(call.reborrow().init_target(), &target);
            let mut to = call.reborrow().get_send_results_to();
            match (is_third, is_kept) {
                (true, _) => to.init_third_party().clear(),
                (_, true) => to.set_yourself(()),
                _ => to.set_caller(()),
            }
            write_payload(call.init_params(), content, &caps);
        });
        if let Some(answer) = takes {
            said.extend(self.takes(answer, id));
            if self.draw.once_in(3) {
                self.tables.finish(id, true);
                said.extend(finish(id, true));
            }
        }
        Some(said)
    }

    /// Answers by the results of question `id`.
    fn takes(&mut self, answer: u32, id: u32) -> Vec<u8> {
        self.tables.has_taken_tail = true;
        if let Some(answer) = self.tables.answers.get_mut(&answer) {
            answer.is_returned = true;
            let params = std::mem::take(&mut answer.params);
            self.tables.unbind(params, false);
        }
        self.tables.forget_answer(answer);
        message(|root| {
            let mut returned = root.init_return();
            returned.set_answer_id(answer);
            returned.set_release_param_caps(false);
            returned.set_take_from_other_question(id);
        })
    }

    fn returns(&mut self) -> Option<Vec<u8>> {
        let open = self.tables.answers.iter();
        let open = open.filter(|(_, answer)| !answer.is_returned);
        let open: Vec<u32> = open.map(|(id, _)| *id).collect();
        let id = match self.is_loose {
            true => self.draw.any_id(),
            false => self.draw.among(open)?,
        };
        let is_finished = (self.tables.answers.get(&id)).is_some_and(|answer| answer.is_finished);
        let way = self.draw.below(if self.is_loose { 8 } else { 7 });
        let kept = self.tables.questions.iter();
        let kept = kept.filter(|(_, question)| question.is_kept && !question.is_finished);
        let kept: Vec<u32> = kept.map(|(id, _)| *id).collect();
        let kept = if self.is_loose {
            Some(self.draw.any_id())
        } else {
            self.draw.among(kept)
        };
        let lets_go = self.draw.once_in(4);
        let (mut content, caps) = match way {
            0..4 => self.payload(true),
            _ => (Content::Null, vec![]),
        };
        let answer = self.tables.answers.get(&id);
        let is_root = !self.is_loose && answer.is_some_and(|answer| answer.is_bootstrap);
        if is_root {
            content = Content::Capability(0);
        }
        let no_finish = (self.is_loose || way == 4 && !is_finished) && self.draw.once_in(4);
        if let Some(answer) = self.tables.answers.get_mut(&id) {
            answer.is_returned = true;
            answer.is_finished |= no_finish;
            let is_let_go = answer.is_finished;
            answer.results = given(&caps).collect();
            let results = answer.results.clone();
            let params = std::mem::take(&mut answer.params);
            self.tables.unbind(params, lets_go);
            if is_let_go {
                results
                    .into_iter()
                    .for_each(|id| self.tables.drop_export(id, 1));
            }
        }
        self.tables.forget_answer(id);
        let taken = kept.filter(|_| way == 6 && !is_root);
        if let Some(question) = taken.and_then(|id| self.tables.questions.get_mut(&id)) {
            question.is_kept = false;
            self.tables.has_taken_tail = true;
        }
        let canceled = way == 5 && (is_finished || self.is_loose);
        Some(message(|root| {
            let mut returned = root.init_return();
            returned.set_answer_id(id);
            returned.set_release_param_caps(lets_go);
            returned.set_no_finish_needed(no_finish);
            match (way, taken) {
                (0..4, _) => write_payload(returned.init_results(), content, &caps),
                (7, _) if lets_go => returned.set_results_sent_elsewhere(()),
                (7, _) => returned.init_accept_from_third_party().clear(),
                (_, Some(taken)) => returned.set_take_from_other_question(taken),
                _ if canceled => returned.set_canceled(()),
                _ => fail(returned.init_exception()),
            }
        }))
    }

    fn finish(&mut self) -> Option<Vec<u8>> {
        let open = self.tables.questions.iter();
        let open = open.filter(|(_, question)| !question.is_finished);
        // What a promise has resolved to is held for as long as that is.
        let is_named = |id: u32| {
            let resolutions = self
                .tables
                .exports
                .values()
                .map(|export| &export.resolution);
            resolutions
                .flatten()
                .any(|to| matches!(to, Target::Answer(named, _) if *named == id))
        };
        let open: Vec<u32> = open
            .map(|(id, _)| *id)
            .filter(|id| !is_named(*id))
            .collect();
        let id = match self.is_loose {
            true => self.draw.any_id(),
            false => self.draw.among(open)?,
        };
        let lets_go = !self.draw.once_in(3);
        self.tables.finish(id, lets_go);
        Some(finish(id, lets_go))
    }

    fn release(&mut self) -> Option<Vec<u8>> {
        let held = self.tables.imports.iter();
        let held = held.map(|(id, import)| (*id, import.refs - import.bound.min(import.refs)));
        let held: Vec<(u32, u32)> = held.filter(|(_, refs)| *refs > 0).collect();
        let (id, count) = match self.is_loose {
            true => (self.draw.any_id(), self.draw.any_id()),
            false => {
                let (id, refs) = self.draw.among(held)?;
                (id, refs - self.draw.below(refs as usize) as u32)
            }
        };
        self.tables.drop_import(id, count);
        Some(message(|root| {
            let mut release = root.init_release();
            release.set_id(id);
            release.set_reference_count(count);
        }))
    }

    fn resolve(&mut self) -> Option<Vec<u8>> {
        let open = self.tables.exports.iter();
        let open =
            open.filter(|(_, export)| export.promise.is_some() && export.resolution.is_none());
        let open: Vec<(u32, usize)> = open.map(|(id, e)| (*id, e.promise.unwrap_or(0))).collect();
        let (id, age) = match self.is_loose {
            true => (self.draw.any_id(), 0),
            false => self.draw.among(open)?,
        };
        let cap = match self.draw.below(6) {
            5 => None,
            _ => Some(self.cap(Some(age), true))
                .filter(|cap| self.is_loose || *cap != Descriptor::None),
        };
        let target = match &cap {
            Some(Descriptor::ReceiverHosted(id)) => Target::Cap(*id),
            Some(Descriptor::ReceiverAnswer(id, ops)) => Target::Answer(*id, ops.clone()),
            _ => Target::Cap(0),
        };
        if let Some(export) = self.tables.exports.get_mut(&id) {
            export.resolution = Some(target);
        }
        Some(message(|root| {
            let mut resolve = root.init_resolve();
            resolve.set_promise_id(id);
            match &cap {
                Some(cap) => write_cap(resolve.init_cap(), cap),
                None => fail(resolve.init_exception()),
            }
        }))
    }

    fn echo(&mut self) -> Option<Vec<u8>> {
        let (target, id) = match self.is_loose {
            true => (None, self.draw.any_id()),
            false if self.tables.embargoes.is_empty() => return None,
            false => self.tables.embargoes.remove(0),
        };
        let target = target.unwrap_or(Target::Cap(0));
        Some(message(|root| {
            let mut disembargo = root.init_disembargo();
            write_target(disembargo.reborrow().init_target(), &target);
            disembargo.init_context().set_receiver_loopback(id);
        }))
    }

    fn disembargo(&mut self) -> Option<Vec<u8>> {
        let back = self
            .tables
            .imports
            .iter()
            .filter(|(_, import)| import.came_back);
        let back: Vec<u32> = back.map(|(id, _)| *id).collect();
        let target = match self.is_loose {
            true => self.target()?,
            false => Target::Cap(self.draw.among(back)?),
        };
        if let Target::Cap(id) = &target
            && let Some(import) = self.tables.imports.get_mut(id)
        {
            import.came_back = false;
        }
        let id = self.draw.any_id();
        let context = self.draw.below(if self.is_loose { 3 } else { 1 });
        Some(message(|root| {
            let mut disembargo = root.init_disembargo();
            write_target(disembargo.reborrow().init_target(), &target);
            let mut to = disembargo.init_context();
            match context {
                0 => to.set_sender_loopback(id),
                1 => to.set_accept(()),
                _ => to.set_provide(id),
            }
        }))
    }

    /// A number for a question: a free one.
    fn new_question(&mut self) -> u32 {
        match self.is_loose && self.draw.once_in(3) {
            true => self.draw.any_id(),
            false => Tables::free(&self.tables.questions),
        }
    }

    /// Something to be called.
    pub(super) fn target(&mut self) -> Option<Target> {
        if self.is_loose && self.draw.once_in(3) {
            return Some(match self.draw.below(2) {
                0 => Target::Cap(self.draw.any_id()),
                _ => Target::Answer(self.draw.any_id(), self.ops()),
            });
        }
        let imports = self.tables.imports.keys().map(|id| (*id, None));
        let questions = self.tables.questions.iter();
        let questions = questions.filter(|(_, question)| !question.is_finished);
        let questions = questions.map(|(id, question)| (*id, Some(question.is_bootstrap)));
        let (id, question) = self
            .draw
            .among(imports.chain(questions).collect::<Vec<_>>())?;
        Some(match question {
            None => Target::Cap(id),
            Some(is_bootstrap) => Target::Answer(id, self.ops_of(is_bootstrap)),
        })
    }

    fn ops_of(&mut self, is_bootstrap: bool) -> Vec<Op> {
        match (self.is_loose, is_bootstrap) {
            (true, _) => self.ops(),
            (_, true) => vec![],
            _ => vec![Some(self.draw.below(2) as u16)],
        }
    }

    /// Any way into an answer.
    fn ops(&mut self) -> Vec<Op> {
        let length = [0, 1, 2, 3, 200][self.draw.below(5)];
        let op = [None, Some(0), Some(1), Some(4), Some(u16::MAX)][self.draw.below(5)];
        vec![op; length]
    }

    /// Parameters or results: those of a correct peer are a struct, and results have what is waited for.
    fn payload(&mut self, are_results: bool) -> (Content, Vec<Descriptor>) {
        let count = match self.is_loose {
            true => [0, 1, 2, 3, 50, 2000][self.draw.below(6)],
            false => self.draw.below(3).max(usize::from(are_results)),
        };
        let mut caps: Vec<Descriptor> = (0..count.min(3)).map(|_| self.cap(None, false)).collect();
        if are_results && !self.is_loose && caps.first() == Some(&Descriptor::None) {
            caps[0] = self.new_export(false);
        }
        // Where there are very many they are all the same.
        let same = caps.last().cloned();
        caps.extend(same.into_iter().cycle().take(count.saturating_sub(3)));
        let index = |at: u32| Some(at).filter(|at| (*at as usize) < count);
        let content = match self.is_loose {
            true => match self.draw.below(8) {
                0 => Content::Null,
                1 => Content::Text,
                2 => Content::List,
                3 => Content::Capability(self.draw.below(4) as u32),
                4 => Content::Nested,
                5 => Content::Struct([Some(7), Some(1000)]),
                6 => Content::Struct([Some(0), Some(0)]),
                _ => Content::Struct([index(0), index(1)]),
            },
            false => Content::Struct([index(0), index(1)]),
        };
        (content, caps)
    }

    /// A capability to give. For the resolution of a promise, which one: never an older promise, nor
    /// anything that could lead back to it.
    fn cap(&mut self, resolves: Option<usize>, is_new: bool) -> Descriptor {
        match self.any_cap(resolves, is_new) {
            Descriptor::ReceiverHosted(_) | Descriptor::ReceiverAnswer(..) if !self.gives_back => {
                self.new_export(false)
            }
            cap => cap,
        }
    }

    fn any_cap(&mut self, resolves: Option<usize>, is_new: bool) -> Descriptor {
        if self.is_loose && self.draw.once_in(2) {
            let id = self.draw.any_id();
            return match self.draw.below(6) {
                0 => Descriptor::SenderHosted(id),
                1 => Descriptor::SenderPromise(id),
                2 => Descriptor::ReceiverHosted(id),
                3 => Descriptor::ReceiverAnswer(id, self.ops()),
                4 => Descriptor::ThirdParty(id),
                _ => Descriptor::None,
            };
        }
        let strict = resolves.filter(|_| !self.is_loose);
        let strict_on_ours = strict.filter(|_| !self.resolves_to_promises);
        match self.draw.below(7) {
            0 if !is_new => Descriptor::None,
            0 | 1 => self.new_export(false),
            2 => self.new_export(true),
            3 | 4 => {
                let known = self.tables.exports.iter();
                let known = known.filter(|(_, export)| match (export.promise, strict) {
                    (Some(age), Some(than)) => age > than && export.resolution.is_none(),
                    (Some(_), None) => self.is_loose || export.resolution.is_none(),
                    (None, _) => true,
                });
                let known: Vec<_> = known.map(|(id, e)| (*id, e.promise.is_some())).collect();
                let Some((id, is_promise)) = self.draw.among(known) else {
                    return self.new_export(false);
                };
                if let Some(export) = self.tables.exports.get_mut(&id) {
                    export.refs += 1;
                }
                match is_promise {
                    true => Descriptor::SenderPromise(id),
                    false => Descriptor::SenderHosted(id),
                }
            }
            5 => {
                let known = self.tables.imports.iter();
                let known =
                    known.filter(|(_, import)| strict_on_ours.is_none() || !import.is_promise);
                let known: Vec<u32> = known.map(|(id, _)| *id).collect();
                let known = self.draw.among(known);
                known.map_or_else(|| self.new_export(false), Descriptor::ReceiverHosted)
            }
            _ => {
                let known = self.tables.questions.iter();
                let known = known.filter(|(_, question)| !question.is_finished);
                // An answer that is not there yet may be made of what it is given to.
                // One that is there may be made of what the promise was given to.
                let is_safe = |question: &Question| {
                    question.is_fresh
                        || strict_on_ours.is_none() && question.is_returned
                        || self.resolves_to_promises && resolves.is_some()
                };
                let known = known.filter(|(_, question)| self.is_loose || is_safe(question));
                let known: Vec<_> = known.map(|(id, q)| (*id, q.is_bootstrap)).collect();
                match self.draw.among(known) {
                    Some((id, is_bootstrap)) => {
                        Descriptor::ReceiverAnswer(id, self.ops_of(is_bootstrap))
                    }
                    None => self.new_export(false),
                }
            }
        }
    }

    fn new_export(&mut self, is_promise: bool) -> Descriptor {
        let id = Tables::free(&self.tables.exports);
        let promise = is_promise.then_some(self.tables.promises);
        self.tables.promises += usize::from(is_promise);
        let export = Export {
            refs: 1,
            promise,
            ..Export::default()
        };
        self.tables.exports.insert(id, export);
        match is_promise {
            true => Descriptor::SenderPromise(id),
            false => Descriptor::SenderHosted(id),
        }
    }
}

pub(super) fn fail(mut exception: exception::Builder<'_>) {
    exception.set_reason("as it likes");
    exception.set_type(exception::Type::Failed);
}
