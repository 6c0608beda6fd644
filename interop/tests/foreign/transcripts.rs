//! What a client says, with and without the proxy; and what the proxy tells of it.

use std::process::Stdio;

use serde_json::Value as Json;

use super::proxy::{Proxy, assert_whole};
use super::setting::{Language, Over, Server, run, theirs};

/// What a client says of all that it does.
async fn transcript(client: Language, address: &str) -> String {
    let mut command = client.abacus();
    command.arg("call").arg(theirs(address));
    command.stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await.expect("it can be started");
    let said = String::from_utf8(output.stdout).expect("it writes UTF-8");
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(said.ends_with("nothing is alive at the client\n"), "{said}");
    // Where in a process something failed is different each time.
    let lines = said.lines().filter(|line| !line.starts_with("stack: "));
    lines.collect::<Vec<_>>().join("\n")
}

/// How many calls of this name came from the client (`SERVER`) or the server (`CLIENT`), and ended so.
fn calls(records: &[Json], kind: &str, name: &str, outcome: &str) -> usize {
    let is_such = |record: &&Json| {
        record["kind"] == kind && record["name"] == name && record["outcome"] == outcome
    };
    records.iter().filter(is_such).count()
}

fn assert_told(records: &[Json], upstream: &str) {
    assert_whole(records, 1);
    let session = records.iter().find(|record| record["name"] == "session");
    let session = session.expect("one was counted");
    assert_eq!(session["outcome"], "ok", "{session:#}");
    assert_eq!(session["attributes"]["rpc.system.name"], "capnproto");
    assert_eq!(session["attributes"]["capspan.upstream"], upstream);
    let expected = [
        ("SERVER", "Abacus/put", "ok", 12),
        ("SERVER", "Abacus/evaluate", "ok", 3),
        ("SERVER", "Abacus/evaluate", "exception", 1),
        ("SERVER", "Abacus/fold", "ok", 3),
        ("SERVER", "Abacus/multiplier", "ok", 3),
        ("SERVER", "Summing/add", "ok", 500),
        ("SERVER", "Summing/sum", "ok", 1),
        ("SERVER", "Summing/sum", "exception", 1),
        ("SERVER", "Abacus/hold", "ok", 2),
        ("SERVER", "Abacus/held", "ok", 2),
        ("SERVER", "Abacus/held", "exception", 1),
        ("SERVER", "Abacus/letGo", "ok", 2),
        ("SERVER", "Abacus/later", "ok", 2),
        ("SERVER", "Abacus/ring", "ok", 1),
        ("SERVER", "Abacus/wait", "canceled", 1),
        ("SERVER", "Abacus/canceled", "ok", 1),
        ("SERVER", "Abacus/isMine", "ok", 6),
        ("SERVER", "Abacus/echo", "ok", 3),
        ("SERVER", "Abacus/alive", "ok", 1),
        // What came back to the server is its own again: it asks the client for nothing but the client's.
        ("CLIENT", "Number/mark", "ok", 3),
        ("SERVER", "Number/mark", "ok", 0),
    ];
    for (kind, name, outcome, count) in expected {
        let told = calls(records, kind, name, outcome);
        assert_eq!(told, count, "{kind} {name} {outcome}");
    }
    for (name, count) in [("Abacus/fail", 4), ("Abacus/fold", 1)] {
        let failed = records.iter().filter(|record| {
            record["name"] == name && record["kind"] == "SERVER" && record["outcome"] != "ok"
        });
        assert_eq!(failed.count(), count, "{name} that failed");
    }
    // The client's functions are called five times. One of the server's that was passed to it before it was known is
    // called by way of the proxy until then.
    assert!(calls(records, "CLIENT", "Function/call", "ok") >= 5);
}

fn direct_and_through(client: Language, server: Language) {
    for over in Over::BOTH {
        eprintln!("{client:?} calls {server:?} over {over:?}");
        run(async {
            let folder = tempfile::tempdir().expect("a folder");
            let mut server = Server::start(server, over, &folder).await;
            let direct = transcript(client, &server.address).await;
            server.is_over().await;
            let mut proxy = Proxy::start(over, &folder, &server.address, &[]).await;
            let through = transcript(client, &proxy.address).await;
            server.is_over().await;
            assert_eq!(through, direct);
            proxy.says(": ok").await;
            proxy.terminate().await;
            assert_told(&proxy.ended().await, &server.address);
        });
    }
}

#[test]
fn a_client_in_cpp_and_a_server_in_cpp() {
    direct_and_through(Language::Cpp, Language::Cpp);
}

#[test]
fn a_client_in_cpp_and_a_server_in_python() {
    direct_and_through(Language::Cpp, Language::Python);
}

#[test]
fn a_client_in_python_and_a_server_in_cpp() {
    direct_and_through(Language::Python, Language::Cpp);
}

#[test]
fn a_client_in_python_and_a_server_in_python() {
    direct_and_through(Language::Python, Language::Python);
}
