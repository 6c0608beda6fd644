//! What travels with an event.

use crate::error::Result;
use crate::pipeline_capnp::subrequest_metadata;
use crate::session::Channels;
use crate::trace::{Baggage, SpanContext, Timestamp};
use crate::wire;

/// Bytes of the baggage.
const MAX_BAGGAGE_BYTES: usize = Baggage::MAX_BYTES;

/// Bytes of the feature flags, and of the application's own text.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// What travels with an event from the caller to the callee: who calls, and why.
///
/// Texts are carried as they are: what is in them is a matter of the services. A text that is too long
/// is refused where it is set, and where it is received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub(crate) parents: Channels<Option<SpanContext>>,
    pub(crate) start_time: Option<Timestamp>,
    baggage: Option<Box<str>>,
    feature_flags: Option<Box<str>>,
    application: Option<Box<str>>,
    is_synthetic: bool,
    is_resent: bool,
}

impl Metadata {
    /// Nothing to say.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the caller started the event, by its own clock; `None` where it did not say.
    pub fn start_time(&self) -> Option<Timestamp> {
        self.start_time
    }

    /// A W3C `baggage` header value, as it came: what a peer has sent may be anything. It is read by
    /// [`baggage_list`](Self::baggage_list).
    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }

    /// The members of the baggage that can be read; see [`Baggage::readable`], which also tells how many can
    /// not.
    pub fn baggage_list(&self) -> Baggage {
        let (list, _left_out) = Baggage::readable(self.baggage().unwrap_or_default());
        list
    }

    /// The caller's feature flags, as one JSON object.
    pub fn feature_flags(&self) -> Option<&str> {
        self.feature_flags.as_deref()
    }

    /// What the application wants to pass along, as one JSON value.
    pub fn application(&self) -> Option<&str> {
        self.application.as_deref()
    }

    /// Did a probe or a test make the event, and not a user?
    pub fn is_synthetic(&self) -> bool {
        self.is_synthetic
    }

    /// Was it tried before, so that the work may have been done already?
    pub fn is_resent(&self) -> bool {
        self.is_resent
    }

    /// Sets the baggage, whose limits hold already.
    #[must_use]
    pub fn with_baggage_list(mut self, baggage: &Baggage) -> Self {
        self.baggage = (!baggage.is_empty()).then(|| baggage.to_string().into());
        self
    }

    /// Sets the baggage as a text that nobody looks into; at most 8,192 bytes, the limit of W3C Baggage. A
    /// longer one is an error ([`Error::is_limit`](crate::Error::is_limit)).
    pub fn with_baggage(mut self, baggage: impl Into<String>) -> Result<Self> {
        self.baggage = wire::checked_text(
            "SubrequestMetadata.baggage",
            baggage.into(),
            MAX_BAGGAGE_BYTES,
        )?;
        Ok(self)
    }

    /// Sets the feature flags; at most 64 KiB. Longer ones are an error ([`Error::is_limit`](crate::Error::is_limit)).
    pub fn with_feature_flags(mut self, json: impl Into<String>) -> Result<Self> {
        self.feature_flags = wire::checked_text(
            "SubrequestMetadata.featureFlags",
            json.into(),
            MAX_JSON_BYTES,
        )?;
        Ok(self)
    }

    /// Sets what the application passes along; at most 64 KiB. A longer text is an error
    /// ([`Error::is_limit`](crate::Error::is_limit)).
    pub fn with_application(mut self, json: impl Into<String>) -> Result<Self> {
        self.application = wire::checked_text(
            "SubrequestMetadata.application",
            json.into(),
            MAX_JSON_BYTES,
        )?;
        Ok(self)
    }

    /// Says whether a probe or a test made the event.
    #[must_use]
    pub fn with_synthetic(mut self, is_synthetic: bool) -> Self {
        self.is_synthetic = is_synthetic;
        self
    }

    /// Says whether it was tried before.
    #[must_use]
    pub fn with_resent(mut self, is_resent: bool) -> Self {
        self.is_resent = is_resent;
        self
    }

    /// Bytes of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        let texts = [&self.baggage, &self.feature_flags, &self.application];
        texts.into_iter().flatten().map(|text| text.len()).sum()
    }

    pub(crate) fn write(&self, mut to: subrequest_metadata::Builder<'_>) {
        if let Some(parent) = &self.parents.internal {
            wire::write_context(parent, to.reborrow().init_internal_parent());
        }
        if let Some(parent) = &self.parents.user {
            wire::write_context(parent, to.reborrow().init_user_parent());
        }
        to.set_start_time_unix_nano(wire::write_time(self.start_time));
        if let Some(baggage) = self.baggage() {
            to.set_baggage(baggage);
        }
        if let Some(feature_flags) = self.feature_flags() {
            to.set_feature_flags(feature_flags);
        }
        if let Some(application) = self.application() {
            to.set_application(application);
        }
        let mut origin = to.get_origin();
        origin.set_synthetic(self.is_synthetic);
        origin.set_resent(self.is_resent);
    }

    /// Reads what came in. A parent that can't be read is none; a text that can't be read, or is too
    /// long, is an error with its name.
    pub(crate) fn read(from: subrequest_metadata::Reader<'_>) -> Result<Self> {
        let parent = |context: capnp::Result<_>| context.ok().and_then(wire::read_context);
        let origin = from.get_origin();
        Ok(Self {
            parents: Channels {
                // Most callers have but one channel, and no texts.
                internal: match from.has_internal_parent() {
                    true => parent(from.get_internal_parent()),
                    false => None,
                },
                user: parent(from.get_user_parent()),
            },
            start_time: wire::read_time(from.get_start_time_unix_nano()),
            baggage: match from.has_baggage() {
                true => wire::received_text(
                    "SubrequestMetadata.baggage",
                    from.get_baggage(),
                    MAX_BAGGAGE_BYTES,
                )?,
                false => None,
            },
            feature_flags: match from.has_feature_flags() {
                true => wire::received_text(
                    "SubrequestMetadata.featureFlags",
                    from.get_feature_flags(),
                    MAX_JSON_BYTES,
                )?,
                false => None,
            },
            application: match from.has_application() {
                true => wire::received_text(
                    "SubrequestMetadata.application",
                    from.get_application(),
                    MAX_JSON_BYTES,
                )?,
                false => None,
            },
            is_synthetic: origin.get_synthetic(),
            is_resent: origin.get_resent(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_the_wire(metadata: &Metadata) -> Result<Metadata> {
        let mut message = capnp::message::Builder::new_default();
        metadata.write(message.init_root());
        Metadata::read(message.get_root_as_reader()?)
    }

    #[test]
    fn all_of_it_arrives() -> Result<()> {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut metadata = Metadata::new()
            .with_baggage("tenant=7")?
            .with_feature_flags(r#"{"fast":true}"#)?
            .with_application("[1]")?
            .with_synthetic(true)
            .with_resent(true);
        metadata.parents.user = Some(SpanContext::from_headers(context, Some("a=b"))?);
        metadata.start_time = Some(Timestamp::from_unix_nanos(7));
        assert_eq!(through_the_wire(&metadata)?, metadata);
        assert_eq!(through_the_wire(&Metadata::new())?, Metadata::new());
        Ok(())
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_with_its_name_and_limit() {
        let error = Metadata::new().with_baggage("x".repeat(8193)).unwrap_err();
        assert!(error.is_limit());
        assert_eq!(
            error.reason(),
            "SubrequestMetadata.baggage has 8193 bytes; the limit is 8192"
        );
    }

    #[test]
    fn a_peer_that_sends_too_much_is_refused() {
        let mut message = capnp::message::Builder::new_default();
        let mut root: subrequest_metadata::Builder<'_> = message.init_root();
        root.set_application("x".repeat(MAX_JSON_BYTES + 1));
        assert!(Metadata::read(root.into_reader()).unwrap_err().is_limit());
    }
}
