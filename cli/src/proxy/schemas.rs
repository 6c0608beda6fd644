//! Schemas in files: Cap'n Proto source, or what the compiler has made of it.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::names::Names;

/// How large a file, and what the compiler says, may be.
const MAX_BYTES: u64 = 64 << 20;

/// How long the compiler may take.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The names in all of `files`. Source is compiled by the `capnp` program, in one go.
///
/// # Errors
/// Where a file can't be read, is no schema, or does not go with another.
pub(super) fn read(files: &[String], import_paths: &[String]) -> Result<Names, String> {
    let mut names = Names::default();
    let mut sources = Vec::new();
    for file in files {
        let bytes = read_file(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
        if is_compiled(&bytes) {
            let more = Names::compiled(&bytes).map_err(|error| format!("{file}: {error}"))?;
            names
                .add(more)
                .map_err(|error| format!("{file}: {error}"))?;
        } else {
            sources.push(&**file);
        }
    }
    if !sources.is_empty() {
        let bytes = compile("capnp", &sources, import_paths)?;
        let more = Names::compiled(&bytes).map_err(|error| format!("capnp: {error}"))?;
        names.add(more)?;
    }
    Ok(names)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_all(std::fs::File::open(path)?)
}

fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than a schema may be, 64 MiB"));
    }
    Ok(bytes)
}

/// A message begins with two small numbers in four bytes each; text has no zero bytes.
fn is_compiled(bytes: &[u8]) -> bool {
    bytes.iter().take(8).any(|byte| *byte == 0)
}

fn compile(program: &str, sources: &[&str], import_paths: &[String]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command
        .args(["compile", "-o-"])
        .args(
            import_paths
                .iter()
                .map(|path| format!("--import-path={path}")),
        )
        // A file whose name begins with a dash is no option.
        .args(sources.iter().map(|file| match file.starts_with('-') {
            true => format!("./{file}"),
            false => (*file).to_owned(),
        }))
        // What systemd tells is for this process.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        // The compiler warns where it is not the folder that it is in.
        .env_remove("PWD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{}: source, which takes the {program} program to compile, and there is none: install it \
             (package capnproto), or give what `capnp compile -o-` says where there is one",
            sources[0]
        ),
        _ => format!("{program}: {error}"),
    })?;
    wait(child).map_err(|error| format!("{program}: {error}"))
}

