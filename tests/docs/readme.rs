//! README: its configurations are accepted, its commands exist, its tables are complete.

use super::examples::{configuration, keys_of};
use super::{blocks, calls, must_be_accepted, text_of};
use dbbackup::error::Kind;
use std::collections::BTreeSet;

#[test]
fn configurations_are_accepted() {
    let mut seen = 0;
    for block in blocks(&text_of("README.md"))
        .iter()
        .filter(|block| block.info == "toml")
    {
        configuration(&block.text, &format!("README, {}", block.heading));
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} configurations were found");
}

#[test]
fn commands_exist() {
    let mut seen = 0;
    for block in blocks(&text_of("README.md")) {
        let script = match block.info.split(' ').next() {
            Some("sh") => block.text.clone(),
            Some("console") => block
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("$ "))
                .collect::<Vec<_>>()
                .join("\n"),
            _ => continue,
        };
        for call in calls(&script) {
            must_be_accepted(&call, &format!("README, {}", block.heading));
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} commands were found");
}

/// The first cells, without their backquotes, of the table under a heading.
fn first_column(heading: &str) -> BTreeSet<String> {
    let readme = text_of("README.md");
    let mut lines = readme
        .lines()
        .skip_while(|line| line.trim_start_matches('#').trim() != heading)
        .skip(1);
    let rows = lines
        .by_ref()
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with('|'))
        .skip(2);
    let cells: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .collect();
    assert!(!cells.is_empty(), "README has no table under `{heading}`");
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
    assert_eq!(
        first_column("`[store]` and `[stores.NAME]`"),
        keys_of("[store]")
    );
    assert_eq!(first_column("`[backup]`, and any source"), backup);
    assert_eq!(first_column("`[metrics]`"), keys_of("[metrics]"));
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
    assert_eq!(first_column("Exit codes"), codes);
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
    use dbbackup::health::Level;
    let levels = [Level::Ok, Level::Warning, Level::Critical, Level::Unknown];
    assert_eq!(
        first_column("Watch it"),
        levels
            .into_iter()
            .map(|level| level.code().to_string())
            .collect()
    );
    let rows: Vec<String> = levels
        .iter()
        .map(|level| format!("| {} | {} |", level.code(), level.word()))
        .collect();
    let readme = text_of("README.md");
    assert!(rows.iter().all(|row| readme.contains(row)), "{rows:?}");
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
            level.word()
        ))),
        "{help}"
    );
}

#[test]
fn every_command_is_shown() {
    use clap::{CommandFactory, Parser};
    let scripts = blocks(&text_of("README.md"))
        .into_iter()
        .filter(|block| block.info == "sh")
        .map(|block| block.text);
    let calls: Vec<Vec<String>> = scripts.flat_map(|script| calls(&script)).collect();
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
