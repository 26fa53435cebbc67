//! Runs of backups below the command line: what their summaries say, and what hooks and observers
//! learn.

mod endings;

use super::*;
use crate::engine::{Dumped, Source};
use crate::ops::run::{RunOutcome, Shortfall};
use crate::ops::tests::machine::{APP, BAD, Machine, hooks, request};
use crate::plan::SourcePlan;
use std::io::Write;

#[test]
fn a_summary_describes_a_backup() {
    let machine = Machine::new().with_database("app", 7);
    let run = machine.back_up(APP).unwrap();
    let summary = &run.summary;
    assert_eq!(
        (summary.outcome, summary.kind(), summary.label.as_str()),
        (RunOutcome::Ok, None, "test")
    );
    assert_eq!(summary.host, "testhost");
    assert!(summary.started_at <= summary.finished_at);
    let source = &summary.sources[0];
    let sidecar = &run.backups[0].sidecar;
    assert_eq!(source.outcome, RunOutcome::Ok);
    assert_eq!(source.kind.as_deref(), Some("sqlite"));
    assert_eq!(source.backup_id.as_ref(), Some(&sidecar.id));
    assert_eq!(source.rows_total, Some(7));
    let dump = sidecar.dump.as_ref().unwrap();
    assert_eq!(source.size_bytes, Some(dump.size_bytes));
    assert_eq!(source.content_size_bytes, Some(dump.content_size_bytes));
    assert!(source.dump_path.as_ref().unwrap().is_file());
    assert!(source.error.is_none() && source.last_good_at.is_none());
    assert_eq!(machine.events(), ["created app"]);
    // The next one knows this one.
    let next = machine.back_up(APP).unwrap();
    assert_eq!(
        next.summary.sources[0].last_good_at,
        Some(sidecar.finished_at)
    );
}

#[test]
fn a_summary_is_plain_data() {
    let machine = Machine::new().with_database("app", 1);
    std::fs::write(machine.path("bad.db"), "no database").unwrap();
    let run = machine.back_up(&format!("{APP}{BAD}")).unwrap();
    let json = serde_json::to_value(&run.summary).unwrap();
    assert_eq!(json["outcome"], "partial");
    assert_eq!(json["sources"][0]["outcome"], "ok");
    assert_eq!(json["sources"][1]["outcome"], "failed");
    assert_eq!(json["sources"][1]["error"]["kind"], "failed");
    assert!(json["sources"][1]["error"]["message"].is_string());
}

#[test]
fn a_source_outside_its_window_is_skipped_and_nothing_is_run_for_it() {
    let machine = Machine::new().with_database("app", 1);
    let later = format!("{APP}start = 2100-01-01\n{}", hooks("hooks", 0, 0));
    let run = machine.back_up(&later).unwrap();
    assert_eq!(run.summary.outcome, RunOutcome::Skipped);
    assert_eq!(run.summary.kind(), None);
    let source = &run.summary.sources[0];
    assert_eq!(source.outcome, RunOutcome::Skipped);
    let reason = source.skip_reason.as_ref().unwrap();
    assert!(reason.contains("`start`"), "{reason}");
    assert_eq!(run.summary.tried().count(), 0);
    assert_eq!(machine.events(), [format!("skipped app: {reason}")]);
    assert_eq!(machine.told(), "");
}