/// What a compiler says, or what it complains of.
fn wait(mut child: Child) -> Result<Vec<u8>, String> {
    let said = [
        child.stdout.take().map(read_aside),
        child.stderr.take().map(read_aside),
    ];
    let mut outputs = Vec::new();
    for said in said.into_iter().flatten() {
        let read = said.recv_timeout(MAX_TIME);
        let late = |_| Err(io::Error::other(format!("takes longer than {MAX_TIME:?}")));
        match read.unwrap_or_else(late) {
            Ok(bytes) => outputs.push(bytes),
            Err(error) => {
                let _gone_already = child.kill();
                let _gone_already = child.wait();
                return Err(error.to_string());
            }
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let complaint = outputs.pop().unwrap_or_default();
    if status.success() {
        return Ok(outputs.pop().unwrap_or_default());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let mut lines = complaint.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("no reason").to_owned();
    match lines.count() {
        0 => Err(first),
        more => Err(format!("{first} (and {more} more lines)")),
    }
}

/// Reads on a thread of its own, so that nothing waits for longer than it wants to.
fn read_aside(from: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        // Who waited for it may have had enough.
        let _ = say.send(read_all(from));
    });
    said
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    fn has_compiler() -> bool {
        Command::new("capnp").arg("--version").output().is_ok()
    }

    fn text(path: PathBuf) -> String {
        path.into_os_string().into_string().unwrap()
    }

    fn schema(name: &str) -> String {
        format!("{}/schema/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn a_compiled_schema_is_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let at = text(folder.path().join("looks-like-source.capnp"));
        std::fs::copy(schema("analysis.cgr"), &at).unwrap();
        let names = read(&[at], &[]).unwrap();
        let known: Vec<_> = names.interfaces().map(|(_, it)| &*it.name).collect();
        assert!(
            known.contains(&"Analyzer") && known.contains(&"Cursor"),
            "{known:?}"
        );
    }

    #[test]
    fn source_and_compiled_say_the_same() {
        if !has_compiler() {
            return;
        }
        let compiled = read(&[schema("analysis.cgr")], &[]).unwrap();
        let source = read(&[schema("analysis.capnp")], &[]).unwrap();
        assert!(compiled.interfaces().eq(source.interfaces()));
        // Both at once is no contradiction.
        read(&[schema("analysis.cgr"), schema("analysis.capnp")], &[]).unwrap();
    }

    #[test]
    fn imports_are_looked_for_where_the_user_says() {
        if !has_compiler() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (below, at) = (folder.path().join("other"), folder.path().join("-a.capnp"));
        std::fs::create_dir(&below).unwrap();
        std::fs::write(
            below.join("b.capnp"),
            "@0xa39371e7b1a1bd01;\ninterface Base { ping @0 (); }\n",
        )
        .unwrap();
        std::fs::write(
            &at,
            "@0xa39371e7b1a1bd02;\nusing B = import \"/b.capnp\";\n\
             struct Outer { interface Inner extends(B.Base) { two @1 (); one @0 (); } }\n",
        )
        .unwrap();
        let (at, below) = (text(at), text(below));
        let error = read(std::slice::from_ref(&at), &[]).unwrap_err();
        assert!(error.contains("b.capnp"), "{error}");
        let names = read(&[at], &[below]).unwrap();
        let known: Vec<_> = names.interfaces().map(|(_, it)| it.clone()).collect();
        let of = |name: &str| known.iter().find(|it| it.name == name).unwrap();
        assert_eq!(of("Outer.Inner").methods, ["one", "two"]);
        assert_eq!(of("Base").methods, ["ping"]);
        assert_eq!(known.len(), 2);
    }

    #[test]
    fn what_the_compiler_complains_of_is_told() {
        if !has_compiler() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = text(folder.path().join("a.capnp"));
        for wrong in [
            "",
            "interface",
            "@0xa39371e7b1a1bd03; interface A { a @0 (b :C); }",
        ] {
            std::fs::write(&at, wrong).unwrap();
            let error = read(std::slice::from_ref(&at), &[]).unwrap_err();
            assert!(
                error.starts_with("capnp: ") && error.contains("a.capnp"),
                "{error}"
            );
        }
    }

    #[test]
    fn where_there_is_no_compiler_that_is_told() {
        let error = compile("no-such-compiler", &["a.capnp"], &[]).unwrap_err();
        assert!(
            error.starts_with("a.capnp: source, which takes the no-such-compiler"),
            "{error}"
        );
    }

    #[test]
    fn a_compiler_that_says_nonsense_or_too_much_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let program = |text_: &str| {
            let at = folder.path().join("compiler");
            std::fs::write(&at, format!("#!/bin/sh\n{text_}\n")).unwrap();
            std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
            text(at)
        };
        let nonsense = compile(&program("echo hello"), &["a"], &[]).unwrap();
        Names::compiled(&nonsense).unwrap_err();
        let endless = compile(&program("exec cat /dev/zero"), &["a"], &[]).unwrap_err();
        assert!(endless.contains("larger than"), "{endless}");
        let silent = compile(&program("exit 3"), &["a"], &[]).unwrap_err();
        assert!(silent.ends_with("no reason"), "{silent}");
    }

    #[test]
    fn a_file_that_is_none_or_never_ends_is_refused() {
        for file in ["/nonexistent", "/dev/zero", "/"] {
            let error = read(&[file.into()], &[]).unwrap_err();
            assert!(error.starts_with(&format!("{file}: ")), "{error}");
        }
    }
}
