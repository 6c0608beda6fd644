//! A program of another language, in the test's hands.

use std::env;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

/// A process. It is killed when this is dropped.
pub struct Program {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it. What it complains of is among what the test says.
    ///
    /// # Panics
    ///
    /// Where it can't be started.
    pub fn start(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it can be started");
        Self {
            stdin: process.stdin.take(),
            lines: BufReader::new(process.stdout.take().expect("it is piped")).lines(),
            process,
        }
    }

    /// The next line that it writes; nothing where it has ended.
    ///
    /// # Panics
    ///
    /// Where that is no UTF-8.
    pub async fn line(&mut self) -> String {
        self.line_or_end().await.unwrap_or_default()
    }

    /// The same; `None` where it has ended.
    ///
    /// # Panics
    ///
    /// Where that is no UTF-8.
    pub async fn line_or_end(&mut self) -> Option<String> {
        self.lines.next_line().await.expect("it writes UTF-8")
    }

    /// Ends its standard input, and waits until it has ended, well and without another word.
    ///
    /// # Panics
    ///
    /// Where it has failed, or says something.
    pub async fn finish(mut self) {
        drop(self.stdin.take());
        assert_eq!(self.line().await, "");
        let status = self.process.wait().await.expect("its status");
        assert!(status.success(), "{status}");
    }

    /// Kills it. When this is done, it does nothing any more.
    ///
    /// # Panics
    ///
    /// Where it can't be killed.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it can be killed");
    }
}

/// `interop/python/NAME`, by the Python that `.ci/interop` has made.
///
/// # Panics
///
/// Where there is none.
pub fn python(name: &str) -> Command {
    let python = env::var_os("CAPSPAN_PYTHON")
        .expect("CAPSPAN_PYTHON names a Python that has pycapnp: run .ci/interop");
    let mut command = Command::new(python);
    command.arg("-B"); // leaves nothing behind in the source tree
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("python")
            .join(name),
    );
    command
}

/// The tool, as `.ci/interop` has built it.
///
/// # Panics
///
/// Where there is none.
pub fn tool() -> Command {
    let tool = env::var_os("CAPSPAN_TOOL")
        .expect("CAPSPAN_TOOL names the program `capspan`: run .ci/interop");
    Command::new(tool)
}

/// The two directions of `stream`, as a connection wants them.
pub fn halves(
    stream: UnixStream,
) -> (
    Compat<tokio::net::unix::OwnedReadHalf>,
    Compat<tokio::net::unix::OwnedWriteHalf>,
) {
    let (reader, writer) = stream.into_split();
    (reader.compat(), writer.compat_write())
}
