//! What shells and `man` are told about the tool, from the definition of its arguments.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Args as _, Command, CommandFactory as _};
use clap_mangen::Man;

use crate::args::{Cli, CompletionsArgs, Look, ManArgs};
use crate::failure::Failure;

/// Writes a shell's completions to the standard output.
pub fn completions(args: CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), "capspan", &mut script);
    print(&script)
}

/// Writes a page of the manual to the standard output, or all of them into a folder.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let tool = shown();
    if let Some(dir) = &args.dir {
        return all_pages(&tool, dir);
    }
    let named = match &args.command {
        None => &tool,
        Some(name) => tool.find_subcommand(name).ok_or_else(|| {
            Failure::told(format!(
                "there is no command '{name}' (see 'capspan --help')"
            ))
        })?,
    };
    print(&page(named).map_err(Failure::output)?)
}

fn all_pages(tool: &Command, dir: &Path) -> Result<(), Failure> {
    for command in std::iter::once(tool).chain(tool.get_subcommands()) {
        let file = dir.join(format!(
            "{}.1",
            command.get_display_name().unwrap_or("capspan")
        ));
        page(command)
            .and_then(|text| fs::write(&file, text))
            .map_err(|error| Failure::told(format!("{}: {error}", file.display())))?;
    }
    Ok(())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(command.clone())
        .source(concat!("capspan ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)?;
    Ok(sections(&String::from_utf8_lossy(&text)).into_bytes())
}

/// Gives what stands below the options of a help text the sections that it has in a manual.
fn sections(page: &str) -> String {
    const EXIT: &str = "Exit status: ";
    let mut out = String::with_capacity(page.len());
    for line in page.lines() {
        if line == "Examples:" {
            // As it is, line by line.
            out.push_str(".SH EXAMPLES\n.nf\n");
        } else if let Some(rest) = line.strip_prefix(EXIT) {
            out.push_str(".fi\n.SH \"EXIT STATUS\"\n");
            out.push_str(rest);
            out.push('\n');
        } else {
            let line = if line == ".SH EXTRA" {
                ".SH NOTES"
            } else {
                line
            };
            out.push_str(line);
            out.push('\n');
        }
    }
    out.replace(".SH NOTES\n.SH", ".SH")
}

/// The tool without the commands that are not for people.
fn shown() -> Command {
    let whole = Cli::command();
    let mut tool = Look::augment_args(Command::new("capspan"))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(whole.get_subcommands().filter(|c| !c.is_hide_set()));
    if let Some(about) = whole.get_about() {
        tool = tool.about(about.clone());
    }
    if let Some(examples) = whole.get_after_help() {
        tool = tool.after_help(examples.clone());
    }
    tool.build();
    tool
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_for_people_has_a_page_with_examples_and_exit_statuses() {
        let folder = tempfile::tempdir().unwrap();
        all_pages(&shown(), folder.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        for name in ["capspan.1", "capspan-demo.1", "capspan-trace.1"] {
            assert!(names.iter().any(|found| found == name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("callee")));
        for name in names {
            let text = fs::read_to_string(folder.path().join(&name)).unwrap();
            assert!(text.contains("\n.SH EXAMPLES\n.nf\n"), "{name}: {text}");
            assert!(text.contains("\n.SH \"EXIT STATUS\"\n"), "{name}");
            assert!(!text.contains("EXTRA"), "{name}");
        }
    }

    #[test]
    fn help_of_each_command_has_examples_and_exit_statuses() {
        for mut command in std::iter::once(shown()).chain(shown().get_subcommands().cloned()) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  capspan "), "{help}");
            assert!(help.contains("Exit status: 0 when"), "{help}");
        }
    }

    #[test]
    fn completions_know_the_commands_for_people_and_their_options() {
        use clap_complete::Shell;
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut shown(), "capspan", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains("trace") && script.contains("perfetto"),
                "{shell}"
            );
            assert!(!script.contains("demo-callee"), "{shell}");
        }
    }
}
