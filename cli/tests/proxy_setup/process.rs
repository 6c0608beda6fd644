//! The proxy's process, between a service that takes connections and clients that make them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// The program, with no input.
pub(crate) fn capspan(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capspan"));
    command.args(words).stdin(Stdio::null());
    command
}

/// A folder, and the places in it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As the proxy is told of it.
    pub(crate) fn unix(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    pub(crate) fn service(&self, name: &str) -> UnixListener {
        UnixListener::bind(self.path(name)).unwrap()
    }
}

/// A proxy that runs.
pub(crate) struct Running {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, errors }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its standard error that has `text` in it.
    pub(crate) fn says(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.errors.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended without having said '{text}'");
            eprint!("{line}");
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until it has ended; what it said last.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).unwrap();
        eprint!("{rest}");
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a test that has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client at `path` gets to the service that listens at `service`.
pub(crate) fn assert_leads(path: &Path, service: &UnixListener) {
    let _client = UnixStream::connect(path).unwrap();
    service.accept().unwrap();
}
