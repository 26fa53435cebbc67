//! Would a backup succeed, and if not, why? Everything is tried that can be tried without leaving a
//! trace.

mod encryption;
mod place;
mod remote;
mod secrets;
mod surroundings;
#[cfg(test)]
mod tests;

pub use remote::try_destruction;

use super::backup::{self, AttemptPlan, BackupRequest};
use super::engines::Engine;
use super::{Observer, Session, catalog_of};
use crate::catalog::Catalog;
use crate::engine::postgres::server::Availability;
use crate::error::{Error, Hint, Result};
use crate::plan::{PlannedAttempt, SourcePlan, StorePlan};
use crate::store::{self, Access, Destruction};
use crate::units;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Examines everything that a backup of these sources would need; none: every enabled source.
pub fn diagnose(what: &[String], session: &Session, observer: &dyn Observer) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    check_configuration(session, &mut diagnosis);
    secrets::check_files(session, &mut diagnosis);
    surroundings::check_run(session, &mut diagnosis);
    let store = session.store_plan();
    let catalog = match &store {
        Ok(plan) => {
            place::check_signing(plan, &mut diagnosis);
            let catalog = place::check_store(plan, session, &mut diagnosis);
            encryption::check_encryption(plan, &catalog, session, &mut diagnosis);
            catalog
        }
        Err(error) => {
            diagnosis.problem("store", "place", error);
            Catalog::default()
        }
    };
    check_clock(&catalog, session, &mut diagnosis);
    if let Ok(store) = &store {
        let mut examiner = SourceExaminer {
            store,
            catalog: &catalog,
            session,
            observer,
            diagnosis: &mut diagnosis,
            needs: SpaceNeeds::default(),
        };
        let request = BackupRequest {
            what: what.to_vec(),
            label: "manual".to_owned(),
            ..BackupRequest::default()
        };
        match backup::plan_backup(&request, session, observer) {
            Err(_) if what.is_empty() && only_reads(session) => examiner.diagnosis.ok(
                "sources",
                "plan",
                "none is configured: this machine reads and proves backups, and makes none",
            ),
            Ok(planned) => planned
                .into_iter()
                .for_each(|one| examiner.check_planned(one)),
            Err(error) => examiner.diagnosis.problem("sources", "plan", &error),
        }
        let needs = examiner.needs;
        needs.judge(store, &mut diagnosis);
        if session.store_flag.is_none() {
            remote::check_further_stores(store, &catalog, session, &mut diagnosis);
        }
    }
    diagnosis.group();
    diagnosis
}

/// Whether the configuration is one of a machine that has a private key and no source.
fn only_reads(session: &Session) -> bool {
    session.config.as_ref().is_some_and(|config| {
        let keys = &config.encryption;
        config.sources.is_empty()
            && (keys.identity_file.is_some() || keys.identity_command.is_some())
    })
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// A backup would succeed all the same.
    Warning,
    /// A backup would fail.
    Problem,
}

impl Severity {
    /// The word in tables and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        }
    }
}

/// One thing that was examined, and the result.
#[derive(Debug, Serialize)]
pub struct DoctorCheck {
    /// What it is about: a source, the store, the clock.
    pub about: String,
    /// What was examined of it.
    pub check: &'static str,
    /// The result.
    pub status: Severity,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(serialize_with = "serialize_remedy")]
    pub remedy: Option<Hint>,
}

// serde's `serialize_with` hands over a reference.
#[allow(clippy::ref_option)]
fn serialize_remedy<S: Serializer>(
    remedy: &Option<Hint>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    remedy.as_ref().map(Hint::to_string).serialize(serializer)
}

/// Everything that was examined, in order.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// The checks.
    pub checks: Vec<DoctorCheck>,
    /// The smallest policies with which nothing would be refused.
    pub policies: Vec<StorePolicy>,
    /// What could be destroyed, where that was tried.
    pub destructions: Vec<StoreDestruction>,
}

/// What somebody who has taken over this machine could destroy in a store.
#[derive(Debug)]
pub struct StoreDestruction {
    /// Which store it is.
    pub about: String,
    /// Where it is.
    pub location: String,
    /// The verdict.
    pub destruction: Destruction,
}

