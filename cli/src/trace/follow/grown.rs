//! A file to which others write.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::Step;
use crate::failure::Failure;
use crate::trace::source::{CHUNK, told};

/// How often it is looked at.
pub(super) const POLL: Duration = Duration::from_millis(200);

/// A file that is read as it grows. When another file has its name, what is left of it is read, then the
/// other one from its beginning; when it is shorter than what was read, it is read from its beginning.
/// Until there is a file of that name it waits.
pub(super) struct Grown {
    path: PathBuf,
    open: Option<File>,
    done: u64,
    /// Was nothing there at the last look, so that it is to wait before the next one?
    is_resting: bool,
}

impl Grown {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
            done: 0,
            is_resting: false,
        }
    }

    /// Looks for more, at most once in each [`POLL`] if there is none.
    pub(super) async fn next(&mut self) -> Result<Step, Failure> {
        if self.is_resting {
            sleep(POLL).await;
        } else {
            // There may be much to read, and the user may have enough of it.
            yield_now().await;
        }
        let step = self.look().map_err(|error| told(&self.path, error))?;
        self.is_resting = step == Step::Rest;
        Ok(step)
    }

    fn look(&mut self) -> io::Result<Step> {
        // Before it is read: what was written to it before it lost its name must be read first.
        let named = named(&self.path)?;
        let Some(open) = &mut self.open else {
            self.open = named
                .is_some()
                .then(|| File::open(&self.path))
                .transpose()?;
            self.done = 0;
            return Ok(if self.open.is_some() {
                Step::Anew
            } else {
                Step::Rest
            });
        };
        let of_open = open.metadata()?;
        if of_open.len() < self.done {
            open.rewind()?;
            self.done = 0;
            return Ok(Step::Anew);
        }
        let mut chunk = vec![0; CHUNK];
        let read = match open.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            read => read?,
        };
        if read > 0 {
            self.done += read as u64;
            chunk.truncate(read);
            return Ok(Step::Bytes(chunk));
        }
        if named.is_some_and(|named| !is_same(&named, &of_open)) {
            self.open = None;
            // The next look opens the other one.
            return self.look();
        }
        Ok(Step::Rest)
    }
}

/// What the name stands for, if for anything: while a file is rotated it may be for nothing.
fn named(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("spans")
        }

        fn append(&self, text: &str) {
            let file = File::options().append(true).create(true).open(self.path());
            file.unwrap().write_all(text.as_bytes()).unwrap();
        }
    }

    fn bytes(text: &str) -> Step {
        Step::Bytes(text.into())
    }

    /// Time is paused, so that waiting takes none.
    async fn steps<const N: usize>(grown: &mut Grown) -> [Step; N] {
        let mut steps = [const { Step::End }; N];
        for step in &mut steps {
            *step = grown.next().await.unwrap();
        }
        steps
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_comes() {
        let place = Place::new();
        place.append("one\n");
        let mut grown = Grown::new(&place.path());
        assert_eq!(
            steps(&mut grown).await,
            [Step::Anew, bytes("one\n"), Step::Rest, Step::Rest]
        );
        place.append("tw");
        assert_eq!(steps(&mut grown).await, [bytes("tw"), Step::Rest]);
        place.append("o\n");
        assert_eq!(steps(&mut grown).await, [bytes("o\n"), Step::Rest]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_not_there_yet_is_waited_for() {
        let place = Place::new();
        let mut grown = Grown::new(&place.path());
        assert_eq!(steps(&mut grown).await, [Step::Rest, Step::Rest]);
        place.append("x");
        assert_eq!(
            steps(&mut grown).await,
            [Step::Anew, bytes("x"), Step::Rest]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_rotated_is_read_to_its_end_and_then_the_new_one() {
        let place = Place::new();
        place.append("a\n");
        let mut grown = Grown::new(&place.path());
        assert_eq!(
            steps(&mut grown).await,
            [Step::Anew, bytes("a\n"), Step::Rest]
        );
        place.append("last");
        fs::rename(place.path(), place.folder.path().join("spans.1")).unwrap();
        assert_eq!(steps(&mut grown).await, [bytes("last"), Step::Rest]);
        place.append("new");
        assert_eq!(
            steps(&mut grown).await,
            [Step::Anew, bytes("new"), Step::Rest]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_truncated_is_read_from_its_beginning() {
        let place = Place::new();
        place.append("long line\n");
        let mut grown = Grown::new(&place.path());
        assert_eq!(
            steps(&mut grown).await,
            [Step::Anew, bytes("long line\n"), Step::Rest]
        );
        fs::write(place.path(), "new\n").unwrap();
        assert_eq!(
            steps(&mut grown).await,
            [Step::Anew, bytes("new\n"), Step::Rest]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_is_refused() {
        let place = Place::new();
        let mut grown = Grown::new(place.folder.path());
        assert_eq!(grown.next().await, Ok(Step::Anew));
        assert!(grown.next().await.is_err());
    }
}
