//! Lines that are written by a thread of their own, so that no event loop waits for who reads them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use capspan::export::ExportCounts;

use crate::failure::Failure;

/// How many lines may wait, and how many bytes of them. More are lost, and counted.
const MAX_WAITING: usize = 16_384;
const MAX_BYTES: usize = 64 << 20;

/// A file of lines, or one of the standard streams.
pub(super) struct Lines {
    orders: SyncSender<Order>,
    counts: Arc<Counts>,
    title: String,
    /// Says that all is written.
    ended: Mutex<Receiver<()>>,
}

/// Where lines go.
pub(super) enum To {
    File(PathBuf),
    Output,
    Errors,
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
    /// The file is to be opened anew, before the next line.
    reopens: AtomicBool,
    /// There is nothing to come behind what waits.
    ends: AtomicBool,
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// What the first write that failed said.
    error: Mutex<Option<String>>,
}

enum Order {
    Line(Vec<u8>),
    End,
}

impl To {
    /// `-` is the standard output.
    pub(super) fn path(path: &Path) -> Self {
        match path.to_str() {
            Some("-") => Self::Output,
            _ => Self::File(path.to_owned()),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Output => "standard output".into(),
            Self::Errors => "standard error".into(),
        }
    }

    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            Self::Output => Box::new(io::stdout()),
            Self::Errors => Box::new(io::stderr()),
        })
    }
}

impl Lines {
    /// Opens it, a file to write at its end.
    pub(super) fn open(to: To) -> Result<Self, Failure> {
        let title = to.title();
        let failed = |error: io::Error| Failure::told(format!("{title}: {error}"));
        let opened = to.open().map_err(failed)?;
        let (orders, received) = sync_channel(MAX_WAITING);
        let (end, ended) = sync_channel(1);
        let counts = Arc::<Counts>::default();
        let told = counts.clone();
        thread::Builder::new()
            .name("lines".into())
            .spawn(move || {
                write_all(received, opened, &to, &told);
                // Who waited may have given up.
                let _ = end.try_send(());
            })
            .map_err(failed)?;
        Ok(Self {
            orders,
            counts,
            title,
            ended: Mutex::new(ended),
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
        self.counts.reopens.store(true, Ordering::Relaxed);
    }

    /// Waits until all is written that waits, but not longer than this.
    pub(super) fn finish(&self, within: Duration) -> Result<(), Failure> {
        self.counts.ends.store(true, Ordering::SeqCst);
        // Where there is no room for this, the writer looks after the line that it is at.
        let _full = self.orders.try_send(Order::End);
        let ended = self.ended.lock().map(|ended| ended.recv_timeout(within));
        let title = &self.title;
        let error = self
            .counts
            .error
            .lock()
            .ok()
            .and_then(|error| error.clone());
        if let Some(error) = error {
            return Err(Failure::told(format!("{title}: {error}")));
        }
        if !matches!(ended, Ok(Ok(()))) {
            return Err(Failure::told(format!(
                "{title}: nobody reads it; what waited for that is lost"
            )));
        }
        match self.counts.lost.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(Failure::told(format!(
                "{title}: {lost} lines were lost; at most {MAX_WAITING} wait to be written, or {} MiB",
                MAX_BYTES >> 20
            ))),
        }
    }
}

impl LinesWriter {
    fn try_write(&self, line: &[u8]) -> bool {
        let counts = &self.counts;
        if counts.bytes.fetch_add(line.len(), Ordering::Relaxed) + line.len() <= MAX_BYTES
            && self.orders.try_send(Order::Line(line.to_vec())).is_ok()
        {
            return true;
        }
        counts.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        false
    }
}

impl Write for LinesWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.counts.told.fetch_add(1, Ordering::Relaxed);
        if !self.try_write(line) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(orders: Receiver<Order>, mut out: Box<dyn Write + Send>, to: &To, counts: &Counts) {
    while let Some(order) = next(&orders, counts) {
        if counts.reopens.swap(false, Ordering::Relaxed) {
            match to.open() {
                Ok(opened) => out = opened,
                Err(error) => note(&error, counts),
            }
        }
        let result = match order {
            Order::Line(line) => {
                let result = out.write_all(&line);
                counts.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                let count = match result {
                    Ok(()) => &counts.written,
                    Err(_) => &counts.lost,
                };
                count.fetch_add(1, Ordering::Relaxed);
                result
            }
            Order::End => break,
        };
        if let Err(error) = result {
            note(&error, counts);
        }
    }
    // Standard output keeps what comes after the last line break.
    let _ = out.flush();
}

/// What is to be done next, if there is anything to come.
fn next(orders: &Receiver<Order>, counts: &Counts) -> Option<Order> {
    match counts.ends.load(Ordering::SeqCst) {
        true => orders.try_recv().ok(),
        false => orders.recv().ok(),
    }
}

fn note(error: &io::Error, counts: &Counts) {
    if let Ok(mut first) = counts.error.lock() {
        first.get_or_insert_with(|| error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_in_order_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let lines = Lines::open(To::path(&path)).unwrap();
        let counting = lines.counting();
        let mut writer = lines.writer();
        for line in ["one\n", "two\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        lines.finish(Duration::from_secs(60)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(
            counting(),
            ExportCounts::new(2, 2).queued(0).dropped("lost", 0)
        );
    }

    #[test]
    fn a_full_queue_is_written_to_its_end_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let lines = Lines::open(To::path(&path)).unwrap();
        let mut writer = lines.writer();
        for _ in 0..4 * MAX_WAITING {
            writer.write_all(b"line\n").unwrap();
        }
        let told = lines.finish(Duration::from_secs(60));
        let lost = lines.counts.lost.load(Ordering::Relaxed);
        assert_eq!(told.is_ok(), lost == 0, "{told:?}");
        let written = std::fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert_eq!(written + lost, 4 * MAX_WAITING as u64);
    }

    #[test]
    fn what_nobody_reads_is_bounded_lost_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        // Somebody has it open, and does not read.
        let _reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let lines = Lines::open(To::path(&path)).unwrap();
        let mut writer = lines.writer();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            writer.write_all(&line).unwrap();
        }
        assert!(lines.counts.bytes.load(Ordering::Relaxed) <= MAX_BYTES);
        assert!(lines.counts.lost.load(Ordering::Relaxed) >= 100 - 64);
        let told = lines.finish(Duration::ZERO).unwrap_err().to_string();
        assert!(told.contains("pipe: nobody reads it"), "{told}");
    }
}
