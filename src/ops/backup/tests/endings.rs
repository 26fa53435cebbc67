//! The end of a run, also of one that could not be planned or found no store: who is told, and what
//! the metrics say.

use super::*;

#[test]
fn a_configuration_that_leads_nowhere_ends_the_run_and_is_told() {
    let machine = Machine::new();
    // Neither a source nor anything else to back up.
    let run = machine.back_up(&hooks("hooks", 0, 0)).unwrap();
    let error = run.summary.failure().unwrap();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(run.summary.outcome, RunOutcome::Failed);
    assert!(run.summary.planned.is_empty() && run.summary.sources.is_empty());
    // Nothing was begun that `before` and `after` stand around.
    assert_eq!(machine.told(), "on_failure failed id= failed=\n");
    assert!(!machine.path("store").exists());
}

#[test]
fn a_run_without_a_store_is_told_and_knows_none() {
    let machine = Machine::new().with_database("app", 1);
    let tell = "[hooks]\non_failure = \"echo store=${DBBACKUP_STORE-none} $DBBACKUP_ERROR >> \
                DIR/told\"\n";
    let mut session = machine.session(&format!("{APP}{tell}"));
    session.config.as_mut().unwrap().store = None;
    let run = create_backups(&request(), &session, &machine.heard).unwrap();
    let error = run.summary.failure().unwrap();
    assert!(
        machine.told().starts_with("store=none "),
        "{}",
        machine.told()
    );
    assert!(
        machine.told().contains(&error.message()),
        "{}",
        machine.told()
    );
}