#[test]
fn one_of_two_sources_that_fails_leaves_the_other() {
    let machine = Machine::new().with_database("app", 1);
    std::fs::write(machine.path("bad.db"), "no database").unwrap();
    let lines = format!("{BAD}{APP}{}", hooks("hooks", 0, 0));
    let run = machine.back_up(&lines).unwrap();
    assert_eq!(run.summary.outcome, RunOutcome::Partial);
    assert_eq!(run.summary.kind(), Some(Kind::Partial));
    assert_eq!(run.backups.len(), 1);
    let [bad, app] = &run.summary.sources[..] else {
        panic!("{:?}", run.summary)
    };
    assert_eq!(app.outcome, RunOutcome::Ok);
    assert_eq!(bad.outcome, RunOutcome::Failed);
    assert_eq!(bad.backup_id, None);
    // A configured source has a history of its failures.
    assert!(bad.failed_id.as_ref().unwrap().starts_with("bad_test_"));
    let error = bad.error.as_ref().unwrap();
    assert_eq!(
        machine.events(),
        [
            format!("failed bad: {}", error.message),
            "created app".to_owned()
        ]
    );
    assert_eq!(
        machine.told(),
        "before id= failed=\nafter partial id= failed=bad\non_failure partial id= failed=bad\n"
    );
}

#[test]
fn a_run_of_which_all_fails_has_failed() {
    let machine = Machine::new();
    std::fs::write(machine.path("bad.db"), "no database").unwrap();
    let run = machine.back_up(BAD).unwrap();
    assert_eq!(run.summary.outcome, RunOutcome::Failed);
    assert_eq!(run.summary.kind(), Some(Kind::Failed));
    assert!(run.backups.is_empty());
}

#[test]
fn a_before_hook_that_fails_stops_its_source_alone() {
    let machine = Machine::new()
        .with_database("app", 1)
        .with_database("shop", 1);
    let lines = format!(
        "{APP}{}[sources.shop]\nkind = \"sqlite\"\npath = \"DIR/shop.db\"\n",
        hooks("sources.app.hooks", 3, 0)
    );
    let run = machine.back_up(&lines).unwrap();
    let [app, shop] = &run.summary.sources[..] else {
        panic!("{:?}", run.summary)
    };
    assert_eq!(
        (app.outcome, shop.outcome),
        (RunOutcome::Failed, RunOutcome::Ok)
    );
    let failed = app.failed_id.as_ref().unwrap();
    assert_eq!(
        machine.told(),
        format!(
            "before id= failed=\nafter failed id={failed} failed=\n\
             on_failure failed id={failed} failed=\n"
        )
    );
}

#[test]
fn an_after_hook_that_fails_leaves_the_backup() {
    let machine = Machine::new().with_database("app", 1);
    let lines = format!("{APP}{}", hooks("sources.app.hooks", 0, 3));
    let run = machine.back_up(&lines).unwrap();
    let app = &run.summary.sources[0];
    assert_eq!(app.outcome, RunOutcome::Partial);
    assert_eq!(app.shortfall, Some(Shortfall::AfterHookFailed));
    let id = app.backup_id.as_ref().unwrap();
    assert_eq!(
        machine.told(),
        format!(
            "before id= failed=\nafter ok id={id} failed=\non_failure partial id={id} failed=\n"
        )
    );
}

#[test]
fn the_hooks_of_a_run_decide_about_the_whole() {
    let machine = Machine::new().with_database("app", 1);
    // Nothing is tried, not even the store.
    let run = machine
        .back_up(&format!("{APP}{}", hooks("hooks", 3, 0)))
        .unwrap();
    assert_eq!(run.summary.failure().unwrap().kind(), Kind::Failed);
    assert_eq!(run.summary.outcome, RunOutcome::Failed);
    assert_eq!(run.summary.planned, ["app"]);
    assert!(!machine.path("store").exists());
    assert_eq!(
        machine.told(),
        "before id= failed=\nafter failed id= failed=\non_failure failed id= failed=\n"
    );
    // The backups stay.
    let run = machine
        .back_up(&format!("{APP}{}", hooks("hooks", 0, 3)))
        .unwrap();
    assert_eq!(run.summary.sources[0].outcome, RunOutcome::Ok);
    assert_eq!(run.summary.outcome, RunOutcome::Partial);
    assert_eq!(run.summary.error.as_ref().unwrap().kind, Kind::Partial);
    assert_eq!(run.backups.len(), 1);
}

