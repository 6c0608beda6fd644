//! The text to be analysed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The most bytes that an input may have: 16 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

const DEFAULT_FILE: &str = "README.md";
const OWN_TEXT: &str = include_str!("../text/capabilities.txt");

/// A text and what to call it.
#[derive(Debug, PartialEq, Eq)]
pub struct Input {
    /// The file's name, or words that say that the text is the tool's own.
    pub title: String,
    /// The text: UTF-8 without NUL bytes, at most [`MAX_BYTES`].
    pub text: String,
}

/// Reads `file`; without one `README.md` in `folder`, and where there is none, the tool's own text.
pub fn read(file: Option<&Path>, folder: &Path) -> Result<Input, Failure> {
    let path = match file {
        Some(file) => file.to_path_buf(),
        None => folder.join(DEFAULT_FILE),
    };
    match File::open(&path) {
        Ok(open) => read_open(path, open),
        Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Input {
            title: "a text of the tool's own".into(),
            text: OWN_TEXT.into(),
        }),
        Err(error) => Err(refused(&path, error)),
    }
}

fn read_open(path: PathBuf, open: File) -> Result<Input, Failure> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large, also one that has no end.
    open.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(&path, error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        return Err(refused(
            &path,
            format!("larger than {limit} MiB, the limit"),
        ));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(refused(&path, format!("not a text: byte {at} is NUL")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(&path, format!("not a text: byte {at} is not UTF-8"))
    })?;
    let title = path.file_name().unwrap_or(path.as_os_str());
    Ok(Input {
        title: title.to_string_lossy().into_owned(),
        text,
    })
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::told(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, content).unwrap();
        match read(Some(&file), folder.path()) {
            Err(Failure::Told(message)) => message.rsplit('/').next().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_file_the_readme_is_read_and_without_that_the_tools_own_text() {
        let folder = tempfile::tempdir().unwrap();
        let own = read(None, folder.path()).unwrap();
        assert!(own.text.starts_with("Keys, doors and errands"));

        fs::write(folder.path().join("README.md"), "read me").unwrap();
        let readme = read(None, folder.path()).unwrap();
        assert_eq!(
            (&readme.title[..], &readme.text[..]),
            ("README.md", "read me")
        );
    }

    #[test]
    fn a_file_that_is_no_text_is_refused() {
        assert_eq!(told(b"ab\0c"), "file: not a text: byte 2 is NUL");
        assert_eq!(told(b"abc\xff"), "file: not a text: byte 3 is not UTF-8");
    }

    #[test]
    fn the_limit_is_allowed_and_one_byte_more_is_not() {
        assert_eq!(
            told(&vec![b'a'; MAX_BYTES as usize + 1]),
            "file: larger than 16 MiB, the limit"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, vec![b'a'; MAX_BYTES as usize]).unwrap();
        assert_eq!(
            read(Some(&file), folder.path()).unwrap().text.len() as u64,
            MAX_BYTES
        );
    }

    #[test]
    fn a_missing_file_and_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            read(Some(folder.path()), folder.path()),
            Err(Failure::Told(_))
        ));
        let missing = folder.path().join("missing");
        assert!(matches!(
            read(Some(&missing), folder.path()),
            Err(Failure::Told(_))
        ));
    }
}
