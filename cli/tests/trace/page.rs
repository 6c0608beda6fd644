//! The HTML page.

use std::io::Write as _;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::{good, markup, records, trace};

fn page(words: &[&str]) -> String {
    good(&[&["--html", "-"], words].concat(), &records())
}

#[test]
fn it_is_whole_and_leads_nowhere() {
    let page = page(&[]);
    let text = markup::read(&page).text;
    for part in [
        "Traces of standard input",
        "analysis of README.md",
        "◂ callee",
        "parent not among these spans: ff",
        "left out: 1,200 attributes, 3 events",
        "error: the callee's process ended",
        "5 traces · 11 spans",
        "日本語",
        "first result",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn it_has_a_policy_that_allows_its_own_style_and_nothing_else() {
    let page = page(&[]);
    let (_, style) = page.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let hash = base64(&Sha256::digest(style));
    let policy = format!(
        r#"content="default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'""#
    );
    assert!(page.contains(&policy), "the policy has to name {hash}");
    let (before, _) = page.split_once("<style>").unwrap();
    assert!(before.contains(&policy), "it holds from where it stands on");
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes(group);
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place)) & 63;
            out.push(match place <= chunk.len() {
                true => char::from(DIGITS[digit as usize]),
                false => '=',
            });
        }
    }
    out
}

#[test]
fn what_was_filtered_out_is_not_on_it() {
    let page = page(&["--id", "0af7"]);
    let text = markup::read(&page).text;
    assert!(
        text.contains("1 trace · 1 span") && !text.contains("README"),
        "{text}"
    );
}

#[test]
fn it_is_made_for_keyboard_phone_and_dark() {
    let page = page(&[]);
    for part in [
        "<details class=\"trace\" open=\"\"><summary>",
        "name=\"viewport\" content=\"width=device-width, initial-scale=1\"",
        "prefers-color-scheme:dark",
        ":focus-visible",
        "max-width:45rem",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_file_is_written_beside_perfettos() {
    let folder = tempfile::tempdir().unwrap();
    let [html, json] = ["page.html", "trace.json"].map(|name| folder.path().join(name));
    let words = [
        "--html",
        html.to_str().unwrap(),
        "--perfetto",
        json.to_str().unwrap(),
    ];
    let printed = good(&words, &records());
    assert!(printed.starts_with("5 traces · 11 spans") && printed.lines().count() == 2);
    markup::read(&std::fs::read_to_string(html).unwrap());
    let json = std::fs::read_to_string(json).unwrap();
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn who_interrupts_it_finds_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("page.html");
    let mut child = trace(&["-", "--html", html.to_str().unwrap()])
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: when it is written, some of it was read, and the page was begun before that.
    stdin.write_all(records().repeat(200).as_bytes()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
