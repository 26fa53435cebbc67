//! `dbbackup status`: is every source fresh and proven? Its exit codes are those of Nagios
//! plug-ins, whatever goes wrong.

mod nagios;

use crate::cli::StatusArguments;
use crate::error::{Error, Hint, Kind, Result};
use crate::health::{
    self, CopySubject, Expectation, HealthFinding, HealthLevel, Proof, SourceHealth, Subject,
};
use crate::ops::Session;
use crate::ops::notify::{tell_status, tell_unreadable_store, waiting_count};
use crate::ops::status::{self, StatusRequest, StoreHealth, StoreReading};
use crate::plan;
use crate::report::{CommandOutcome, Paint, Report, columns};
use crate::units;
use chrono::{DateTime, Utc};

/// It never fails as other commands do: what could not be found out is `UNKNOWN`.
pub fn run(
    arguments: &StatusArguments,
    session: Result<Session>,
    report: &mut Report,
) -> Result<CommandOutcome> {
    let judged = session.and_then(|session| {
        let judged = judge_and_show(arguments, &session, report);
        if let Err(error) = &judged
            && arguments.notify
            && !matches!(error.kind(), Kind::Usage | Kind::Interrupted)
        {
            tell_unreadable_store(error, &session, report);
        }
        judged
    });
    let level = judged.or_else(|error| match error.kind() {
        Kind::Interrupted => Err(error),
        kind => {
            let level = if kind == Kind::NotFound {
                HealthLevel::Critical
            } else {
                HealthLevel::Unknown
            };
            if report.is_json() {
                report.error(&error);
            } else if arguments.nagios {
                report.answer(nagios::line(level, &error.message(), ""));
            } else {
                report.answer(format!("{} {}", painted(level, report), error.message()));
                error
                    .hint()
                    .iter()
                    .for_each(|hint| report.note(format!("hint: {hint}")));
            }
            report.set("error", error.message());
            report.set_hint(&error);
            Ok(level)
        }
    })?;
    report.set("status", level.as_str());
    report.exits_with(level.code());
    report.outcome_is(match level {
        HealthLevel::Ok => "ok",
        HealthLevel::Warning => "partial",
        HealthLevel::Critical | HealthLevel::Unknown => "failed",
    });
    Ok(None)
}

fn judge_and_show(
    arguments: &StatusArguments,
    session: &Session,
    report: &mut Report,
) -> Result<HealthLevel> {
    if let Some(path) = arguments
        .prometheus
        .as_ref()
        .filter(|path| path.extension().is_none_or(|end| end != "prom"))
    {
        return Err(Error::usage(format!(
            "the name of a file of metrics must end in `.prom`, unlike `{}`",
            path.display()
        ))
        .with_hint("node_exporter's textfile collector reads no other"));
    }
    let request = StatusRequest {
        sources: arguments.sources.clone(),
        expect_every: arguments.expect_every,
    };
    let mut reading = StoreReading::open(session.store_plan()?)?;
    reading.ask_copy_stores(session)?;
    let status = reading.judge(&request, session)?;
    if report.is_json() {
        set_document(&status, report);
    }
    if arguments.nagios {
        report.answer(nagios::status_line(&status));
    } else {
        show(&status, report);
    }
    if arguments.notify {
        tell_status(&status, session, report);
    }
    show_waiting(session, report);
    let mut level = status.level();
    if let Some(path) = &arguments.prometheus
        && let Err(error) = status::write_textfile(&plan::absolute(&session.cwd, path), &status)
    {
        report.error(&error);
        report.set("error", error.message());
        level = level.max(HealthLevel::Unknown);
    }
    Ok(level)
}

/// Says how many messages could not be delivered yet.
fn show_waiting(session: &Session, report: &mut Report) {
    let waiting = waiting_count(session);
    if waiting > 0 {
        let count = units::count(waiting as u64, "message");
        report.note(
            Hint::new()
                .text(format!("{count} could not be delivered yet: "))
                .command(["notify", "--test"])
                .text(" says why"),
        );
    }
    report.set("notifications_waiting", waiting);
}

