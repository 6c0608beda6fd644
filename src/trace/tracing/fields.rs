//! What is said of a span or an event of `tracing`'s.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing_core::field::{Field, Visit};
use tracing_core::{Event, Metadata};

use super::super::{SpanEvent, SpanUpdate, Value};

/// How much is formatted of one value, in bytes: as much as a span holds in all, by default.
const MAX_FORMATTED_BYTES: usize = 64 * 1024;

/// The name of the field in which `tracing` has the text of an event.
const MESSAGE: &str = "message";

/// What fields say, as attributes.
pub(super) fn update(record: impl FnOnce(&mut dyn Visit)) -> SpanUpdate {
    let mut fields = Fields::default();
    record(&mut fields);
    fields.update
}

/// An event: its text is the name, or else the name that `tracing` has for it.
pub(super) fn event(event: &Event<'_>) -> SpanEvent {
    let mut fields = Fields {
        takes_message: true,
        ..Fields::default()
    };
    event.record(&mut fields);
    let metadata: &Metadata<'_> = event.metadata();
    let name = fields.message.filter(|message| !message.is_empty());
    let mut event = SpanEvent::new(name.unwrap_or_else(|| metadata.name().to_owned()));
    event.attributes = fields.update.attributes;
    event
        .attribute("level", metadata.level().as_str())
        .attribute("target", metadata.target())
}

#[derive(Default)]
struct Fields {
    update: SpanUpdate,
    takes_message: bool,
    message: Option<String>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let update = std::mem::take(&mut self.update);
        self.update = update.attribute(name, value);
    }

    fn set_text(&mut self, field: &Field, text: String) {
        match self.takes_message && field.name() == MESSAGE {
            true => self.message = Some(text),
            false => self.set(field, text),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.set(field, value),
            Err(_) => self.set(field, value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, formatted(format_args!("{value}")));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set_text(field, formatted(format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_text(field, formatted(format_args!("{value:?}")));
    }
}

/// The beginning of a text, so that no value costs more than its limit.
fn formatted(text: fmt::Arguments<'_>) -> String {
    let mut to = Beginning(String::new());
    let _there_is_more = to.write_fmt(text);
    to.0
}

struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_FORMATTED_BYTES - self.0.len();
        let fitting = &text[..text.floor_char_boundary(room)];
        self.0.push_str(fitting);
        match fitting.len() == text.len() {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}
