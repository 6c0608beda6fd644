//! Messages as values: what a peer says, and what it hears.

/// One message. Those who compare compare all of it, but for data sections of a content's structs.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // as in `rpc.capnp`
pub enum Message {
    Unimplemented(Box<Message>),
    Abort(Fail),
    Bootstrap {
        question: u32,
    },
    Call(Call),
    Return(Return),
    Finish {
        question: u32,
        release_result_caps: bool,
    },
    Resolve {
        promise: u32,
        to: Result<Cap, Fail>,
    },
    Release {
        id: u32,
        count: u32,
    },
    Disembargo {
        target: Target,
        context: Context,
    },
    Provide {
        question: u32,
        target: Target,
    },
    Accept {
        question: u32,
    },
    Join {
        question: u32,
        target: Target,
    },
    ObsoleteSave,
    ObsoleteDelete,
    /// Bytes, as they are to be on the wire: to be said only.
    Raw(Vec<u8>),
    /// What the schema does not know, or what could not be read, and why: heard only.
    Strange(String),
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Call {
    pub question: u32,
    pub target: Target,
    pub interface: u64,
    pub method: u16,
    pub params: Payload,
    /// `sendResultsTo.yourself` in place of `caller`.
    pub to_yourself: bool,
}

/// A return.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Return {
    pub answer: u32,
    pub outcome: Outcome,
    pub release_param_caps: bool,
    pub no_finish_needed: bool,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Outcome {
    Results(Payload),
    Exception(Fail),
    Canceled,
    ResultsSentElsewhere,
    TakeFromOtherQuestion(u32),
    AcceptFromThirdParty,
}

/// Parameters or results: a content, and the capabilities in it.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Payload {
    pub content: Content,
    pub caps: Vec<Cap>,
}

/// What a pointer leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Content {
    /// Nothing.
    #[default]
    Null,
    /// A capability, by its index; one that is heard and in no table has the highest index that there is.
    Cap(u32),
    /// A struct of pointers.
    Struct(Vec<Content>),
    /// A list of pointers.
    List(Vec<Content>),
    /// A text.
    Text(String),
    /// A list of that many elements without any size.
    Voids(u32),
}

/// An entry of a table of capabilities, seen from who says it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cap {
    /// `none`.
    None,
    /// `senderHosted`: mine.
    Hosted(u32),
    /// `senderPromise`: mine, and not known yet.
    Promise(u32),
    /// `receiverHosted`: one of yours.
    Yours(u32),
    /// `receiverAnswer`: what you will answer a question of mine with, at these pointers.
    Answer(u32, Vec<u16>),
    /// `thirdPartyHosted`, by the id of its vine.
    ThirdParty(u32),
}

/// Whom a call or a disembargo is meant for.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `importedCap`: one of yours.
    Cap(u32),
    /// `promisedAnswer`: in the answer to a question of mine, at these pointers.
    Answer(u32, Vec<u16>),
}

/// Of a disembargo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Context {
    SenderLoopback(u32),
    ReceiverLoopback(u32),
    Accept,
    Provide(u32),
}

/// An exception.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Fail {
    pub kind: capnp::ErrorKind,
    pub reason: String,
}

impl Fail {
    /// One of kind `failed`.
    pub fn new(reason: &str) -> Self {
        Self {
            kind: capnp::ErrorKind::Failed,
            reason: reason.into(),
        }
    }
}

/// Asks for the bootstrap capability.
pub fn bootstrap(question: u32) -> Message {
    Message::Bootstrap { question }
}

/// A call without parameters; of interface 0, as [`Service`](super::Service)'s objects know no others.
pub fn call(question: u32, target: Target, method: u16) -> Call {
    Call {
        question,
        target,
        interface: 0,
        method,
        params: Payload::default(),
        to_yourself: false,
    }
}

/// Returns a struct of these capabilities.
pub fn returns(answer: u32, caps: impl IntoIterator<Item = Cap>) -> Return {
    Return {
        answer,
        outcome: Outcome::Results(Payload::of(caps)),
        release_param_caps: false,
        no_finish_needed: false,
    }
}

/// Returns an exception.
pub fn fails(answer: u32, reason: &str) -> Return {
    Return {
        outcome: Outcome::Exception(Fail::new(reason)),
        ..returns(answer, [])
    }
}

/// A finish that releases what the results brought.
pub fn finish(question: u32) -> Message {
    Message::Finish {
        question,
        release_result_caps: true,
    }
}

/// Resolves a promise.
pub fn resolve(promise: u32, to: Cap) -> Message {
    Message::Resolve {
        promise,
        to: Ok(to),
    }
}

/// Breaks a promise.
pub fn resolve_to_error(promise: u32, reason: &str) -> Message {
    Message::Resolve {
        promise,
        to: Err(Fail::new(reason)),
    }
}

/// Releases references to one of the other's.
pub fn release(id: u32, count: u32) -> Message {
    Message::Release { id, count }
}

/// A disembargo.
pub fn disembargo(target: Target, context: Context) -> Message {
    Message::Disembargo { target, context }
}

/// That a message is not known.
pub fn unimplemented(message: impl Into<Message>) -> Message {
    Message::Unimplemented(Box::new(message.into()))
}

/// Gives up.
pub fn abort(reason: &str) -> Message {
    Message::Abort(Fail::new(reason))
}

impl Payload {
    /// A struct whose pointers are these capabilities.
    pub fn of(caps: impl IntoIterator<Item = Cap>) -> Self {
        let caps: Vec<Cap> = caps.into_iter().collect();
        Self {
            content: Content::Struct((0..caps.len() as u32).map(Content::Cap).collect()),
            caps,
        }
    }
}

impl Call {
    /// With a struct of these capabilities for its parameters.
    pub fn with(mut self, caps: impl IntoIterator<Item = Cap>) -> Self {
        self.params = Payload::of(caps);
        self
    }

    /// With this content, whatever the capabilities are.
    pub fn content(mut self, content: Content) -> Self {
        self.params.content = content;
        self
    }

    /// Its results are to stay where they are.
    pub fn to_yourself(mut self) -> Self {
        self.to_yourself = true;
        self
    }
}

impl Return {
    /// With this content, whatever the capabilities are; only if it has results.
    pub fn content(mut self, with: Content) -> Self {
        if let Outcome::Results(payload) = &mut self.outcome {
            payload.content = with;
        }
        self
    }

    /// With another outcome.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The capabilities in the results.
    ///
    /// # Panics
    /// Where it has none.
    pub fn caps(&self) -> &[Cap] {
        match &self.outcome {
            Outcome::Results(payload) => &payload.caps,
            other => panic!("no results: {other:?}"),
        }
    }

    /// The exception.
    ///
    /// # Panics
    /// Where it is none.
    pub fn exception(&self) -> &Fail {
        match &self.outcome {
            Outcome::Exception(fail) => fail,
            other => panic!("no exception: {other:?}"),
        }
    }
}

impl From<Call> for Message {
    fn from(call: Call) -> Self {
        Self::Call(call)
    }
}

impl From<Return> for Message {
    fn from(returned: Return) -> Self {
        Self::Return(returned)
    }
}
