//! The callee's process, in the caller's hands.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{self, Command};
use tokio::task::{self, JoinHandle};
use tokio::time::timeout;

use crate::args::CalleeArgs;
use crate::failure::Failure;

/// How long a callee whose connection is over may take to end.
const TIME_TO_END: Duration = Duration::from_secs(10);

/// The callee's process. Dropping it kills it.
pub(super) struct Child {
    process: process::Child,
    records: JoinHandle<String>,
    complaints: JoinHandle<String>,
    is_killed: bool,
}

impl Child {
    /// Starts this program a second time, as the callee that `args` describe.
    pub(super) async fn start(args: &CalleeArgs, token: &str) -> Result<Self, Failure> {
        Self::try_start(args, token)
            .await
            .map_err(|error| Failure::told(format!("starting the callee: {error}")))
    }

    async fn try_start(args: &CalleeArgs, token: &str) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("demo-callee")
            .args(args.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What the terminal sends to the caller is the caller's business alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = process.stdin.take() {
            // A callee that has ended already is noticed by that.
            let _ = stdin.write_all(format!("{token}\n").as_bytes()).await;
        }
        Ok(Self {
            records: task::spawn_local(read(process.stdout.take())),
            complaints: task::spawn_local(read(process.stderr.take())),
            process,
            is_killed: false,
        })
    }

    /// Kills the process. When this is done, it does nothing any more.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        self.is_killed = true;
        self.process.kill().await.map_err(not_told)
    }

    /// Waits for the end of a process that should go on.
    pub(super) async fn ended_early(&mut self) -> Failure {
        match self.process.wait().await {
            Ok(status) => self.complaint("the callee ended early", status).await,
            Err(error) => not_told(error),
        }
    }

    /// Waits for the process, whose work is done. Gives what it has written, span records, and
    /// whether it ended well.
    pub(super) async fn finish(mut self) -> (String, Result<(), Failure>) {
        let ended = match timeout(TIME_TO_END, self.process.wait()).await {
            Ok(Ok(status)) if status.success() || self.is_killed => Ok(()),
            Ok(Ok(status)) => Err(self.complaint("the callee failed", status).await),
            Ok(Err(error)) => Err(not_told(error)),
            Err(_) => {
                let killed = self.kill().await;
                let seconds = TIME_TO_END.as_secs();
                let message = format!("the callee did not end within {seconds} s");
                killed.and(Err(Failure::told(message)))
            }
        };
        (self.records.await.unwrap_or_default(), ended)
    }

    async fn complaint(&mut self, what: &str, status: ExitStatus) -> Failure {
        let said = (&mut self.complaints).await.unwrap_or_default();
        match said.trim() {
            "" => Failure::told(format!("{what} ({status})")),
            said => Failure::told(format!("{what} ({status}): {said}")),
        }
    }
}

/// All that comes; what was cut off in the middle of a character stays recognisable as a bad line.
async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What came before an error is as good as ever.
        let _ = from.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn not_told(error: io::Error) -> Failure {
    Failure::told(format!("the callee's process: {error}"))
}

impl CalleeArgs {
    /// The words of a command line that mean this.
    fn words(&self) -> Vec<OsString> {
        let option = |name: &str, value: OsString| {
            let mut word = OsString::from(name);
            word.push(value);
            word
        };
        let place = &self.place;
        let socket = place.socket.clone().map(OsString::from);
        let tcp = place.tcp.map(|at| at.to_string().into());
        let otlp = self.otlp.clone().map(OsString::from);
        [
            socket.map(|path| option("--socket=", path)),
            tcp.map(|at| option("--tcp=", at)),
            Some(option("--title=", self.title.clone().into())),
            otlp.map(|url| option("--otlp=", url)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, CalleePlace, Command, Parsed};

    /// The program that is started a second time is that of the tests here, which knows no callee.
    #[test]
    fn a_callee_that_ends_early_is_told_with_what_it_said() {
        let args = CalleeArgs {
            place: CalleePlace {
                socket: Some("/nowhere".into()),
                tcp: None,
            },
            title: "x".into(),
            otlp: None,
        };
        let ended = super::super::block_on(async {
            let mut child = Child::start(&args, "token").await?;
            Err::<(), _>(child.ended_early().await)
        });
        let told = ended.unwrap_err().to_string();
        let expected = "the callee ended early (exit status: 101): ";
        assert!(told.starts_with(expected), "{told}");
        assert!(
            told.len() > expected.len() && !told.contains('\n'),
            "{told}"
        );
    }

    #[test]
    fn the_callee_understands_what_it_is_told() {
        let unix = CalleePlace {
            socket: Some("-a b=c/ä".into()),
            tcp: None,
        };
        let tcp = CalleePlace {
            socket: None,
            tcp: "[::1]:7000".parse().ok(),
        };
        for (place, otlp) in [(unix, None), (tcp, Some("http://[::1]:1".into()))] {
            let told = CalleeArgs {
                place,
                title: "--help me\n".into(),
                otlp,
            };
            let program = ["capspan", "demo-callee"].map(OsString::from);
            match args::parse(program.into_iter().chain(told.words())) {
                Ok(Parsed::Run(cli)) => assert_eq!(cli.command, Command::DemoCallee(told)),
                other => panic!("{other:?}"),
            }
        }
    }
}