#[test]
fn what_was_mistyped_is_an_error_of_whoever_typed_it() {
    let machine = Machine::new().with_database("app", 1);
    let session = machine.session(&format!("{APP}{}", hooks("hooks", 0, 0)));
    let label = BackupRequest {
        label: "no label".to_owned(),
        ..BackupRequest::default()
    };
    let name = BackupRequest {
        what: vec!["ap".to_owned()],
        ..request()
    };
    for (request, kind) in [(label, Kind::Usage), (name, Kind::NotFound)] {
        let error = create_backups(&request, &session, &machine.heard).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let elsewhere = Session {
        store_flag: Some(String::new()),
        ..session
    };
    let error = create_backups(&request(), &elsewhere, &machine.heard).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{error}");
    assert_eq!(machine.told(), "");
}

#[test]
fn a_store_that_can_not_be_opened_fails_the_run_between_its_hooks() {
    let machine = Machine::new().with_database("app", 1);
    std::fs::write(machine.path("store"), "no directory").unwrap();
    let run = machine
        .back_up(&format!("{APP}{}", hooks("hooks", 0, 0)))
        .unwrap();
    assert!(run.summary.failure().is_some());
    assert_eq!(run.summary.planned, ["app"]);
    assert!(run.summary.sources.is_empty() && run.backups.is_empty());
    assert_eq!(
        machine.told(),
        "before id= failed=\nafter failed id= failed=\non_failure failed id= failed=\n"
    );
}

const METRICS: &str = "[metrics]\ntextfile = \"DIR/run.prom\"\n";

/// The value of a gauge of a source in the file of metrics.
fn gauge(machine: &Machine, name: &str, source: &str) -> Option<f64> {
    let text = std::fs::read_to_string(machine.path("run.prom")).unwrap();
    let label = format!("source=\"{source}\"");
    let mut lines = text.lines();
    let line =
        lines.find(|line| line.starts_with(&format!("{name}{{")) && line.contains(&label))?;
    Some(line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn attempt_gauges(machine: &Machine, source: &str) -> [Option<f64>; 3] {
    [
        "dbbackup_last_attempt_success",
        "dbbackup_status",
        "dbbackup_last_success_rows",
    ]
    .map(|name| gauge(machine, name, source))
}

#[test]
fn the_metrics_of_a_run_tell_its_outcome_where_the_store_does_not_know() {
    let machine = Machine::new().with_database("app", 7);
    machine.back_up(&format!("{APP}{METRICS}")).unwrap();
    assert_eq!(
        attempt_gauges(&machine, "app"),
        [Some(1.0), Some(0.0), Some(7.0)]
    );
    // The run ends at its `before`: the store holds a good backup, and no failed attempt.
    let lines = format!("{APP}{METRICS}{}", hooks("hooks", 3, 0));
    let run = machine.back_up(&lines).unwrap();
    assert!(run.summary.failure().is_some());
    assert_eq!(
        attempt_gauges(&machine, "app"),
        [Some(0.0), Some(1.0), Some(7.0)]
    );
    let attempt = gauge(&machine, "dbbackup_last_attempt_timestamp_seconds", "app");
    assert_eq!(attempt, Some(run.summary.finished_at.timestamp() as f64));
    // The next one that succeeds ends that.
    machine.back_up(&format!("{APP}{METRICS}")).unwrap();
    assert_eq!(
        attempt_gauges(&machine, "app"),
        [Some(1.0), Some(0.0), Some(7.0)]
    );
}

#[test]
fn a_hook_that_takes_the_store_away_leaves_metrics_of_the_run() {
    let machine = Machine::new()
        .with_database("app", 7)
        .with_database("shop", 2);
    let lines = format!(
        "{APP}[sources.shop]\nkind = \"sqlite\"\npath = \"DIR/shop.db\"\n{METRICS}[hooks]\n\
         before = \"test ! -e DIR/away || mv DIR/away DIR/store\"\n\
         after = \"mv DIR/store DIR/away\"\n"
    );
    let first = machine.back_up(&lines).unwrap();
    assert_eq!(first.summary.outcome, RunOutcome::Ok, "{:?}", first.summary);
    assert!(!machine.path("store").exists());
    let good = [Some(1.0), Some(0.0)];
    assert_eq!(
        attempt_gauges(&machine, "app"),
        [good[0], good[1], Some(7.0)]
    );
    assert_eq!(
        attempt_gauges(&machine, "shop"),
        [good[0], good[1], Some(2.0)]
    );
    // One that fails has a backup of the run before; what only the store knows is left out.
    std::fs::remove_file(machine.path("app.db")).unwrap();
    machine.back_up(&lines).unwrap();
    assert_eq!(
        attempt_gauges(&machine, "app"),
        [Some(0.0), Some(1.0), None]
    );
    let success = gauge(&machine, "dbbackup_last_success_timestamp_seconds", "app");
    let then = first.backups[0].sidecar.finished_at;
    assert_eq!(success, Some(then.timestamp() as f64));
    assert_eq!(
        attempt_gauges(&machine, "shop"),
        [good[0], good[1], Some(2.0)]
    );
    assert_eq!(gauge(&machine, "dbbackup_backups", "app"), None);
    assert_eq!(
        machine
            .events()
            .iter()
            .filter(|event| event.starts_with("warning"))
            .count(),
        0
    );
}

#[test]
fn a_store_that_is_not_there_is_critical_in_the_metrics() {
    let machine = Machine::new().with_database("app", 1);
    std::fs::write(machine.path("store"), "no directory").unwrap();
    machine.back_up(&format!("{APP}{METRICS}")).unwrap();
    assert_eq!(
        attempt_gauges(&machine, "app"),
        [Some(0.0), Some(2.0), None]
    );
    assert_eq!(gauge(&machine, "dbbackup_expected", "app"), Some(1.0));
}

#[test]
fn metrics_that_can_not_be_written_are_a_warning() {
    let machine = Machine::new().with_database("app", 1);
    let lines = format!("{APP}[metrics]\ntextfile = \"DIR/none/run.prom\"\n");
    let run = machine.back_up(&lines).unwrap();
    assert_eq!(run.summary.outcome, RunOutcome::Ok);
    let events = machine.events();
    assert_eq!(events[0], "created app");
    assert!(
        events[1].starts_with("warning the metrics were not written: the directory of"),
        "{events:?}"
    );
}
