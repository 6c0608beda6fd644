//! The reference in `docs/` says what the options are, no more and no less.
//!
//! `CAPSPAN_BLESS=1` writes its tables anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use capspan_cli::proxy::{Options, ProxyArgs};
use clap::{Arg, Args as _, Command};

use super::process::{Folder, capspan};

const BEGIN: &str = "<!-- options: written by a test, `CAPSPAN_BLESS=1 cargo test -p capspan-cli --test proxy_setup` -->\n";
const END: &str = "<!-- end of options -->\n";

fn docs(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(name)
}

fn options() -> Vec<Arg> {
    let command = ProxyArgs::augment_args(Command::new("proxy"));
    command.get_arguments().cloned().collect()
}

/// An option's help, and the default that it tells of.
fn help(option: &Arg) -> (String, Option<String>) {
    let help = option.get_help().unwrap().to_string();
    match help
        .strip_suffix(']')
        .and_then(|help| help.rsplit_once(" [default: "))
    {
        Some((help, default)) => (help.to_owned(), Some(default.to_owned())),
        None => (help, None),
    }
}

/// A key's value as users write it, in a table of all that holds by default.
fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn tables() -> String {
    let mut text = String::new();
    let mut heading = None;
    for option in options() {
        let name = option.get_long().unwrap();
        if option.get_help_heading() != heading.as_deref() {
            heading = option.get_help_heading().map(str::to_owned);
            let heading = heading.as_deref().unwrap();
            write!(text, "\n### {heading}\n\n| option | value | default | what it says |\n|---|---|---|---|\n").unwrap();
        }
        let values: Vec<_> = option
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .collect();
        let takes_value = option.get_action().takes_values();
        let several = option
            .get_num_args()
            .is_some_and(|count| count.max_values() > 1);
        let value = match values.first().filter(|_| takes_value) {
            Some(value) if several => format!("`{value}`…"),
            Some(value) => format!("`{value}`"),
            None => String::new(),
        };
        let (help, default) = help(&option);
        let default = default.map_or_else(String::new, |default| format!("`{default}`"));
        let help = help.replace('|', "\\|");
        writeln!(text, "| `--{name}` | {value} | {default} | {help} |").unwrap();
    }
    text.push('\n');
    text
}

#[test]
fn the_tables_are_those_of_the_options() {
    let path = docs("proxy-reference.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    let expected = tables();
    if std::env::var_os("CAPSPAN_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(there, expected);
    }
}

#[test]
fn the_help_tells_the_defaults_that_hold() {
    let defaults = toml::Table::try_from(Options::defaults()).unwrap();
    for option in options() {
        let name = option.get_long().unwrap();
        let told = help(&option).1;
        assert_eq!(told, defaults.get(name).map(written), "{name}");
    }
}

#[test]
fn the_example_loads_and_has_every_key() {
    let text = std::fs::read_to_string(docs("proxy.example.toml")).unwrap();
    let options = options();
    let names = options.iter().map(|option| option.get_long().unwrap());
    let names: BTreeSet<_> = names
        .filter(|name| !["config", "check-config"].contains(name))
        .collect();
    // What is not in force is there after a '#', without a space as text has it.
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|it: char| it.is_ascii_lowercase()) => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let table: toml::Table = all.parse().unwrap();
    let there: BTreeSet<_> = table.keys().map(String::as_str).collect();
    assert_eq!(there, names);
    let _: Options = toml::from_str(&all).unwrap();
    // Where a default is shown, it is that.
    let defaults = toml::Table::try_from(Options::defaults()).unwrap();
    for (key, default) in &defaults {
        assert_eq!(&table[key], default, "{key}");
    }
    let folder = Folder::new();
    let file = folder.write("proxy.toml", &text);
    let output = capspan(&["proxy", "--config", &file, "--check-config"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
