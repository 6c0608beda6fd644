//! Messages of a queue.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::kind::{Description, EventKind};
use crate::error::{Error, Result};
use crate::event_capnp::{queue_batch, queue_message, queue_result};
use crate::pipeline_capnp::event_dispatcher;
use crate::trace::Timestamp;
use crate::wire;

/// How many messages a batch has at most.
const MAX_MESSAGES: u32 = 10_000;

/// Bytes of all messages of a batch that is sent: half of what a receiver reads by default.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// Bytes of the name of a queue, of a message's id and of its content type.
const MAX_NAME_BYTES: usize = 1024;

/// One message of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueMessage<'a> {
    /// Names it in its queue; may be empty. At most 1 KiB.
    pub id: &'a str,
    /// When it was put into the queue. `None`: not said.
    pub time: Option<Timestamp>,
    /// How often it was delivered before.
    pub attempts: u32,
    /// What the body is, as a media type; empty: not said. At most 1 KiB.
    pub content_type: &'a str,
    /// What it says.
    pub body: &'a [u8],
}

/// Messages of one queue that have been received, in the order in which they came. They are read where
/// they lie; the event lasts as long as this is kept.
pub struct QueueBatch {
    params: event_dispatcher::QueueParams,
    queue: Box<str>,
    len: usize,
}

impl QueueBatch {
    pub(in crate::pipeline) fn receive(params: event_dispatcher::QueueParams) -> Result<Self> {
        let (queue, len) = {
            let batch = params.get()?.get_batch()?;
            (read_queue(batch)?, batch.get_messages()?.len())
        };
        if len > MAX_MESSAGES {
            return Err(Error::limit(format!(
                "QueueBatch.messages has {len} elements; the limit is {MAX_MESSAGES}"
            )));
        }
        Ok(Self {
            params,
            queue,
            len: len as usize,
        })
    }

    /// What is told of one that has just come in.
    pub(in crate::pipeline) fn describe(from: queue_batch::Reader<'_>) -> Result<Description> {
        let messages = from.get_messages()?.len() as usize;
        Ok(describe(&read_queue(from)?, messages))
    }

    /// The queue's name; empty if it has none.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// How many messages there are; at most 10,000.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The messages. One that can't be read is an error that names what is wrong with it.
    ///
    /// All that is read of a batch counts against one limit, 64 MiB by default, where it came over a
    /// connection ([`Error::is_peer_fault`] where that is reached): go through it once.
    pub fn messages(&self) -> Result<impl Iterator<Item = Result<QueueMessage<'_>>>> {
        let messages = self.params.get()?.get_batch()?.get_messages()?;
        Ok(messages.into_iter().map(read_message))
    }
}

/// What is told of a batch on its span.
pub(in crate::pipeline) fn describe(queue: &str, messages: usize) -> Description {
    let name = match queue {
        "" => "process".into(),
        queue => format!("process {queue}"),
    };
    Description::new(EventKind::Queue, name)
        .with("messaging.operation.type", "process")
        .with("messaging.destination.name", queue)
        .with("messaging.batch.message_count", messages)
}

fn read_queue(batch: queue_batch::Reader<'_>) -> Result<Box<str>> {
    let queue = wire::received_text("QueueBatch.queue", batch.get_queue(), MAX_NAME_BYTES)?;
    Ok(queue.unwrap_or_default())
}

