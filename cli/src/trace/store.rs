//! Spans, until it is known what becomes of their trace.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use super::footprint;
use crate::records::{LateUpdate, Record, Span};

/// How much there may be at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) spans: usize,
    pub(super) bytes: usize,
}

/// The spans of traces that are not shown yet. When there is no more room, the trace to which nothing
/// was added for the longest time gives way: first of those of which no span is wanted.
#[derive(Debug)]
pub(super) struct Store {
    room: Room,
    traces: HashMap<Rc<str>, Kept>,
    /// Who gives way first: what is wanted late, what was added to early.
    order: BTreeSet<(bool, u64, Rc<str>)>,
    additions: u64,
    /// What is kept now.
    used: Room,
    /// How many wanted traces gave way.
    pub(super) gave_way: u64,
    /// How many spans there was no room for, as nothing else could give way.
    pub(super) left_out: u64,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    late: Vec<LateUpdate>,
    bytes: usize,
    is_wanted: bool,
    /// Has a root of it come? Roots close last.
    has_root: bool,
    /// Its place in the order.
    addition: u64,
    /// When something was last added.
    since: Duration,
}

impl Store {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            traces: HashMap::new(),
            order: BTreeSet::new(),
            additions: 0,
            used: Room { spans: 0, bytes: 0 },
            gave_way: 0,
            left_out: 0,
        }
    }

    /// Keeps `record`, which comes at `now`. Gives what is wanted of what had to give way for it.
    pub(super) fn add(&mut self, record: Record, is_wanted: bool, now: Duration) -> Vec<Vec<Span>> {
        let (id, size) = match &record {
            Record::Span(span) => (&span.trace_id, footprint::of_span(span)),
            Record::Late(late) => (&late.trace_id, footprint::of_late(late)),
        };
        let id: Rc<str> = id.as_str().into();
        // The trace's own place, in the worst case.
        let bytes = size + 2 * id.len() + 256;
        let mut gone = Vec::new();
        while self.used.spans + 1 > self.room.spans || self.used.bytes + bytes > self.room.bytes {
            let others = self.order.iter().find(|(_, _, other)| *other != id);
            let Some((_, _, other)) = others.cloned() else {
                self.left_out += 1;
                return gone;
            };
            if let Some(kept) = self.remove(&other)
                && kept.is_wanted
            {
                self.gave_way += 1;
                gone.push(kept.into_spans());
            }
        }
        self.used.spans += 1;
        self.used.bytes += bytes;
        self.additions += 1;
        let kept = self.traces.entry(id.clone()).or_default();
        self.order
            .remove(&(kept.is_wanted, kept.addition, id.clone()));
        kept.is_wanted |= is_wanted;
        kept.addition = self.additions;
        kept.since = now;
        kept.bytes += bytes;
        self.order.insert((kept.is_wanted, kept.addition, id));
        match record {
            Record::Span(span) => {
                kept.has_root |= span.parent().is_none();
                kept.spans.push(*span);
            }
            Record::Late(late) => kept.late.push(late),
        }
        gone
    }

    /// Lets go of all but the `number` wanted traces that began last.
    pub(super) fn keep_last(&mut self, number: usize) {
        let mut wanted: Vec<_> = self
            .traces
            .iter()
            .filter(|(_, kept)| kept.is_wanted)
            .map(|(id, kept)| (start(&kept.spans), id.clone()))
            .collect();
        wanted.sort();
        let older = wanted.len().saturating_sub(number);
        for (_, id) in &wanted[..older] {
            self.remove(id);
        }
    }

    /// The traces that are over at `now`, by the time of their beginning: those with a root to which
    /// nothing was added for `grace`, and those to which nothing was added for `quiet`. What is not
    /// wanted of them is let go of.
    pub(super) fn over(
        &mut self,
        now: Duration,
        grace: Duration,
        quiet: Duration,
    ) -> Vec<Vec<Span>> {
        self.take_if(|kept| {
            let rest = now.saturating_sub(kept.since);
            rest >= quiet || kept.has_root && rest >= grace
        })
    }

    /// The traces that have a root, by the time of their beginning.
    pub(super) fn rooted(&mut self) -> Vec<Vec<Span>> {
        self.take_if(|kept| kept.has_root)
    }

    /// All of them, by the time of their beginning.
    pub(super) fn rest(&mut self) -> Vec<Vec<Span>> {
        self.take_if(|_| true)
    }

    fn take_if(&mut self, holds: impl Fn(&Kept) -> bool) -> Vec<Vec<Span>> {
        let ids: Vec<_> = self
            .traces
            .iter()
            .filter(|(_, kept)| holds(kept))
            .map(|(id, _)| id.clone())
            .collect();
        let mut found: Vec<_> = ids
            .iter()
            .filter_map(|id| self.remove(id))
            .filter(|kept| kept.is_wanted)
            .map(Kept::into_spans)
            .collect();
        found.sort_by_cached_key(|spans| {
            (
                start(spans),
                spans.first().map(|span| span.trace_id.clone()),
            )
        });
        found
    }

    fn remove(&mut self, id: &Rc<str>) -> Option<Kept> {
        let kept = self.traces.remove(id)?;
        self.order
            .remove(&(kept.is_wanted, kept.addition, id.clone()));
        self.used.spans -= kept.spans.len() + kept.late.len();
        self.used.bytes -= kept.bytes;
        Some(kept)
    }
}

impl Kept {
    /// What came late becomes a part of its span, or a span where that is not here.
    fn into_spans(self) -> Vec<Span> {
        let mut spans = self.spans;
        if self.late.is_empty() {
            return spans;
        }
        let places: HashMap<String, usize> = spans
            .iter()
            .enumerate()
            .map(|(index, span)| (span.span_id.clone(), index))
            .collect();
        for late in self.late {
            match places.get(&late.span_id) {
                Some(index) => spans[*index].events.push(late.event),
                None => spans.push(late.into_span()),
            }
        }
        spans
    }
}

