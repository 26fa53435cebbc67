//! What is written for people must be true: manual pages and completions are those of the code,
//! every example configuration is accepted, every command line shown is one that the program takes,
//! and the recovery by hand recovers.
//!
//! A tool that is not installed makes its check be skipped, unless `DBBACKUP_TEST_TOOLS=required`,
//! as `tests/run` has it.

#[path = "it/cluster.rs"]
mod cluster;
#[path = "docs/examples.rs"]
mod examples;
#[path = "docs/fields.rs"]
mod fields;
#[path = "docs/generated.rs"]
mod generated;
#[path = "docs/manual.rs"]
mod manual;
#[allow(dead_code)]
#[path = "servers/moto.rs"]
mod moto;
#[path = "docs/packages.rs"]
mod packages;
#[path = "docs/readme.rs"]
mod readme;
#[path = "docs/recovery.rs"]
mod recovery;
#[path = "docs/recovery_encrypted.rs"]
mod recovery_encrypted;
#[path = "docs/rescue.rs"]
mod rescue;
#[path = "docs/settings.rs"]
mod settings;
// Other tests need more of it.
#[allow(dead_code)]
#[path = "servers/sftp.rs"]
mod sftp;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What people read, by path: README and the pages of the manual that are written by hand.
fn documents() -> Vec<(String, String)> {
    let pages = manual::sources()
        .into_iter()
        .map(|name| format!("man/{name}"));
    std::iter::once("README.md".to_owned())
        .chain(pages)
        .map(|name| {
            let text = text_of(&name);
            (name, text)
        })
        .collect()
}

/// Whether the tool is there; said, or demanded, where it is not.
fn have(tool: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory: PathBuf| directory.join(tool).is_file())
    });
    let required = std::env::var("DBBACKUP_TEST_TOOLS").is_ok_and(|value| value == "required");
    assert!(found || !required, "`{tool}` is not installed");
    if !found {
        eprintln!("skipped: `{tool}` is not installed");
    }
    found
}

/// Runs a tool that must succeed and say nothing on stderr.
fn silently(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{command:?}: {}\n{said}",
        output.status
    );
}

/// A fenced block of a Markdown text.
struct Block {
    /// The heading that it is under.
    heading: String,
    /// The words after the fence, as in `sh`.
    info: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut heading = String::new();
    for line in markdown.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                open = Some(Block {
                    heading: heading.clone(),
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) if line.starts_with('#') => {
                heading = line.trim_start_matches('#').trim().to_owned()
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The calls of dbbackup in a shell script, split into words: enough of a shell's grammar for what
/// documentation shows.
fn calls(script: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut characters = script.chars().chain(['\n']).peekable();
    while let Some(character) = characters.next() {
        match character {
            '\'' | '"' => {
                let text: String = characters
                    .by_ref()
                    .take_while(|next| *next != character)
                    .collect();
                word.get_or_insert_default().push_str(&text);
            }
            '\\' => {
                if let Some(next) = characters.next().filter(|next| *next != '\n') {
                    word.get_or_insert_default().push(next);
                }
            }
            '#' if word.is_none() => {
                while characters.peek().is_some_and(|next| *next != '\n') {
                    characters.next();
                }
            }
            ' ' | '\t' | '\n' | ';' | '|' | '&' | '(' | ')' | '>' => {
                let command = commands.last_mut().unwrap();
                command.extend(word.take());
                if character == '>' {
                    command.push(">".into());
                } else if !matches!(character, ' ' | '\t') {
                    commands.push(Vec::new());
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    commands.iter().filter_map(|words| call(words)).collect()
}

/// The words from `dbbackup` on, up to a redirection.
fn call(words: &[String]) -> Option<Vec<String>> {
    let mut words = words;
    while let [first, rest @ ..] = words {
        match first.as_str() {
            "sudo" | "if" | "!" | "then" => words = rest,
            "-u" => words = rest.get(1..)?,
            text if text.contains('=') => words = rest,
            text if Path::new(text)
                .file_name()
                .is_some_and(|name| name == "dbbackup") =>
            {
                return Some(
                    words
                        .iter()
                        .take_while(|word| *word != ">")
                        .cloned()
                        .collect(),
                );
            }
            _ => return None,
        }
    }
    None
}

/// The program must take these words.
fn must_be_accepted(call: &[String], place: &str) {
    use clap::Parser;
    if let Err(error) = dbbackup::cli::Cli::try_parse_from(call) {
        assert_eq!(
            error.kind(),
            clap::error::ErrorKind::DisplayHelp,
            "{place}: {}\n{error}",
            call.join(" ")
        );
    }
}

#[test]
fn calls_are_found_as_a_shell_would() {
    let script = "dbbackup list # all\n/usr/bin/dbbackup backup \\\n  --description 'a b' && echo \
                  dbbackup; sudo -u app dbbackup pin x >y\nA=1 dbbackup show a";
    let found: Vec<String> = calls(script).iter().map(|words| words.join("·")).collect();
    assert_eq!(
        found,
        [
            "dbbackup·list",
            "/usr/bin/dbbackup·backup·--description·a b",
            "dbbackup·pin·x",
            "dbbackup·show·a"
        ]
    );
}

#[test]
#[should_panic(expected = "unexpected argument")]
fn a_wrong_flag_is_noticed() {
    must_be_accepted(&calls("dbbackup list --no-such-flag")[0], "here");
}
