//! Options and files, as the program takes them.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::process::{Folder, Running, assert_leads, capspan};

/// What `--check-config` says with these words.
fn checked(words: &[&str]) -> (Option<i32>, String, Vec<String>) {
    let mut command = capspan(&["proxy", "--check-config"]);
    let output = command.args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let errors = text(output.stderr);
    (
        output.status.code(),
        text(output.stdout),
        errors.lines().map(str::to_owned).collect(),
    )
}

#[test]
fn what_is_printed_says_the_same_when_it_is_read() {
    let folder = Folder::new();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/analysis.cgr");
    let (status, first, errors) = checked(&[
        "--listen",
        "tcp:127.0.0.1:0",
        "systemd:front",
        "--upstream",
        "unix:/run/a b.sock",
        "--schema",
        schema,
        "--allow",
        "Analyzer",
        "Cursor/next",
        "--allow",
        "0xffffffffffffffff/7",
        "--deny",
        "Cursor/0",
        "--json",
        "-",
        "--session-time",
        "90min",
        "--max-call-bytes",
        "1GB",
        "--threads",
        "0",
        "--page",
        "[::1]:80",
        "--otlp",
        "https://collector.internal:4318",
        "--no-propagation",
        "--quiet=false",
    ]);
    assert_eq!((status, errors.len()), (Some(0), 0), "{errors:?}");
    assert!(first.starts_with("# Interfaces with names: 2\n"), "{first}");
    let file = folder.write("f.toml", &first);
    let (status, second, errors) = checked(&["--config", &file]);
    assert_eq!(status, Some(0), "{errors:?}");
    assert_eq!(first, second);
    let (_, other, _) = checked(&["--config", &file, "--max-hops", "1", "--json=x"]);
    let changed: Vec<_> = other.lines().filter(|line| !first.contains(line)).collect();
    assert_eq!(changed, ["json = \"x\"", "max-hops = 1"]);
}

#[test]
fn every_mistake_is_a_line_and_the_status_is_2() {
    let folder = Folder::new();
    let file = folder.write(
        "f.toml",
        "listen = \"unix:/a\"\nupstreem = 1\nthreads = \"x\"\n",
    );
    let (status, output, errors) = checked(&["--config", &file]);
    assert_eq!((status, &*output), (Some(2), ""));
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with(&format!("capspan: {file}:2: upstreem: unknown key")));
    assert!(errors[1].starts_with(&format!("capspan: {file}:3: threads: ")));
    // It is the same where it is to run.
    let output = capspan(&["proxy", "--config", &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 2);
    // What the command line itself has wrong is told in one line.
    let (status, _, errors) = checked(&["--max-hops", "300"]);
    assert_eq!((status, errors.len()), (Some(2), 1), "{errors:?}");
    let (status, _, errors) = checked(&["--config", "/nonexistent/f.toml"]);
    assert_eq!((status, errors.len()), (Some(2), 1), "{errors:?}");
}

#[test]
fn what_goes_wrong_though_all_was_said_right_has_status_1() {
    let folder = Folder::new();
    let _taken = folder.service("taken");
    let (taken, upstream) = (folder.unix("taken"), folder.unix("service"));
    let output = capspan(&["proxy", "--listen", &taken, "--upstream", &upstream])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("capspan: listening at unix:"), "{told}");
}

#[test]
fn who_comes_while_schemas_are_read_is_served_and_so_is_who_wants_an_end() {
    let folder = Folder::new();
    let service = folder.service("service");
    let (listen, upstream) = (folder.unix("front"), folder.unix("service"));
    // A compiler that says when it runs, and does so until somebody wants it to end.
    let compiler = folder.write(
        "capnp",
        "#!/bin/sh\necho > \"$CAPNP_RUNS\"\nread _ < \"$CAPNP_ENDS\"\n",
    );
    std::fs::set_permissions(&compiler, std::fs::Permissions::from_mode(0o755)).unwrap();
    for pipe in ["runs", "ends"] {
        let made = Command::new("mkfifo").arg(folder.path(pipe)).status();
        assert!(made.unwrap().success());
    }
    let file = folder.write("f.toml", "");
    let words = [
        "proxy",
        "--config",
        &file,
        "--listen",
        &listen,
        "--upstream",
        &upstream,
    ];
    let mut command = capspan(&words);
    command
        .env(
            "PATH",
            format!("{}:{}", folder.path("").display(), env!("PATH")),
        )
        .env("CAPNP_RUNS", folder.path("runs"))
        .env("CAPNP_ENDS", folder.path("ends"));
    let mut proxy = Running::start(command);
    proxy.says("listening at");
    folder.write("a.capnp", "not compiled");
    folder.write("f.toml", "schema = \"a.capnp\"\n");
    proxy.signal("HUP");
    std::fs::read(folder.path("runs")).unwrap();
    assert_leads(&folder.path("front"), &service);
    proxy.signal("TERM");
    proxy.says("ending");
    std::fs::write(folder.path("ends"), "\n").unwrap();
    assert_eq!(proxy.ended().0.code(), Some(0));
}

#[test]
fn a_hang_up_reads_the_file_anew_and_what_is_wrong_changes_nothing() {
    let folder = Folder::new();
    let (first, second) = (folder.service("first"), folder.service("second"));
    let front = folder.path("front");
    let text = |upstream: &str| {
        let listen = folder.unix("front");
        format!(
            "listen = \"{listen}\"\nupstream = \"{}\"\n",
            folder.unix(upstream)
        )
    };
    let file = folder.write("f.toml", &text("first"));
    let mut proxy = Running::start(capspan(&["proxy", "--config", &file]));
    proxy.says("listening at");
    assert_leads(&front, &first);
    folder.write("f.toml", &text("second"));
    proxy.signal("HUP");
    proxy.says("was read anew");
    assert_leads(&front, &second);
    folder.write("f.toml", "nonsense = 1\nthreads = -1\n");
    proxy.signal("HUP");
    let told = proxy.says("stays as it was");
    assert!(
        told.contains(":1: nonsense: ") && told.contains("; "),
        "{told}"
    );
    assert_leads(&front, &second);
    folder.write("f.toml", &format!("{}threads = 2\n", text("first")));
    proxy.signal("HUP");
    proxy.says("threads stays as it is");
    assert_leads(&front, &first);
    proxy.signal("TERM");
    let (status, _) = proxy.ended();
    assert_eq!(status.code(), Some(0));
    assert!(!front.exists());
}