#[test]
fn retention_after_a_backup_is_in_the_summary() {
    let machine = Machine::new().with_database("app", 1);
    let lines = format!("{APP}[retention]\nkeep_last = 1\n");
    let first = machine.back_up(&lines).unwrap();
    assert_eq!(first.summary.sources[0].removed, []);
    let second = machine.back_up(&lines).unwrap();
    let removed: Vec<&String> = second.summary.sources[0]
        .removed
        .iter()
        .map(|one| &one.id)
        .collect();
    assert_eq!(removed, [&first.backups[0].sidecar.id]);
    assert_eq!(second.summary.outcome, RunOutcome::Ok);
    // Who needs the backups keeps them all.
    let request = BackupRequest {
        keep_all: true,
        ..request()
    };
    let kept = create_backups(&request, &machine.session(&lines), &machine.heard).unwrap();
    assert_eq!(kept.summary.sources[0].removed, []);
}

/// A source that a signal comes in the middle of.
struct InterruptedSource;

impl Source for InterruptedSource {
    fn estimate(&self) -> u64 {
        1
    }

    fn dump(&mut self, out: &mut dyn Write) -> Result<Dumped> {
        out.write_all(b"half of it")?;
        Err(Error::interrupted())
    }
}

#[test]
fn an_interrupted_attempt_is_recorded_and_leaves_no_dump() {
    let machine = Machine::new();
    let session = machine.session("");
    let store = session.writing().unwrap();
    let run = new_run(&BackupRequest::default(), &session);
    let context = RunContext {
        store: &*store,
        run: &Run {
            label: "test".to_owned(),
            ..run
        },
        observer: &machine.heard,
        encryption: None,
    };
    let _lock = context.lock_and_sweep("app").unwrap();
    let source = SourcePlan {
        settings: crate::config::BackupSettings {
            scratch_dir: machine.path(""),
            ..crate::config::BackupSettings::default()
        },
        ..planned_source(&machine)
    };
    let plan = AttemptPlan::from(&source);
    let error = create_backup(&plan, &mut InterruptedSource, context).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    let catalog = Catalog::read(&*store, None).unwrap();
    assert_eq!(catalog.backups().len(), 1);
    assert!(catalog.backups().next().unwrap().sidecar.dump.is_none());
    assert!(catalog.orphans.is_empty());
    let sources = vec![
        SourceSummary::failed("app", &error),
        SourceSummary::skipped("later", "not yet"),
    ];
    let summary = RunSummary::new(context.run, &[], sources, None);
    assert_eq!(summary.outcome, RunOutcome::Interrupted);
    assert_eq!(summary.kind(), Some(Kind::Interrupted));
}

fn planned_source(machine: &Machine) -> SourcePlan {
    let session = machine.session(APP);
    let planned = plan_backup(&request(), &session, &machine.heard).unwrap();
    match planned.into_iter().next() {
        Some(PlannedAttempt::Source(source)) => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forecast_changes_nothing() {
    let machine = Machine::new().with_database("app", 1);
    std::fs::write(machine.path("bad.db"), "no database").unwrap();
    let lines = format!("{APP}{BAD}{}", hooks("hooks", 0, 0));
    let forecast = forecast_backup(&request(), &machine.session(&lines), &machine.heard).unwrap();
    let kinds: Vec<&str> = forecast
        .steps
        .iter()
        .map(|step| match step {
            ForecastStep::Hook { .. } => "hook",
            ForecastStep::Backup { .. } => "backup",
            ForecastStep::Skip { .. } => "skip",
            ForecastStep::Failure(_) => "failure",
        })
        .collect();
    assert_eq!(kinds, ["hook", "hook", "hook", "backup", "failure"]);
    assert_eq!(forecast.kind(), Some(Kind::Partial));
    assert!(!machine.path("store").exists());
    assert_eq!(machine.told(), "");
}
