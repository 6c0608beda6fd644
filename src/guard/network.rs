//! A network that notes the end of its connection before `capnp-rpc` sees it.

use capnp::capability::Promise;
use capnp_rpc::rpc_capnp::message;
use capnp_rpc::twoparty::VatId;
use capnp_rpc::{Connection, FlowController, IncomingMessage, OutgoingMessage, VatNetwork};

use super::ending::Ending;
use crate::error::Error;

/// Bytes of what a peer says about an end. It is kept as long as a handle of the connection is.
const MAX_REASON_BYTES: usize = 4096;

/// Wraps a two-party network.
pub(super) struct Watched<N> {
    network: N,
    ending: Ending,
}

impl<N> Watched<N> {
    pub(super) fn new(network: N, ending: Ending) -> Self {
        Self { network, ending }
    }

    fn watch(&self, connection: Box<dyn Connection<VatId>>) -> Box<dyn Connection<VatId>> {
        Box::new(WatchedConnection {
            connection,
            ending: self.ending.clone(),
        })
    }
}

impl<N: VatNetwork<VatId>> VatNetwork<VatId> for Watched<N> {
    fn connect(&mut self, host_id: VatId) -> Option<Box<dyn Connection<VatId>>> {
        let connection = self.network.connect(host_id)?;
        Some(self.watch(connection))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<VatId>>, capnp::Error> {
        let (accepted, ending) = (self.network.accept(), self.ending.clone());
        Promise::from_future(async move {
            let connection: Box<dyn Connection<VatId>> = Box::new(WatchedConnection {
                connection: accepted.await?,
                ending,
            });
            Ok(connection)
        })
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        let (shutdown, ending) = (self.network.drive_until_shutdown(), self.ending.clone());
        Promise::from_future(async move {
            let result = shutdown.await;
            ending.end(match &result {
                Ok(()) => Error::disconnected("the connection was shut down"),
                Err(error) => lost(error),
            });
            result
        })
    }
}

struct WatchedConnection {
    connection: Box<dyn Connection<VatId>>,
    ending: Ending,
}

impl Connection<VatId> for WatchedConnection {
    fn get_peer_vat_id(&self) -> VatId {
        self.connection.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        self.connection
            .new_outgoing_message(first_segment_word_size)
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn IncomingMessage>>, capnp::Error> {
        let (received, ending) = (
            self.connection.receive_incoming_message(),
            self.ending.clone(),
        );
        Promise::from_future(async move {
            let result = received.await;
            match &result {
                Ok(Some(incoming)) => {
                    if let Some(reason) = abort(&**incoming) {
                        ending.end(reason);
                    }
                }
                Ok(None) => ending.end(Error::disconnected("the peer closed the connection")),
                Err(error) => ending.end(lost(error)),
            }
            result
        })
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), capnp::Error>) {
        self.connection.new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        self.ending.end(match &result {
            Ok(()) => Error::disconnected("the connection was shut down"),
            Err(error) => lost(error),
        });
        self.connection.shutdown(result)
    }
}

/// Why the peer gives up, if that is what a message says.
fn abort(incoming: &dyn IncomingMessage) -> Option<Error> {
    let message: message::Reader<'_> = incoming.get_body().ok()?.get_as().ok()?;
    let Ok(message::Abort(Ok(exception))) = message.which() else {
        return None;
    };
    let reason = exception.get_reason().ok()?.to_str().ok()?;
    Some(Error::disconnected(format!(
        "the peer gave up the connection: {}",
        cut(reason)
    )))
}

fn lost(error: &capnp::Error) -> Error {
    match error.extra.as_str() {
        "" => Error::disconnected(format!("the connection was lost: {}", error.kind)),
        extra => Error::disconnected(format!("the connection was lost: {}", cut(extra))),
    }
}

/// As much of a reason as is kept.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}
