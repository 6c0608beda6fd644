//! An open span: its record, and what all handles to it share.
//!
//! A span's builder holds it strongly, weak handles weakly: it lives as long as its builder, and
//! nothing that a callee holds keeps it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::dropped::count;
use super::limits::SpanLimits;
use super::record::SpanRecord;
use super::tracer::Shared;
use super::update::SpanUpdate;
use super::write::Author;
use crate::clock::Timestamp;

/// One span and its tracer.
pub(super) struct OpenSpan {
    pub(super) tracer: Rc<Shared>,
    /// Borrowed for writing only while no code but ours runs; observers get it by a shared borrow.
    record: RefCell<SpanRecord>,
    may_overwrite: Cell<bool>,
    /// An end that was asked for while the observer was being told of this span.
    pending_end: Cell<Option<Timestamp>>,
    /// Changes that were asked for meanwhile.
    refused: Cell<u32>,
}

/// What became of an attempt to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// The span is over.
    Late,
    /// The observer is being told of this span.
    Busy,
}

/// What is to be told after a write.
pub(super) struct Change {
    /// The name before, if it is another now.
    pub(super) previous_name: Option<Box<str>>,
    /// Did anything beside the name change?
    pub(super) is_more: bool,
}

impl Change {
    /// Writes all of `update`.
    pub(super) fn of(
        update: &SpanUpdate,
        record: &mut SpanRecord,
        author: Author,
        now: Timestamp,
        limits: &SpanLimits,
    ) -> Self {
        Self {
            previous_name: record.apply(update, author, now, limits),
            is_more: !(update.attributes.is_empty()
                && update.events.is_empty()
                && update.status.is_none()),
        }
    }
}

impl OpenSpan {
    /// Opens the span and tells the observer.
    pub(super) fn new(tracer: Rc<Shared>, record: SpanRecord) -> Rc<Self> {
        let span = Rc::new(Self {
            tracer,
            record: RefCell::new(record),
            may_overwrite: Cell::new(false),
            pending_end: Cell::new(None),
            refused: Cell::new(0),
        });
        span.tell(|record| span.tracer.observer.opened(record));
        span
    }

    /// Writes and tells the observer, unless the span is over.
    pub(super) fn write(&self, write: impl FnOnce(&mut SpanRecord) -> Change) -> Written {
        let change = {
            let Ok(mut record) = self.record.try_borrow_mut() else {
                self.refused.set(self.refused.get().saturating_add(1));
                return Written::Busy;
            };
            if record.end.is_some() {
                count(&mut record.dropped.late_updates);
                self.tracer.late_updates.count();
                return Written::Late;
            }
            write(&mut record)
        };
        self.tell(|record| {
            if let Some(previous) = &change.previous_name {
                self.tracer.observer.renamed(record, previous);
            }
            if change.is_more {
                self.tracer.observer.updated(record);
            }
        });
        Written::Yes
    }

    /// Closes the span and tells the observer, the first time.
    pub(super) fn close(&self, time: Timestamp) {
        match self.record.try_borrow_mut() {
            Ok(mut record) => {
                if record.end.is_some() {
                    return;
                }
                record.end = Some(time.max(record.start));
            }
            Err(_) => {
                if self.pending_end.get().is_none() {
                    self.pending_end.set(Some(time));
                }
                return;
            }
        }
        self.tell(|record| self.tracer.observer.closed(record));
    }

    /// What `read` finds in the record.
    pub(super) fn read<T>(&self, read: impl FnOnce(&SpanRecord) -> T) -> Option<T> {
        self.record.try_borrow().ok().map(|record| read(&record))
    }

    /// The rights of a callee.
    pub(super) fn callee(&self) -> Author {
        Author::Callee {
            may_overwrite: self.may_overwrite.get(),
        }
    }

    pub(super) fn allow_callee_overwrite(&self, allow: bool) {
        self.may_overwrite.set(allow);
    }

    /// Has its end neither come nor been asked for?
    pub(super) fn is_open(&self) -> bool {
        self.pending_end.get().is_none() && self.read(SpanRecord::is_open).unwrap_or_default()
    }

    /// Tells the observer, then does what it may not do itself meanwhile.
    fn tell(&self, tell: impl FnOnce(&SpanRecord)) {
        self.read(tell);
        let refused = self.refused.take();
        if refused > 0
            && let Ok(mut record) = self.record.try_borrow_mut()
        {
            record.dropped.refused = record.dropped.refused.saturating_add(refused);
        }
        if let Some(time) = self.pending_end.take() {
            self.close(time);
        }
    }
}
