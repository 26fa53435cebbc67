//! `dbbackup doctor`: would a backup succeed, and if not, why? Everything is tried that can be
//! tried without leaving a trace.

mod around;
mod place;
mod secrets;

use super::backup::{self, Making};
use crate::catalog::Catalog;
use crate::cli::{BackupArguments, DoctorArguments};
use crate::engine::postgres::server::Availability;
use crate::error::{Error, Kind, Result};
use crate::ops::engines::Engine;
use crate::ops::{Session, catalog_of};
use crate::plan::{Planned, SourcePlan, StorePlan};
use crate::report::{Outcome, Paint, Report, columns};
use crate::store::{self, Access};
use crate::units;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub fn run(arguments: &DoctorArguments, session: &Session, report: &mut Report) -> Result<Outcome> {
    let mut checks = Checks::default();
    configuration(session, &mut checks);
    secrets::look(session, &mut checks);
    around::run(session, &mut checks);
    let store = session.store_plan();
    let catalog = match &store {
        Ok(plan) => place::store(plan, session, &mut checks),
        Err(error) => {
            checks.problem("store", "place", error);
            Catalog::default()
        }
    };
    clock(&catalog, session, &mut checks);
    if let Ok(store) = &store {
        let mut needs = Needs::default();
        match backup::make_plan(&wanted(&arguments.what), session, report) {
            Ok(planned) => planned.into_iter().for_each(|one| {
                source(
                    one,
                    store,
                    &catalog,
                    session,
                    report,
                    &mut checks,
                    &mut needs,
                )
            }),
            Err(error) => checks.problem("sources", "plan", &error),
        }
        needs.judge(store, &mut checks);
    }
    say(checks, report)
}

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Ok,
    Warning,
    Problem,
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Standing::Ok => "ok",
            Standing::Warning => "warning",
            Standing::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Looked {
    about: String,
    check: &'static str,
    status: Standing,
    detail: String,
    remedy: Option<String>,
}

/// All that was looked at, in order.
#[derive(Debug, Default)]
struct Checks(Vec<Looked>);

impl Checks {
    fn ok(&mut self, about: &str, check: &'static str, detail: impl Into<String>) {
        self.0.push(Looked {
            about: about.into(),
            check,
            status: Standing::Ok,
            detail: detail.into(),
            remedy: None,
        });
    }

    fn warning(
        &mut self,
        about: &str,
        check: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.0.push(Looked {
            about: about.into(),
            check,
            status: Standing::Warning,
            detail: detail.into(),
            remedy,
        });
    }

    fn problem(&mut self, about: &str, check: &'static str, error: &Error) {
        let remedy = error.hint().map(ToString::to_string);
        self.0.push(Looked {
            about: about.into(),
            check,
            status: Standing::Problem,
            detail: error.message(),
            remedy,
        });
    }
}

fn wanted(what: &[String]) -> BackupArguments {
    BackupArguments {
        what: what.to_vec(),
        label: "manual".to_owned(),
        dry_run: true,
        ..BackupArguments::default()
    }
}

fn configuration(session: &Session, checks: &mut Checks) {
    let about = "configuration";
    match &session.config {
        None => checks.warning(
            about,
            "file",
            "there is none",
            "`dbbackup init` writes one from what it finds",
        ),
        Some(config) => {
            let sources = units::count(config.sources.len() as u64, "source");
            checks.ok(
                about,
                "file",
                format!("{}: {sources}", config.path.display()),
            );
            for warning in &config.warnings {
                checks.warning(
                    about,
                    "file",
                    warning.clone(),
                    "`dbbackup help configuration` lists the keys",
                );
            }
        }
    }
}

/// Retention and `SOURCE@WHEN` go by it.
fn clock(catalog: &Catalog, session: &Session, checks: &mut Checks) {
    let now = units::stamp(session.now);
    // Before this program was written.
    if session.now.timestamp() < 1_780_000_000 {
        let error = Error::failed(format!("the clock says {now}, which can't be"))
            .with_hint("set it: `timedatectl set-ntp true`");
        return checks.problem("clock", "time", &error);
    }
    let future: Vec<&str> = (catalog.backups.iter())
        .filter(|backup| backup.sidecar.started_at > session.now + chrono::TimeDelta::minutes(5))
        .map(|backup| backup.id())
        .collect();
    match future.first() {
        None => checks.ok("clock", "time", now),
        Some(first) => checks.warning(
            "clock",
            "time",
            format!(
                "it is {now}, and {} dated in the future: {first}",
                match future.len() {
                    1 => "1 backup is".to_owned(),
                    count => format!("{count} backups are"),
                }
            ),
            "if the clock is right, it was wrong then: cleanup keeps these backups; look at them, \
             then `dbbackup delete` them",
        ),
    }
}

/// What the backups of all sources together will need, by the place that it is needed in.
#[derive(Default)]
struct Needs {
    store: u64,
    scratch: BTreeMap<PathBuf, u64>,
    /// Of trial restores, which only `verify` makes.
    drills: BTreeMap<PathBuf, u64>,
}

impl Needs {
    fn judge(&self, store: &StorePlan, checks: &mut Checks) {
        if let Ok(Some(free)) = store::unchecked(&store.location).free_space() {
            let text = format!(
                "{} free, about {} needed for the next backups",
                units::size(free),
                units::size(self.store)
            );
            if free < self.store {
                let error = Error::failed(text)
                    .with_hint("`dbbackup cleanup --dry-run` says what the retention policy frees");
                checks.problem("store", "space", &error);
            } else if free < self.store.saturating_mul(3) {
                checks.warning(
                    "store",
                    "space",
                    text,
                    "`dbbackup cleanup --dry-run` says what the retention policy frees",
                );
            } else {
                checks.ok("store", "space", text);
            }
        }
        for (dir, needed) in &self.scratch {
            place::scratch(
                dir,
                *needed,
                self.drills.get(dir).copied().unwrap_or(0),
                store,
                checks,
            );
        }
    }
}

