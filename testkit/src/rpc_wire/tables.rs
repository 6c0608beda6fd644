//! What a peer knows of a connection: its four tables, kept by what it sends and what it reads.

use std::collections::BTreeMap;

use capnp::Result;
use capnp::message::ReaderOptions;
use capnp::serialize;
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, disembargo, message, message_target, payload, resolve, return_,
};

/// What a capability is, in a message of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    None,
    SenderHosted(u32),
    SenderPromise(u32),
    ReceiverHosted(u32),
    ReceiverAnswer(u32, Vec<Op>),
    ThirdParty(u32),
}

/// A step into an answer: a pointer, or none.
pub(super) type Op = Option<u16>;

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Cap(u32),
    Answer(u32, Vec<Op>),
}

/// What the peer asked.
#[derive(Default)]
pub(super) struct Question {
    /// It is for the bootstrap object.
    pub(super) is_bootstrap: bool,
    /// What comes of it is new.
    pub(super) is_fresh: bool,
    /// Its results stay, to be taken by another answer.
    pub(super) is_kept: bool,
    pub(super) is_returned: bool,
    pub(super) is_finished: bool,
    /// Its finish lets go of the results.
    pub(super) lets_go: bool,
    pub(super) results: Vec<u32>,
}

/// What our side asked.
#[derive(Default)]
pub(super) struct Answer {
    /// It is to be a capability, and no struct.
    pub(super) is_bootstrap: bool,
    pub(super) params: Vec<u32>,
    pub(super) results: Vec<u32>,
    pub(super) is_returned: bool,
    pub(super) is_finished: bool,
}

/// What the peer has given.
#[derive(Default)]
pub(super) struct Export {
    pub(super) refs: u32,
    /// It is a promise: which of them, counted.
    pub(super) promise: Option<usize>,
    pub(super) resolution: Option<Target>,
}

/// What our side has given.
#[derive(Default)]
pub(super) struct Import {
    pub(super) refs: u32,
    /// Of these, those that came with parameters or results, and may go all together with them.
    pub(super) bound: u32,
    pub(super) is_promise: bool,
    /// It has become something of the peer's, which has not asked for a disembargo yet.
    pub(super) came_back: bool,
}

/// All of it.
#[derive(Default)]
pub(super) struct Tables {
    /// Has it given back what it was given, by a call whose results are those of another?
    pub(super) has_taken_tail: bool,
    /// Has it said what was not meant, and may give back anything?
    pub(super) has_garbled: bool,
    pub(super) questions: BTreeMap<u32, Question>,
    pub(super) answers: BTreeMap<u32, Answer>,
    pub(super) exports: BTreeMap<u32, Export>,
    pub(super) imports: BTreeMap<u32, Import>,
    /// Disembargoes that our side has asked for: of what, and by which number.
    pub(super) embargoes: Vec<(Option<Target>, u32)>,
    /// Why our side has given up.
    pub(super) abort: Option<String>,
    /// How many promises the peer has made.
    pub(super) promises: usize,
    bytes: Vec<u8>,
}

