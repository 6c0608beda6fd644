//! The programs, and how they are connected.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use capspan_interop::{Program, cpp, python};
use tempfile::TempDir;
use tokio::process::Command;

/// Runs a test. None takes longer, unless something is wrong.
pub(crate) fn run(test: impl Future<Output = ()>) {
    capspan_interop::run(Duration::from_secs(60), test);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Cpp,
    Python,
}

impl Language {
    /// The calculator, which is told what to do.
    pub(crate) fn abacus(self) -> Command {
        static CPP: LazyLock<PathBuf> = LazyLock::new(|| {
            let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
            cpp::build("abacus", SCHEMA, &out)
        });
        match self {
            Self::Cpp => Command::new(&*CPP),
            Self::Python => python("abacus.py"),
        }
    }
}

/// Their schema, from the root of the sources.
pub(crate) const SCHEMA: &str = "interop/schema/abacus.capnp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Unix,
    Tcp,
}

impl Over {
    pub(crate) const BOTH: [Self; 2] = [Self::Unix, Self::Tcp];

    /// Where to listen, as capspan writes it.
    pub(crate) fn place(self, folder: &TempDir, name: &str) -> String {
        match self {
            Self::Unix => format!("unix:{}", folder.path().join(name).display()),
            Self::Tcp => "tcp:127.0.0.1:0".into(),
        }
    }
}

/// As the calculator writes it.
pub(crate) fn theirs(address: &str) -> &str {
    address.strip_prefix("tcp:").unwrap_or(address)
}

/// A server. It is killed when this is dropped.
pub(crate) struct Server {
    pub(crate) program: Program,
    /// As capspan writes it.
    pub(crate) address: String,
}

impl Server {
    pub(crate) async fn start(language: Language, over: Over, folder: &TempDir) -> Self {
        let mut address = over.place(folder, "server");
        let mut command = language.abacus();
        command.arg("serve").arg(theirs(&address));
        let mut program = Program::start(command);
        let line = program.line().await;
        let port = line.strip_prefix("listening ").expect("it listens");
        if over == Over::Tcp {
            address = format!("tcp:127.0.0.1:{port}");
        }
        Self { program, address }
    }

    /// A connection is over, and has left nothing.
    pub(crate) async fn is_over(&mut self) {
        assert_eq!(self.program.line().await, "over, alive 0");
    }
}
