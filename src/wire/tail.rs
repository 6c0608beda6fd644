//! Tail events.

use super::update::{add, cut, length, read_attributes, read_event, write_attributes, write_event};
use super::{MAX_ELEMENTS, read_context, read_text, write_context};
use crate::tail_capnp::{self, tail_event};
use crate::trace::{
    Channel, Dropped, Onset, Outcome, SpanClose, SpanContext, SpanId, SpanKind, SpanOpen,
    SpanStatus, TailDetail, TailEvent, Timestamp,
};
use crate::trace_capnp;

/// Writes a tail event.
pub fn write_tail_event(event: &TailEvent, mut to: tail_event::Builder<'_>) {
    to.set_sequence(event.sequence);
    to.set_time_unix_nano(event.time.unix_nanos());
    to.set_span_id(event.span_id.to_u64());
    to.set_by_callee(event.by_callee);
    match &event.detail {
        TailDetail::Onset(onset) => write_onset(onset, to.init_onset()),
        TailDetail::SpanOpen(span) => write_open(span, to.init_span_open()),
        TailDetail::Attributes(list) => write_attributes(list, to.init_attributes(length(list))),
        TailDetail::Rename(name) => to.set_rename(cut(name)),
        TailDetail::SpanEvent(event) => write_event(event, to.init_span_event()),
        TailDetail::Link(link) => write_context(link, to.init_link()),
        TailDetail::Status(status) => write_status(status, to.init_status()),
        TailDetail::SpanClose(span) => write_close(span, to.init_span_close()),
        TailDetail::Outcome { span, open_spans } => {
            let mut outcome = to.init_outcome();
            outcome.set_open_spans(*open_spans);
            write_close(span, outcome.init_span());
        }
    }
}

/// Reads a tail event; `None` where it can't be read, is not known here, or lacks what it can't be without.
/// What is left out of it is counted in `dropped`.
pub fn read_tail_event(from: tail_event::Reader<'_>, dropped: &mut Dropped) -> Option<TailEvent> {
    let time = Timestamp::from_unix_nanos(from.get_time_unix_nano());
    Some(TailEvent {
        sequence: from.get_sequence(),
        time,
        span_id: SpanId::from_u64(from.get_span_id())?,
        by_callee: from.get_by_callee(),
        detail: read_detail(from, time, dropped)?,
    })
}

fn read_detail(
    from: tail_event::Reader<'_>,
    time: Timestamp,
    dropped: &mut Dropped,
) -> Option<TailDetail> {
    Some(match from.which().ok()? {
        tail_event::Onset(onset) => TailDetail::Onset(read_onset(onset.ok()?, dropped)?),
        tail_event::SpanOpen(span) => TailDetail::SpanOpen(read_open(span.ok()?, dropped)),
        tail_event::Attributes(list) => TailDetail::Attributes(read_attributes(
            list,
            &mut dropped.attributes,
            &mut dropped.cut_values,
        )),
        tail_event::Rename(name) => {
            TailDetail::Rename(read_text(name).filter(|name| !name.is_empty())?.into())
        }
        tail_event::SpanEvent(event) => {
            let event = read_event(event.ok()?, dropped)?;
            if event.name.is_empty() {
                return None;
            }
            TailDetail::SpanEvent(event.at(time))
        }
        tail_event::Link(link) => TailDetail::Link(read_context(link.ok()?)?),
        tail_event::Status(status) => TailDetail::Status(read_status(status.ok()?, dropped)?),
        tail_event::SpanClose(span) => TailDetail::SpanClose(read_close(span.ok()?)),
        tail_event::Outcome(outcome) => {
            let outcome = outcome.ok()?;
            TailDetail::Outcome {
                span: outcome.get_span().map(read_close).unwrap_or_default(),
                open_spans: outcome.get_open_spans(),
            }
        }
    })
}

fn write_onset(onset: &Onset, mut to: tail_event::onset::Builder<'_>) {
    write_context(&onset.context, to.reborrow().init_context());
    to.set_service(cut(&onset.service));
    to.set_internal(onset.channel == Channel::Internal);
    write_open(&onset.span, to.init_span());
}

fn read_onset(from: tail_event::onset::Reader<'_>, dropped: &mut Dropped) -> Option<Onset> {
    Some(Onset {
        context: read_context(from.get_context().ok()?)?,
        service: read_text(from.get_service()).unwrap_or_default().into(),
        channel: match from.get_internal() {
            true => Channel::Internal,
            false => Channel::User,
        },
        span: match from.get_span() {
            Ok(span) => read_open(span, dropped),
            Err(_) => SpanOpen::default(),
        },
    })
}

