//! The layers of the house: each folder and file of `src/` uses those before it in the list, and of these
//! only the ones that it names. So data flows one way, and membrane, trace and guard know nothing of each
//! other.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, lowest first, with those that it may use.
const LAYERS: [(&str, &[&str]); 25] = [
    // What capnpc makes.
    ("trace_capnp", &[]),
    ("event_capnp", &[]),
    ("tail_capnp", &["trace_capnp"]),
    ("byte_stream_capnp", &[]),
    ("http_over_capnp_capnp", &["byte_stream_capnp"]),
    (
        "pipeline_capnp",
        &[
            "trace_capnp",
            "event_capnp",
            "tail_capnp",
            "http_over_capnp_capnp",
        ],
    ),
    ("error", &[]),
    ("clock", &["error"]),
    ("timer", &[]),
    ("depth", &[]),
    ("slots", &[]),
    ("room", &["error"]),
    ("waiting", &["slots"]),
    ("outbox", &[]),
    ("drive", &["error", "clock"]),
    ("trace", &["error", "clock"]),
    (
        "membrane",
        &["error", "clock", "depth", "slots", "waiting", "drive"],
    ),
    ("guard", &["error", "timer", "depth", "waiting", "outbox"]),
    (
        "wire",
        &[
            "trace_capnp",
            "tail_capnp",
            "pipeline_capnp",
            "error",
            "trace",
        ],
    ),
    (
        "fetch",
        &[
            "byte_stream_capnp",
            "http_over_capnp_capnp",
            "error",
            "room",
            "wire",
        ],
    ),
    (
        "enrich",
        &[
            "pipeline_capnp",
            "error",
            "outbox",
            "drive",
            "trace",
            "wire",
        ],
    ),
    (
        "session",
        &[
            "pipeline_capnp",
            "error",
            "room",
            "timer",
            "slots",
            "waiting",
            "drive",
            "trace",
            "membrane",
            "guard",
            "wire",
            "enrich",
        ],
    ),
    (
        "pipeline",
        &[
            "event_capnp",
            "tail_capnp",
            "http_over_capnp_capnp",
            "pipeline_capnp",
            "error",
            "room",
            "outbox",
            "drive",
            "trace",
            "guard",
            "wire",
            "fetch",
            "enrich",
            "session",
        ],
    ),
    (
        "export",
        &[
            "error", "timer", "drive", "trace", "guard", "session", "pipeline",
        ],
    ),
    (
        "page",
        &["error", "clock", "drive", "trace", "guard", "session"],
    ),
];

/// What `lib.rs` gives a second name at the root, and where it is from.
const REEXPORTS: [(&str, &str); 6] = [
    ("Error", "error"),
    ("Result", "error"),
    ("Driver", "drive"),
    ("Tasks", "drive"),
    ("Timer", "timer"),
    ("TokioTimer", "timer"),
];

#[test]
fn every_file_keeps_to_its_layer() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let mut faults = Vec::new();
    let mut seen = Vec::new();
    for file in files {
        let path = file.strip_prefix(&source).unwrap().to_str().unwrap();
        if path != "lib.rs" {
            let layer = path.split('/').next().unwrap().trim_end_matches(".rs");
            seen.push(layer.to_owned());
            faults.extend(faults_of(layer, path, &fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    for (layer, _) in LAYERS {
        let is_there = seen.iter().any(|seen| seen == layer) || layer.ends_with("_capnp");
        assert!(is_there, "there is no layer {layer} any more");
    }
}

#[test]
fn a_layer_uses_only_those_below_it() {
    for (index, (layer, uses)) in LAYERS.iter().enumerate() {
        for used in *uses {
            let is_below = LAYERS[..index].iter().any(|(below, _)| below == used);
            assert!(is_below, "{layer} uses {used}");
        }
    }
}

#[test]
fn a_forbidden_use_is_told_with_its_place() {
    let told = |layer, path, text| faults_of(layer, path, text).join("\n");
    let forbidden = "a\nuse crate::membrane::Membrane;\n";
    assert_eq!(
        told("trace", "trace/span.rs", forbidden),
        "src/trace/span.rs:2: trace may not use crate::membrane"
    );
    for text in [
        "use crate::{\n    Error,\n    session::{Life, x},\n};",
        "fn f() -> crate::session::Life {}",
        "pub use crate::session as s;",
        "use crate::*;",
        "use super::session::Life;",
        "use super::super::session::Life;",
    ] {
        assert_ne!(told("guard", "guard/mod.rs", text), "", "{text}");
    }
    assert_ne!(told("bin", "bin/mod.rs", "use std::fmt;"), "");
    for path in ["guard/rules.rs", "guard/rules/mod.rs"] {
        assert_ne!(told("guard", path, "use super::super::session;"), "");
        assert_eq!(told("guard", path, "use super::network;"), "");
    }
    for text in [
        "use crate::error::Error;",
        "use crate::{Error, Result};",
        "use crate::guard::Ending;",
        "pub(in crate::guard) fn f() {}",
        "/// As in [`crate::session`].",
        "//! [`Life`](crate::session::Life)",
        "    mod tests {\n        use super::*;",
    ] {
        assert_eq!(told("guard", "guard/mod.rs", text), "", "{text}");
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// What the file at `path` below `src/` uses and may not.
fn faults_of(layer: &str, path: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = LAYERS.iter().find(|(known, _)| *known == layer) else {
        return vec![format!(
            "src/{path}: {layer} is no layer of tests/layers.rs"
        )];
    };
    let mut faults = Vec::new();
    let code = without_comments(text);
    for (place, name) in roots(&code) {
        let reexport = REEXPORTS.iter().find(|(known, _)| *known == name);
        let used = reexport.map_or(name, |(_, layer)| *layer);
        if used != layer && !allowed.contains(&used) {
            let line = line_of(&code, place);
            faults.push(format!(
                "src/{path}:{line}: {layer} may not use crate::{name}"
            ));
        }
    }
    for (place, what) in ways_up(path, &code) {
        let line = line_of(&code, place);
        faults.push(format!(
            "src/{path}:{line}: {what} leaves the layer, say crate::"
        ));
    }
    faults
}

fn without_comments(text: &str) -> String {
    let lines = text.lines();
    let code = lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.collect::<Vec<_>>().join("\n")
}

/// Each name that stands right behind `crate::`, with its place.
fn roots(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (place, path) in code.match_indices("crate::") {
        let rest = &code[place + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(members(group).map(|name| (place, name))),
            None => found.push((place, first_name(rest))),
        }
    }
    found
}

/// The first name of each path in a group, which begins behind its brace.
fn members(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 1;
    let end = group.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    });
    let mut depth = 0;
    let members = group[..end.unwrap_or(group.len())].split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    members.map(first_name).filter(|name| !name.is_empty())
}

fn first_name(path: &str) -> &str {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
    &path[..end.unwrap_or(path.len())]
}

/// Paths that go up to the crate's root without naming it; those in a module of tests are one deeper.
fn ways_up<'a>(path: &str, code: &'a str) -> Vec<(usize, &'a str)> {
    let depth = path.trim_end_matches("/mod.rs").split('/').count();
    let tests = code.find("mod tests {").unwrap_or(code.len());
    let leaves = |place: usize| "super::".repeat(depth + usize::from(place > tests));
    code.match_indices("super::")
        .filter(|(place, _)| code[*place..].starts_with(&leaves(*place)))
        .collect()
}

fn line_of(code: &str, place: usize) -> usize {
    code[..place].matches('\n').count() + 1
}