/// The smallest set of rights that suffices for a store, as its service takes it.
#[derive(Debug)]
pub struct StorePolicy {
    /// Which store it is.
    pub about: String,
    /// The policy, as JSON.
    pub policy: String,
    /// Something was refused for want of a right.
    pub is_missing: bool,
}

impl Diagnosis {
    /// How many checks have this result.
    pub fn count(&self, severity: Severity) -> u64 {
        let of_it = self.checks.iter().filter(|one| one.status == severity);
        of_it.count() as u64
    }

    /// Puts together what is about one thing.
    fn group(&mut self) {
        let mut order: Vec<String> = self.checks.iter().map(|one| one.about.clone()).collect();
        let mut seen = BTreeSet::new();
        order.retain(|about| seen.insert(about.clone()));
        self.checks
            .sort_by_key(|one| order.iter().position(|about| *about == one.about));
    }

    fn ok(&mut self, about: &str, check: &'static str, detail: impl Into<String>) {
        self.checks.push(DoctorCheck {
            about: about.into(),
            check,
            status: Severity::Ok,
            detail: detail.into(),
            remedy: None,
        });
    }

    fn warning(
        &mut self,
        about: &str,
        check: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<Hint>,
    ) {
        let remedy = Some(remedy.into());
        self.checks.push(DoctorCheck {
            about: about.into(),
            check,
            status: Severity::Warning,
            detail: detail.into(),
            remedy,
        });
    }

    fn problem(&mut self, about: &str, check: &'static str, error: &Error) {
        let remedy = error.hint().cloned();
        self.checks.push(DoctorCheck {
            about: about.into(),
            check,
            status: Severity::Problem,
            detail: error.message(),
            remedy,
        });
    }
}

fn check_configuration(session: &Session, diagnosis: &mut Diagnosis) {
    let about = "configuration";
    match &session.config {
        None => diagnosis.warning(
            about,
            "file",
            "there is none",
            Hint::new()
                .command(["init"])
                .text(" writes one from what it finds"),
        ),
        Some(config) => {
            let sources = units::count(config.sources.len() as u64, "source");
            diagnosis.ok(
                about,
                "file",
                format!("{}: {sources}", config.path.display()),
            );
            for warning in &config.warnings {
                diagnosis.warning(
                    about,
                    "file",
                    warning.clone(),
                    Hint::new()
                        .command(["help", "configuration"])
                        .text(" lists the keys"),
                );
            }
        }
    }
}

/// Checks the clock, which retention and `SOURCE@WHEN` go by.
fn check_clock(catalog: &Catalog, session: &Session, diagnosis: &mut Diagnosis) {
    let now = units::stamp(session.now);
    // Before this program was written.
    if session.now.timestamp() < 1_780_000_000 {
        let error = Error::failed(format!("the clock says {now}, which can't be"))
            .with_hint("set it: `timedatectl set-ntp true`");
        return diagnosis.problem("clock", "time", &error);
    }
    let future: Vec<&str> = catalog
        .backups()
        .filter(|backup| backup.sidecar.started_at > session.now + chrono::TimeDelta::minutes(5))
        .map(|backup| backup.id())
        .collect();
    match future.first() {
        None => diagnosis.ok("clock", "time", now),
        Some(first) => diagnosis.warning(
            "clock",
            "time",
            format!(
                "it is {now}, and {} dated in the future: {first}",
                match future.len() {
                    1 => "1 backup is".to_owned(),
                    count => format!("{count} backups are"),
                }
            ),
            Hint::new()
                .text(
                    "if the clock is right, it was wrong then: cleanup keeps these backups; look \
                     at them, then ",
                )
                .command(["delete"])
                .text(" them"),
        ),
    }
}

/// The bytes that the backups of all sources together will need, by the place.
#[derive(Default)]
struct SpaceNeeds {
    store: u64,
    scratch: BTreeMap<PathBuf, u64>,
    /// For trial restores, which only `verify` makes.
    drills: BTreeMap<PathBuf, u64>,
}