fn write_open(span: &SpanOpen, mut to: tail_event::span_open::Builder<'_>) {
    to.set_parent_span_id(span.parent_span_id.map_or(0, SpanId::to_u64));
    to.set_kind(match span.kind {
        SpanKind::Internal => tail_capnp::SpanKind::Internal,
        SpanKind::Server => tail_capnp::SpanKind::Server,
        SpanKind::Client => tail_capnp::SpanKind::Client,
    });
    to.set_name(cut(&span.name));
    if !span.attributes.is_empty() {
        let list = to.reborrow().init_attributes(length(&span.attributes));
        write_attributes(&span.attributes, list);
    }
    if !span.links.is_empty() {
        let mut list = to.init_links(length(&span.links));
        for (index, link) in (0..MAX_ELEMENTS).zip(&span.links) {
            write_context(link, list.reborrow().get(index));
        }
    }
}

fn read_open(from: tail_event::span_open::Reader<'_>, dropped: &mut Dropped) -> SpanOpen {
    SpanOpen {
        parent_span_id: SpanId::from_u64(from.get_parent_span_id()),
        kind: match from.get_kind() {
            Ok(tail_capnp::SpanKind::Server) => SpanKind::Server,
            Ok(tail_capnp::SpanKind::Client) => SpanKind::Client,
            Ok(tail_capnp::SpanKind::Internal) | Err(capnp::NotInSchema(_)) => SpanKind::Internal,
        },
        name: match read_text(from.get_name()) {
            Some(name) => name.into(),
            None => {
                add(&mut dropped.cut_names, 1);
                Box::default()
            }
        },
        attributes: read_attributes(
            from.get_attributes(),
            &mut dropped.attributes,
            &mut dropped.cut_values,
        ),
        links: read_links(from, &mut dropped.links),
    }
}

fn read_links(from: tail_event::span_open::Reader<'_>, dropped: &mut u32) -> Vec<SpanContext> {
    let Ok(list) = from.get_links() else {
        add(dropped, 1);
        return Vec::new();
    };
    add(dropped, list.len().saturating_sub(MAX_ELEMENTS));
    let mut links = Vec::new();
    for link in list.iter().take(MAX_ELEMENTS as usize) {
        match read_context(link) {
            Some(link) => links.push(link),
            None => add(dropped, 1),
        }
    }
    links
}

fn write_status(status: &SpanStatus, mut to: tail_event::status::Builder<'_>) {
    match status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => to.set_status(trace_capnp::SpanStatus::Ok),
        SpanStatus::Error(message) => {
            to.set_status(trace_capnp::SpanStatus::Error);
            to.set_message(cut(message));
        }
    }
}

/// A status that is not known says nothing.
fn read_status(from: tail_event::status::Reader<'_>, dropped: &mut Dropped) -> Option<SpanStatus> {
    Some(match from.get_status().ok()? {
        trace_capnp::SpanStatus::Unset => SpanStatus::Unset,
        trace_capnp::SpanStatus::Ok => SpanStatus::Ok,
        trace_capnp::SpanStatus::Error => {
            let message = read_text(from.get_message()).unwrap_or_else(|| {
                add(&mut dropped.cut_values, 1);
                ""
            });
            SpanStatus::error(message)
        }
    })
}

fn write_close(span: &SpanClose, mut to: tail_event::span_close::Builder<'_>) {
    if let Some(outcome) = span.outcome {
        to.set_outcome(outcome.as_str());
    }
    if !span.dropped.is_empty() {
        let mut list = to.init_dropped(length(&span.dropped));
        for (index, (what, count)) in (0..MAX_ELEMENTS).zip(&span.dropped) {
            let mut entry = list.reborrow().get(index);
            entry.set_what(cut(what));
            entry.set_count(*count);
        }
    }
}

