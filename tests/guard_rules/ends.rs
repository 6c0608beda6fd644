//! What an application's calls fail with where their connection ends: with `disconnected`, however that came, and why.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use capnp::ErrorKind;
use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use capspan::Error;
use capspan::guard::{Breach, Budget, GuardLimits, GuardOptions, Guarded};
use capspan_testkit::link::direct;
use capspan_testkit::membrane::{idle, run};
use capspan_testkit::run::{PausedTime, pass};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::wire_peer::{Cap, Content, Fail, Message, bootstrap, echo, resolve, returns};
use futures::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

use crate::harness::{Asked, Connected, connect, connected_by, why};

const NAME: &str = "mallory";

/// What an application has of a connection: calls that wait, and capabilities.
struct Application {
    waits: Vec<Asked>,
    caps: Vec<Client>,
}

/// A call waits whose results another one is made on; one that a promise of the peer's has; and one on that promise.
async fn application(on: &mut Connected) -> Application {
    let (gets, _) = on.asks(None).await;
    let (asked, promised, _) = on.asks_and_pipelines().await;
    let (brings, heard) = on.asks(None).await;
    on.peer
        .say(returns(heard.question, [Cap::Promise(5)]))
        .await;
    let brought = brings.promise.await.expect("a promise");
    let brought = brought.get().expect("results");
    let content: thing::swap_results::Reader<'_> = brought.get_as().expect("a struct");
    let promise = Client::new(
        content
            .get_thing()
            .expect("a capability")
            .into_client_hook(),
    );
    let waits = echo(&*promise.hook, None);
    on.peer.called().await;
    Application {
        waits: vec![gets, asked, waits],
        caps: vec![on.theirs.clone(), promised, promise],
    }
}

impl Application {
    /// All that waits, and all that is called now, has failed with the end of the connection, which says all of this.
    async fn fails(self, texts: &[&str]) {
        let later = self.caps.iter().map(|cap| echo(&*cap.hook, None));
        let later: Vec<_> = later.collect();
        for asked in self.waits.into_iter().chain(later) {
            let error = why(asked).await;
            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
            for text in texts {
                assert!(error.extra.contains(text), "{error} has no {text}");
            }
        }
    }
}

fn options() -> GuardOptions {
    GuardOptions::default().peer(NAME)
}

/// An application whose peer ends the connection: what its calls say then. Gives what the peer was told, and what became of
/// the driver.
fn ended(
    options: impl Into<GuardOptions>,
    end: impl AsyncFnOnce(&mut Connected),
    texts: &[&str],
) -> (Option<Fail>, Result<(), Error>) {
    run(async {
        let (client, server) = direct();
        let mut on = connect(client, options, server).await;
        let application = application(&mut on).await;
        end(&mut on).await;
        idle().await;
        over(on, application, texts).await
    })
}

async fn over(
    mut on: Connected,
    application: Application,
    texts: &[&str],
) -> (Option<Fail>, Result<(), Error>) {
    application.fails(texts).await;
    let reason = on.guard.ending().reason().expect("it has ended");
    assert!(reason.is_disconnected(), "{reason}");
    let told = on
        .peer
        .rest()
        .await
        .into_iter()
        .find_map(|told| match told {
            Some(Message::Abort(fail)) => Some(fail),
            _ => None,
        });
    (told, on.driver.await.expect("no panic"))
}

#[test]
fn the_peer_is_gone_between_two_messages() {
    let (told, driver) = ended(options(), async |on| on.peer.end_of_stream().await, &[]);
    assert_eq!(told.map(|told| told.kind), Some(ErrorKind::Disconnected));
    assert_eq!(driver, Ok(()));
}

#[test]
fn the_peer_is_gone_after_any_byte_of_a_message() {
    let bytes = said();
    for at in 1..bytes.len() {
        let half = Message::Raw(bytes[..at].to_vec());
        let end = async |on: &mut Connected| {
            on.peer.say(half).await;
            on.peer.end_of_stream().await;
        };
        let texts = [NAME, "was lost", "unexpected end of file"];
        assert_told(ended(options(), end, &texts), "unexpected end of file");
    }
}

