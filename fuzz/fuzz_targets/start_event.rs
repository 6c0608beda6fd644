//! Arbitrary messages as what starts and delivers events: the metadata, the parameters of each kind of
//! event, an HTTP request, tail events.
//!
//! Nothing panics; whatever is made of a message, each span is closed once, and nothing is left when the
//! caller has let go.
//!
//! The first byte of the input says what the rest is for, the second into how many segments it is cut.

#![no_main]

use std::rc::Rc;

use capnp::Word;
use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook};
use capnp::message::{Reader, ReaderOptions, SegmentArray};
use capnp::traits::HasTypeId;
use capspan::fetch::Body;
use capspan::http_over_capnp_capnp::http_service::{self, client_request_context};
use capspan::pipeline::{
    Alarm, CustomEvent, EventContext, QueueBatch, QueueResult, RunResult, Scheduled, Service,
    TailEvents,
};
use capspan::pipeline_capnp::{event_dispatcher, pipeline};
use capspan::tail_capnp::tail_stream;
use capspan_testkit::run::run;
use capspan_testkit::service::{Pair, Place};
use capspan_testkit::world::World;
use futures::StreamExt;
use http::{Request, Response};
use libfuzzer_sys::fuzz_target;

/// The number of the last method of a dispatcher.
const LAST_METHOD: u16 = 6;

fuzz_target!(|input: &[u8]| {
    let [to, cuts, bytes @ ..] = input else {
        return;
    };
    if bytes.len() >= 64 * 1024 {
        return;
    }
    let mut words = Word::allocate_zeroed_vec(bytes.len() / 8);
    Word::words_to_bytes_mut(&mut words).copy_from_slice(&bytes[..bytes.len() / 8 * 8]);
    let segment_words = words.len().div_ceil(usize::from(cuts % 4) + 1).max(1);
    let segments: Vec<_> = words
        .chunks(segment_words)
        .map(Word::words_to_bytes)
        .collect();
    let mut options = ReaderOptions::new();
    options
        .traversal_limit_in_words(Some(64 * 1024))
        .nesting_limit(16);
    let message = Reader::new(SegmentArray::new(&segments), options);
    run(deliver(*to, &message));
});

async fn deliver(to: u8, message: &Reader<SegmentArray<'_>>) {
    let world = World::new();
    let service = |alive| Reads { _alive: alive };
    let pair = Pair::with_service(Place::InProcess, world, |callee| callee, service);
    let methods = LAST_METHOD + 1;
    match u16::from(to) % (methods + 3) {
        0 => {
            let client = pair.client.clone().into_client_hook();
            call(Client::new(client), pipeline::Client::TYPE_ID, 0, message).await;
        }
        1 => ask(&pair, message).await,
        last if last == methods + 2 => tell(&pair, message).await,
        method => {
            let started = pair.client.start_event_request().send();
            let dispatcher = started.pipeline.get_dispatcher().into_client_hook();
            let interface = event_dispatcher::Client::TYPE_ID;
            call(Client::new(dispatcher), interface, method - 2, message).await;
        }
    }
    pair.finish().await;
}

/// Makes a call whose parameters are the message.
async fn call(client: Client, interface: u64, method: u16, message: &Reader<SegmentArray<'_>>) {
    let mut request: capnp::capability::Request<any_pointer::Owned, any_pointer::Owned> =
        client.new_call(interface, method, None);
    let root = message.get_root::<any_pointer::Reader<'_>>();
    if root.and_then(|root| request.get().set_as(root)).is_ok() {
        let _however_it_ends = request.send().promise.await;
    }
}

/// Makes an HTTP request that is the message.
async fn ask(pair: &Pair, message: &Reader<SegmentArray<'_>>) {
    let started = pair.client.start_event_request().send();
    let fetch = started.pipeline.get_dispatcher().fetch_request().send();
    let mut request = fetch.pipeline.get_http().request_request();
    request.get().set_context(capnp_rpc::new_client(TakesAll));
    let root = message.get_root();
    if root
        .and_then(|root| request.get().set_request(root))
        .is_ok()
    {
        let sent: capnp::capability::RemotePromise<http_service::request_results::Owned> =
            request.send();
        let body = sent.pipeline.get_request_body();
        let mut write = body.write_request();
        write.get().set_bytes(b"some");
        let wrote = write.send();
        let ended = body.end_request().send().promise;
        let _however_they_end = futures::join!(wrote, ended, sent.promise);
    }
}

