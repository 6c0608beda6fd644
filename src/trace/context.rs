//! Which span somebody is in, and how that is written into W3C Trace Context headers.

use super::ids::{SpanId, TraceId, hex};
use super::trace_state::TraceState;
use crate::{Error, Result};

/// The W3C trace flags. Bits that are not known here are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// No flag set.
    pub const NONE: Self = Self(0);
    /// Somebody upstream may have recorded this trace.
    pub const SAMPLED: Self = Self(1);
    /// The last 56 bits of the trace id are random (level 2).
    pub const RANDOM: Self = Self(2);

    /// The flags with these bits.
    pub const fn from_u8(bits: u8) -> Self {
        Self(bits)
    }

    /// All bits, known or not.
    pub const fn to_u8(self) -> u8 {
        self.0
    }

    /// Is [`SAMPLED`](Self::SAMPLED) set?
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }

    /// Is [`RANDOM`](Self::RANDOM) set?
    pub const fn is_random(self) -> bool {
        self.0 & Self::RANDOM.0 != 0
    }
}

/// Which span somebody is in: enough to start children of it elsewhere, and for nothing else.
///
/// A clone is cheap: it never copies the trace state.
///
/// ```
/// # use capspan::trace::SpanContext;
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = SpanContext::from_headers(header, Some("rojo=00f067aa0ba902b7"))?;
/// assert!(context.flags().is_some_and(|flags| flags.is_sampled()));
/// assert_eq!(context.to_traceparent(), header);
/// # Ok::<(), capspan::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpanContext {
    trace_id: TraceId,
    span_id: SpanId,
    flags: Option<TraceFlags>,
    trace_state: TraceState,
}

impl SpanContext {
    /// A context with unset flags and without trace state.
    pub const fn new(trace_id: TraceId, span_id: SpanId) -> Self {
        Self {
            trace_id,
            span_id,
            flags: None,
            trace_state: TraceState::empty(),
        }
    }

    /// The same with these flags; `None` leaves it to the receiver whether the trace is sampled.
    #[must_use]
    pub fn with_flags(mut self, flags: impl Into<Option<TraceFlags>>) -> Self {
        self.flags = flags.into();
        self
    }

    /// The same with this trace state.
    #[must_use]
    pub fn with_trace_state(mut self, trace_state: TraceState) -> Self {
        self.trace_state = trace_state;
        self
    }

    /// The same trace, another span of it.
    #[must_use]
    pub fn with_span_id(mut self, span_id: SpanId) -> Self {
        self.span_id = span_id;
        self
    }

    /// The trace.
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span in the trace.
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The flags; `None` where nobody has decided yet whether the trace is sampled.
    pub const fn flags(&self) -> Option<TraceFlags> {
        self.flags
    }

    /// What other tracing systems want carried along.
    pub const fn trace_state(&self) -> &TraceState {
        &self.trace_state
    }

    /// The value of a W3C `traceparent` header, version 00: 55 characters.
    ///
    /// The header knows no unset flags, they are written as 00; and it demands that flags other
    /// than "sampled" and "random" be written as zero. The `tracestate` header is
    /// [`trace_state().to_string()`](TraceState); leave it out when that is empty.
    pub fn to_traceparent(&self) -> String {
        let known = TraceFlags::SAMPLED.0 | TraceFlags::RANDOM.0;
        let flags = self.flags.unwrap_or_default().0 & known;
        format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }

    /// Reads W3C headers of any version that exists or may come (all but ff).
    ///
    /// Several `tracestate` lines are to be joined with commas before. One that can't be read is
    /// dropped, and the rest kept.
    ///
    /// # Errors
    /// A peer's fault if `traceparent` is not as W3C Trace Context has it: start a new trace.
    pub fn from_headers(traceparent: &str, tracestate: Option<&str>) -> Result<Self> {
        let trace_state = tracestate.and_then(|header| header.parse().ok());
        let mut context = parse_traceparent(traceparent.as_bytes())
            .ok_or_else(|| Error::malformed("traceparent: not as W3C Trace Context has it"))?;
        context.trace_state = trace_state.unwrap_or_default();
        Ok(context)
    }
}

