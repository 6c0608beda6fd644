//! Runs at a certain time.

use std::time::Duration;

use super::kind::{Description, EventKind};
use crate::error::{Error, Result};
use crate::event_capnp::{alarm, run_result, scheduled};
use crate::trace::Timestamp;
use crate::wire;

/// Bytes of a cron expression, and of the reason of a run that failed.
const MAX_CRON_BYTES: usize = 1024;
const MAX_REASON_BYTES: usize = 4096;

/// A run at a time that was set beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    time: Option<Timestamp>,
    cron: Option<Box<str>>,
}

impl Scheduled {
    /// One of which nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says for when it was set.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Says by which rule it comes again; at most 1 KiB. A longer one is an error ([`Error::is_limit`]).
    pub fn with_cron(mut self, cron: impl Into<String>) -> Result<Self> {
        self.cron = wire::checked_text("Scheduled.cron", cron.into(), MAX_CRON_BYTES)?;
        Ok(self)
    }

    /// For when it was set; it may begin later. `None`: not said.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The rule by which it comes again, as a cron expression. `None`: it does not, as far as is known.
    pub fn cron(&self) -> Option<&str> {
        self.cron.as_deref()
    }

    pub(in crate::pipeline) fn write(&self, mut to: scheduled::Builder<'_>) {
        to.set_time_unix_nano(wire::write_time(self.time));
        if let Some(cron) = &self.cron {
            to.set_cron(cron);
        }
    }

    pub(in crate::pipeline) fn read(from: scheduled::Reader<'_>) -> Result<Self> {
        Ok(Self {
            time: wire::read_time(from.get_time_unix_nano()),
            cron: match from.has_cron() {
                true => wire::received_text("Scheduled.cron", from.get_cron(), MAX_CRON_BYTES)?,
                false => None,
            },
        })
    }

    pub(in crate::pipeline) fn describe(&self) -> Description {
        let described = described(EventKind::Scheduled, self.time);
        match self.cron() {
            Some(cron) => described.with("faas.cron", cron),
            None => described,
        }
    }
}

/// A run that the service itself asked for, for a certain time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    time: Option<Timestamp>,
    retries: u32,
}

impl Alarm {
    /// One of which nothing is said, and that was not tried before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says for when the service asked for it.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Says how often it was tried before.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// For when the service asked for it; it may begin later. `None`: not said.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// How often it was tried before.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    pub(in crate::pipeline) fn write(&self, mut to: alarm::Builder<'_>) {
        to.set_time_unix_nano(wire::write_time(self.time));
        to.set_retries(self.retries);
    }

    pub(in crate::pipeline) fn read(from: alarm::Reader<'_>) -> Self {
        Self {
            time: wire::read_time(from.get_time_unix_nano()),
            retries: from.get_retries(),
        }
    }

    pub(in crate::pipeline) fn describe(&self) -> Description {
        described(EventKind::Alarm, self.time)
            .with("capspan.event.retries", i64::from(self.retries))
    }
}

fn described(kind: EventKind, time: Option<Timestamp>) -> Description {
    let described = Description::of_kind(kind);
    match time {
        Some(time) => described.with("capspan.event.time_unix_nano", time.unix_nanos()),
        None => described,
    }
}

/// What became of a run, in its service's words. A service that fails with an error says nothing of trying
/// again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunResult {
    /// It did what it was to do.
    #[default]
    Done,
    /// It could not, and is to be tried again.
    Retry {
        /// Not before this time has passed, in whole milliseconds and at least one; `None`: when the caller thinks
        /// best.
        after: Option<Duration>,
        /// It does not count against the caller's limit of tries.
        is_free: bool,
    },
    /// It failed, and is not to be tried again; the reason is for people, and is cut to 4 KiB. The outcome
    /// of such an event is [`Outcome::Exception`](crate::trace::Outcome::Exception).
    Failed(Box<str>),
}