/// Sends tail events that are the message, twice.
async fn tell(pair: &Pair, message: &Reader<SegmentArray<'_>>) {
    let started = pair.client.start_event_request().send();
    let tail = started.pipeline.get_dispatcher().tail_request().send();
    let stream = tail.pipeline.get_stream();
    let told = async {
        for _ in 0..2 {
            let mut request = stream.events_request();
            let root = message.get_root::<tail_stream::events_params::Reader<'_>>();
            let events = root.and_then(|root| root.get_events());
            if events
                .and_then(|events| request.get().set_events(events))
                .is_ok()
            {
                let _however_it_ends = request.send().await;
            }
        }
        stream.end_request().send().promise.await
    };
    let _however_they_end = futures::join!(told, tail.promise);
}

/// Takes any response.
struct TakesAll;

impl client_request_context::Server for TakesAll {
    async fn start_response(
        self: Rc<Self>,
        params: client_request_context::StartResponseParams,
        mut results: client_request_context::StartResponseResults,
    ) -> capnp::Result<()> {
        let _status = params.get()?.get_response()?.get_status_code();
        results.get().set_body(capnp_rpc::new_client(Swallows));
        Ok(())
    }
}

struct Swallows;

impl capspan::byte_stream_capnp::byte_stream::Server for Swallows {
    async fn write(
        self: Rc<Self>,
        _params: capspan::byte_stream_capnp::byte_stream::WriteParams,
    ) -> capnp::Result<()> {
        Ok(())
    }

    async fn end(
        self: Rc<Self>,
        _params: capspan::byte_stream_capnp::byte_stream::EndParams,
        _results: capspan::byte_stream_capnp::byte_stream::EndResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}

/// Reads all that it is given.
struct Reads {
    _alive: Rc<()>,
}

impl Service for Reads {
    async fn open_session(self: Rc<Self>, event: EventContext) -> capnp::Result<Client> {
        event
            .enricher()
            .set_attribute("metadata", format!("{:?}", event.metadata()));
        Ok(Client::new(World::new().thing().into_client_hook()))
    }

    async fn scheduled(
        self: Rc<Self>,
        run: Scheduled,
        _: EventContext,
    ) -> capnp::Result<RunResult> {
        Ok(RunResult::failed(format!("{run:?}")))
    }

    async fn alarm(self: Rc<Self>, alarm: Alarm, _: EventContext) -> capnp::Result<RunResult> {
        Ok(RunResult::failed(format!("{alarm:?}")))
    }

    async fn queue(
        self: Rc<Self>,
        batch: QueueBatch,
        _: EventContext,
    ) -> capnp::Result<QueueResult> {
        let readable = batch.messages()?.filter(|message| message.is_ok()).count();
        assert!(readable <= batch.len());
        Ok(QueueResult::default())
    }

    async fn custom(self: Rc<Self>, mut custom: CustomEvent, _: EventContext) -> capnp::Result<()> {
        let mut copy = capnp::message::Builder::new_default();
        copy.set_root(custom.payload()?)?;
        custom
            .result()
            .set_as(copy.get_root_as_reader::<any_pointer::Reader<'_>>()?)
    }

    async fn tail(self: Rc<Self>, mut tail: TailEvents, _: EventContext) -> capnp::Result<()> {
        let mut read = 0;
        while let Some(event) = tail.next().await {
            // What has been read can be written.
            let mut copy = capnp::message::Builder::new_default();
            capspan::wire::write_tail_event(&event?, copy.init_root());
            read += 1;
        }
        assert_eq!(read, tail.received());
        Ok(())
    }

    async fn fetch(
        self: Rc<Self>,
        request: Request<Body>,
        _: EventContext,
    ) -> capnp::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let mut response = Response::new(body);
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}
