//! Restoring a tree of files: to a directory of its own, or to where it came from, each top path
//! exchanged as a whole and the old one kept.

mod inside;

use self::inside::refuse_what_lies_inside;
use super::RestoredBackup;
use super::context::RestoreContext;
use super::driver::{Question, RestorePlan, RestoreSteps, open_once};
use super::safety::{KeptContent, Safety};
use crate::engine::files::destination::{FilesDestination, TreeRestoreOptions};
use crate::engine::files::differences;
use crate::engine::files::patterns::Patterns;
use crate::engine::{Destination, Published};
use crate::error::{Error, Hint, Kind, Result};
use crate::lock::Lock;
use crate::ops::content;
use crate::ops::find::ResolvedBackup;
use crate::ops::sweep::lock_and_sweep;
use crate::plan;
use crate::sidecar::Status;
use crate::store::{self, Access};
use crate::units;
use std::path::{Path, PathBuf};

/// The restore of a tree of files.
pub struct FilesRestore<'a> {
    context: RestoreContext<'a>,
    place: TreeTarget,
    destination: Option<FilesDestination<'a>>,
}

/// Where a tree goes.
enum TreeTarget {
    /// All of it below a directory.
    Directory(PathBuf),
    /// Where it came from.
    Origin(Vec<PathBuf>),
}