impl RunResult {
    /// It failed for this reason, and is not to be tried again.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into().into_boxed_str())
    }

    /// Why it failed, if it has.
    pub(in crate::pipeline) fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Done | Self::Retry { .. } => None,
        }
    }

    pub(in crate::pipeline) fn write(&self, mut to: run_result::Builder<'_>) {
        match self {
            Self::Done => to.set_done(()),
            Self::Retry { after, is_free } => {
                let mut retry = to.init_retry();
                retry.set_after_millis(wire::write_delay(*after));
                retry.set_is_free(*is_free);
            }
            Self::Failed(reason) => {
                to.set_failed(&reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]);
            }
        }
    }

    /// A result that is not known is an error: nobody can tell whether the run is to be tried again.
    pub(in crate::pipeline) fn read(from: run_result::Reader<'_>) -> Result<Self> {
        match from.which() {
            Ok(run_result::Done(())) => Ok(Self::Done),
            Ok(run_result::Retry(retry)) => Ok(Self::Retry {
                after: wire::read_delay(retry.get_after_millis()),
                is_free: retry.get_is_free(),
            }),
            Ok(run_result::Failed(reason)) => {
                let reason = wire::read_text(reason).unwrap_or("(a reason that is no text)");
                let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
                Ok(Self::failed(reason))
            }
            Err(capnp::NotInSchema(number)) => Err(Error::malformed(format!(
                "RunResult is of kind {number}, which is not known here; known are 0 to 2"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::Builder;

    #[test]
    fn a_run_arrives() -> Result<()> {
        let time = Timestamp::from_unix_nanos(7);
        for scheduled in [
            Scheduled::new(),
            Scheduled::new().at(time).with_cron("*/5 * * * *")?,
        ] {
            let mut message = Builder::new_default();
            scheduled.write(message.init_root());
            assert_eq!(Scheduled::read(message.get_root_as_reader()?)?, scheduled);
        }
        let mut message = Builder::new_default();
        let alarm = Alarm::new().at(time).with_retries(3);
        alarm.write(message.init_root());
        assert_eq!(Alarm::read(message.get_root_as_reader()?), alarm);
        Ok(())
    }

    #[test]
    fn a_cron_expression_that_is_too_long_is_refused_on_both_sides() -> Result<()> {
        let long = "x".repeat(MAX_CRON_BYTES + 1);
        let refused = Scheduled::new().with_cron(&*long).unwrap_err();
        assert!(refused.is_limit());
        let mut message = Builder::new_default();
        let mut root: scheduled::Builder<'_> = message.init_root();
        root.set_cron(&*long);
        let received = Scheduled::read(root.into_reader()).unwrap_err();
        assert!(received.is_limit());
        let text = "Scheduled.cron has 1025 bytes; the limit is 1024";
        assert_eq!([refused.reason(), received.reason()], [text; 2]);
        Ok(())
    }

    #[test]
    fn a_result_arrives() -> Result<()> {
        let after = Some(Duration::from_millis(1500));
        for result in [
            RunResult::Done,
            RunResult::Retry {
                after,
                is_free: true,
            },
            RunResult::Retry {
                after: None,
                is_free: false,
            },
            RunResult::failed("no disk"),
        ] {
            let mut message = Builder::new_default();
            result.write(message.init_root());
            assert_eq!(RunResult::read(message.get_root_as_reader()?)?, result);
        }
        Ok(())
    }

    #[test]
    fn a_reason_is_cut_at_a_character() -> Result<()> {
        let mut message = Builder::new_default();
        RunResult::failed("ä".repeat(5000)).write(message.init_root());
        let read = RunResult::read(message.get_root_as_reader()?)?;
        assert_eq!(read.failure().map(str::len), Some(MAX_REASON_BYTES));
        Ok(())
    }

    #[test]
    fn a_result_of_a_kind_that_is_not_known_is_an_error() -> Result<()> {
        let mut message = Builder::new_default();
        RunResult::Done.write(message.init_root());
        let mut bytes = capnp::serialize::write_message_to_words(&message);
        // After the table of segments and the root pointer.
        bytes[16..18].copy_from_slice(&9_u16.to_le_bytes());
        let read = capnp::serialize::read_message_from_flat_slice(
            &mut &bytes[..],
            capnp::message::ReaderOptions::new(),
        )?;
        let error = RunResult::read(read.get_root()?).unwrap_err();
        assert!(error.is_peer_fault());
        Ok(())
    }
}
