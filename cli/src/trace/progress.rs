//! How far it is, for whoever waits.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

/// What takes no longer is not worth a word.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(200);

/// One line on the standard error that changes, if that is a terminal.
pub(super) struct Progress {
    out: Option<Box<dyn Write>>,
    start: Instant,
    last: Instant,
    /// How many columns are written on.
    drawn: usize,
}

impl Progress {
    pub(super) fn new() -> Self {
        let stderr = io::stderr();
        let out = stderr
            .is_terminal()
            .then(|| Box::new(stderr) as Box<dyn Write>);
        Self::on(out, Instant::now())
    }

    fn on(out: Option<Box<dyn Write>>, now: Instant) -> Self {
        Self {
            out,
            start: now,
            last: now,
            drawn: 0,
        }
    }

    /// Tells how far it is, unless that was told just now. `text` is plain ASCII.
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        self.tell_at(Instant::now(), text);
    }

    fn tell_at(&mut self, now: Instant, text: impl FnOnce() -> String) {
        let Some(out) = &mut self.out else { return };
        if now - self.start < PATIENCE || now - self.last < INTERVAL {
            return;
        }
        self.last = now;
        let text = text();
        // Nobody is harmed where it can't be written.
        let _ = write!(out, "\r{text:width$}", width = self.drawn);
        let _ = out.flush();
        self.drawn = text.len().max(self.drawn);
    }

    /// Takes the line away, so that something else can be written.
    pub(super) fn clear(&mut self) {
        let Some(out) = &mut self.out else { return };
        if self.drawn > 0 {
            let _ = write!(out, "\r{:width$}\r", "", width = self.drawn);
            let _ = out.flush();
            self.drawn = 0;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How many bytes, for people.
pub(super) fn bytes(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Screen(Rc<RefCell<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_waits_two_seconds_and_goes_away() {
        let screen = Screen::default();
        let start = Instant::now();
        let mut progress = Progress::on(Some(Box::new(screen.clone())), start);
        for (millis, text) in [
            (0, "a"),
            (1_999, "b"),
            (2_000, "half"),
            (2_100, "c"),
            (2_200, "all"),
        ] {
            progress.tell_at(start + Duration::from_millis(millis), || text.into());
        }
        assert_eq!(*screen.0.borrow(), b"\rhalf\rall ");
        drop(progress);
        assert!(screen.0.borrow().ends_with(b"\r    \r"));
    }

    #[test]
    fn where_nobody_looks_nothing_is_made() {
        let start = Instant::now();
        let mut progress = Progress::on(None, start);
        progress.tell_at(start + PATIENCE * 2, || unreachable!("nobody looks"));
        progress.clear();
    }

    #[test]
    fn bytes_have_a_unit() {
        let texts = [999, 1_000, 1_250_000, 3_000_000_000].map(bytes);
        assert_eq!(texts, ["0 kB", "1 kB", "1.2 MB", "3.0 GB"]);
    }
}