impl SpaceNeeds {
    fn judge(&self, store: &StorePlan, diagnosis: &mut Diagnosis) {
        let to_free = || {
            Hint::new()
                .command(["cleanup", "--dry-run"])
                .text(" says what the retention policy frees")
        };
        let free = store::open_unchecked(&store.settings).and_then(|store| store.free_space());
        if let Ok(Some(free)) = free {
            let text = format!(
                "{} free, about {} needed for the next backups",
                units::size(free),
                units::size(self.store)
            );
            if free < self.store {
                let error = Error::failed(text).with_hint(to_free());
                diagnosis.problem("store", "space", &error);
            } else if free < self.store.saturating_mul(3) {
                diagnosis.warning("store", "space", text, to_free());
            } else {
                diagnosis.ok("store", "space", text);
            }
        }
        for (dir, needed) in &self.scratch {
            place::check_scratch(
                dir,
                *needed,
                self.drills.get(dir).copied().unwrap_or(0),
                store,
                diagnosis,
            );
        }
    }
}

/// Tries each source as a backup would begin with it.
struct SourceExaminer<'a> {
    store: &'a StorePlan,
    catalog: &'a Catalog,
    session: &'a Session,
    observer: &'a dyn Observer,
    diagnosis: &'a mut Diagnosis,
    needs: SpaceNeeds,
}

impl SourceExaminer<'_> {
    fn check_planned(&mut self, planned: PlannedAttempt) {
        match planned {
            PlannedAttempt::Skipped { name, why } => {
                self.diagnosis
                    .ok(&name, "backup", format!("would be skipped: {why}"))
            }
            PlannedAttempt::Refused { name, error, .. } => {
                self.diagnosis.problem(&name, "backup", &error)
            }
            PlannedAttempt::Source(source) => {
                surroundings::check_hooks(&source.name, &source.hooks, self.diagnosis);
                let members = backup::members_of(&source)
                    .unwrap_or_else(|error| vec![Err((source.name.clone(), error))]);
                for member in members {
                    let checked = member.and_then(|source| {
                        self.check_source(&source)
                            .map_err(|error| (source.name, error))
                    });
                    if let Err((name, error)) = checked {
                        self.diagnosis.problem(&name, "backup", &error);
                    }
                }
            }
        }
    }

    fn check_source(&mut self, source: &SourcePlan) -> Result<()> {
        let name = source.name.as_str();
        let mut engine = Engine::open(source)?;
        let store = store::open_unchecked(&self.store.settings)?;
        backup::check_name_conflict(
            source,
            &engine,
            (&*store, self.catalog),
            &self.session.host,
            self.observer,
        )?;
        place::check_lock(self.store, name, self.diagnosis);
        let (how, concerns, scratch) = engine.rehearse()?;
        let size = units::size(engine.estimate());
        self.diagnosis.ok(
            name,
            "backup",
            format!("{} ({size}), {how}", engine.place(source)),
        );
        for concern in concerns {
            self.diagnosis
                .warning(name, "backup", concern.text, concern.remedy);
        }
        let needed = backup::space_needed(&AttemptPlan::from(source), &engine, self.catalog);
        self.needs.store = self.needs.store.saturating_add(needed);
        add_need(&mut self.needs.scratch, source, scratch);
        self.check_drill(source, &engine);
        Ok(())
    }

    /// Checks whether a trial restore is possible here. A backup succeeds without one.
    fn check_drill(&mut self, source: &SourcePlan, engine: &Engine) {
        let name = source.name.as_str();
        let content = Hint::new().command(["verify", "--level", "content"]);
        let (why, remedy) = match engine.can_drill(source) {
            Ok((Availability::Available(how), room)) => {
                add_need(&mut self.needs.drills, source, room);
                let text = format!("a trial restore is possible, {how}");
                return self.diagnosis.ok(name, "drill", text);
            }
            Ok((Availability::Unavailable(why), _)) => (
                format!("no trial restore is possible here: {why}"),
                content.text(" is"),
            ),
            Err(error) => (
                format!("no trial restore is possible: {error}"),
                (error.hint().cloned()).unwrap_or_else(|| content.text(" is possible")),
            ),
        };
        self.diagnosis.warning(name, "drill", why, remedy);
    }
}

/// One source after the other uses a scratch directory: the largest need counts.
fn add_need(needs: &mut BTreeMap<PathBuf, u64>, source: &SourcePlan, bytes: u64) {
    let most = needs
        .entry(source.settings.scratch_dir.clone())
        .or_default();
    *most = (*most).max(bytes);
}

/// Reads the catalog of a store as it is.
fn read_catalog(plan: &StorePlan) -> Result<Catalog> {
    catalog_of(&*store::open(&plan.settings, Access::Read)?, &[])
}