/// The whole in a few words.
fn summary(status: &StoreHealth<'_>) -> String {
    if status.sources.is_empty() {
        return format!("the store `{}` holds no backups", status.store.location());
    }
    let due = status.due().count() as u64;
    if due == 0 {
        return "no backups are expected now".into();
    }
    let mut text = units::count(due, "source");
    let oldest = status
        .due()
        .filter_map(|(_, health)| health.newest.as_ref())
        .map(|newest| newest.ended)
        .min();
    if let Some(oldest) = oldest {
        let which = if due == 1 {
            "backed up"
        } else {
            "all backed up, the longest ago"
        };
        text = format!("{text} {which} {}", units::age(oldest, status.now));
    }
    let proofs: Vec<Proof<'_>> = status
        .due()
        .filter_map(|(_, health)| health.proof)
        .collect();
    if let Some(oldest) = proofs.iter().min() {
        let all = proofs.len() as u64 == due;
        let how_many = if all {
            String::new()
        } else {
            format!("{} of {due} ", proofs.len())
        };
        text = format!(
            "{text}; {how_many}proven by a restore{} {}",
            by_another(oldest.host, &status.here),
            units::age(oldest.at, status.now)
        );
    }
    for store in &status.copy_stores {
        let store = store.plan.title();
        let waits = |copies: &CopySubject<'_>| copies.store == store && copies.is_waiting();
        let waiting = status
            .due()
            .filter(|(subject, _)| subject.copies.iter().any(waits));
        match waiting.count() {
            0 => {}
            1 if due == 1 => text = format!("{text}; the newest is not yet in {store}"),
            count => text = format!("{text}; the newest of {count} not yet in {store}"),
        }
    }
    match status.free {
        Some(free) => format!("{text}; {} free", units::size(free)),
        None => text,
    }
}

fn painted(level: HealthLevel, report: &Report) -> String {
    let paint = match level {
        HealthLevel::Ok => Paint::Good,
        HealthLevel::Warning => Paint::Warning,
        HealthLevel::Unknown | HealthLevel::Critical => Paint::Bad,
    };
    report.paint(paint, level.as_str())
}

/// One line where all is well, else one a source; and what restores left.
fn show(status: &StoreHealth<'_>, report: &Report) {
    let painted = |level: HealthLevel| painted(level, report);
    if status.level() == HealthLevel::Ok && report.verbosity() == 0 {
        report.line(format!("{} {}", painted(HealthLevel::Ok), summary(status)));
    } else if status.sources.is_empty() {
        report.answer(format!(
            "{} {}",
            painted(HealthLevel::Critical),
            summary(status)
        ));
    } else {
        let of_source = |(subject, health): &(Subject<'_>, SourceHealth<'_>)| {
            vec![
                painted(health.level),
                subject.name.clone(),
                sentence(subject, health, status.now, &status.here),
            ]
        };
        let of_store = status
            .space
            .iter()
            .map(|space| vec![painted(space.level), "(store)".into(), space.text.clone()]);
        let of_copy_stores = findings_of_copy_stores(status)
            .map(|(name, finding)| vec![painted(finding.level), name, finding.text.clone()]);
        let rows: Vec<Vec<String>> = of_store
            .chain(of_copy_stores)
            .chain(status.sources.iter().map(of_source))
            .collect();
        report.answers(columns(&rows, &[]));
        show_hints(status, report);
    }
    for (subject, _) in &status.sources {
        for leftover in &subject.leftovers {
            let text = format!("left by a restore of {}: ", subject.name);
            report.line(Hint::from(text).then(leftover));
        }
    }
    if !status.unconfigured.is_empty() {
        report.detail(format!(
            "not in the configuration, so not judged: {}",
            status.unconfigured.join(", ")
        ));
    }
}

/// What is wrong with the stores that are to have copies, each with the store's name.
fn findings_of_copy_stores<'a>(
    status: &'a StoreHealth<'_>,
) -> impl Iterator<Item = (String, &'a HealthFinding)> {
    status.copy_stores.iter().flat_map(|store| {
        let name = format!("({})", store.plan.title());
        let findings = store.findings.iter();
        findings.map(move |finding| (name.clone(), finding))
    })
}

fn show_hints(status: &StoreHealth<'_>, report: &Report) {
    let of_sources = status.sources.iter().flat_map(|(subject, health)| {
        health
            .findings
            .iter()
            .filter_map(move |finding| Some((subject.name.clone(), finding.hint.as_ref()?)))
    });
    let of_store = status
        .space
        .iter()
        .filter_map(|space| Some(("(store)".to_owned(), space.hint.as_ref()?)));
    let of_copy_stores = findings_of_copy_stores(status)
        .filter_map(|(name, finding)| Some((name, finding.hint.as_ref()?)));
    for (name, hint) in of_store.chain(of_copy_stores).chain(of_sources) {
        report.note(Hint::from(format!("hint: {name}: ")).then(hint));
    }
}

/// What is wrong with a source; else how it is.
fn sentence(
    subject: &Subject<'_>,
    health: &SourceHealth<'_>,
    now: DateTime<Utc>,
    here: &str,
) -> String {
    if !health.findings.is_empty() {
        return health
            .findings
            .iter()
            .map(|finding| finding.text.as_str())
            .collect::<Vec<_>>()
            .join("; ");
    }
    let mut parts = Vec::new();
    match (&subject.expected, &health.newest) {
        (Expectation::No(why), _) => parts.push((*why).to_owned()),
        (_, None) => parts.push("no backup yet".to_owned()),
        _ => {}
    }
    if let Some(newest) = &health.newest {
        parts.push(format!(
            "{}, {}{}",
            units::age(newest.ended, now),
            units::size(newest.stored),
            change(health)
        ));
    }
    match health.proof {
        Some(Proof { at, host, .. }) => parts.push(format!(
            "proven{} {}",
            by_another(host, here),
            units::age(at, now)
        )),
        None if health.newest.is_some() => parts.push("never proven by a restore".into()),
        None => {}
    }
    let waiting = subject.copies.iter().filter(|copies| copies.is_waiting());
    parts.extend(waiting.map(|copies| format!("not yet in {}", copies.store)));
    if health.damaged > 0 {
        parts.push(units::count(health.damaged, "older damaged backup"));
    }
    parts.join(", ")
}

