//! Hooks that are really run: what they learn, what is kept from the log, and what their failure
//! means.

use super::*;
use crate::engine::whole_second;
use crate::ops::tests::Recorder;
use chrono::Utc;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A directory for hooks, and a run that they belong to.
struct Surroundings {
    dir: tempfile::TempDir,
    store: Location,
    run: Run,
    heard: Recorder,
}

impl Surroundings {
    fn new() -> Surroundings {
        let run = Run {
            id: "20261120T020000Z-7f3a".to_owned(),
            started_at: whole_second(Utc::now()),
            members: Vec::new(),
            host: "here".to_owned(),
            label: "nightly".to_owned(),
            description: None,
            tags: BTreeMap::new(),
            pinned: false,
            full: false,
            reread: false,
            lock_wait: Duration::ZERO,
            config: Some("/etc/dbbackup.toml".into()),
        };
        Surroundings {
            dir: tempfile::tempdir().unwrap(),
            store: Path::new("/srv/store").into(),
            run,
            heard: Recorder::default(),
        }
    }

    /// Hooks of this shell line.
    fn hooks(&self, line: &str) -> Hooks {
        let command = || Some(UserCommand::Shell(line.to_owned()));
        Hooks {
            before: command(),
            after: command(),
            on_failure: command(),
            directory: self.dir.path().to_path_buf(),
            ..Hooks::default()
        }
    }

    fn for_source<'a>(&'a self, hooks: &'a Hooks) -> HookRunner<'a> {
        HookRunner::for_source(hooks, "app", &self.store, &self.run, &self.heard)
    }

    fn for_run<'a>(&'a self, hooks: &'a Hooks, sources: &[&str]) -> HookRunner<'a> {
        let sources: Vec<String> = sources.iter().map(|name| (*name).to_owned()).collect();
        HookRunner::for_run(hooks, &sources, Some(&self.store), &self.run, &self.heard)
    }

