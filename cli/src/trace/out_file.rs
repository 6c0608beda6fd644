//! A file that is there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::interrupt::Unfinished;
use crate::failure::Failure;

/// Where a page or a trace is written to. A regular file gets its name at the end, so that one that was
/// there before stays until the new one is whole.
pub(super) enum OutFile {
    /// The standard output.
    Stdout(BufWriter<io::Stdout>),
    /// A device, a pipe.
    Special(BufWriter<File>, PathBuf),
    /// A regular file, under another name for now.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl OutFile {
    pub(super) fn create(path: &Path, unfinished: &Unfinished) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        Self::open(path, unfinished).map_err(|error| told(path, error))
    }

    fn open(path: &Path, unfinished: &Unfinished) -> io::Result<Self> {
        // What a link leads to is written, not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(&target)?;
            return Ok(Self::Special(BufWriter::new(file), path.to_owned()));
        }
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".capspan-")
            // As for any other new file: less what the user's mask takes away.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        unfinished.add(file.path().to_owned());
        Ok(Self::File(BufWriter::new(file), target))
    }

    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        let bytes = text.as_bytes();
        match self {
            Self::Stdout(out) => out.write_all(bytes).map_err(Failure::output),
            Self::Special(out, path) => out.write_all(bytes).map_err(|error| told(path, error)),
            Self::File(out, path) => out.write_all(bytes).map_err(|error| told(path, error)),
        }
    }

    /// All is written.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut out) => out.flush().map_err(Failure::output),
            Self::Special(mut out, path) => out.flush().map_err(|error| told(&path, error)),
            Self::File(out, path) => {
                let file = out
                    .into_inner()
                    .map_err(|error| told(&path, error.into_error()))?;
                file.persist(&path)
                    .map_err(|error| told(&path, error.error))?;
                Ok(())
            }
        }
    }
}

fn told(path: &Path, error: io::Error) -> Failure {
    Failure::told(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &Path) -> Result<OutFile, Failure> {
        OutFile::create(path, &Unfinished::default())
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "before").unwrap();

        let mut out = create(&path).unwrap();
        out.write("half").unwrap();
        drop(out);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let mut out = create(&path).unwrap();
        out.write("whole").unwrap();
        out.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }

    #[test]
    fn a_link_stays_and_its_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut out = create(&link).unwrap();
        out.write("after").unwrap();
        out.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
    }

    #[test]
    fn a_device_is_written_to_and_stays_one() {
        let mut out = create(Path::new("/dev/null")).unwrap();
        out.write("gone").unwrap();
        out.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let failure = create(Path::new("/no such folder/x")).err().unwrap();
        assert!(
            failure.to_string().starts_with("/no such folder/x: "),
            "{failure}"
        );
    }
}
