//! What we say of a span in attributes, as OTLP has no field for it.

use std::borrow::Cow;

use crate::trace::{Channel, Dropped};

pub(super) const OUTCOME: &str = "capspan.outcome";
pub(super) const CHANNEL: &str = "capspan.channel";
pub(super) const NAME: &str = "capspan.name";
pub(super) const ORIGINAL_NAME: &str = "capspan.original_name";
pub(super) const FULL_NAME_BYTES: &str = "capspan.full_name_bytes";
pub(super) const NAMED_BY_CALLEE: &str = "capspan.named_by_callee";
pub(super) const STATUS: &str = "capspan.status";
pub(super) const STATUS_MESSAGE: &str = "capspan.status_message";
pub(super) const STATUS_BY_CALLEE: &str = "capspan.status_by_callee";
pub(super) const SET_BY_CALLEE: &str = "capspan.set_by_callee";
pub(super) const BY_CALLEE: &str = "capspan.by_callee";
pub(super) const EVENTS: &str = "capspan.events";
pub(super) const LINKS: &str = "capspan.links";

/// The counters of what was cut or refused that are not zero, each with its key. What has a field of its own in
/// OTLP is left out for a span.
pub(super) fn dropped(
    dropped: &Dropped,
    is_span: bool,
) -> impl Iterator<Item = (Cow<'static, str>, i64)> + use<> {
    let has_field = move |name: &str| is_span && matches!(name, "attributes" | "events" | "links");
    dropped
        .iter()
        .filter(move |(name, count)| *count > 0 && !has_field(name))
        .map(|(name, count)| {
            (
                format!("capspan.dropped.{}", snake_case(name)).into(),
                count.into(),
            )
        })
}

/// The channel, unless it is the usual one.
pub(super) fn channel(channel: Channel) -> Option<&'static str> {
    (channel != Channel::User).then(|| channel.as_str())
}

/// `cutNames` is `cut_names`, as attributes are written.
fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}