fn source(
    planned: Planned,
    store: &StorePlan,
    catalog: &Catalog,
    session: &Session,
    report: &Report,
    checks: &mut Checks,
    needs: &mut Needs,
) {
    match planned {
        Planned::Skipped { name, why } => {
            checks.ok(&name, "backup", format!("would be skipped: {why}"))
        }
        Planned::Refused { name, error, .. } => checks.problem(&name, "backup", &error),
        Planned::Source(whole) => {
            around::hooks(&whole.name, &whole.hooks, checks);
            match backup::members_of(&whole) {
                Err(error) => checks.problem(&whole.name, "backup", &error),
                Ok(members) => {
                    for member in members {
                        match member {
                            Err((name, error)) => checks.problem(&name, "backup", &error),
                            Ok(source) => {
                                let tried = one_source(
                                    &source, store, catalog, session, report, checks, needs,
                                );
                                if let Err(error) = tried {
                                    checks.problem(&source.name, "backup", &error);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn one_source(
    source: &SourcePlan,
    store: &StorePlan,
    catalog: &Catalog,
    session: &Session,
    report: &Report,
    checks: &mut Checks,
    needs: &mut Needs,
) -> Result<()> {
    let name = source.name.as_str();
    let mut engine = Engine::open(source)?;
    let there = store::unchecked(&store.location);
    backup::refuse_another_ones_name(source, &engine, (&*there, catalog), &session.host, report)?;
    place::lock(store, name, checks);
    let (how, concerns, scratch) = engine.rehearse()?;
    let size = engine.estimate();
    checks.ok(
        name,
        "backup",
        format!("{} ({}), {how}", engine.place(source), units::size(size)),
    );
    for concern in concerns {
        checks.warning(name, "backup", concern.text, concern.remedy);
    }
    needs.store =
        needs
            .store
            .saturating_add(backup::space_needed(&Making::of(source), &engine, catalog));
    let most = needs
        .scratch
        .entry(source.settings.scratch_dir.clone())
        .or_default();
    *most = (*most).max(scratch);
    match engine.can_drill(source) {
        Ok((Availability::Available(how), room)) => {
            checks.ok(name, "drill", format!("a trial restore is possible, {how}"));
            let most = needs
                .drills
                .entry(source.settings.scratch_dir.clone())
                .or_default();
            *most = (*most).max(room);
        }
        Ok((Availability::Unavailable(why), _)) => {
            checks.warning(
                name,
                "drill",
                format!("no trial restore is possible here: {why}"),
                "`dbbackup verify --level content` is",
            );
        }
        Err(error) => {
            let remedy = error.hint().map_or_else(
                || "`dbbackup verify --level content` is possible".to_owned(),
                ToString::to_string,
            );
            checks.warning(
                name,
                "drill",
                format!("no trial restore is possible: {error}"),
                remedy,
            );
        }
    }
    Ok(())
}

fn say(mut checks: Checks, report: &mut Report) -> Result<Outcome> {
    // What is about one thing stands together.
    let mut order: Vec<String> = checks.0.iter().map(|one| one.about.clone()).collect();
    let mut seen = std::collections::BTreeSet::new();
    order.retain(|about| seen.insert(about.clone()));
    checks
        .0
        .sort_by_key(|one| order.iter().position(|about| *about == one.about));
    let rows: Vec<Vec<String>> = checks
        .0
        .iter()
        .map(|one| {
            let paint = match one.status {
                Standing::Ok => Paint::Good,
                Standing::Warning => Paint::Warning,
                Standing::Problem => Paint::Bad,
            };
            vec![
                report.paint(paint, one.status.word()),
                one.about.clone(),
                one.check.to_owned(),
                one.detail.clone(),
            ]
        })
        .collect();
    for (one, line) in checks.0.iter().zip(columns(&rows, &[])) {
        // What is not well is never silenced.
        if one.status == Standing::Ok {
            report.line(line)
        } else {
            report.answer(line)
        }
        if let Some(remedy) = &one.remedy {
            report.answer(format!("         {}", report.with_options(remedy)));
        }
    }
    let of =
        |standing: Standing| checks.0.iter().filter(|one| one.status == standing).count() as u64;
    let (problems, warnings) = (of(Standing::Problem), of(Standing::Warning));
    report.set(
        "checks",
        serde_json::to_value(&checks.0).unwrap_or_default(),
    );
    report.set("problems", problems);
    report.set("warnings", warnings);
    let warned = |word: &str| {
        if warnings > 0 {
            format!("{word}{}", units::count(warnings, "warning"))
        } else {
            String::new()
        }
    };
    if problems > 0 {
        let text = format!(
            "a backup would fail: {}{}",
            units::count(problems, "problem"),
            warned(" and ")
        );
        report.warn(&text);
        report.set("error", text);
        return Ok(Some(Kind::Failed));
    }
    report.line(format!("a backup would succeed{}", warned(", with ")));
    Ok(None)
}

/// The store as it is, where it can be read.
fn read(plan: &StorePlan) -> Result<Catalog> {
    catalog_of(&*store::open(&plan.location, Access::Read)?, &[])
}
