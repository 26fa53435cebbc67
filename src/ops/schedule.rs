//! The schedule of a configuration: timers of systemd, or lines of a crontab, that start `backup`,
//! `verify`, `status` and `report`. What an install is told (times, a label) is noted in what it
//! writes, so that a later one brings it up to date without being told again.
//!
//! A plan says what there should be; a [`JobScheduler`] compares it with what there is. Only what a
//! marker shows to be this configuration's is ever changed or removed.

mod calendar;
mod crontab;
mod gaps;
mod jobs;
mod marker;
mod planning;
mod sandbox;
mod systemd;
mod units;

pub use calendar::Calendar;
pub use jobs::{Job, JobKind};

use self::crontab::Crontab;
use self::gaps::warn_of_gaps;
use self::planning::{configuration_of, plan_schedule};
use self::sandbox::Sandbox;
use self::systemd::{ManagerScope, Systemd};
use super::{Observer, Session};
use crate::error::{Error, Hint, Result};
use crate::units::shell_word;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What an install may be told; what is `None` is left to a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSettings {
    /// How often backups are made, as `6h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// When, as `02:30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Their label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How often they are proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Frequency>,
    /// How often it is looked whether they are fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Frequency>,
}

/// How often a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frequency {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Never,
}

/// Who starts the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerKind {
    Systemd,
    Cron,
}

impl SchedulerKind {
    /// The word for people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            SchedulerKind::Systemd => "systemd",
            SchedulerKind::Cron => "cron",
        }
    }
}

/// What is asked of `schedule`.
#[derive(Debug, Clone, Default)]
pub struct ScheduleRequest {
    /// Who is to start the jobs; `None`: systemd where it runs, else cron.
    pub scheduler: Option<SchedulerKind>,
    /// What is told now.
    pub settings: ScheduleSettings,
    /// Replaces and removes what somebody has changed, too.
    pub force: bool,
    /// Nothing is changed.
    pub dry_run: bool,
}

/// All that is to be there.
#[derive(Debug)]
pub struct SchedulePlan {
    /// The jobs.
    pub jobs: Vec<Job>,
    config: PathBuf,
    config_text: String,
    program: String,
    /// What names of units begin with.
    stem: String,
    settings: ScheduleSettings,
    sandbox: Sandbox,
    mail_to: Option<String>,
}

impl SchedulePlan {
    /// The command of a job, as a shell takes it.
    pub fn command(&self, job: &Job) -> String {
        let words = [self.program.as_str(), "--config", &self.config_text];
        let words = words
            .into_iter()
            .chain(job.arguments.iter().map(String::as_str));
        words.map(shell_word).collect::<Vec<_>>().join(" ")
    }
}

/// A unit, or the block in the crontab.
#[derive(Debug, Clone)]
pub struct ScheduledFile {
    /// The unit's name.
    pub name: String,
    /// Where it is, for people.
    pub place: String,
    /// What is there.
    pub state: ScheduledFileState,
    /// What should be there; `None`: nothing.
    pub text: Option<String>,
}

/// What is there, beside what should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduledFileState {
    /// Just that.
    Current,
    /// Nothing.
    Missing,
    /// What an earlier install wrote.
    Outdated,
    /// What somebody has changed since.
    Edited,
    /// Something of somebody else.
    Foreign,
    /// What an earlier install wrote, and nothing should be there.
    Remnant,
    /// The same, changed by somebody.
    EditedRemnant,
}

impl ScheduledFileState {
    /// The word for people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ScheduledFileState::Current => "current",
            ScheduledFileState::Missing => "missing",
            ScheduledFileState::Outdated => "outdated",
            ScheduledFileState::Edited | ScheduledFileState::EditedRemnant => "edited",
            ScheduledFileState::Foreign => "foreign",
            ScheduledFileState::Remnant => "remnant",
        }
    }
}

/// What was done with a file, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    Unchanged,
    Written,
    Removed,
    /// Somebody changed it, so it stays as it is.
    Kept,
}