/// A message that is not short.
fn said() -> Vec<u8> {
    let content = Content::Text("y".repeat(100));
    Message::from(returns(1, []).content(content)).to_bytes()
}

/// The peer, and whoever runs the connection, were told that this was wrong.
fn assert_told((told, driver): (Option<Fail>, Result<(), Error>), text: &str) {
    let told = told.expect("the peer was told");
    assert_eq!(told.kind, ErrorKind::Failed, "{told:?}");
    assert!(told.reason.contains(text), "{told:?} has no {text}");
    let error = driver.expect_err("it was no good end");
    assert!(!error.is_disconnected(), "{error:?}");
    assert!(error.reason().contains(text), "{error} has no {text}");
}

#[test]
fn the_peer_breaks_a_rule() {
    let said: [(Message, Breach); 3] = [
        (returns(700, []).into(), Breach::ReturnNotOpen),
        (resolve(700, Cap::Hosted(0)), Breach::ResolveNotOpen),
        (
            Message::Raw(b"\0\0\0\0\x01\0\0\0nonsense".to_vec()),
            Breach::Malformed,
        ),
    ];
    for (message, breach) in said {
        let end = async |on: &mut Connected| on.peer.say(message).await;
        let texts = [NAME, "its guard", breach.name()];
        assert_told(ended(options(), end, &texts), breach.name());
    }
}

#[test]
fn the_peer_is_past_a_limit() {
    let limits = GuardLimits::default().messages_a_second(20);
    let end = async |on: &mut Connected| {
        for question in 0..20 {
            on.peer.say(bootstrap(question)).await;
        }
    };
    let text = "more than 20 messages within a second";
    let over = ended(options().limits(limits), end, &[NAME, text]);
    assert_told(over, text);
}

#[test]
fn the_peer_takes_too_long_for_a_message() {
    let end = async |on: &mut Connected| {
        on.peer.say(Message::Raw(vec![0])).await;
        pass(Duration::from_secs(31)).await;
    };
    let text = "was not whole after 30s";
    let over = ended(options().timer(PausedTime), end, &[NAME, text]);
    assert_told(over, text);
}

#[test]
fn a_message_has_no_room_in_the_budget() {
    let budget = Budget::new().bytes(100_000);
    let end = async |on: &mut Connected| {
        let head = [0, 100_000].map(u32::to_le_bytes).concat();
        on.peer.say(Message::Raw(head)).await;
    };
    let text = "has no room in the budget";
    let over = ended(options().budget(&budget), end, &[NAME, text]);
    assert_told(over, text);
}

#[test]
fn the_peer_gives_up() {
    for kind in [
        ErrorKind::Failed,
        ErrorKind::Overloaded,
        ErrorKind::Disconnected,
        ErrorKind::Unimplemented,
    ] {
        let end = async |on: &mut Connected| {
            let reason = "enough".to_owned();
            on.peer.say(Message::Abort(Fail { kind, reason })).await;
        };
        let texts = [NAME, "gave up the connection: enough"];
        let (told, driver) = ended(options(), end, &texts);
        assert_eq!(told.map(|told| told.kind), Some(kind));
        assert_eq!(driver.is_ok(), kind == ErrorKind::Disconnected);
    }
}

/// Where the peer's reason can't be read, it still gives up.
#[test]
fn the_peer_gives_up_and_does_not_say_why() {
    // An `Abort` whose exception is a list.
    let words: [u64; 4] = [3 << 32, 1 << 48 | 1 << 32, 1, 1];
    let bytes = words.map(u64::to_le_bytes).concat();
    let end = async |on: &mut Connected| on.peer.say(Message::Raw(bytes)).await;
    let texts = [NAME, "gave up the connection: its reason can't be read"];
    assert_told(ended(options(), end, &texts), "can't be read");
}

