//! The echo by tonic, without `protoc`: what its generated code would be, by hand.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap};
use tonic::server::{Grpc as Server, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use super::child::{Caller, Failure, PAYLOAD};
use super::sink::Sink;

const METHOD: &str = "compare.Echo/echo";

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

/// The usual stack, for all threads: `tracing`'s spans of a sensible level to OpenTelemetry, in batches, with a queue as
/// long as ours.
pub(crate) fn set_up_tracing() -> Result<SdkTracerProvider, Failure> {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(8192)
        .build();
    let processor = BatchSpanProcessor::builder(Sink)
        .with_batch_config(config)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("compare"));
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(layer);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(provider)
}

/// Serves in a thread of its own.
pub(crate) fn serve(socket: &Path, is_traced: bool) -> Result<(), Failure> {
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
            let server = tonic::transport::Server::builder();
            let served = server
                .serve_with_incoming(Echo { is_traced }, incoming)
                .await;
            served.map_err(std::io::Error::other)
        })
    });
    Ok(())
}

#[derive(Clone)]
struct Echo {
    is_traced: bool,
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Method(self.clone());
        Box::pin(async move {
            let codec = ProstCodec::<Payload, Payload>::default();
            Ok(Server::new(codec).unary(method, request).await)
        })
    }
}

struct Method(Echo);

impl UnaryService<Payload> for Method {
    type Response = Payload;
    type Future = BoxFuture<'static, Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        if !self.0.is_traced {
            return Box::pin(async move { Ok(Response::new(request.into_inner())) });
        }
        let context = TraceContextPropagator::new().extract(&Metadata(request.metadata()));
        let span = info_span!(
            "compare.Echo/echo",
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = METHOD,
        );
        // It is new, and enabled.
        let _set = span.set_parent(context);
        let work = async move { Ok(Response::new(request.into_inner())) };
        Box::pin(work.instrument(span))
    }
}

pub(crate) async fn connect(socket: &Path, is_traced: bool) -> Result<impl Caller, Failure> {
    let socket: PathBuf = socket.to_owned();
    // A Unix socket has no address in a URI.
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(Calls { channel, is_traced })
}

struct Calls {
    channel: Channel,
    is_traced: bool,
}

impl Calls {
    async fn send(&self, request: Request<Payload>) -> Result<(), Failure> {
        let mut client = Client::new(self.channel.clone());
        client.ready().await?;
        let path = PathAndQuery::from_static("/compare.Echo/echo");
        let codec = ProstCodec::<Payload, Payload>::default();
        let response = client.unary(request, path, codec).await?;
        match response.into_inner().data == PAYLOAD {
            true => Ok(()),
            false => Err("not what was sent".into()),
        }
    }
}

impl Caller for Calls {
    async fn call(&self) -> Result<(), Failure> {
        let mut request = Request::new(Payload {
            data: PAYLOAD.to_vec(),
        });
        if !self.is_traced {
            return self.send(request).await;
        }
        let span = info_span!(
            "compare.Echo/echo",
            otel.kind = "client",
            rpc.system.name = "grpc",
            rpc.method = METHOD,
        );
        async {
            let context = Span::current().context();
            let mut metadata = MetadataMut(request.metadata_mut());
            TraceContextPropagator::new().inject_context(&context, &mut metadata);
            self.send(request).await
        }
        .instrument(span)
        .await
    }
}

struct Metadata<'a>(&'a MetadataMap);

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let keys = self.0.keys();
        keys.map(|key| match key {
            KeyRef::Ascii(key) => key.as_str(),
            KeyRef::Binary(key) => key.as_str(),
        })
        .collect()
    }
}

struct MetadataMut<'a>(&'a mut MetadataMap);

impl Injector for MetadataMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}
