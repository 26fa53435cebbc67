//! Manual pages and completions: rendered from clap's types and the Markdown in man/, and compared
//! with the files in man/ and completions/.

use super::{fields, have, manual, root, silently};
use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use dbbackup::cli::{Cli, Topic};
use std::collections::BTreeMap;
use std::process::Command;

type Files = BTreeMap<String, Vec<u8>>;

/// With `DBBACKUP_BLESS` set writes the files, else demands that they are there, equal, and no
/// others beside them. Markdown is written by hand and is left alone.
fn compare(directory: &str, rendered: &Files) {
    let directory = root().join(directory);
    let there = std::fs::read_dir(&directory).unwrap().flatten();
    let mut stale: Vec<String> = there
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !rendered.contains_key(name) && !name.ends_with(".md"))
        .collect();
    if std::env::var_os("DBBACKUP_BLESS").is_some() {
        for name in stale {
            std::fs::remove_file(directory.join(name)).unwrap();
        }
        for (name, content) in rendered {
            std::fs::write(directory.join(name), content).unwrap();
        }
        return;
    }
    let differs = |(name, content): &(&String, &Vec<u8>)| {
        std::fs::read(directory.join(name)).ok().as_ref() != Some(*content)
    };
    stale.extend(
        rendered
            .iter()
            .filter(differs)
            .map(|(name, _)| name.clone()),
    );
    assert!(
        stale.is_empty(),
        "{}: not what the code says: {}; write them anew with `DBBACKUP_BLESS=1 cargo test --test \
         docs`",
        directory.display(),
        stale.join(", ")
    );
}

fn pages() -> Files {
    let mut command = Cli::command();
    command.build();
    let commands: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    // `key` has commands of its own.
    let inner = commands.iter().flat_map(clap::Command::get_subcommands);
    let all: Vec<clap::Command> = std::iter::once(command.clone())
        .chain(inner.cloned())
        .chain(commands.iter().cloned())
        .collect();
    let by_hand = manual::sources();
    let by_hand = by_hand.iter().map(|source| manual::page(source));
    all.into_iter()
        .map(page)
        .chain([fields::page()])
        .chain(by_hand)
        .collect()
}

/// One page. The parts are put together here because clap_mangen would run the lines of the
/// examples together.
fn page(command: clap::Command) -> (String, Vec<u8>) {
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let parent = command.has_subcommands();
    let of_program = command.get_name() == "dbbackup";
    let source = format!("dbbackup {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).source(source).manual("dbbackup manual");
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    if parent {
        man.render_subcommands_section(&mut text).unwrap();
    }
    man.render_options_section(&mut text).unwrap();
    let (examples, codes) = help
        .split_once("Exit codes:\n")
        .expect("every help text ends with the exit codes");
    // The program's own help lists the topics, which are pages here.
    let examples = examples
        .split_once("Topics")
        .map_or(examples, |(examples, _)| examples);
    for (title, lines) in [
        ("EXAMPLES", examples.trim_start_matches("Examples:\n")),
        ("EXIT STATUS", codes),
    ] {
        let mut roff = Roff::new();
        roff.control("SH", [title]).control("nf", []);
        lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .for_each(|line| {
                roff.text([roman(line)]);
            });
        roff.control("fi", []).to_writer(&mut text).unwrap();
    }
    see_also(of_program).to_writer(&mut text).unwrap();
    (man.get_filename(), text)
}

/// The other pages: all topics from the program's own page, and that one from each command's.
fn see_also(of_program: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    if !of_program {
        roff.text([bold("dbbackup"), roman("(1)")]);
        return roff;
    }
    for topic in Topic::ALL {
        let section = if topic.page.contains('.') { 5 } else { 7 };
        roff.text([bold(topic.page), roman(format!("({section}),"))]);
    }
    roff.text([bold("dbbackup-json"), roman("(5)")]);
    roff
}

fn completions() -> Files {
    use clap_complete::Shell;
    let shells = [
        ("dbbackup.bash", Shell::Bash),
        ("_dbbackup", Shell::Zsh),
        ("dbbackup.fish", Shell::Fish),
        ("dbbackup.elv", Shell::Elvish),
        ("_dbbackup.ps1", Shell::PowerShell),
    ];
    let rendered = shells.map(|(name, shell)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "dbbackup", &mut text);
        (name.to_owned(), text)
    });
    rendered.into_iter().collect()
}

#[test]
fn manual_pages_are_current() {
    compare("man", &pages());
}

#[test]
fn completions_are_current() {
    compare("completions", &completions());
}

#[test]
fn man_reads_the_pages_without_a_warning() {
    if !have("man") {
        return;
    }
    let there = tempfile::tempdir().unwrap();
    for (name, content) in pages() {
        let path = there.path().join(name);
        std::fs::write(&path, content).unwrap();
        silently(
            Command::new("man")
                .args(["--warnings", "-E", "UTF-8", "-l"])
                .arg(path)
                .env("MANWIDTH", "100"),
        );
    }
}

/// A second reader of roff, where it is installed; it says on stdout what it can't make sense of.
#[test]
fn mandoc_reads_the_pages_without_an_error() {
    let there = tempfile::tempdir().unwrap();
    for (name, content) in pages() {
        let path = there.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mandoc = Command::new("mandoc")
            .args(["-T", "lint", "-W", "error"])
            .arg(&path)
            .output();
        match mandoc {
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stdout);
                assert!(errors.is_empty(), "{errors}");
            }
            Err(error) => return eprintln!("skipped: `mandoc`: {error}"),
        }
    }
}

#[test]
fn shells_read_the_completions() {
    let there = tempfile::tempdir().unwrap();
    let written = completions();
    for (shell, name) in [
        ("bash", "dbbackup.bash"),
        ("zsh", "_dbbackup"),
        ("fish", "dbbackup.fish"),
    ] {
        if have(shell) {
            let path = there.path().join(name);
            std::fs::write(&path, &written[name]).unwrap();
            silently(Command::new(shell).arg("-n").arg(path));
        }
    }
}
