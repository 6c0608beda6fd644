//! Programs that are killed in the middle of what they do.

use capspan_interop::Program;

use super::proxy::{Proxy, assert_whole};
use super::setting::{Language, Over, Server, run, theirs};

/// After how many lines of what a client says something is killed.
const LINES: [usize; 12] = [1, 2, 3, 4, 5, 9, 12, 15, 17, 23, 26, 33];

/// A client that has said so many lines.
async fn client(address: &str, lines: usize) -> Program {
    let mut command = Language::Cpp.abacus();
    command.arg("call").arg(theirs(address));
    let mut program = Program::start(command);
    for _ in 0..lines {
        // An error that has come from Python has empty lines.
        program.line().await;
    }
    program
}

#[test]
fn clients_that_are_killed_leave_nothing_with_the_server() {
    for (server, over) in [(Language::Cpp, Over::Unix), (Language::Python, Over::Tcp)] {
        run(async {
            let folder = tempfile::tempdir().expect("a folder");
            let mut server = Server::start(server, over, &folder).await;
            let mut proxy = Proxy::start(over, &folder, &server.address, &[]).await;
            for lines in LINES {
                client(&proxy.address, lines).await.kill().await;
                proxy.says("calls").await;
                server.is_over().await;
            }
            proxy.terminate().await;
            assert_whole(&proxy.ended().await, LINES.len());
        });
    }
}

#[test]
fn servers_that_are_killed_leave_nothing_open() {
    for over in Over::BOTH {
        run(async {
            for lines in LINES {
                let folder = tempfile::tempdir().expect("a folder");
                let mut server = Server::start(Language::Cpp, over, &folder).await;
                let mut proxy = Proxy::start(over, &folder, &server.address, &[]).await;
                let client = client(&proxy.address, lines).await;
                server.program.kill().await;
                proxy.says("disconnected").await;
                drop(client);
                proxy.terminate().await;
                let records = proxy.ended().await;
                assert_whole(&records, 1);
                let session = records.iter().find(|record| record["name"] == "session");
                assert_eq!(session.expect("one")["outcome"], "disconnected");
            }
        });
    }
}
