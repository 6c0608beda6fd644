//! A crowd of hostile peers on one thread, each with a connection of its own to a guarded service.

use std::rc::Rc;

use capspan::guard::{Breach, Connection, Guard, GuardOptions};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::link::{End, narrow};
use crate::wire_peer::{
    Cap, Content, Message, Service, Target, bootstrap, call, finish, method, resolve,
};

/// What a hostile peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// Makes calls that never return.
    NeverReturns,
    /// Makes such calls, and finishes each at once.
    Cancels,
    /// Lends a hundred capabilities with each call.
    Lends,
    /// Asks for capabilities, and keeps them.
    Keeps,
    /// Begins a message of 60 MiB.
    Half,
    /// Makes calls byte by byte.
    Pieces,
    /// Makes calls of 500 segments.
    Segments,
    /// Makes calls, and reads no answer.
    NeverReads,
    /// Lends promises, and resolves each to the next.
    Resolves,
    /// Says what is no message.
    Garbage,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NeverReturns,
        Self::Cancels,
        Self::Lends,
        Self::Keeps,
        Self::Half,
        Self::Pieces,
        Self::Segments,
        Self::NeverReads,
        Self::Resolves,
        Self::Garbage,
    ];

    /// What it says, in so many rounds, after it has asked for the bootstrap capability.
    fn script(self, rounds: u32) -> Vec<u8> {
        let mut said = Vec::new();
        match self {
            Self::Half => said.extend([0, 60 << 17].map(u32::to_le_bytes).concat()),
            Self::Garbage => said.extend((0..rounds * 64).map(|byte| byte.wrapping_mul(197) as u8)),
            _ => {
                for message in (1..=rounds).flat_map(|round| self.round(round)) {
                    said.extend(message.to_bytes());
                    if said.len() >= MAX_SCRIPT_BYTES {
                        break;
                    }
                }
            }
        }
        said
    }

    fn round(self, round: u32) -> Vec<Message> {
        let call = |method| call(round, Target::Cap(0), method);
        match self {
            Self::NeverReturns => vec![call(method::NEVER).into()],
            Self::Cancels => vec![call(method::NEVER).into(), finish(round)],
            Self::Lends => {
                let caps = (0..100).map(|cap| Cap::Hosted(100 * round + cap));
                vec![call(method::STORE).with(caps).into()]
            }
            Self::Keeps => vec![call(method::MAKE).into()],
            Self::Pieces | Self::NeverReads => vec![call(method::TEXT).into(), finish(round)],
            Self::Segments => vec![segments(round)],
            Self::Resolves => vec![
                call(method::STORE).with([Cap::Promise(round)]).into(),
                resolve(round, Cap::Promise(round + 1)),
            ],
            Self::Half | Self::Garbage => Vec::new(),
        }
    }

    /// How many bytes it says at a time.
    fn at_a_time(self) -> usize {
        match self {
            Self::Pieces => 1,
            _ => 4096,
        }
    }
}

/// As long as what one says may be: all of a kind say the same, from one buffer.
const MAX_SCRIPT_BYTES: usize = 4 << 20;

/// A call that lies in one segment, before 499 of one word.
fn segments(question: u32) -> Message {
    let call: Message = call(question, Target::Cap(0), method::TEXT)
        .content(Content::Null)
        .into();
    let bytes = call.to_bytes();
    let words = (bytes.len() / 8 - 1) as u32;
    let head = [499, words].into_iter().chain([1; 499]).chain([0]);
    let mut said: Vec<u8> = head.flat_map(u32::to_le_bytes).collect();
    said.extend(&bytes[8..]);
    said.extend([0; 499 * 8]);
    Message::Raw(said)
}

/// Hostile connections. Dropping it ends them.
pub struct Crowd {
    guards: Vec<Guard>,
    service: Service,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// So many connections of all kinds, each of which does what it does in so many rounds.
    pub fn new(count: usize, rounds: u32, options: &GuardOptions) -> Self {
        let scripts = Hostile::ALL.map(|hostile| (hostile, Rc::from(hostile.script(rounds))));
        let mut crowd = Self {
            guards: Vec::with_capacity(count),
            service: Service::new(),
            tasks: Vec::with_capacity(2 * count),
        };
        for (hostile, script) in scripts.iter().cycle().take(count) {
            crowd.join(*hostile, Rc::clone(script), options.clone());
        }
        crowd
    }

    fn join(&mut self, hostile: Hostile, script: Rc<[u8]>, options: GuardOptions) {
        let (client, server) = narrow(16 * 1024);
        let object = self.service.object();
        let (connection, driver) = Connection::serve_with(server.0, server.1, options, |_| object);
        self.guards.push(connection.guard().clone());
        self.tasks.push(spawn_local(async move {
            let _how_it_ended = driver.await;
        }));
        self.tasks
            .push(spawn_local(attack(hostile, script, client)));
    }

    /// How many connections the guards have ended.
    pub fn ended(&self) -> usize {
        let has_ended = |guard: &&Guard| guard.ending().reason().is_some();
        self.guards.iter().filter(has_ended).count()
    }

    /// How many calls have been begun or refused.
    pub fn calls(&self) -> u64 {
        let refused: u64 = self.guards.iter().map(Guard::refused).sum();
        self.service.calls() as u64 + refused
    }

    /// How often the guards stepped in, for what they did.
    pub fn refused(&self) -> Vec<(Breach, u64)> {
        let all = |breach| self.guards.iter().map(|guard| guard.count(breach)).sum();
        let counts = Breach::ALL.iter().map(|breach| (*breach, all(*breach)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Says all that it has to say, and stays until the connection ends.
async fn attack(hostile: Hostile, script: Rc<[u8]>, (mut reader, mut writer): End) {
    let say = async {
        if writer.write_all(&bootstrap(0).to_bytes()).await.is_err() {
            return;
        }
        for bytes in script.chunks(hostile.at_a_time()) {
            if writer.write_all(bytes).await.is_err() {
                return;
            }
            yield_now().await;
        }
        futures::future::pending().await
    };
    let hear = async {
        if hostile == Hostile::NeverReads {
            futures::future::pending().await
        }
        let mut heard = [0; 1024];
        while reader.read(&mut heard).await.is_ok_and(|it| it > 0) {}
    };
    tokio::select! {
        () = say => (),
        () = hear => (),
    }
}