impl FileAction {
    /// The word for people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FileAction::Unchanged => "unchanged",
            FileAction::Written => "written",
            FileAction::Removed => "removed",
            FileAction::Kept => "kept",
        }
    }

    fn of_install(state: ScheduledFileState, force: bool) -> FileAction {
        match state {
            ScheduledFileState::Current => FileAction::Unchanged,
            ScheduledFileState::Missing | ScheduledFileState::Outdated => FileAction::Written,
            ScheduledFileState::Edited if force => FileAction::Written,
            ScheduledFileState::Remnant => FileAction::Removed,
            ScheduledFileState::EditedRemnant if force => FileAction::Removed,
            ScheduledFileState::Edited
            | ScheduledFileState::EditedRemnant
            | ScheduledFileState::Foreign => FileAction::Kept,
        }
    }
}

/// When a job runs next, and how it ended last.
#[derive(Debug)]
pub struct JobTiming {
    pub next: Option<DateTime<Utc>>,
    pub last: Option<DateTime<Utc>>,
    /// `ok`, `exit code 1`, `running`; `None` where it never ran, or nobody knows.
    pub result: Option<String>,
    /// Whether it is waited for.
    pub is_active: bool,
}

/// What an install or a removal came to.
#[derive(Debug)]
pub struct ScheduleChange {
    pub scheduler: SchedulerKind,
    /// What is planned; `None` for a removal.
    pub plan: Option<SchedulePlan>,
    /// The files, and what was done with each.
    pub files: Vec<(ScheduledFile, FileAction)>,
    /// The commands that were run to have it obeyed.
    pub commands: Vec<String>,
}

/// What there is, beside what an install would write now.
#[derive(Debug)]
pub struct ScheduleView {
    pub scheduler: SchedulerKind,
    pub plan: SchedulePlan,
    /// Each job's timing, in the order of the plan; an error where the scheduler does not answer.
    pub timings: Vec<Result<JobTiming>>,
    pub files: Vec<ScheduledFile>,
}

/// Something that starts jobs.
trait JobScheduler {
    fn kind(&self) -> SchedulerKind;

    /// Each file that is planned or there, in this order. Nothing of another configuration.
    fn compare(&self, config: &Path, plan: Option<&SchedulePlan>) -> Result<Vec<ScheduledFile>>;

    /// What the last install was told; `None` where nothing of the configuration's is there.
    fn settings(&self, config: &Path) -> Result<Option<ScheduleSettings>>;

    /// Does what the actions say, and has the jobs started from now on. Returns the commands that
    /// this took.
    fn write(&self, files: &[ScheduledFile], actions: &[FileAction]) -> Result<Vec<String>>;

    /// Removes these files; their jobs are not started any more.
    fn remove(&self, files: &[&ScheduledFile]) -> Result<Vec<String>>;

    /// When a job runs.
    fn timing(&self, plan: &SchedulePlan, job: &Job) -> Result<JobTiming>;
}

