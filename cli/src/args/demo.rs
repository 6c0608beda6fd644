//! The options of `capspan demo`, and of its callee.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  capspan demo
  capspan demo --input notes.txt --tcp   the text of a file, over TCP
  capspan demo --end cancel              the caller gives up midway
  capspan demo --json > spans.jsonl      the span records, for 'capspan trace'

Exit status: 0 when the session ended as it was to end; 2 when it did not, or could not be had;
130 after Ctrl-C.";

/// The options of `demo`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Text to analyse, UTF-8, up to 16 MiB [default: README.md if there is one here, else a text of
    /// the tool's own]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Unix socket to talk over [default: a new one in a folder of its own]
    #[arg(long, value_name = "PATH", conflicts_with = "tcp")]
    pub socket: Option<PathBuf>,

    /// Talk over TCP on this machine, at ADDRESS [default: 127.0.0.1, any free port]
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:0",
        value_parser = loopback,
    )]
    pub tcp: Option<SocketAddr>,

    /// Print span records as JSON lines, and nothing else
    #[arg(long)]
    pub json: bool,

    /// Send the spans of both processes to the OpenTelemetry collector at URL, as http://127.0.0.1:4318, as well
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,

    /// How the session ends
    #[arg(long, value_enum, value_name = "HOW", default_value_t = End::Finish)]
    pub end: End,
}

/// How the demo's session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// The caller reads all results and lets go
    Finish,
    /// The caller drops the session midway
    Cancel,
    /// The callee's process is killed midway
    Kill,
}

/// The options of `demo-callee`: where its caller waits for it, and for what text. It writes its span
/// records on its standard output, which the caller reads.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CalleeArgs {
    /// Where to connect to.
    #[command(flatten)]
    pub place: CalleePlace,

    /// What people call the text: a file name, for instance.
    #[arg(long)]
    pub title: String,

    /// Where a collector is, if spans are to go there as well.
    #[arg(long)]
    pub otlp: Option<String>,
}

/// Where the caller waits for the callee: exactly one of these.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[group(required = true, multiple = false)]
pub struct CalleePlace {
    /// At a Unix socket.
    #[arg(long)]
    pub socket: Option<PathBuf>,

    /// At a loopback address.
    #[arg(long, value_parser = loopback)]
    pub tcp: Option<SocketAddr>,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!(
            "not an address with a port, as {}:7000 is",
            Ipv4Addr::LOCALHOST
        )
    })?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{} is not an address of this machine only",
            address.ip()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Command;
    use crate::args::tests::{command, failure};

    const PLAIN: DemoArgs = DemoArgs {
        input: None,
        socket: None,
        tcp: None,
        json: false,
        otlp: None,
        end: End::Finish,
    };

    #[test]
    fn demo_needs_no_option() {
        assert_eq!(command(&["demo"]), Command::Demo(PLAIN));
    }

    #[test]
    fn demo_takes_all_its_options() {
        assert_eq!(
            command(&[
                "demo", "--input", "a b", "--tcp", "--json", "--otlp", "x", "--end", "kill"
            ]),
            Command::Demo(DemoArgs {
                input: Some("a b".into()),
                tcp: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
                json: true,
                otlp: Some("x".into()),
                end: End::Kill,
                ..PLAIN
            })
        );
        assert_eq!(
            command(&["demo", "--tcp=[::1]:7000", "--end=cancel"]),
            Command::Demo(DemoArgs {
                tcp: "[::1]:7000".parse().ok(),
                end: End::Cancel,
                ..PLAIN
            })
        );
    }

    #[test]
    fn the_callee_is_told_one_place_and_what_the_text_is_called() {
        assert_eq!(
            command(&["demo-callee", "--socket", "/tmp/s", "--title", "README.md"]),
            Command::DemoCallee(CalleeArgs {
                place: CalleePlace {
                    socket: Some("/tmp/s".into()),
                    tcp: None,
                },
                title: "README.md".into(),
                otlp: None,
            })
        );
        failure(&["demo-callee", "--title", "x"]);
        failure(&[
            "demo-callee",
            "--socket",
            "a",
            "--tcp",
            "[::1]:1",
            "--title",
            "x",
        ]);
    }
}