fn start(spans: &[Span]) -> u64 {
    let starts = spans.iter().filter_map(|span| span.start_time_unix_nano);
    starts.min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Event;

    const SECOND: Duration = Duration::from_secs(1);
    const ROOM: Room = Room {
        spans: 3,
        bytes: 1 << 20,
    };

    fn span(trace: &str, id: &str, parent: &str, start: u64) -> Record {
        Record::Span(Box::new(Span {
            trace_id: trace.into(),
            span_id: id.into(),
            parent_span_id: Some(parent.into()),
            start_time_unix_nano: Some(start),
            ..Span::default()
        }))
    }

    fn late(trace: &str, id: &str) -> Record {
        Record::Late(LateUpdate {
            trace_id: trace.into(),
            span_id: id.into(),
            event: Event {
                name: "late update".into(),
                ..Event::default()
            },
            ..LateUpdate::default()
        })
    }

    fn ids(traces: &[Vec<Span>]) -> Vec<String> {
        let of = |spans: &Vec<Span>| {
            let ids: Vec<_> = spans.iter().map(|span| &span.span_id[..]).collect();
            format!("{}:{}", spans[0].trace_id, ids.join(","))
        };
        traces.iter().map(of).collect()
    }

    #[test]
    fn traces_are_put_together_and_come_by_their_beginning() {
        let mut store = Store::new(ROOM);
        store.add(span("t", "a", "b", 8), false, SECOND);
        store.add(span("u", "c", "", 7), true, SECOND);
        store.add(span("t", "b", "", 6), true, SECOND);
        assert_eq!(ids(&store.rest()), ["t:a,b", "u:c"]);
        assert_eq!((store.used.spans, store.used.bytes), (0, 0));
        assert!(store.order.is_empty() && store.rest().is_empty());
    }

    #[test]
    fn a_trace_without_a_wanted_span_is_not_given() {
        let mut store = Store::new(ROOM);
        store.add(span("t", "a", "", 8), false, SECOND);
        assert!(store.rest().is_empty());
    }

    #[test]
    fn what_is_not_wanted_gives_way_first_then_what_is_oldest() {
        let mut store = Store::new(ROOM);
        store.add(span("old", "a", "", 1), true, SECOND);
        store.add(span("dull", "b", "", 2), false, SECOND);
        store.add(span("new", "c", "", 3), true, SECOND);
        assert!(store.add(span("more", "d", "", 4), true, SECOND).is_empty());
        assert_eq!(store.gave_way, 0);
        // What is added to is no longer the oldest.
        let gone = store.add(span("old", "e", "a", 5), false, SECOND);
        assert_eq!(ids(&gone), ["new:c"]);
        assert_eq!((store.gave_way, store.left_out), (1, 0));
        assert_eq!(ids(&store.rest()), ["old:a,e", "more:d"]);
    }

    #[test]
    fn one_trace_alone_is_cut_off() {
        let mut store = Store::new(ROOM);
        for index in 0..5 {
            let gone = store.add(span("t", &index.to_string(), "", index), true, SECOND);
            assert!(gone.is_empty());
        }
        assert_eq!((store.left_out, store.gave_way), (2, 0));
        assert_eq!(ids(&store.rest()), ["t:0,1,2"]);
    }

    #[test]
    fn bytes_are_limited_as_spans_are() {
        let room = Room {
            spans: 1_000,
            bytes: 64 << 10,
        };
        let mut store = Store::new(room);
        for index in 0..1_000 {
            store.add(span(&index.to_string(), "s", "", index), true, SECOND);
            assert!(store.used.bytes <= room.bytes);
        }
        assert!(store.gave_way > 500);
        let Record::Span(mut large) = span("large", "s", "", 0) else {
            unreachable!()
        };
        large.name = "x".repeat(128 << 10);
        store.add(Record::Span(large), true, SECOND);
        assert_eq!(store.left_out, 1);
    }

    #[test]
    fn a_trace_is_over_when_its_root_is_there_or_nothing_comes() {
        let mut store = Store::new(ROOM);
        store.add(span("rooted", "a", "", 1), true, SECOND);
        store.add(span("rootless", "b", "far", 2), true, SECOND);
        store.add(span("dull", "c", "", 3), false, SECOND);
        let mut over = |now| ids(&store.over(now, SECOND, 3 * SECOND));
        assert!(over(SECOND * 3 / 2).is_empty());
        assert_eq!(over(SECOND * 2), ["rooted:a"]);
        assert!(over(SECOND * 3).is_empty());
        assert_eq!(over(SECOND * 4), ["rootless:b"]);
        assert!(store.traces.is_empty());
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut store = Store::new(ROOM);
        store.add(span("t", "a", "", 3), true, SECOND);
        store.add(span("u", "b", "", 1), true, SECOND);
        store.add(span("v", "c", "", 2), true, SECOND);
        store.keep_last(2);
        assert_eq!(ids(&store.rest()), ["v:c", "t:a"]);
    }

    #[test]
    fn what_came_late_is_an_event_of_its_span_or_stands_for_itself() {
        let mut store = Store::new(ROOM);
        store.add(late("t", "a"), true, SECOND);
        store.add(span("t", "a", "", 1), true, SECOND);
        store.add(late("u", "gone"), true, SECOND);
        let found = store.rest();
        assert_eq!(ids(&found), ["t:a", "u:"]);
        assert_eq!(found[0][0].events[0].name, "late update");
        assert_eq!(found[1][0].parent(), Some("gone"));
    }
}