/// Counts that can't be read are left out.
fn read_close(from: tail_event::span_close::Reader<'_>) -> SpanClose {
    let outcome = match read_text(from.get_outcome()) {
        Some("") => None,
        Some(name) => Some(name.parse().unwrap_or(Outcome::Exception)),
        None => Some(Outcome::Exception),
    };
    let counts = from.get_dropped().into_iter().flatten();
    let dropped = counts.take(MAX_ELEMENTS as usize).filter_map(|entry| {
        let what = read_text(entry.get_what()).filter(|what| !what.is_empty())?;
        Some((what.into(), entry.get_count()))
    });
    SpanClose {
        outcome,
        dropped: dropped.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Attribute, SpanEvent, TraceId};
    use capnp::message::Builder;

    fn context(id: u64) -> Option<SpanContext> {
        Some(SpanContext::new(
            TraceId::from_u128(u128::from(id))?,
            SpanId::from_u64(id)?,
        ))
    }

    fn through_the_wire(event: &TailEvent) -> (Option<TailEvent>, Dropped) {
        let mut message = Builder::new_default();
        write_tail_event(event, message.init_root());
        let mut dropped = Dropped::default();
        let read = message.get_root_as_reader().ok();
        (
            read.and_then(|read| read_tail_event(read, &mut dropped)),
            dropped,
        )
    }

    fn close() -> SpanClose {
        SpanClose {
            outcome: Some(Outcome::Timeout),
            dropped: vec![("attributes".into(), 3)],
        }
    }

    fn open(links: Vec<SpanContext>) -> SpanOpen {
        SpanOpen {
            parent_span_id: SpanId::from_u64(9),
            kind: SpanKind::Client,
            name: "query".into(),
            attributes: vec![Attribute::new("k", 1), Attribute::new("l", ["a", "b"])],
            links,
        }
    }

    #[test]
    fn what_happened_arrives() {
        let time = Timestamp::from_unix_nanos(5);
        let link = context(7).unwrap();
        let details = [
            TailDetail::Onset(Onset {
                context: link.clone(),
                service: "users".into(),
                channel: Channel::Internal,
                span: open(vec![link.clone()]),
            }),
            TailDetail::SpanOpen(open(Vec::new())),
            TailDetail::SpanOpen(SpanOpen::default()),
            TailDetail::Attributes(vec![Attribute::new("k", 1.5)]),
            TailDetail::Rename("other".into()),
            TailDetail::SpanEvent(SpanEvent::new("retry").at(time).attribute("n", 1)),
            TailDetail::Link(link),
            TailDetail::Status(SpanStatus::error("no disk")),
            TailDetail::Status(SpanStatus::Ok),
            TailDetail::SpanClose(SpanClose::default()),
            TailDetail::SpanClose(close()),
            TailDetail::Outcome {
                span: close(),
                open_spans: 2,
            },
        ];
        for (sequence, detail) in (0..).zip(details) {
            let event = TailEvent {
                sequence,
                time,
                span_id: SpanId::from_u64(3).unwrap(),
                by_callee: sequence % 2 == 1,
                detail,
            };
            assert_eq!(through_the_wire(&event), (Some(event), Dropped::default()));
        }
    }

    #[test]
    fn what_lacks_what_it_can_not_be_without_is_left_out() {
        let mut message = Builder::new_default();
        let mut event: tail_event::Builder<'_> = message.init_root();
        let mut dropped = Dropped::default();
        assert_eq!(
            read_tail_event(event.reborrow_as_reader(), &mut dropped),
            None
        );
        event.set_span_id(1);
        event.reborrow().init_onset().set_service("no context");
        assert_eq!(
            read_tail_event(event.reborrow_as_reader(), &mut dropped),
            None
        );
        event.reborrow().set_rename("");
        assert_eq!(
            read_tail_event(event.reborrow_as_reader(), &mut dropped),
            None
        );
        event.reborrow().init_span_event();
        assert_eq!(
            read_tail_event(event.reborrow_as_reader(), &mut dropped),
            None
        );
    }

    #[test]
    fn of_a_long_list_no_more_than_the_limit_is_looked_at() {
        let mut message = Builder::new_default();
        let mut event: tail_event::Builder<'_> = message.init_root();
        event.set_span_id(1);
        event
            .reborrow()
            .init_span_open()
            .init_links(MAX_ELEMENTS + 5);
        let mut dropped = Dropped::default();
        let read = read_tail_event(event.into_reader(), &mut dropped).unwrap();
        assert_eq!(read.detail, TailDetail::SpanOpen(SpanOpen::default()));
        assert_eq!(dropped.links, MAX_ELEMENTS + 5);
    }

    #[test]
    fn an_outcome_that_is_not_known_is_an_exception() {
        let mut message = Builder::new_default();
        let mut event: tail_event::Builder<'_> = message.init_root();
        event.set_span_id(1);
        event.reborrow().init_span_close().set_outcome("melted");
        let read = read_tail_event(event.into_reader(), &mut Dropped::default()).unwrap();
        let TailDetail::SpanClose(span) = read.detail else {
            panic!("{read:?}");
        };
        assert_eq!(span.outcome, Some(Outcome::Exception));
    }
}