/// `version-traceid-spanid-flags`; a version after 00 may go on after another dash.
fn parse_traceparent(header: &[u8]) -> Option<SpanContext> {
    let (known, rest) = header.split_at_checked(55)?;
    let version = hex(&known[..2], 2)?;
    let goes_on = version > 0 && rest.first() == Some(&b'-');
    let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
    if version == 0xff || !dashes || !(rest.is_empty() || goes_on) {
        return None;
    }
    let trace_id = TraceId::from_u128(hex(&known[3..35], 32)?)?;
    let span_id = SpanId::from_u64(hex(&known[36..52], 16)? as u64)?;
    let flags = TraceFlags(hex(&known[53..], 2)? as u8);
    Some(SpanContext::new(trace_id, span_id).with_flags(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";
    const SPAN: &str = "1234567890123456";

    #[test]
    fn w3c_conformance_of_a_traceparent() {
        let good = |version: &str, flags: &str| format!("{version}-{TRACE}-{SPAN}-{flags}");
        let cases = [
            (good("00", "00"), true),
            (good("00", "01"), true),
            (good("00", "ff"), true),
            (good("cc", "01"), true),
            (good("fe", "01"), true),
            (good("cc", "01-what-the-future-will-be-like"), true),
            (good("cc", "01-"), true),
            (good("cc", "01.what-the-future-will-not-be-like"), false),
            (good("cc", "011"), false),
            (good("00", "01-"), false),
            (good("00", "01-what-the-future-will-be-like"), false),
            (good("00", "011"), false),
            (good("ff", "01"), false),
            (good("0", "01"), false),
            (good("000", "01"), false),
            (good("0x", "01"), false),
            (good(".0", "01"), false),
            (good("CC", "01"), false),
            (good("00", "1"), false),
            (good("00", ".0"), false),
            (good("00", "0G"), false),
            (good("00", "0A"), false),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), false),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), false),
            (format!("00-{TRACE}0-{SPAN}-01"), false),
            (format!("00-{}-{SPAN}-01", &TRACE[1..]), false),
            (format!("00-{}A-{SPAN}-01", &TRACE[1..]), false),
            (format!("00-{}.-{SPAN}-01", &TRACE[1..]), false),
            (format!("00-{TRACE}-{}0-01", SPAN), false),
            (format!("00-{TRACE}-{}-01", &SPAN[1..]), false),
            (format!("00-{TRACE}-{}A-01", &SPAN[1..]), false),
            (format!("00_{TRACE}-{SPAN}-01"), false),
            (format!("00-{TRACE}_{SPAN}-01"), false),
            (format!("00-{TRACE}-{SPAN}_01"), false),
            (format!(" 00-{TRACE}-{SPAN}-01"), false),
            (format!("00-{TRACE}-{SPAN}-01 "), false),
            (format!("00-{}é-{SPAN}-01", &TRACE[2..]), false),
            (String::new(), false),
        ];
        for (header, wanted) in cases {
            let read = SpanContext::from_headers(&header, None);
            assert_eq!(read.is_ok(), wanted, "{header:?}");
            match read {
                Ok(context) => {
                    assert_eq!(context.trace_id().to_string(), TRACE);
                    assert_eq!(context.span_id().to_string(), SPAN);
                }
                Err(error) => assert!(error.is_peer_fault()),
            }
        }
    }

    #[test]
    fn a_bad_tracestate_is_dropped_alone() {
        let header = format!("00-{TRACE}-{SPAN}-01");
        let context = SpanContext::from_headers(&header, Some("FOO=1")).unwrap();
        assert!(context.trace_state().is_empty());
        let context = SpanContext::from_headers(&header, Some("foo=1")).unwrap();
        assert_eq!(context.trace_state().get("foo"), Some("1"));
    }

    #[test]
    fn unknown_flags_are_kept_but_not_written_into_the_header() {
        let header = format!("00-{TRACE}-{SPAN}-ff");
        let context = SpanContext::from_headers(&header, None).unwrap();
        assert_eq!(context.flags().map(TraceFlags::to_u8), Some(0xff));
        assert_eq!(context.to_traceparent(), format!("00-{TRACE}-{SPAN}-03"));
    }

    #[test]
    fn a_later_version_is_passed_on_as_version_00() {
        let header = format!("cc-{TRACE}-{SPAN}-01-more");
        let context = SpanContext::from_headers(&header, None).unwrap();
        assert_eq!(context.to_traceparent(), format!("00-{TRACE}-{SPAN}-01"));
    }

    #[test]
    fn unset_flags_are_written_as_not_sampled() {
        let context = SpanContext::new(TRACE.parse().unwrap(), SPAN.parse().unwrap());
        assert_eq!(context.flags(), None);
        assert!(context.to_traceparent().ends_with("-00"));
    }
}
