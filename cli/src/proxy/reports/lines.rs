//! Lines that are written by a thread of their own, so that no event loop waits for who reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use capspan::export::ExportCounts;

use super::title;
use crate::failure::Failure;

/// How many lines may wait. More are lost, and counted.
const MAX_WAITING: usize = 16_384;

/// A file of lines, or the standard output.
pub(super) struct Lines {
    orders: SyncSender<Order>,
    counts: Arc<Counts>,
    path: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One event loop's way to it. Each write is a line.
pub(super) struct LinesWriter {
    orders: SyncSender<Order>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    told: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    /// What the first write that failed said.
    error: Mutex<Option<String>>,
}

enum Order {
    Line(Vec<u8>),
    Reopen,
    End,
}

impl Lines {
    /// Opens `path` to write at its end; `-` is the standard output.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::told(format!("{}: {error}", title(path).display()));
        let to = open(path).map_err(failed)?;
        let (orders, received) = sync_channel(MAX_WAITING);
        let counts = Arc::<Counts>::default();
        let (told, at) = (counts.clone(), path.to_owned());
        let thread = thread::Builder::new()
            .name("span records".into())
            .spawn(move || write_all(received, to, &at, &told))
            .map_err(failed)?;
        Ok(Self {
            orders,
            counts,
            path: path.to_owned(),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn writer(&self) -> LinesWriter {
        LinesWriter {
            orders: self.orders.clone(),
            counts: self.counts.clone(),
        }
    }

    /// What says how many lines there were, and how many were lost.
    pub(super) fn counting(&self) -> impl Fn() -> ExportCounts + Send + Sync + 'static {
        let counts = self.counts.clone();
        move || {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            // In this order: what is lost, or written, was told before.
            let (lost, written) = (load(&counts.lost), load(&counts.written));
            let told = load(&counts.told).max(lost + written);
            ExportCounts::new(told, written)
                .queued(told - lost - written)
                .dropped("lost", lost)
        }
    }

    /// Opens the file anew, which somebody may have moved away.
    pub(super) fn reopen(&self) {
        let _ended = self.orders.send(Order::Reopen);
    }

    /// Waits until all is written that waits.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let _ended = self.orders.send(Order::End);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            // It has no reason to panic, and if it did there is nothing to be mended.
            let _ = thread.join();
        }
        let path = title(&self.path);
        let error = self
            .counts
            .error
            .lock()
            .ok()
            .and_then(|error| error.clone());
        if let Some(error) = error {
            return Err(Failure::told(format!("{}: {error}", path.display())));
        }
        match self.counts.lost.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(Failure::told(format!(
                "{}: {lost} span records were lost, as more than {MAX_WAITING} waited to be written",
                path.display()
            ))),
        }
    }
}

impl Write for LinesWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.counts.told.fetch_add(1, Ordering::Relaxed);
        match self.orders.try_send(Order::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(match path.to_str() {
        Some("-") => Box::new(io::stdout()),
        _ => Box::new(append(path)?),
    })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(orders: Receiver<Order>, mut to: Box<dyn Write + Send>, path: &Path, counts: &Counts) {
    for order in orders {
        let written = match order {
            Order::Line(line) => to.write_all(&line).map(|()| {
                counts.written.fetch_add(1, Ordering::Relaxed);
            }),
            Order::Reopen => open(path).map(|opened| to = opened),
            Order::End => break,
        };
        if let Err(error) = written {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut first) = counts.error.lock() {
                first.get_or_insert_with(|| error.to_string());
            }
        }
    }
    let _ = to.flush();
}