/// ` by vault1`, where it was not this host.
fn by_another(host: Option<&str>, here: &str) -> String {
    match host {
        Some(host) if host != here => format!(" by {host}"),
        _ => String::new(),
    }
}

/// ` (+3 %)`: against the good backup before, where both are fulls.
fn change(health: &SourceHealth<'_>) -> String {
    match (&health.newest, &health.before) {
        (Some(new), _) if new.is_delta => " (a delta)".into(),
        (Some(new), Some(old)) if old.stored > 0 && !old.is_delta => {
            let percent = (new.stored as f64 / old.stored as f64 - 1.0) * 100.0;
            if percent.abs() < 0.5 {
                " (as before)".into()
            } else {
                format!(" ({percent:+.0} %)")
            }
        }
        _ => String::new(),
    }
}

fn set_document(status: &StoreHealth<'_>, report: &mut Report) {
    let reporter: &Report = report;
    let hint = |finding: &HealthFinding| finding.hint.as_ref().map(|hint| reporter.rendered(hint));
    let finding = |finding: &HealthFinding| {
        serde_json::json!({"status": finding.level.as_str(),
        "text": finding.text, "hint": hint(finding)})
    };
    let leftovers = |subject: &Subject<'_>| -> Vec<String> {
        let texts = subject.leftovers.iter();
        texts.map(|text| reporter.rendered(text)).collect()
    };
    let source = |(subject, health): &(Subject<'_>, SourceHealth<'_>)| {
        let seconds = |at: DateTime<Utc>| (status.now - at).num_seconds();
        serde_json::json!({
            "source": subject.name,
            "status": health.level.as_str(),
            "text": sentence(subject, health, status.now, &status.here),
            "findings": health.findings.iter().map(finding).collect::<Vec<_>>(),
            "not_expected": match subject.expected { Expectation::No(why) => Some(why), _ => None },
            "expect_every_seconds": subject.expect_every.duration().as_secs(),
            "prove_every_seconds": subject.prove_every.map(|every| every.duration().as_secs()),
            "newest_good": health.newest.as_ref().map(|newest| serde_json::json!({
                "id": newest.id, "at": newest.ended, "age_seconds": seconds(newest.ended),
                "size_bytes": newest.stored,
                "content_size_bytes": newest.content, "rows_total": newest.rows,
                "duration_seconds": newest.seconds,
                "size_bytes_before": health.before.as_ref().map(|before| before.stored),
            })),
            "last_attempt": health.last.as_ref().map(|last| serde_json::json!({"id": last.id,
            "at": last.ended})),
            "last_failure": health.failure.as_ref().map(|failure| match &failure.worth {
                health::AttemptWorth::Failed { error, hint } => serde_json::json!({
                    "id": failure.id, "at": failure.ended, "error": error,
                    "hint": hint.as_ref().map(Hint::to_string)}),
                _ => serde_json::Value::Null,
            }),
            "last_proof": health.proof.map(|proof| serde_json::json!({"id": proof.id,
                "at": proof.at, "age_seconds": seconds(proof.at), "host": proof.host})),
            "good_by_label": health.labels,
            "failed_attempts": health.failures,
            "damaged_backups": health.damaged,
            "stored_bytes": health.stored,
            "retention_held": subject.held,
            "copies": subject.copies.iter().map(|copies| serde_json::json!({
                "store": copies.store, "newest_at": copies.newest(),
                "age_seconds": copies.newest().map(seconds), "waiting": copies.is_waiting(),
            })).collect::<Vec<_>>(),
            "leftovers": leftovers(subject),
        })
    };
    let sources: Vec<_> = status.sources.iter().map(source).collect();
    let of_store: Vec<_> = status.space.iter().map(finding).collect();
    let of_copy_stores = status.copy_stores.iter().map(|store| {
        serde_json::json!({
            "name": store.plan.title(), "location": store.plan.location().to_string(),
            "reachable": store.is_reachable,
            "findings": store.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    });
    let of_copy_stores: Vec<_> = of_copy_stores.collect();
    report.set("sources", sources);
    report.set("unconfigured", status.unconfigured.clone());
    report.set(
        "store",
        serde_json::json!({
            "path": status.store.location().to_string(), "free_bytes": status.free,
            "needed_bytes": status.needed,
            "findings": of_store,
        }),
    );
    report.set("stores", of_copy_stores);
}