fn read_message(from: queue_message::Reader<'_>) -> Result<QueueMessage<'_>> {
    let text = |field, text| wire::received_str(field, text, MAX_NAME_BYTES);
    Ok(QueueMessage {
        id: text("QueueMessage.id", from.get_id())?,
        time: wire::read_time(from.get_time_unix_nano()),
        attempts: from.get_attempts(),
        content_type: text("QueueMessage.contentType", from.get_content_type())?,
        body: from.get_body()?,
    })
}

/// A name that is too long, or too many messages, are an error with the limit ([`Error::is_limit`]).
pub(in crate::pipeline) fn check(queue: &str, messages: &[QueueMessage<'_>]) -> Result<()> {
    wire::checked_str("QueueBatch.queue", queue, MAX_NAME_BYTES)?;
    if messages.len() > MAX_MESSAGES as usize {
        return Err(Error::limit(format!(
            "a batch of {} messages; the limit is {MAX_MESSAGES}",
            messages.len()
        )));
    }
    for message in messages {
        wire::checked_str("QueueMessage.id", message.id, MAX_NAME_BYTES)?;
        let content_type = message.content_type;
        wire::checked_str("QueueMessage.contentType", content_type, MAX_NAME_BYTES)?;
    }
    let sizes = messages
        .iter()
        .map(|message| message.id.len() + message.content_type.len() + message.body.len());
    let bytes = sizes.fold(0, usize::saturating_add);
    if bytes > MAX_BATCH_BYTES {
        return Err(Error::limit(format!(
            "a batch of {bytes} bytes; the limit is {MAX_BATCH_BYTES}"
        )));
    }
    Ok(())
}

/// Writes what has been checked.
pub(in crate::pipeline) fn write(
    queue: &str,
    messages: &[QueueMessage<'_>],
    mut to: queue_batch::Builder<'_>,
) {
    to.set_queue(queue);
    let mut list = to.init_messages(messages.len() as u32);
    for (at, message) in (0..).zip(messages) {
        let mut to = list.reborrow().get(at);
        to.set_id(message.id);
        to.set_time_unix_nano(wire::write_time(message.time));
        to.set_attempts(message.attempts);
        to.set_content_type(message.content_type);
        to.set_body(message.body);
    }
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueDisposition {
    /// It has been dealt with, and is never delivered again.
    #[default]
    Acknowledge,
    /// It is to be delivered again.
    Retry {
        /// Not before this time has passed, in whole milliseconds and at least one; `None`: when the caller thinks
        /// best.
        after: Option<Duration>,
    },
}

impl QueueDisposition {
    /// To be delivered again when the caller thinks best.
    pub const RETRY: Self = Self::Retry { after: None };
}

/// Which messages of a batch have been dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueResult {
    rest: QueueDisposition,
    single: BTreeMap<u32, QueueDisposition>,
}

impl QueueResult {
    /// All messages but those that are named afterwards.
    pub fn all(disposition: QueueDisposition) -> Self {
        Self {
            rest: disposition,
            single: BTreeMap::new(),
        }
    }

    /// What is to become of the message at `index`; the last word on it counts. An index above those of
    /// any batch changes nothing.
    pub fn set(&mut self, index: usize, disposition: QueueDisposition) {
        if let Some(index) = u32::try_from(index).ok().filter(|at| *at < MAX_MESSAGES) {
            self.single.insert(index, disposition);
        }
    }

    /// What is to become of the message at `index`.
    pub fn disposition(&self, index: usize) -> QueueDisposition {
        let single = u32::try_from(index)
            .ok()
            .and_then(|at| self.single.get(&at));
        single.copied().unwrap_or(self.rest)
    }

    pub(in crate::pipeline) fn write(&self, mut to: queue_result::Builder<'_>) {
        write_disposition(self.rest, to.reborrow().init_rest());
        // No more than `MAX_MESSAGES`, as `set` has it.
        let mut list = to.init_dispositions(self.single.len() as u32);
        for (at, (&index, &disposition)) in (0..).zip(&self.single) {
            let mut entry = list.reborrow().get(at);
            entry.set_index(index);
            write_disposition(disposition, entry.init_disposition());
        }
    }

    /// Reads what became of a batch of `messages`. A disposition that is not known is to deliver again.
    pub(in crate::pipeline) fn read(
        from: queue_result::Reader<'_>,
        messages: usize,
    ) -> Result<Self> {
        let mut result = Self::all(read_disposition(from.get_rest()?));
        let dispositions = from.get_dispositions()?;
        let len = dispositions.len();
        if len > MAX_MESSAGES {
            return Err(Error::limit(format!(
                "QueueResult.dispositions has {len} elements; the limit is {MAX_MESSAGES}"
            )));
        }
        for entry in dispositions {
            let index = entry.get_index() as usize;
            if index < messages {
                result.set(index, read_disposition(entry.get_disposition()?));
            }
        }
        Ok(result)
    }
}

fn write_disposition(
    disposition: QueueDisposition,
    mut to: queue_result::disposition::Builder<'_>,
) {
    match disposition {
        QueueDisposition::Acknowledge => to.set_acknowledge(()),
        QueueDisposition::Retry { after } => to.set_retry_after_millis(wire::write_delay(after)),
    }
}

fn read_disposition(from: queue_result::disposition::Reader<'_>) -> QueueDisposition {
    match from.which() {
        Ok(queue_result::disposition::Acknowledge(())) => QueueDisposition::Acknowledge,
        Ok(queue_result::disposition::RetryAfterMillis(millis)) => QueueDisposition::Retry {
            after: wire::read_delay(millis),
        },
        Err(capnp::NotInSchema(_)) => QueueDisposition::RETRY,
    }
}

impl fmt::Debug for QueueBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBatch")
            .field("queue", &self.queue)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::Builder;

    fn result_through_the_wire(result: &QueueResult, messages: usize) -> Result<QueueResult> {
        let mut message = Builder::new_default();
        result.write(message.init_root());
        QueueResult::read(message.get_root_as_reader()?, messages)
    }

    #[test]
    fn dispositions_arrive() -> Result<()> {
        let later = QueueDisposition::Retry {
            after: Some(Duration::from_secs(3)),
        };
        let mut result = QueueResult::all(QueueDisposition::RETRY);
        result.set(2, QueueDisposition::Acknowledge);
        result.set(0, QueueDisposition::RETRY);
        result.set(0, later);
        assert_eq!(result_through_the_wire(&result, 3)?, result);
        let dispositions = [0, 1, 2].map(|index| result.disposition(index));
        assert_eq!(
            dispositions,
            [
                later,
                QueueDisposition::RETRY,
                QueueDisposition::Acknowledge
            ]
        );
        Ok(())
    }

    #[test]
    fn dispositions_on_messages_that_are_not_there_are_left_out() -> Result<()> {
        let mut result = QueueResult::default();
        result.set(1, QueueDisposition::RETRY);
        result.set(usize::MAX, QueueDisposition::RETRY);
        assert_eq!(result_through_the_wire(&result, 2)?, result);
        assert_eq!(result_through_the_wire(&result, 1)?, QueueResult::default());
        Ok(())
    }

    #[test]
    fn a_batch_with_a_name_that_is_too_long_is_refused() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let message = QueueMessage {
            id: &long,
            ..QueueMessage::default()
        };
        let error = check("orders", &[message]).unwrap_err();
        assert!(error.is_limit());
        assert_eq!(
            error.reason(),
            "QueueMessage.id has 1025 bytes; the limit is 1024"
        );
    }
}
