//! A file of options, and all that is wrong in it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use clap::{Args as _, Command};
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::{Options, ProxyArgs};

/// Nobody has this many options.
const MAX_BYTES: u64 = 1 << 20;

/// How many mistakes are told of.
const MAX_TOLD: usize = 20;

/// What a file says.
#[derive(Debug)]
pub(super) struct OptionsFile {
    pub(super) options: Options,
    /// The line that each key is in.
    pub(super) lines: BTreeMap<String, usize>,
}

/// The options that only the command line has.
const ONLY_ON_COMMAND_LINE: [&str; 2] = ["config", "check-config"];

/// What a file may have: the options' names.
fn keys() -> Vec<String> {
    let command = ProxyArgs::augment_args(Command::new("proxy"));
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    names
        .filter(|name| !ONLY_ON_COMMAND_LINE.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Reads a file. Errors name the file, the line, and the key.
pub(super) fn read(path: &Path) -> Result<OptionsFile, Vec<String>> {
    let failed = |error: &str| vec![format!("{}: {error}", path.display())];
    let file = std::fs::File::open(path).map_err(|error| failed(&error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(failed("larger than a file of options may be, 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed("not UTF-8"))?;
    let mut file = parse(&text, &path.display().to_string())?;
    file.options
        .place_paths(path.parent().unwrap_or(Path::new("")));
    Ok(file)
}

fn parse(text: &str, title: &str) -> Result<OptionsFile, Vec<String>> {
    let line = |span: Range<usize>| 1 + text[..span.start].matches('\n').count();
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let told = errors.iter().map(|error| {
            let line = error.span().map_or(1, line);
            format!("{title}:{line}: {}", error.message())
        });
        return Err(first(told.collect()));
    }
    let keys = keys();
    let mut right = DeTable::new();
    let (mut lines, mut wrong) = (BTreeMap::new(), BTreeMap::new());
    let span = table.span();
    for (key, value) in table.into_inner() {
        let name = key.get_ref().to_string();
        let at = line(key.span());
        if !keys.contains(&name) {
            wrong.insert(
                at,
                format!("{title}:{at}: {name}: {}", unknown(&name, &keys)),
            );
            continue;
        }
        // Each for itself, so that one mistake does not hide the next.
        let only = DeTable::from_iter([(key.clone(), value.clone())]);
        let only = Deserializer::from(Spanned::new(span.clone(), only));
        match Options::deserialize(only) {
            Ok(_) => {
                lines.insert(name, at);
                right.insert(key, value);
            }
            Err(error) => {
                let at = error.span().map_or(at, line);
                let message = error.message().trim();
                wrong.insert(at, format!("{title}:{at}: {name}: {message}"));
            }
        }
    }
    if !wrong.is_empty() {
        return Err(first(wrong.into_values().collect()));
    }
    let options = Options::deserialize(Deserializer::from(Spanned::new(span, right)))
        .map_err(|error| vec![format!("{title}: {}", error.message())])?;
    Ok(OptionsFile { options, lines })
}

fn unknown(name: &str, keys: &[String]) -> String {
    let meant = name.replace('_', "-").to_lowercase();
    match keys.iter().find(|key| **key == meant) {
        Some(key) => format!("unknown key: write {key}"),
        None if ONLY_ON_COMMAND_LINE.contains(&name) => "only the command line has this".into(),
        None => format!("unknown key: there are {}", keys.join(", ")),
    }
}

fn first(mut told: Vec<String>) -> Vec<String> {
    if told.len() > MAX_TOLD {
        let more = told.len() - MAX_TOLD;
        told.truncate(MAX_TOLD);
        told.push(format!("and {more} more"));
    }
    told
}

impl Options {
    /// Files are named from the folder that the file is in, as it may be read from anywhere.
    fn place_paths(&mut self, folder: &Path) {
        let place = |path: &mut String| {
            // Both parts are UTF-8, or else the path stays as it was written.
            if let Ok(placed) = folder.join(&*path).into_os_string().into_string() {
                *path = placed;
            }
        };
        self.schema.iter_mut().for_each(place);
        self.import_path.iter_mut().for_each(place);
        self.page_token_file.iter_mut().for_each(place);
        self.json
            .iter_mut()
            .filter(|path| *path != "-")
            .for_each(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        parse(text, "f.toml").expect_err(text)
    }

    #[test]
    fn keys_are_the_options_and_values_are_written_as_there() {
        let text = r#"
            listen = ["unix:/run/a.sock", "systemd:front"]
            upstream = "tcp:[::1]:4000"
            threads = 0
            drain-timeout = "1h30min"
            allow = "Outer.Inner/*"
            max-call-bytes = 4096
            max-burst = "1GiB"
            bytes-a-second = "none"
            messages-a-second = 100
            quiet = true
        "#;
        let file = parse(text, "f.toml").unwrap();
        let options = file.options;
        assert_eq!(options.listen.len(), 2);
        assert_eq!(options.threads, Some(0));
        assert_eq!(options.max_call_bytes, "4KiB".parse().ok());
        assert_eq!(options.max_burst, "1GiB".parse().ok());
        assert_eq!(options.bytes_a_second, "none".parse().ok());
        assert_eq!(options.messages_a_second, "100".parse().ok());
        assert_eq!(options.allow, ["Outer.Inner/*".parse().unwrap()]);
        assert_eq!(options.quiet, Some(true));
        assert_eq!(file.lines["allow"], 6);
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_key() {
        let told = wrong(
            "max_calls = 5\n\
             listen = [\n  \"unix:/a\",\n  \"udp:7\",\n]\n\
             threads = -1\n\
             session-time = 30\n\
             nonsense = 1\n\
             max-hops = 256\n\
             max-calls = 0\n\
             check-config = true\n\
             deny = []\n\
             upstream = [\"unix:/a\"]\n\
             [limits]\nmax-calls = 1\n",
        );
        let starts = [
            "f.toml:1: max_calls: unknown key: write max-calls",
            "f.toml:4: listen: 'udp:7' is no address",
            "f.toml:6: threads: invalid value: integer `-1`",
            "f.toml:7: session-time: '30' is no time",
            "f.toml:8: nonsense: unknown key: there are listen, upstream,",
            "f.toml:9: max-hops: invalid value: integer `256`",
            "f.toml:10: max-calls: invalid value: integer `0`",
            "f.toml:11: check-config: only the command line has this",
            "f.toml:12: deny: the list is empty",
            "f.toml:13: upstream: invalid type: sequence",
            "f.toml:14: limits: unknown key",
        ];
        assert_eq!(told.len(), starts.len(), "{told:#?}");
        for (told, start) in told.iter().zip(starts) {
            assert!(told.starts_with(start), "{told}\n{start}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        for (text, line) in [
            ("listen = \n", 1),
            ("\n\nlisten = \"a", 3),
            ("quiet = true\nquiet = false\n", 2),
            ("quiet = true\n= 5", 2),
            ("quiet = tru\u{0}e", 1),
            ("[a\n", 1),
        ] {
            let told = wrong(text);
            let start = format!("f.toml:{line}: ");
            assert!(told[0].starts_with(&start), "{text:?}: {told:?}");
        }
    }

    #[test]
    fn a_hostile_file_is_refused_and_no_more() {
        let deep = format!("listen = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(!wrong(&deep).is_empty());
        let deep = format!("a{} = 1", ".a".repeat(50_000));
        assert!(!wrong(&deep).is_empty());
        let many: String = (0..10_000).map(|it| format!("k{it} = 1\n")).collect();
        assert_eq!(wrong(&many).len(), MAX_TOLD + 1);
    }

    #[test]
    fn a_file_names_other_files_from_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("proxy.toml");
        std::fs::write(
            &at,
            "schema = [\"a.capnp\", \"/b.capnp\"]\njson = \"-\"\npage-token-file = \"t\"\n",
        )
        .unwrap();
        let options = read(&at).unwrap().options;
        let placed = |name| folder.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(options.schema, [placed("a.capnp"), "/b.capnp".into()]);
        assert_eq!(options.json.as_deref(), Some("-"));
        assert_eq!(options.page_token_file, Some(placed("t")));
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("f");
        for bytes in [vec![0xff, 0xfe], vec![b'#'; 1 + (1 << 20)]] {
            std::fs::write(&at, bytes).unwrap();
            let told = read(&at).unwrap_err();
            assert!(told[0].contains("/f: "), "{told:?}");
        }
        read(folder.path()).unwrap_err();
        read(Path::new("/nonexistent")).unwrap_err();
    }
}
