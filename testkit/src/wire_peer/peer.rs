//! One end of a link, and who speaks there.

use std::collections::VecDeque;
use std::time::Duration;

use capnp::message::ReaderOptions;
use capnp::serialize;
use futures::{AsyncReadExt, AsyncWriteExt};

use super::message::{Call, Fail, Message, Return, bootstrap};
use crate::link::End;

/// Speaks at one end of a link. Dropped, the other side sees the end of the stream.
///
/// Whoever waits for a message gets the next of its kind. Those before it stay for who asks for them
/// later. Where none comes before the event loop is idle, in paused time, the test fails.
pub struct Peer {
    end: End,
    /// What has arrived and is no whole message yet.
    arrived: Vec<u8>,
    /// What has been passed over. `None` is the end of the stream.
    passed: VecDeque<Option<Message>>,
}

impl Peer {
    /// Speaks at this end.
    pub fn new(end: End) -> Self {
        Self {
            end,
            arrived: Vec::new(),
            passed: VecDeque::new(),
        }
    }

    /// Says a message. Nobody may be there to hear it.
    pub async fn say(&mut self, message: impl Into<Message>) {
        self.write(&message.into().to_bytes()).await;
    }

    /// Says several messages, which arrive together.
    pub async fn say_all<M: Into<Message>>(&mut self, messages: impl IntoIterator<Item = M>) {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend(message.into().to_bytes());
        }
        self.write(&bytes).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        let _nobody_is_there = self.end.1.write_all(bytes).await;
    }

    /// Says no more, and still hears.
    pub async fn end_of_stream(&mut self) {
        let _nobody_is_there = self.end.1.close().await;
    }

    /// Asks for the bootstrap capability with question 0, and gives its id.
    pub async fn bootstrap(&mut self) -> u32 {
        self.say(bootstrap(0)).await;
        match self.returned(0).await.caps() {
            [super::Cap::Hosted(id) | super::Cap::Promise(id)] => *id,
            caps => panic!("no bootstrap capability: {caps:?}"),
        }
    }

    /// The next message; `None` where the stream ends.
    pub async fn hear(&mut self) -> Option<Message> {
        match self.passed.pop_front() {
            Some(message) => message,
            None => self.listen().await,
        }
    }

    /// The next message that `is_it`.
    pub async fn find(&mut self, is_it: impl Fn(&Message) -> bool) -> Message {
        self.pick(|message| message.clone().filter(|message| is_it(message)))
            .await
    }

    /// Hears exactly this.
    pub async fn expect(&mut self, message: impl Into<Message>) {
        let expected = message.into();
        self.find(|message| *message == expected).await;
    }

    /// The return to this question.
    pub async fn returned(&mut self, question: u32) -> Return {
        self.pick(|message| match message {
            Some(Message::Return(returned)) if returned.answer == question => {
                Some(returned.clone())
            }
            _ => None,
        })
        .await
    }

    /// The next call.
    pub async fn called(&mut self) -> Call {
        self.pick(|message| match message {
            Some(Message::Call(call)) => Some(call.clone()),
            _ => None,
        })
        .await
    }

    /// The question of the next one who asks for the bootstrap capability.
    pub async fn asked_for_bootstrap(&mut self) -> u32 {
        self.pick(|message| match message {
            Some(Message::Bootstrap { question }) => Some(*question),
            _ => None,
        })
        .await
    }

    /// Why the other gives up.
    pub async fn aborted(&mut self) -> Fail {
        self.pick(|message| match message {
            Some(Message::Abort(fail)) => Some(fail.clone()),
            _ => None,
        })
        .await
    }

    /// The end of the stream.
    pub async fn ended(&mut self) {
        self.pick(|message| message.is_none().then_some(())).await
    }

    /// What has been said and not been asked for, when nothing more comes. `None`, last: the stream ended.
    pub async fn rest(&mut self) -> Vec<Option<Message>> {
        while !matches!(self.passed.back(), Some(None)) {
            match tokio::time::timeout(IDLE, self.read()).await {
                Ok(message) => self.passed.push_back(message),
                Err(_) => break,
            }
        }
        self.passed.drain(..).collect()
    }

    async fn pick<T>(&mut self, choose: impl Fn(&Option<Message>) -> Option<T>) -> T {
        for index in 0.. {
            if index == self.passed.len() {
                let message = self.listen().await;
                self.passed.push_back(message);
            }
            if let Some(chosen) = choose(&self.passed[index]) {
                self.passed.remove(index);
                return chosen;
            }
            assert!(
                self.passed[index].is_some(),
                "the stream has ended, after {:?}",
                self.passed
            );
        }
        unreachable!("a queue has an end")
    }

    async fn listen(&mut self) -> Option<Message> {
        match tokio::time::timeout(IDLE, self.read()).await {
            Ok(message) => message,
            Err(_) => panic!("nobody says anything, after {:?}", self.passed),
        }
    }

    /// Nothing is lost where this is dropped.
    async fn read(&mut self) -> Option<Message> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(length) = whole(&self.arrived) {
                let mut options = ReaderOptions::new();
                options.traversal_limit_in_words(None);
                let read = serialize::read_message(&self.arrived[..length], options);
                let message = match read {
                    Ok(message) => Message::read(&message),
                    Err(error) => Message::Strange(error.to_string()),
                };
                self.arrived.drain(..length);
                return Some(message);
            }
            match self.end.0.read(&mut chunk).await {
                Ok(length @ 1..) => self.arrived.extend(&chunk[..length]),
                _ => return None,
            }
        }
    }
}

/// How long the first message in `bytes` is, if all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let word = |index: usize| {
        let bytes = bytes.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let segments = word(0)? + 1;
    let mut length = (segments + 2) / 2 * 8;
    for segment in 1..=segments {
        length += word(segment)? * 8;
    }
    (bytes.len() >= length).then_some(length)
}

/// Paused time that passes only when nothing else can be done: beyond all latency that tests simulate.
const IDLE: Duration = Duration::from_secs(1);