impl TreeTarget {
    fn text(&self) -> String {
        match self {
            TreeTarget::Directory(path) => path.display().to_string(),
            TreeTarget::Origin(tops) => tops
                .iter()
                .map(|top| top.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    fn replaces(&self) -> bool {
        let is_there = |top: &PathBuf| top.symlink_metadata().is_ok();
        matches!(self, TreeTarget::Origin(tops) if tops.iter().any(is_there))
    }
}

impl<'a> FilesRestore<'a> {
    /// Finds the place.
    pub fn new(context: RestoreContext<'a>) -> Result<Self> {
        Ok(FilesRestore {
            place: place(context)?,
            context,
            destination: None,
        })
    }

    /// Adds to a plan what becomes of the trees that are there.
    fn plan_replacement(&self, plan: &mut RestorePlan, tops: &[PathBuf]) -> Result<()> {
        let found = self.context.found;
        let selected_by = (found.backup.as_ref())
            .and_then(|backup| backup.sidecar.database.as_ref())
            .map(|database| &database.selected_by);
        if let Some(patterns) = selected_by.filter(|patterns| !patterns.is_empty()) {
            plan.add_warning(format!(
                "the backup left something out ({}): what is there of that goes aside with the old",
                patterns.join(", ")
            ));
        }
        let lines = match content::open_list(&found.stored()).ok().flatten() {
            Some(list) => differences::between(tops, list)?,
            None => Vec::new(),
        };
        lines
            .iter()
            .for_each(|line| plan.add_line(format!("  {line}")));
        plan.differences = Some(lines);
        match self.context.request.no_safety_backup {
            true => plan.add_warning("what is there is not kept (`--no-safety-backup`)"),
            false => plan.add_line("  what is there is kept beside it, as ….before-<time>"),
        }
        Ok(())
    }
}

impl RestoreSteps for FilesRestore<'_> {
    fn plan(&mut self) -> Result<RestorePlan> {
        let RestoreContext { found, request, .. } = self.context;
        let replaces = self.place.replaces();
        let mut plan = RestorePlan {
            target: self.place.text(),
            question: replaces.then(|| Question::Replace(self.place.text())),
            replaces: Some(replaces),
            differences: Some(Vec::new()),
            ..RestorePlan::default()
        };
        let what = self.context.description();
        if request.paths.is_empty() {
            plan.add_line(format!("restoring {what}"));
        } else {
            plan.add_line(format!(
                "restoring what matches {} of {what}",
                request.paths.join(", ")
            ));
        }
        if found
            .backup
            .as_ref()
            .is_some_and(|backup| backup.sidecar.status == Status::Partial)
        {
            plan.add_warning(
                Hint::new()
                    .text("the backup is incomplete: ")
                    .shell_command("show")
                    .text(" says what it lacks"),
            );
        }
        let tops = match &self.place {
            TreeTarget::Directory(path) => {
                plan.add_line(format!(
                    "to {}, below which every file has its whole path",
                    path.display()
                ));
                return Ok(plan);
            }
            TreeTarget::Origin(tops) => tops,
        };
        for top in tops {
            plan.add_line(match top.symlink_metadata() {
                Ok(_) => format!("to {}, in place of what is there", top.display()),
                Err(_) => format!("to {}, where there is nothing now", top.display()),
            });
        }
        if replaces {
            self.plan_replacement(&mut plan, tops)?;
        }
        Ok(plan)
    }

    fn prepare(&mut self) -> Result<Safety> {
        Ok(match self.context.request.no_safety_backup {
            true => Safety::None,
            false => Safety::Aside,
        })
    }

    /// Keeps backups of these files from running at the same time, where there is a store to lock.
    fn lock(&mut self, _: &Safety) -> Result<Option<Lock>> {
        let RestoreContext {
            found,
            session,
            observer,
            ..
        } = self.context;
        let (TreeTarget::Origin(_), Ok(plan)) = (&self.place, session.store_plan()) else {
            return Ok(None);
        };
        let is_there = store::is_at(plan.location()).unwrap_or(true);
        if !is_there || !store::may_be_written_at(plan.location()) {
            return Ok(None);
        }
        let store = store::open(&plan.settings, Access::Write)?;
        if !store.sources()?.contains(&found.source) {
            return Ok(None);
        }
        lock_and_sweep(&*store, &found.source, session.lock_wait, observer)
    }

    fn destination(&mut self) -> Result<&mut dyn Destination> {
        let open = || open_destination(self.context, &self.place);
        Ok(open_once(&mut self.destination, open)?)
    }

    fn conclude(
        &mut self,
        published: &Published,
        _: Option<KeptContent>,
    ) -> Result<RestoredBackup> {
        let RestoreContext {
            found, observer, ..
        } = self.context;
        let mut undo = Vec::new();
        for (top, kept) in &published.companions {
            observer.line(format!("   what was there is kept as {}", kept.display()));
            // Inside a mount point there is no single name to give back.
            if !kept.starts_with(top) {
                undo.push(move_back(top, kept));
            }
        }
        let undo = (!undo.is_empty()).then(|| undo.join(" && "));
        if let Some(undo) = &undo {
            observer.line(format!("   to undo: {undo}"));
        }
        if published.left_out > 0 {
            let members = units::count(published.left_out, "member");
            let text = format!("{members} of `{}` not restored", found.name());
            return Err(Error::new(Kind::Partial, text).with_hint(
                "they would have been written outside of the target, or are no files; look at \
                 them with `tar -tv`",
            ));
        }
        let kept = published.companions.iter();
        Ok(RestoredBackup {
            id: found.name(),
            target: self.place.text(),
            undo,
            kept: Some(kept.map(|(_, kept)| kept.display().to_string()).collect()),
            how: Some(published.how.clone()),
        })
    }
}

/// The command that exchanges a tree for the one that was kept.
fn move_back(top: &Path, kept: &Path) -> String {
    let aside = format!("{}.undone", top.display());
    let [top, kept] = [top, kept].map(|path| units::shell_word(&path.display().to_string()));
    format!(
        "mv -T {top} {} && mv -T {kept} {top}",
        units::shell_word(&aside)
    )
}

fn place(context: RestoreContext<'_>) -> Result<TreeTarget> {
    let (found, session) = (context.found, context.session);
    if let Some(to) = &context.request.to {
        if let Some((scheme, _)) = to.split_once("://") {
            return Err(Error::usage(format!(
                "files can't be restored to a `{scheme}://` address"
            ))
            .with_hint("`--to` takes a directory here"));
        }
        let path = plan::absolute(&session.cwd, to);
        let above = path.parent().unwrap_or(Path::new("/"));
        if !above.is_dir() {
            return Err(Error::failed(format!(
                "the directory of `{}` is not there",
                path.display()
            ))
            .with_hint("make it first, or choose another `--to`"));
        }
        return Ok(TreeTarget::Directory(path));
    }
    let backup = context.backup("DIR")?;
    let tops = tops_of(found);
    if tops.is_empty() {
        return Err(context.unknown_place(backup, "DIR"));
    }
    context.refuse_foreign(backup, "DIR")?;
    if tops.contains(&PathBuf::from("/")) {
        return Err(
            Error::usage("the root directory can't be exchanged while the system runs")
                .with_hint(context.how_to_name_target("DIR")),
        );
    }
    refuse_what_lies_inside(found, &tops, session)?;
    Ok(TreeTarget::Origin(tops))
}

/// The paths that the backup was made of; none where no sidecar tells, or where one is relative and
/// so means another place in each directory. dbbackup records absolute paths alone.
fn tops_of(found: &ResolvedBackup) -> Vec<PathBuf> {
    let database = found
        .backup
        .as_ref()
        .and_then(|backup| backup.sidecar.database.as_ref());
    database
        .map(|database| database.paths.clone())
        .filter(|paths| paths.iter().all(|path| path.is_absolute()))
        .unwrap_or_default()
}

fn open_destination<'a>(
    context: RestoreContext<'a>,
    place: &TreeTarget,
) -> Result<FilesDestination<'a>> {
    let RestoreContext { found, request, .. } = context;
    let select = if request.paths.is_empty() {
        None
    } else {
        Some(Patterns::new(&request.paths)?)
    };
    let options = TreeRestoreOptions {
        select,
        tops: tops_of(found),
        no_owner: request.no_owner,
    };
    // Unknown where only some files are wanted.
    let size = match request.paths.is_empty() {
        true => found.stored().content_size(),
        false => 0,
    };
    let list = Box::new(move || content::open_list(&found.stored()));
    match place {
        TreeTarget::Directory(path) => FilesDestination::for_directory(path, size, list, options),
        TreeTarget::Origin(tops) => {
            FilesDestination::for_origin(tops, size, &context.stamp(), list, options)
        }
    }
}