/// Writes the schedule and has it obeyed.
pub fn install(
    request: &ScheduleRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<ScheduleChange> {
    let config = configuration_of(session)?;
    let scheduler = choose(request, &config)?;
    let earlier = scheduler.settings(&config)?;
    let plan = plan_schedule(
        request.settings.over(earlier.unwrap_or_default()),
        &*scheduler,
        session,
    )?;
    if plan.jobs.is_empty() {
        return Err(Error::usage("nothing would be started").with_hint(
            "the configuration has no source, and `--verify` and `--status` say never",
        ));
    }
    let files = scheduler.compare(&config, Some(&plan))?;
    if let Some(file) = files
        .iter()
        .find(|file| file.state == ScheduledFileState::Foreign)
    {
        return Err(Error::usage(format!(
            "`{}` is there, and is not of this configuration's schedule",
            file.place
        ))
        .with_hint("nothing was changed; move it away, or give the configuration another name"));
    }
    let action = |file: &ScheduledFile| FileAction::of_install(file.state, request.force);
    let actions: Vec<FileAction> = files.iter().map(action).collect();
    let mut commands = Vec::new();
    if !request.dry_run {
        create_store(session)?;
        commands = scheduler.write(&files, &actions)?;
    }
    warn_of_gaps(&plan, &*scheduler, session, observer);
    Ok(ScheduleChange {
        scheduler: scheduler.kind(),
        plan: Some(plan),
        files: files.into_iter().zip(actions).collect(),
        commands,
    })
}

/// Removes what can be shown to be this configuration's schedule, wherever it is.
pub fn remove(request: &ScheduleRequest, session: &Session) -> Result<Vec<ScheduleChange>> {
    let config = configuration_of(session)?;
    let mut changes = Vec::new();
    for scheduler in schedulers()? {
        if request
            .scheduler
            .is_some_and(|wanted| wanted != scheduler.kind())
        {
            continue;
        }
        let files = scheduler.compare(&config, None)?;
        let action = |file: &ScheduledFile| FileAction::of_install(file.state, request.force);
        let actions: Vec<FileAction> = files.iter().map(action).collect();
        let both = files.iter().zip(&actions);
        let gone: Vec<&ScheduledFile> = both
            .filter(|(_, action)| **action == FileAction::Removed)
            .map(|(file, _)| file)
            .collect();
        let commands = if request.dry_run || gone.is_empty() {
            Vec::new()
        } else {
            scheduler.remove(&gone)?
        };
        if !files.is_empty() {
            changes.push(ScheduleChange {
                scheduler: scheduler.kind(),
                plan: None,
                files: files.into_iter().zip(actions).collect(),
                commands,
            });
        }
    }
    Ok(changes)
}

/// What is installed for this configuration; `None`: nothing.
pub fn view(session: &Session) -> Result<Option<ScheduleView>> {
    let config = configuration_of(session)?;
    let Some((scheduler, settings)) = installed(&config)? else {
        return Ok(None);
    };
    let plan = plan_schedule(settings, &*scheduler, session)?;
    let files = scheduler.compare(&config, Some(&plan))?;
    let timings = plan.jobs.iter().map(|job| scheduler.timing(&plan, job));
    Ok(Some(ScheduleView {
        timings: timings.collect(),
        scheduler: scheduler.kind(),
        files,
        plan,
    }))
}

/// Who starts the jobs of a session's configuration; `None`: nobody.
pub fn installed_scheduler(session: &Session) -> Result<Option<SchedulerKind>> {
    let config = configuration_of(session)?;
    Ok(installed(&config)?.map(|(scheduler, _)| scheduler.kind()))
}

type InstalledSchedule = (Box<dyn JobScheduler>, ScheduleSettings);

fn installed(config: &Path) -> Result<Option<InstalledSchedule>> {
    for scheduler in schedulers()? {
        if let Some(settings) = scheduler.settings(config)? {
            return Ok(Some((scheduler, settings)));
        }
    }
    Ok(None)
}

fn schedulers() -> Result<[Box<dyn JobScheduler>; 2]> {
    Ok([Box::new(Systemd::of_this_user()?), Box::new(Crontab)])
}

/// The scheduler that is asked for, that which has the schedule already, or the better one here.
/// Never a second one: every backup would be made twice.
fn choose(request: &ScheduleRequest, config: &Path) -> Result<Box<dyn JobScheduler>> {
    let known = installed(config)?;
    match (request.scheduler, known) {
        (Some(wanted), Some((known, _))) if known.kind() != wanted => {
            let known = known.kind().as_str();
            Err(
                Error::usage(format!("a schedule of {known} is installed already"))
                    .with_hint(Hint::from("remove it first: ").command(["schedule", "remove"])),
            )
        }
        (None, Some((known, _))) => Ok(known),
        (Some(SchedulerKind::Systemd), _) => Ok(Box::new(Systemd::of_this_user()?)),
        (None, None) if systemd::is_running() => Ok(Box::new(Systemd::of_this_user()?)),
        (None, None) if !crontab::is_there() => Err(crontab::no_scheduler()),
        (Some(SchedulerKind::Cron) | None, _) => Ok(Box::new(Crontab)),
    }
}

impl ScheduleSettings {
    /// These, and where they say nothing the earlier ones.
    fn over(&self, earlier: ScheduleSettings) -> ScheduleSettings {
        ScheduleSettings {
            every: self.every.clone().or(earlier.every),
            at: self.at.clone().or(earlier.at),
            label: self.label.clone().or(earlier.label),
            verify: self.verify.or(earlier.verify),
            status: self.status.or(earlier.status),
        }
    }
}

/// Units may write into the store, but not beside it: it must be there before them.
fn create_store(session: &Session) -> Result<()> {
    let plan = session.store_plan()?;
    if plan.settings.location.local_path().is_some() {
        session.writing()?;
    }
    Ok(())
}

/// Whose systemd it is, for people.
pub fn manager_name() -> &'static str {
    match Systemd::of_this_user().map(|systemd| systemd.scope()) {
        Ok(ManagerScope::User) => "systemd of this user",
        Ok(ManagerScope::System) | Err(_) => "systemd",
    }
}
