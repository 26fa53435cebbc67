//! The schedule of a configuration: timers of systemd, or lines of a crontab, that start `backup`,
//! `verify` and `status`. What an install is told (times, a label) is noted in what it writes, so
//! that a later one brings it up to date without being told again.
//!
//! A plan says what there should be; a [`JobScheduler`] compares it with what there is. Only what a
//! marker shows to be this configuration's is ever changed or removed.

mod calendar;
mod crontab;
mod jobs;
mod marker;
mod sandbox;
mod systemd;
mod units;

pub use calendar::Calendar;
pub use jobs::{DEFAULT_LABEL, Job, JobKind};

use self::crontab::Crontab;
use self::sandbox::Sandbox;
use self::systemd::{ManagerScope, Systemd};
use super::{Observer, Session};
use crate::config::is_label;
use crate::error::{Context, Error, Hint, Result};
use crate::units::{Span, shell_word};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
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
    let plan = plan(
        request.settings.over(earlier.unwrap_or_default()),
        &*scheduler,
        session,
    )?;
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
    let plan = plan(settings, &*scheduler, session)?;
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

/// The path of the configuration. A schedule says everything by it, so nothing else may be given.
fn configuration_of(session: &Session) -> Result<PathBuf> {
    let Some(config) = &session.config else {
        return Err(
            Error::usage("a schedule needs a configuration, and none was found").with_hint(
                Hint::from("name it with `--config FILE`; ")
                    .command(["init"])
                    .text(" writes one"),
            ),
        );
    };
    if session.store_flag.is_some() {
        return Err(
            Error::usage("a schedule uses the store of the configuration").with_hint(
                "leave `--store` out; another store is `[store]` in a configuration of its own",
            ),
        );
    }
    Ok(config.path.clone())
}

fn plan(
    settings: ScheduleSettings,
    scheduler: &dyn JobScheduler,
    session: &Session,
) -> Result<SchedulePlan> {
    let Some(config) = &session.config else {
        return Err(Error::usage("a schedule needs a configuration"));
    };
    if let Some(label) = settings.label.as_deref().filter(|label| !is_label(label)) {
        return Err(Error::usage(format!("`{label}` is no label")).with_hint(
            "a label has letters, digits, `.` and `-`, and begins with a letter or digit",
        ));
    }
    let jobs = jobs::plan_jobs(&settings, session)?;
    let program = own_program()?;
    let mail_to =
        if config.notify.notifiers.is_empty() && scheduler.kind() == SchedulerKind::Systemd {
            program_in_path("mail").and(crate::users::me())
        } else {
            None
        };
    Ok(SchedulePlan {
        jobs,
        config_text: writable_text(&config.path)?,
        config: config.path.clone(),
        program: writable_text(&program)?,
        stem: stem_of(&config.path),
        settings,
        sandbox: Sandbox::new(config),
        mail_to,
    })
}

/// The path as text, if units and crontabs can hold it.
fn writable_text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        Error::usage(format!(
            "`{}` can stand in no unit and no crontab",
            path.display()
        ))
        .with_hint("give it a name of letters that can be printed")
    })
}

/// This program as it is called: where a name for it stands in a usual place, that one, because it
/// outlives an update.
fn own_program() -> Result<PathBuf> {
    let real = std::env::current_exe().context("finding this program")?;
    let usual = ["/usr/local/bin/dbbackup", "/usr/bin/dbbackup"].map(PathBuf::from);
    let is_this = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == real);
    Ok(usual.into_iter().find(is_this).unwrap_or(real))
}

/// Where a program is that is called by its name.
fn program_in_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&paths).map(|dir| dir.join(name));
    found.into_iter().find(|path| path.is_file())
}

/// What names of units begin with. The configuration that this user's runs find by themselves has
/// the plain name; others have one of their own, by their path.
fn stem_of(config: &Path) -> String {
    let home = crate::config::places(&|name| std::env::var(name).ok());
    let usual = if rustix::process::geteuid().is_root() {
        home.last()
    } else {
        home.get(1)
    };
    if usual.is_some_and(|usual| usual == config) {
        return "dbbackup".to_owned();
    }
    let stem = config
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let parent = config
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let word = if matches!(stem, "dbbackup" | "config") {
        parent.unwrap_or(stem)
    } else {
        stem
    };
    let word: String = word
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_.".contains(*c))
        .collect();
    let hash = Sha256::digest(config.as_os_str().as_encoded_bytes());
    let word = if word.is_empty() { "config" } else { &word };
    format!(
        "dbbackup-{word}-{:02x}{:02x}{:02x}",
        hash[0], hash[1], hash[2]
    )
}

/// Units may write into the store, but not beside it: it must be there before them.
fn create_store(session: &Session) -> Result<()> {
    let plan = session.store_plan()?;
    if plan.settings.location.local_path().is_some() {
        session.writing()?;
    }
    Ok(())
}

/// Says what the schedule alone does not do.
fn warn_of_gaps(
    plan: &SchedulePlan,
    scheduler: &dyn JobScheduler,
    session: &Session,
    observer: &dyn Observer,
) {
    let Some(config) = &session.config else {
        return;
    };
    let backup = plan.jobs.iter().find(|job| job.kind == JobKind::Backup);
    let pause = backup.map_or(0, |job| job.calendar.longest_pause());
    let too_old: Vec<&str> = config
        .sources
        .iter()
        .filter(|(_, source)| source.common.enabled && seconds(source.common.expect_every) < pause)
        .map(|(name, _)| name.as_str())
        .collect();
    if let (false, Some(job)) = (too_old.is_empty(), backup) {
        observer.warn(format!(
            "backups are made {}, but `expect_every` of {} is shorter than that: `status` will \
             call them too old between two runs",
            job.calendar,
            too_old.join(", ")
        ));
    }
    let is_systemd = scheduler.kind() == SchedulerKind::Systemd;
    if is_systemd && config.notify.notifiers.is_empty() && plan.mail_to.is_none() {
        observer.warn(
            "nobody is told of a run that fails: [notify] names nobody, and there is no program \
             `mail`",
        );
    }
    let has_hooks = !config.hooks.is_empty()
        || config
            .sources
            .iter()
            .any(|(_, source)| !source.hooks.is_empty());
    if has_hooks && is_systemd && rustix::process::geteuid().is_root() {
        observer.warn(format!(
            "hooks run inside of the unit, which may write only to what `ReadWritePaths=` names: \
             `systemctl edit {}-backup.service` allows more",
            plan.stem
        ));
    }
    if is_systemd && !rustix::process::geteuid().is_root() && !lingers() {
        let user = crate::users::me().unwrap_or_else(|| "USER".to_owned());
        observer.warn(format!(
            "timers of a user run only while the user is logged in: `loginctl enable-linger {}` \
             as root changes that",
            shell_word(&user)
        ));
    }
}

fn seconds(span: Span) -> u64 {
    span.duration().as_secs()
}

/// Whether this user's systemd runs without the user.
fn lingers() -> bool {
    crate::users::me().is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user).exists())
}

/// Whose systemd it is, for people.
pub fn manager_name() -> &'static str {
    match Systemd::of_this_user().map(|systemd| systemd.scope()) {
        Ok(ManagerScope::User) => "systemd of this user",
        Ok(ManagerScope::System) | Err(_) => "systemd",
    }
}
