//! README and the manual: their configurations are accepted, their commands exist, their tables are
//! complete.

use super::examples::{configuration, keys_of};
use super::{Block, blocks, calls, documents, must_be_accepted, root, text_of};
use dbbackup::error::Kind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn configurations_are_accepted() {
    let mut seen = 0;
    for (name, text) in documents() {
        for block in blocks(&text).iter().filter(|block| block.info == "toml") {
            configuration(&block.text, &format!("{name}, {}", block.heading));
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} configurations were found");
}

/// The shell scripts of a text, each with its heading.
fn scripts(text: &str) -> Vec<(String, String)> {
    let script = |block: Block| match block.info.split(' ').next() {
        Some("sh") => Some((block.heading, block.text)),
        Some("console") => {
            let lines = block.text.lines();
            let commands = lines.filter_map(|line| line.strip_prefix("$ "));
            let script = commands.collect::<Vec<_>>().join("\n");
            Some((block.heading, script))
        }
        _ => None,
    };
    blocks(text).into_iter().filter_map(script).collect()
}

#[test]
fn commands_exist() {
    let mut seen = 0;
    for (name, text) in documents() {
        for (heading, script) in scripts(&text) {
            for call in calls(&script) {
                must_be_accepted(&call, &format!("{name}, {heading}"));
                must_be_known(&call, &format!("{name}, {heading}"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 100, "only {seen} commands were found");
}

/// Commands that stand within a sentence, in backquotes.
#[test]
fn commands_in_sentences_exist() {
    let mut seen = 0;
    for (name, text) in documents() {
        // Blocks in fences have been looked at; what is left are backquotes in pairs.
        let prose: String = text.split("```").step_by(2).collect();
        for code in prose.split('`').skip(1).step_by(2) {
            for call in calls(code).iter().filter(|call| call.len() > 1) {
                if call.iter().any(|word| word == "…" || word.contains('[')) {
                    continue;
                }
                must_be_accepted(call, &name);
                must_be_known(call, &name);
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "only {seen} commands were found");
}

/// The Rust files below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Hints and help texts lead to topics, and none to a README that nobody has at hand.
#[test]
fn messages_name_topics_that_there_are() {
    let mut seen = 0;
    for path in rust_files(&root().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let place = path.display().to_string();
        assert!(!text.contains("README"), "{place} points to README");
        // A long string goes on in the next line.
        let lines = text.split("\\\n").map(str::trim_start);
        let joined = lines.collect::<Vec<_>>().concat();
        for after in joined.split("`dbbackup help ").skip(1) {
            let word = after.split('`').next().unwrap_or_default().to_owned();
            must_be_known(&["dbbackup".to_owned(), "help".to_owned(), word], &place);
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} were found");
}

/// `dbbackup help WORD` must name something that there is.
fn must_be_known(call: &[String], place: &str) {
    use clap::CommandFactory;
    use dbbackup::cli::{Cli, Topic};
    if let [_, help, word] = call
        && help == "help"
        && word != "TOPIC"
        && word != "COMMAND"
    {
        let known = Topic::find(word).is_some() || Cli::command().find_subcommand(word).is_some();
        assert!(known, "{place}: dbbackup help {word}");
    }
}

/// The first cells, without their backquotes, of the first table under a heading of a page.
fn first_column(page: &str, heading: &str) -> BTreeSet<String> {
    let text = text_of(&format!("man/{page}"));
    let mut lines = text
        .lines()
        .skip_while(|line| line.trim_start_matches('#').trim() != heading)
        .skip(1);
    let rows = lines
        .by_ref()
        .take_while(|line| !line.starts_with('#'))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let cells: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .collect();
    assert!(
        !cells.is_empty(),
        "man/{page} has no table under `{heading}`"
    );
    cells
}

#[test]
fn reference_of_keys_is_complete() {
    let backup = keys_of("[backup]");
    let kinds = ["sqlite", "postgres", "files"].map(|kind| {
        let keys = keys_of(&format!("[sources.x]\nkind = \"{kind}\""));
        // `jobs` of [backup] is the run's, and a server's own is another.
        let tables = ["retention", "hooks"];
        let own = keys.into_iter().filter(|key| {
            (!backup.contains(key) || key == "jobs") && !tables.contains(&key.as_str())
        });
        let own = own.collect::<BTreeSet<String>>();
        (kind, own)
    });
    let in_all = |key: &&String| kinds.iter().all(|(_, keys)| keys.contains(*key));
    let common: BTreeSet<String> = kinds[0].1.iter().filter(in_all).cloned().collect();
    let retention = keys_of("[retention]")
        .into_iter()
        .filter(|key| key != "label")
        .collect();
    let first_column = |heading: &str| first_column("dbbackup.toml.5.md", heading);
    let of_stores: BTreeSet<String> = [
        "`[store]` and `[stores.NAME]`",
        "`[store]` and `[stores.NAME]` with a `url`",
    ]
    .into_iter()
    .flat_map(first_column)
    .collect();
    assert_eq!(of_stores, keys_of("[store]"));
    assert_eq!(first_column("`[backup]`, and any source"), backup);
    assert_eq!(first_column("`[metrics]`"), keys_of("[metrics]"));
    assert_eq!(first_column("`[encryption]`"), keys_of("[encryption]"));
    assert_eq!(first_column("`[sources.NAME]`"), common);
    for (kind, own) in &kinds {
        assert_eq!(
            first_column(&format!("`kind = \"{kind}\"`")),
            own.difference(&common).cloned().collect()
        );
    }
    assert_eq!(first_column("`[retention]`"), retention);
    assert_eq!(first_column("`[hooks]`"), keys_of("[hooks]"));
    assert_eq!(first_column("`[log]`"), keys_of("[log]\nfile = \"x\""));
}

/// Every kind; a new one does not compile until it stands here.
fn kinds() -> Vec<Kind> {
    let all = [
        Kind::Failed,
        Kind::Usage,
        Kind::Partial,
        Kind::Damaged,
        Kind::NotFound,
        Kind::Locked,
        Kind::Sealed,
        Kind::Interrupted,
    ];
    for kind in all {
        match kind {
            Kind::Failed
            | Kind::Usage
            | Kind::Partial
            | Kind::Damaged
            | Kind::NotFound
            | Kind::Locked
            | Kind::Sealed
            | Kind::Interrupted => {}
        }
    }
    all.to_vec()
}

#[test]
fn exit_codes_are_the_programs() {
    let codes: BTreeSet<String> = kinds()
        .into_iter()
        .map(|kind| kind.exit_code().to_string())
        .chain(["0".to_owned()])
        .collect();
    assert_eq!(first_column("dbbackup-scripts.7.md", "Exit codes"), codes);
    use clap::CommandFactory;
    let help = dbbackup::cli::Cli::command()
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let listed = help.split_once("Exit codes:\n").map(|(_, codes)| {
        codes
            .lines()
            .filter_map(|line| line.split_whitespace().next())
    });
    assert_eq!(
        listed
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>(),
        codes
    );
}

#[test]
fn codes_of_status_are_the_programs() {
    use dbbackup::health::HealthLevel;
    let levels = [
        HealthLevel::Ok,
        HealthLevel::Warning,
        HealthLevel::Critical,
        HealthLevel::Unknown,
    ];
    assert_eq!(
        first_column("dbbackup-monitoring.7.md", "Status"),
        levels
            .into_iter()
            .map(|level| level.code().to_string())
            .collect()
    );
    let rows: Vec<String> = levels
        .iter()
        .map(|level| format!("| {} | {} |", level.code(), level.as_str()))
        .collect();
    let page = text_of("man/dbbackup-monitoring.7.md");
    assert!(rows.iter().all(|row| page.contains(row)), "{rows:?}");
    use clap::CommandFactory;
    let command = dbbackup::cli::Cli::command();
    let help = command
        .find_subcommand("status")
        .and_then(|status| status.get_after_help().map(ToString::to_string))
        .unwrap_or_default();
    assert!(
        levels.iter().all(|level| help.contains(&format!(
            "  {}    {}:",
            level.code(),
            level.as_str()
        ))),
        "{help}"
    );
}

#[test]
fn every_command_is_shown() {
    use clap::{CommandFactory, Parser};
    let scripts = scripts(&text_of("README.md")).into_iter();
    let calls: Vec<Vec<String>> = scripts.flat_map(|(_, script)| calls(&script)).collect();
    let shown: BTreeSet<&str> = calls
        .iter()
        .filter_map(|call| {
            Some(
                dbbackup::cli::Cli::try_parse_from(call)
                    .ok()?
                    .command_name(),
            )
        })
        .collect();
    for command in dbbackup::cli::Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(
            shown.contains(name),
            "README does not show `dbbackup {name}`"
        );
    }
}
