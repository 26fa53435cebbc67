//! The steps of every restore, in the order that keeps the old content safe: place, obstacles,
//! plan, question, lock, reception, check, publication. Only the last one touches the target.

use super::context::RestoreContext;
use super::safety::{KeptContent, Safety};
use super::{Confirm, RestoreOutcome, RestorePreview, RestoredBackup};
use crate::engine::{Check, CheckStatus, Depth, Destination, Keep, Published, Source};
use crate::error::{Hint, Result};
use crate::lock::Lock;
use crate::ops::Event;
use crate::ops::events::keep_result;
use crate::ops::examine::{self, ExaminationOptions, VerificationResult};
use crate::sidecar::Level;
use std::time::Instant;

/// What one kind of backup fills in. Its constructor finds the place; nothing but scratch places is
/// touched before the destination publishes.
pub trait RestoreSteps {
    /// Finds what would make the restore fail.
    fn find_obstacles(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether the plan can only be made of the received content.
    fn plans_by_content(&self) -> bool {
        false
    }

    /// Says what would be done, and what would be lost.
    fn plan(&mut self) -> Result<RestorePlan>;

    /// Looks at what only a dry run needs to know; gives a warning.
    fn rehearse(&mut self) -> Result<Option<Hint>> {
        Ok(None)
    }

    /// Removes what killed restores left, and finds where the old content is kept.
    fn prepare(&mut self) -> Result<Safety>;

    /// Takes the lock that keeps other runs away until the restore has ended.
    fn lock(&mut self, safety: &Safety) -> Result<Option<Lock>>;

    /// The place that takes the content.
    fn destination(&mut self) -> Result<&mut dyn Destination>;

    /// Tells where the old content is and how to go back to it.
    fn conclude(
        &mut self,
        published: &Published,
        kept: Option<KeptContent>,
    ) -> Result<RestoredBackup>;
}

/// What a restore will do. To be shown, then carried out.
#[derive(Debug, Default)]
pub struct RestorePlan {
    /// The plan in words.
    pub notes: Vec<PlanNote>,
    /// Where the content goes.
    pub target: String,
    /// What must be confirmed, if anything.
    pub question: Option<Question>,
    /// Whether something is replaced, where that can be said.
    pub replaces: Option<bool>,
    /// What would be lost or different, a line each.
    pub differences: Option<Vec<String>>,
    /// The roles that would be made.
    pub roles: Option<Vec<String>>,
}

/// A line of a plan.
#[derive(Debug)]
pub enum PlanNote {
    Line(String),
    Warning(Hint),
}

impl RestorePlan {
    /// Adds a line.
    pub fn add_line(&mut self, text: impl Into<String>) {
        self.notes.push(PlanNote::Line(text.into()));
    }

    /// Adds a warning.
    pub fn add_warning(&mut self, text: impl Into<Hint>) {
        self.notes.push(PlanNote::Warning(text.into()));
    }
}

/// Something that must be confirmed before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// This is replaced.
    Replace(String),
    /// Roles are made.
    CreateRoles,
}

/// Opens the destination when it is first asked for.
pub(super) fn open_once<D>(
    destination: &mut Option<D>,
    open: impl FnOnce() -> Result<D>,
) -> Result<&mut D> {
    let opened = match destination.take() {
        Some(opened) => opened,
        None => open()?,
    };
    Ok(destination.insert(opened))
}

/// Takes all steps of one restore.
pub(super) fn drive(
    steps: &mut dyn RestoreSteps,
    context: RestoreContext<'_>,
    confirm: Confirm<'_>,
) -> Result<RestoreOutcome> {
    let RestoreContext {
        found, observer, ..
    } = context;
    steps.find_obstacles()?;
    let plans_by_content = steps.plans_by_content();
    if plans_by_content {
        receive(steps.destination()?, context)?;
    }
    let plan = steps.plan()?;
    show(&plan, context);
    if context.request.dry_run {
        if let Some(warning) = steps.rehearse()? {
            observer.warn(warning);
        }
        observer.answer("nothing was done");
        return Ok(RestoreOutcome::Planned(RestorePreview {
            id: found.name(),
            target: plan.target,
            replaces: plan.replaces,
            differences: plan.differences,
            roles: plan.roles,
        }));
    }
    if let Some(question) = &plan.question {
        confirm(question)?;
    }
    let safety = steps.prepare()?;
    let _lock = steps.lock(&safety)?;
    let destination = steps.destination()?;
    if !plans_by_content {
        receive(destination, context)?;
    }
    let (published, kept) = publish(destination, &safety, context)?;
    for warning in &published.warnings {
        observer.warn(warning);
    }
    observer.observe(Event::BackupRestored {
        id: &found.name(),
        target: &plan.target,
        how: &published.how,
    });
    steps
        .conclude(&published, kept)
        .map(RestoreOutcome::Restored)
}

/// Shows a plan: of a dry run it is the result.
fn show(plan: &RestorePlan, context: RestoreContext<'_>) {
    let observer = context.observer;
    for note in &plan.notes {
        match note {
            PlanNote::Line(text) if context.request.dry_run => observer.answer(text),
            PlanNote::Line(text) => observer.note(text),
            PlanNote::Warning(text) => observer.warn(text),
        }
    }
}

/// Receives the whole content and has it examined. A backup that is found damaged goes nowhere.
fn receive(destination: &mut dyn Destination, context: RestoreContext<'_>) -> Result<()> {
    let RestoreContext {
        found,
        session,
        observer,
        ..
    } = context;
    let settings = context.settings();
    let options = ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        drill_settings: &session.drill_settings_of(&found.source),
        observer,
    };
    let began = Instant::now();
    let checks = examine::receive(&found.stored(), destination, Depth::Content, &options)?;
    for check in &checks {
        observer.detail(check.to_string());
    }
    let result = VerificationResult {
        level: Level::Content,
        checks,
        seconds: began.elapsed().as_secs_f64(),
    };
    if !context.request.dry_run {
        keep_damage(&result, context);
    }
    refuse_damaged(&result.checks, context)
}

/// Keeps the damage that was found with the backup, as `verify` does: the next run must not build
/// on it. What came from another machine was read only once, and may have come over wrong.
fn keep_damage(result: &VerificationResult, context: RestoreContext<'_>) {
    let found = context.found;
    let is_here = found.objects.path(&found.file).is_some();
    if is_here && result.status() == CheckStatus::Damaged {
        keep_result(found, result, context.observer);
    }
}

fn refuse_damaged(checks: &[Check], context: RestoreContext<'_>) -> Result<()> {
    let found = context.found;
    let Some(damaged) = examine::damage_error(&found.name(), checks) else {
        return Ok(());
    };
    let hint = match &found.backup {
        Some(backup) => Hint::new()
            .text("nothing was touched; ")
            .command(["list", &backup.sidecar.source])
            .text(" shows other backups"),
        None => Hint::from("nothing was touched"),
    };
    Err(damaged.with_hint(hint))
}

/// Puts the content in its place, after the old content was kept as `safety` says.
fn publish(
    destination: &mut dyn Destination,
    safety: &Safety,
    context: RestoreContext<'_>,
) -> Result<(Published, Option<KeptContent>)> {
    let mut kept = None;
    let mut keep = |old: &mut dyn Source| -> Result<()> {
        kept = Some(safety.keep(old, context)?);
        Ok(())
    };
    let published = destination.publish(match safety {
        Safety::None => Keep::Nothing,
        Safety::Aside => Keep::Aside,
        Safety::Store { .. } | Safety::Beside(_) => Keep::Backup(&mut keep),
    })?;
    Ok((published, kept))
}
