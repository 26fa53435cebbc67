//! What stands between a guarded program and a loss, with backups of real databases.

use super::*;
use crate::ops::tests::machine::{APP, Machine};
use std::collections::BTreeMap;

const SHOP: &str = "[sources.shop]\nkind = \"sqlite\"\npath = \"DIR/shop.db\"\n";

fn backups_of_two(machine: &Machine, lines: &str) -> Vec<Backup> {
    let run = machine.back_up(lines).unwrap();
    assert_eq!(run.backups.len(), 2, "{:?}", run.summary);
    run.backups
}

fn two_databases() -> Machine {
    Machine::new()
        .with_database("app", 1)
        .with_database("shop", 1)
}

/// The same backup, as if it were of this kind and format.
fn with_format(backup: &Backup, kind: &str, format: &str) -> Backup {
    let mut backup = backup.clone();
    backup.sidecar.kind = kind.into();
    backup.sidecar.dump.as_mut().unwrap().format = format.into();
    backup
}

#[test]
fn everything_that_was_asked_for_needs_a_backup() {
    let machine = two_databases();
    let lines = format!("{APP}{SHOP}[groups]\nall = [\"app\", \"shop\"]\n");
    let session = machine.session(&lines);
    let saved = backups_of_two(&machine, &lines);
    let check = |what: &[&str], saved: &[Backup]| {
        let what: Vec<String> = what.iter().map(|word| (*word).to_owned()).collect();
        check_nothing_left_out(&what, saved, &session).map_err(|error| error.message())
    };
    assert_eq!(check(&["all"], &saved), Ok(()));
    assert_eq!(check(&[], &saved), Ok(()));
    // A group's source counts like one that was named.
    let app = &saved[..1];
    for what in ["all", "shop"] {
        let text = check(&["app", what], app).unwrap_err();
        assert!(text.contains("no backup of `shop`"), "{text}");
    }
    assert_eq!(check(&["app"], app), Ok(()));
    // A path's backup has another name.
    assert_eq!(check(&["./app.db"], app), Ok(()));
    assert!(check(&[], &[]).unwrap_err().contains("nothing"));
}

#[test]
fn a_cluster_has_backups_by_its_databases() {
    let machine = two_databases();
    let lines = format!("{APP}{SHOP}");
    let mut saved = backups_of_two(&machine, &lines);
    let cluster = "[sources.big]\nkind = \"postgres\"\nhost = \"/nowhere\"\ndatabases = [\"*\"]\n";
    let session = machine.session(&format!("{lines}{cluster}"));
    let what = ["big".to_owned()];
    assert!(check_nothing_left_out(&what, &saved, &session).is_err());
    saved[0].sidecar.database.as_mut().unwrap().cluster = Some("big".to_owned());
    assert!(check_nothing_left_out(&what, &saved, &session).is_ok());
}

#[test]
fn a_part_of_a_database_is_not_put_back() {
    let machine = two_databases();
    let mut saved = backups_of_two(&machine, &format!("{APP}{SHOP}"));
    assert!(check_wholes(&saved).is_ok());
    saved[1] = with_format(&saved[1], "postgres", "pg-custom");
    assert!(check_wholes(&saved).is_ok());
    let database = saved[1].sidecar.database.as_mut().unwrap();
    database.selected_by = vec!["--exclude-table=log".to_owned()];
    let error = check_wholes(&saved).unwrap_err();
    assert!(error.message().contains(saved[1].id()), "{error}");
}

#[test]
fn roles_come_before_the_databases_that_need_them() {
    let machine = two_databases();
    let saved = backups_of_two(&machine, &format!("{APP}{SHOP}"));
    let globals = with_format(&saved[1], "postgres", DumpFormat::GLOBALS.as_str());
    let mut backups = vec![saved[1].clone(), saved[0].clone(), globals.clone()];
    sort_for_restore(&mut backups);
    let formats: Vec<&str> = backups
        .iter()
        .map(|backup| backup.sidecar.dump.as_ref().unwrap().format.as_ref())
        .collect();
    assert_eq!(formats[0], DumpFormat::GLOBALS.as_str());
    // The others keep their order.
    assert_eq!(backups[1].id(), saved[1].id());
    assert_eq!(backups[2].id(), saved[0].id());
}

#[test]
fn the_program_learns_where_its_backups_are() {
    let machine = two_databases();
    let lines = format!("{APP}{SHOP}");
    let saved = backups_of_two(&machine, &lines);
    let mut session = machine.session(&lines);
    // As it is typed: the program may run anywhere.
    session.config.as_mut().unwrap().path = "dbbackup.toml".into();
    let variables: BTreeMap<_, _> = environment(&saved, "upgrade", &session)
        .unwrap()
        .into_iter()
        .map(|(name, value)| (name, value.into_string().unwrap()))
        .collect();
    let at = |name: &str| machine.path(name).display().to_string();
    assert_eq!(variables["DBBACKUP_SOURCE"], "app shop");
    assert_eq!(
        variables["DBBACKUP_ID"],
        format!("{} {}", saved[0].id(), saved[1].id())
    );
    assert_eq!(variables["DBBACKUP_LABEL"], "upgrade");
    assert_eq!(variables["DBBACKUP_STORE"], at("store"));
    assert_eq!(variables["DBBACKUP_CONFIG"], at("dbbackup.toml"));
    session.config = None;
    session.store_flag = Some(at("store"));
    let variables = environment(&saved, "upgrade", &session).unwrap();
    assert!(variables.iter().all(|(name, _)| *name != "DBBACKUP_CONFIG"));
}

#[test]
fn the_exit_code_is_what_a_shell_gives() {
    let code = |line: &str| {
        let mut command = std::process::Command::new("/bin/sh");
        exit_code(command.args(["-c", line]).status().unwrap())
    };
    assert_eq!(code("exit 0"), 0);
    assert_eq!(code("exit 7"), 7);
    assert_eq!(code("kill -TERM $$"), 128 + 15);
    assert_eq!(code("kill -KILL $$"), 128 + 9);
}