impl Tables {
    /// Reads what our side has sent, and tells `log` of each message.
    ///
    /// # Panics
    ///
    /// Where our side sends what is no message.
    pub(super) fn read(&mut self, bytes: &[u8], mut log: impl FnMut(message::Reader<'_>)) {
        self.bytes.extend(bytes);
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = &bytes[..];
        loop {
            let before = rest;
            let mut options = ReaderOptions::new();
            options.traversal_limit_in_words(None);
            let Ok(message) = serialize::read_message_from_flat_slice_no_alloc(&mut rest, options)
            else {
                // The rest of it is on its way.
                self.bytes = before.into();
                return;
            };
            let message = message.get_root().expect("our side sends messages");
            log(message);
            self.take(message).expect("our side sends whole messages");
        }
    }

    fn take(&mut self, message: message::Reader<'_>) -> Result<()> {
        match message.which()? {
            message::Call(call) => self.take_call(call?)?,
            message::Return(returned) => self.take_return(returned?)?,
            message::Bootstrap(bootstrap) => {
                let id = bootstrap?.get_question_id();
                let answer = Answer {
                    is_bootstrap: true,
                    ..Answer::default()
                };
                self.answers.insert(id, answer);
            }
            message::Finish(finish) => {
                let finish = finish?;
                let id = finish.get_question_id();
                if let Some(answer) = self.answers.get_mut(&id) {
                    answer.is_finished = true;
                    if finish.get_release_result_caps() {
                        let results = std::mem::take(&mut answer.results);
                        results.into_iter().for_each(|id| self.drop_export(id, 1));
                    }
                    self.forget_answer(id);
                }
            }
            message::Release(release) => {
                let release = release?;
                self.drop_export(release.get_id(), release.get_reference_count());
            }
            message::Resolve(resolve) => self.take_resolve(resolve?)?,
            message::Disembargo(disembargo) => self.take_disembargo(disembargo?)?,
            message::Abort(abort) => self.abort = Some(abort?.get_reason()?.to_string()?),
            _ => {}
        }
        Ok(())
    }

    fn take_call(&mut self, call: call::Reader<'_>) -> Result<()> {
        let params = self.take_caps(call.get_params()?)?;
        self.bind(&params);
        let answer = Answer {
            params,
            ..Answer::default()
        };
        self.answers.insert(call.get_question_id(), answer);
        Ok(())
    }

    fn take_return(&mut self, returned: return_::Reader<'_>) -> Result<()> {
        let id = returned.get_answer_id();
        let question = self.questions.get(&id);
        let is_let_go = question.is_some_and(|question| question.is_finished && question.lets_go);
        let results = match returned.which()? {
            return_::Results(payload) if !is_let_go => self.take_caps(payload?)?,
            _ => vec![],
        };
        if let Some(question) = self.questions.get_mut(&id) {
            question.is_returned = true;
            question.is_finished |= returned.get_no_finish_needed();
            question.results.clone_from(&results);
            if !question.is_finished {
                self.bind(&results);
            }
            self.forget_question(id);
        }
        Ok(())
    }

    fn take_resolve(&mut self, resolve: resolve::Reader<'_>) -> Result<()> {
        let came_back = match resolve.which()? {
            resolve::Cap(cap) => {
                let cap = cap?;
                self.take_cap(cap)?;
                matches!(cap.which()?, cap_descriptor::ReceiverHosted(_))
            }
            resolve::Exception(_) => false,
        };
        if let Some(import) = self.imports.get_mut(&resolve.get_promise_id()) {
            import.is_promise = false;
            import.came_back = came_back;
        }
        Ok(())
    }

    fn take_disembargo(&mut self, disembargo: disembargo::Reader<'_>) -> Result<()> {
        if let disembargo::context::SenderLoopback(id) = disembargo.get_context().which()? {
            // What it has become is where the answer goes.
            let target = match disembargo.get_target()?.which()? {
                message_target::ImportedCap(id) => {
                    let export = self.exports.get(&id);
                    export.and_then(|export| export.resolution.clone())
                }
                message_target::PromisedAnswer(_) => None,
            };
            self.embargoes.push((target, id));
        }
        Ok(())
    }

    /// Counts what a message gives; which of them there are.
    fn take_caps(&mut self, payload: payload::Reader<'_>) -> Result<Vec<u32>> {
        let mut ids = vec![];
        for cap in payload.get_cap_table()? {
            ids.extend(self.take_cap(cap)?);
        }
        Ok(ids)
    }

    fn take_cap(&mut self, cap: cap_descriptor::Reader<'_>) -> Result<Option<u32>> {
        let (id, is_promise) = match cap.which()? {
            cap_descriptor::SenderHosted(id) => (id, false),
            cap_descriptor::SenderPromise(id) => (id, true),
            _ => return Ok(None),
        };
        let import = self.imports.entry(id).or_default();
        if import.refs == 0 {
            import.is_promise = is_promise;
        }
        import.refs += 1;
        Ok(Some(id))
    }

    /// Our side has let go of what the peer has given.
    pub(super) fn drop_export(&mut self, id: u32, count: u32) {
        if let Some(export) = self.exports.get_mut(&id) {
            export.refs = export.refs.saturating_sub(count);
            if export.refs == 0 {
                self.exports.remove(&id);
            }
        }
    }

    /// The peer lets go of what our side has given.
    pub(super) fn drop_import(&mut self, id: u32, count: u32) {
        if let Some(import) = self.imports.get_mut(&id) {
            import.refs = import.refs.saturating_sub(count);
            if import.refs == 0 {
                self.imports.remove(&id);
            }
        }
    }

    fn bind(&mut self, ids: &[u32]) {
        for id in ids {
            if let Some(import) = self.imports.get_mut(id) {
                import.bound += 1;
            }
        }
    }

    /// What came together is let go of together, or is to be one by one.
    pub(super) fn unbind(&mut self, ids: Vec<u32>, lets_go: bool) {
        for id in ids {
            if let Some(import) = self.imports.get_mut(&id) {
                import.bound = import.bound.saturating_sub(1);
            }
            if lets_go {
                self.drop_import(id, 1);
            }
        }
    }

    /// The peer's side of an answer is done.
    pub(super) fn forget_answer(&mut self, id: u32) {
        let answer = self.answers.get(&id);
        if answer.is_some_and(|answer| answer.is_returned && answer.is_finished) {
            self.answers.remove(&id);
        }
    }

    /// The peer finishes a question.
    pub(super) fn finish(&mut self, id: u32, lets_go: bool) {
        if let Some(question) = self.questions.get_mut(&id) {
            question.is_finished = true;
            question.lets_go = lets_go;
            let results = std::mem::take(&mut question.results);
            self.unbind(results, lets_go);
            self.forget_question(id);
        }
    }

    fn forget_question(&mut self, id: u32) {
        let question = self.questions.get(&id);
        if question.is_some_and(|question| question.is_returned && question.is_finished) {
            self.questions.remove(&id);
        }
    }

    /// A number that is free.
    pub(super) fn free<T>(table: &BTreeMap<u32, T>) -> u32 {
        (0..)
            .zip(table.keys())
            .find(|(free, key)| free != *key)
            .map_or(table.len() as u32, |(free, _)| free)
    }
}

/// Which of the peer's own are given.
pub(super) fn given(caps: &[Descriptor]) -> impl Iterator<Item = u32> {
    caps.iter().filter_map(|cap| match cap {
        Descriptor::SenderHosted(id) | Descriptor::SenderPromise(id) => Some(*id),
        _ => None,
    })
}
