//! The proxy's process.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use capspan_interop::tool;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::setting::{Over, SCHEMA};

/// It is killed when this is dropped.
pub(crate) struct Proxy {
    process: Child,
    /// Where it listens, as capspan writes it.
    pub(crate) address: String,
    errors: Lines<BufReader<ChildStderr>>,
    records: PathBuf,
}

impl Proxy {
    /// Starts it before the server at `upstream`, and waits until it listens.
    pub(crate) async fn start(
        over: Over,
        folder: &TempDir,
        upstream: &str,
        words: &[&str],
    ) -> Self {
        let records = folder.path().join("records.jsonl");
        let schema = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(SCHEMA);
        let mut process = tool()
            .args(["proxy", "--listen", &over.place(folder, "proxy")])
            .args(["--upstream", upstream, "--json"])
            .arg(&records)
            .arg("--schema")
            .arg(schema)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it can be started");
        let errors = process.stderr.take().expect("it is piped");
        let mut proxy = Self {
            process,
            address: String::new(),
            errors: BufReader::new(errors).lines(),
            records,
        };
        let line = proxy.says("listening at ").await;
        let address = line.split("listening at ").nth(1).expect("it was found");
        proxy.address = address.split(", for").next().expect("one at least").into();
        proxy
    }

    /// Waits for a line of its standard error that has `text` in it.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        loop {
            let line = self.errors.next_line().await.expect("it writes UTF-8");
            let line = line.unwrap_or_else(|| panic!("it ended without having said '{text}'"));
            eprintln!("{line}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Tells it to end.
    pub(crate) async fn terminate(&self) {
        let id = self.process.id().expect("it runs").to_string();
        let status = Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .await;
        assert!(status.expect("there is `kill`").success());
    }

    /// Waits until it has ended well; gives its span records, in the order in which they were written.
    pub(crate) async fn ended(mut self) -> Vec<Json> {
        while let Some(line) = self.errors.next_line().await.expect("it writes UTF-8") {
            eprintln!("{line}");
        }
        let status = self.process.wait().await.expect("its status");
        assert!(status.success(), "{status}");
        let text = std::fs::read_to_string(&self.records).expect("its records");
        let records = text.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().expect("JSON lines")
    }
}

/// None is open, and each is of a session or below one.
pub(crate) fn assert_whole(records: &[Json], sessions: usize) {
    let session = |record: &&Json| record["name"] == "session";
    assert_eq!(records.iter().filter(session).count(), sessions);
    for record in records {
        assert!(record.get("open").is_none(), "{record:#}");
        let parent = record.get("parentSpanId").filter(|id| !id.is_null());
        if record["name"] == "session" {
            assert!(parent.is_none(), "{record:#}");
            continue;
        }
        let is_parent = |other: &&Json| {
            Some(&other["spanId"]) == parent && other["traceId"] == record["traceId"]
        };
        assert!(records.iter().any(|other| is_parent(&other)), "{record:#}");
    }
}