/// Behind the guard alone, before an `RpcSystem` of the application's own, it is the same.
#[test]
fn a_connection_of_a_network_of_its_own() {
    for breaks in [true, false] {
        run(async {
            let (client, server) = direct();
            let network =
                twoparty::VatNetwork::new(client.0, client.1, Side::Client, Default::default());
            let guarded = Guarded::new(network, options());
            let guard = guarded.guard();
            let mut system = RpcSystem::new(Box::new(guarded), None);
            let theirs: Client = system.bootstrap(Side::Server);
            let driver = spawn_local(async { system.await.map_err(Error::from) });
            let mut on = connected_by(server, theirs, guard, driver).await;
            let application = application(&mut on).await;
            let half = Message::Raw(said()[..20].to_vec());
            let (said, text, told) = match breaks {
                true => (returns(700, []).into(), "its guard", "return_not_open"),
                false => (half, "was lost", "end of file"),
            };
            on.peer.say(said).await;
            on.peer.end_of_stream().await;
            idle().await;
            let ended = over(on, application, &[NAME, text]).await;
            assert_told(ended, told);
        });
    }
}

/// A stream that fails, from some time on.
struct Failing<S> {
    stream: S,
    with: Rc<Cell<Option<io::ErrorKind>>>,
}

impl<S> Failing<S> {
    fn check(&self) -> io::Result<()> {
        self.with.get().map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Failing<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Failing<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

const FAULTS: [io::ErrorKind; 4] = [
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::TimedOut,
    io::ErrorKind::InvalidData,
    io::ErrorKind::Other,
];

#[test]
fn reading_fails_before_a_message_or_within_one() {
    for kind in FAULTS {
        for begun in [0, 3, 20] {
            run(async {
                let ((stream, writer), server) = direct();
                let with = Rc::new(Cell::new(None));
                let reader = Failing {
                    stream,
                    with: with.clone(),
                };
                let mut on = connect((reader, writer), options(), server).await;
                let application = application(&mut on).await;
                let bytes = said();
                on.peer.say(Message::Raw(bytes[..begun].to_vec())).await;
                idle().await;
                with.set(Some(kind));
                on.peer.say(Message::Raw(bytes[begun..].to_vec())).await;
                idle().await;
                let texts = [NAME, "was lost", &kind.to_string()];
                let (_, driver) = over(on, application, &texts).await;
                assert_eq!(driver.is_ok(), kind == io::ErrorKind::ConnectionReset);
            });
        }
    }
}

/// A connection on which writing fails as soon as it is said with what.
async fn connected_to_write() -> (Connected, Rc<Cell<Option<io::ErrorKind>>>) {
    let ((reader, stream), server) = direct();
    let with = Rc::new(Cell::new(None));
    let writer = Failing {
        stream,
        with: with.clone(),
    };
    (connect((reader, writer), options(), server).await, with)
}

/// The peer still says something, and hears nothing any more.
#[test]
fn writing_fails() {
    for kind in FAULTS {
        run(async {
            let (mut on, with) = connected_to_write().await;
            let mut application = application(&mut on).await;
            with.set(Some(kind));
            application.waits.push(echo(&*on.theirs.hook, None));
            idle().await;
            let texts = [NAME, "was lost", &kind.to_string()];
            let (told, driver) = over(on, application, &texts).await;
            assert_eq!(told, None);
            assert_eq!(driver.is_ok(), kind == io::ErrorKind::ConnectionReset);
        });
    }
}

#[test]
fn what_has_arrived_before_writing_fails_is_read() {
    run(async {
        let (mut on, with) = connected_to_write().await;
        let (mut asked, mut questions) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let (asks, heard) = on.asks(None).await;
            asked.push(spawn_local(async move { asks.promise.await.map(drop) }));
            questions.push(heard.question);
        }
        // The peer answers all of them, and is gone: nothing can be written to it any more.
        with.set(Some(io::ErrorKind::BrokenPipe));
        for question in questions {
            on.peer.say(returns(question, [])).await;
        }
        on.peer.end_of_stream().await;
        for answered in asked {
            answered.await.unwrap().unwrap();
        }
    });
}