    /// The variables that the hook has written to `environment`.
    fn environment(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.dir.path().join("environment")).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .filter(|(name, _)| name.starts_with("DBBACKUP_"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

fn summary_of(source: &str, error: Option<&Error>) -> SourceSummary {
    SourceSummary {
        backup_id: Some(format!("{source}_nightly_20261120T020000Z")),
        dump_path: Some(format!("/srv/store/{source}/dump").into()),
        ..SourceSummary::new(source).with_error(error)
    }
}

#[test]
fn a_sources_hooks_learn_of_its_backup_and_only_afterwards() {
    let here = Surroundings::new();
    let hooks = here.hooks("env > environment");
    let hooks = here.for_source(&hooks);
    hooks.run_before().unwrap();
    let before = here.environment();
    assert_eq!(before["DBBACKUP_HOOK"], "before");
    assert_eq!(before["DBBACKUP_SOURCE"], "app");
    assert_eq!(before["DBBACKUP_STORE"], "/srv/store");
    assert_eq!(before["DBBACKUP_CONFIG"], "/etc/dbbackup.toml");
    assert_eq!(before["DBBACKUP_RUN"], here.run.id);
    assert_eq!(before["DBBACKUP_LABEL"], "nightly");
    for absent in ["STATUS", "ID", "DUMP", "ERROR", "FAILED", "SOURCES"] {
        assert!(
            !before.contains_key(&format!("DBBACKUP_{absent}")),
            "{absent}"
        );
    }
    let outcome = HookOutcome::from(&summary_of("app", None));
    hooks.run_after(&outcome).unwrap();
    let after = here.environment();
    assert_eq!(after["DBBACKUP_HOOK"], "after");
    assert_eq!(after["DBBACKUP_STATUS"], "ok");
    assert_eq!(after["DBBACKUP_ID"], "app_nightly_20261120T020000Z");
    assert_eq!(after["DBBACKUP_DUMP"], "/srv/store/app/dump");
    assert!(!after.contains_key("DBBACKUP_ERROR"));
}

#[test]
fn the_runs_hooks_learn_who_failed_and_why() {
    let here = Surroundings::new();
    let hooks = here.hooks("env > environment");
    let hooks = here.for_run(&hooks, &["app", "shop", "mail"]);
    let sources = vec![
        summary_of("app", None),
        SourceSummary::failed("shop", &Error::failed("no disk")),
        SourceSummary::failed("mail", &Error::failed("no\nserver \u{1b}[31m")),
    ];
    let error = Error::failed("a hook failed");
    let summary = RunSummary::new(&here.run, &[], sources, Some(&error));
    hooks.run_ended(&summary).unwrap();
    let told = here.environment();
    assert_eq!(told["DBBACKUP_HOOK"], "on_failure");
    assert_eq!(told["DBBACKUP_SOURCES"], "app shop mail");
    assert_eq!(told["DBBACKUP_FAILED"], "shop mail");
    assert_eq!(told["DBBACKUP_STATUS"], "partial");
    let text = &told["DBBACKUP_ERROR"];
    assert!(text.starts_with("shop: no disk; mail: no"), "{text}");
    assert!(text.ends_with("; a hook failed"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(!told.contains_key("DBBACKUP_ID"));
    assert!(!told.contains_key("DBBACKUP_SOURCE"));
}

#[test]
fn a_run_that_succeeds_is_no_business_of_on_failure() {
    let here = Surroundings::new();
    let hooks = here.hooks("env > environment");
    let hooks = here.for_run(&hooks, &["app"]);
    let sources = vec![
        summary_of("app", None),
        SourceSummary::skipped("later", "its `start` is to come"),
    ];
    let summary = RunSummary::new(&here.run, &[], sources, None);
    hooks.run_ended(&summary).unwrap();
    assert!(!here.dir.path().join("environment").exists());
    assert_eq!(here.heard.heard(), [""; 0]);
}

#[test]
fn a_run_without_a_store_tells_none() {
    let here = Surroundings::new();
    let hooks = here.hooks("env > environment");
    let runner = HookRunner::for_run(&hooks, &[], None, &here.run, &here.heard);
    let summary = RunSummary::new(&here.run, &[], Vec::new(), Some(&Error::usage("no store")));
    runner.run_ended(&summary).unwrap();
    let told = here.environment();
    assert!(!told.contains_key("DBBACKUP_STORE"));
    assert_eq!(told["DBBACKUP_STATUS"], "failed");
    assert_eq!(told["DBBACKUP_ERROR"], "no store");
}

#[test]
fn a_failure_is_an_error_but_for_on_failure() {
    let here = Surroundings::new();
    let hooks = here.hooks("echo the disk is away; exit 3");
    let runner = here.for_source(&hooks);
    let error = runner.run_before().unwrap_err();
    assert!(error.message().contains("the hook `before`"), "{error}");
    assert!(error.message().contains("the disk is away"), "{error}");
    assert!(error.hint().is_some());
    assert!(runner.run_after(&HookOutcome::default()).is_err());
    runner.run_on_failure(&HookOutcome::default());
    assert!(here.heard.has_heard("app: the hook `on_failure`"));
    // The run's own says whose it is.
    let error = here.for_run(&hooks, &[]).run_before().unwrap_err();
    assert!(error.message().starts_with("the run: "), "{error}");
}

#[test]
fn what_hangs_is_ended_by_its_timeout() {
    let here = Surroundings::new();
    let hooks = Hooks {
        timeout: Duration::from_millis(200),
        ..here.hooks("sleep 100")
    };
    let started = Instant::now();
    let error = here.for_source(&hooks).run_before().unwrap_err();
    assert!(error.message().contains("before"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn secrets_of_the_env_file_are_not_in_the_story() {
    let here = Surroundings::new();
    let variables = [("TOKEN", "abc"), ("WHERE", "somewhere"), ("N", "7")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let hooks = Hooks {
        variables: BTreeMap::from(variables),
        ..here.hooks("echo \"$TOKEN $WHERE $N\"; echo password=hunter2")
    };
    here.for_source(&hooks).run_before().unwrap();
    let heard = here.heard.heard().join("\n");
    assert!(heard.contains("| *** *** 7"), "{heard}");
    assert!(
        !heard.contains("hunter2") && !heard.contains("somewhere"),
        "{heard}"
    );
}

#[test]
fn a_list_is_run_as_it_is_and_a_path_is_beside_the_configuration() {
    let here = Surroundings::new();
    let program = here.dir.path().join("tell");
    std::fs::write(&program, "#!/bin/sh\nprintf '%s|' \"$@\" > told\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let words = ["./tell", "a b", "$HOME; exit 3"].map(str::to_owned);
    let hooks = Hooks {
        before: Some(UserCommand::Arguments(words.to_vec())),
        directory: here.dir.path().to_path_buf(),
        ..Hooks::default()
    };
    assert!(missing_program(&hooks).is_none());
    here.for_source(&hooks).run_before().unwrap();
    let told = std::fs::read_to_string(here.dir.path().join("told")).unwrap();
    assert_eq!(told, "a b|$HOME; exit 3|");
    std::fs::remove_file(&program).unwrap();
    let (moment, error) = missing_program(&hooks).unwrap();
    assert_eq!(moment, HookMoment::Before);
    assert!(error.message().contains("the hook `before`"), "{error}");
}

#[test]
fn a_program_is_looked_for_in_the_path_of_the_env_file() {
    let here = Surroundings::new();
    let hooks = Hooks {
        after: Some(UserCommand::Arguments(vec!["sh".to_owned()])),
        ..Hooks::default()
    };
    assert!(missing_program(&hooks).is_none());
    let path = here.dir.path().display().to_string();
    let hooks = Hooks {
        variables: BTreeMap::from([("PATH".to_owned(), path)]),
        ..hooks
    };
    let (moment, _) = missing_program(&hooks).unwrap();
    assert_eq!(moment, HookMoment::After);
}

#[test]
fn a_long_error_is_cut_between_characters() {
    let message = "ü".repeat(LONGEST_ERROR);
    let cut = shortened(&message);
    assert_eq!(cut.len(), LONGEST_ERROR);
    assert!(message.starts_with(&cut));
    let odd = format!("x{message}");
    assert_eq!(shortened(&odd).len(), LONGEST_ERROR - 1);
    assert_eq!(shortened("short"), "short");
}
