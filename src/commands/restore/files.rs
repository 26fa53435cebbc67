//! Restoring a tree of files: to a directory of its own, or to where it came from, each top path
//! exchanged as a whole and the old one kept.

use super::must_be_sound;
use crate::cli::RestoreArguments;
use crate::commands::backup;
use crate::config::KindSettings;
use crate::engine::files::destination::{FilesDestination, Options};
use crate::engine::files::differences;
use crate::engine::files::patterns::Patterns;
use crate::engine::{Depth, Destination, Keep, Published};
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::ops::Session;
use crate::ops::find::ResolvedBackup;
use crate::ops::{content, examine};
use crate::plan::{self, Proving};
use crate::report::{Paint, Report};
use crate::sidecar::Status;
use crate::store::{self, Access};
use crate::units;
use std::path::{Path, PathBuf};

/// One backup, put back.
pub fn restore(
    found: &ResolvedBackup,
    wanted: &str,
    arguments: &RestoreArguments,
    session: &Session,
    report: &Report,
) -> Result<serde_json::Value> {
    let place = place(found, wanted, arguments, session)?;
    // A dry run's plan is its result.
    let say = |text: String| {
        if arguments.dry_run {
            report.answer(text)
        } else {
            report.note(text)
        }
    };
    let differences = say_plan(found, &place, arguments, session, report, &say)?;
    if arguments.dry_run {
        report.answer("nothing was done");
        return Ok(
            serde_json::json!({"id": found.name(), "target": place.text(),
                "replaces": place.replaces(), "differences": differences}),
        );
    }
    if place.replaces() {
        super::confirm(&place.text(), arguments, report)?;
    }
    let _lock = lock(found, &place, session, report)?;
    let stored = found.stored();
    let mut destination = destination(found, &place, arguments, session, &stored)?;
    let settings = session.settings_of(&found.source);
    let means = examine::ExaminationOptions {
        scratch_dir: &settings.scratch_dir,
        threads: settings.thread_count(),
        proving: &Proving::default(),
        observer: report,
    };
    let checks = examine::receive(&stored, &mut destination, Depth::Content, &means)?;
    for check in &checks {
        report.detail(format!("{}: {}", check.name, check.detail));
    }
    must_be_sound(found, &checks)?;
    let keep = if arguments.no_safety_backup {
        Keep::Nothing
    } else {
        Keep::Aside
    };
    let published = destination.publish(keep)?;
    say_done(found, &place, &published, report)
}

/// Where the tree goes.
enum Place {
    /// All of it below a directory.
    Directory(PathBuf),
    /// Where it came from.
    Origin(Vec<PathBuf>),
}

impl Place {
    fn text(&self) -> String {
        match self {
            Place::Directory(path) => path.display().to_string(),
            Place::Origin(tops) => tops
                .iter()
                .map(|top| top.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    fn replaces(&self) -> bool {
        matches!(self, Place::Origin(tops) if tops.iter().any(|top| top.symlink_metadata().is_ok()))
    }
}

fn place(
    found: &ResolvedBackup,
    wanted: &str,
    arguments: &RestoreArguments,
    session: &Session,
) -> Result<Place> {
    if let Some(to) = &arguments.to {
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
        return Ok(Place::Directory(path));
    }
    let Some(backup) = &found.backup else {
        return Err(Error::usage(format!(
            "`{}` has no sidecar, so nobody knows where it belongs",
            found.file
        ))
        .with_hint(super::say_where(found, wanted, "DIR", session)));
    };
    let tops = tops_of(found);
    if tops.is_empty() {
        return Err(Error::usage(format!(
            "the sidecar of `{}` does not say where it belongs",
            backup.id()
        ))
        .with_hint(super::say_where(found, wanted, "DIR", session)));
    }
    super::must_belong_here(found, backup, wanted, "DIR", session)?;
    if tops.contains(&PathBuf::from("/")) {
        return Err(
            Error::usage("the root directory can't be exchanged while the system runs")
                .with_hint(super::say_where(found, wanted, "DIR", session)),
        );
    }
    refuse_what_lies_inside(found, &tops, session)?;
    Ok(Place::Origin(tops))
}

/// The paths that the backup was made of; none where no sidecar tells.
fn tops_of(found: &ResolvedBackup) -> Vec<PathBuf> {
    let database = found
        .backup
        .as_ref()
        .and_then(|backup| backup.sidecar.database.as_ref());
    database
        .map(|database| database.paths.clone())
        .unwrap_or_default()
}

/// A tree is exchanged as a whole, with whatever lies in it. A store that lies there would go, and
/// so would what another source is to save and this backup has left out.
fn refuse_what_lies_inside(
    found: &ResolvedBackup,
    tops: &[PathBuf],
    session: &Session,
) -> Result<()> {
    let inside = |path: &Path| {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let top = tops
            .iter()
            .find(|top| real.starts_with(top.canonicalize().unwrap_or_else(|_| top.to_path_buf())));
        top.filter(|_| path.symlink_metadata().is_ok()).cloned()
    };
    let hint = "restore with `--to` beside it, and copy from there what is needed";
    let configured = session.config.iter().flat_map(|config| {
        config
            .store
            .iter()
            .chain(config.stores.values())
            .map(|store| store.location.clone())
    });
    let in_use = session.store_plan().ok().map(|plan| plan.location);
    for store in configured
        .chain(in_use)
        .chain([found.store.location().clone()])
    {
        if let Some(top) = store.local_path().and_then(inside) {
            return Err(Error::usage(format!(
                "the store `{store}` lies in `{}`, which would be exchanged as a whole",
                top.display()
            ))
            .with_hint(hint));
        }
    }
    let sources = session
        .config
        .iter()
        .flat_map(|config| &config.sources)
        .filter(|(name, _)| *name != found.source);
    let mut others: Vec<(&str, PathBuf)> = Vec::new();
    for (name, entry) in sources {
        match &entry.kind {
            KindSettings::Sqlite(own) => others.push((name, own.path.clone())),
            KindSettings::Files(own) => others.extend(
                own.paths
                    .iter()
                    .map(|path| (name.as_str(), PathBuf::from(path))),
            ),
            KindSettings::Postgres(_) => {}
        }
    }
    let others: Vec<(&str, PathBuf, PathBuf)> = others
        .into_iter()
        .filter_map(|(name, path)| inside(&path).map(|top| (name, path, top)))
        .collect();
    for (name, path, top) in others {
        if !lists(found, &path)? {
            let text = format!(
                "`{}` of the source `{name}` lies in `{}`, which would be exchanged as a whole, \
                 and is not in this backup",
                path.display(),
                top.display()
            );
            return Err(Error::usage(text).with_hint(hint));
        }
    }
    Ok(())
}

/// Whether the backup holds this path.
fn lists(found: &ResolvedBackup, path: &Path) -> Result<bool> {
    use std::os::unix::ffi::OsStrExt;
    let Some(mut list) = content::open_list(&found.stored()).ok().flatten() else {
        return Ok(false);
    };
    let name = path.as_os_str().as_bytes();
    let name = name.strip_prefix(b"/").unwrap_or(name);
    while let Some(line) = list.next_stored()? {
        if line.path_bytes() == name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// No backup of these files at the same time, where there is a store to lock.
fn lock(
    found: &ResolvedBackup,
    place: &Place,
    session: &Session,
    report: &Report,
) -> Result<Option<Lock>> {
    let (Place::Origin(_), Ok(plan)) = (place, session.store_plan()) else {
        return Ok(None);
    };
    let is_there = store::is_at(&plan.location).unwrap_or(true);
    if !is_there || !store::may_be_written_at(&plan.location) {
        return Ok(None);
    }
    let store = store::open(
        &plan.location,
        Access::Write {
            require_mount: false,
        },
    )?;
    if !store.sources()?.contains(&found.source) {
        return Ok(None);
    }
    backup::lock_and_sweep(&*store, &found.source, session.lock_wait, report)
}

fn destination<'a>(
    found: &ResolvedBackup,
    place: &Place,
    arguments: &RestoreArguments,
    session: &Session,
    stored: &'a content::StoredDump<'_>,
) -> Result<FilesDestination<'a>> {
    let select = if arguments.paths.is_empty() {
        None
    } else {
        Some(Patterns::new(&arguments.paths)?)
    };
    let options = Options {
        select,
        tops: tops_of(found),
        no_owner: arguments.no_owner,
    };
    let list = content::list_opener(stored);
    match place {
        Place::Directory(path) => {
            FilesDestination::at(path, size(stored, arguments), list, options)
        }
        Place::Origin(tops) => {
            let stamp = session.now.format("%Y%m%dT%H%M%SZ").to_string();
            FilesDestination::origin(tops, size(stored, arguments), &stamp, list, options)
        }
    }
}

/// Bytes that will be written; unknown where only some files are wanted.
fn size(stored: &content::StoredDump<'_>, arguments: &RestoreArguments) -> u64 {
    if arguments.paths.is_empty() {
        stored.content_size()
    } else {
        0
    }
}

/// Says what would be done; gives back what of what is there now would go.
fn say_plan(
    found: &ResolvedBackup,
    place: &Place,
    arguments: &RestoreArguments,
    session: &Session,
    report: &Report,
    say: &dyn Fn(String),
) -> Result<Vec<String>> {
    let what = super::described(found, session);
    if arguments.paths.is_empty() {
        say(format!("restoring {what}"));
    } else {
        say(format!(
            "restoring what matches {} of {what}",
            arguments.paths.join(", ")
        ));
    }
    if found
        .backup
        .as_ref()
        .is_some_and(|backup| backup.sidecar.status == Status::Partial)
    {
        report.warn("the backup is incomplete: `dbbackup show` says what it lacks");
    }
    let tops = match place {
        Place::Directory(path) => {
            say(format!(
                "to {}, below which every file has its whole path",
                path.display()
            ));
            return Ok(Vec::new());
        }
        Place::Origin(tops) => tops,
    };
    for top in tops {
        match top.symlink_metadata() {
            Ok(_) => say(format!("to {}, in place of what is there", top.display())),
            Err(_) => say(format!("to {}, where there is nothing now", top.display())),
        }
    }
    let mut lines = Vec::new();
    if place.replaces() {
        if let Some(patterns) = found
            .backup
            .as_ref()
            .and_then(|backup| backup.sidecar.database.as_ref())
            .map(|database| &database.selected_by)
            .filter(|patterns| !patterns.is_empty())
        {
            report.warn(format!(
                "the backup left something out ({}): what is there of that goes aside with the old",
                patterns.join(", ")
            ));
        }
        lines = differences(found, tops)?;
        lines.iter().for_each(|line| say(format!("  {line}")));
        match arguments.no_safety_backup {
            true => report.warn("what is there is not kept (`--no-safety-backup`)"),
            false => say("  what is there is kept beside it, as ….before-<time>".to_owned()),
        }
    }
    Ok(lines)
}

/// What is there now and not in the backup, or not the same.
fn differences(found: &ResolvedBackup, tops: &[PathBuf]) -> Result<Vec<String>> {
    match content::open_list(&found.stored()).ok().flatten() {
        Some(list) => differences::between(tops, list),
        None => Ok(Vec::new()),
    }
}

fn say_done(
    found: &ResolvedBackup,
    place: &Place,
    published: &Published,
    report: &Report,
) -> Result<serde_json::Value> {
    for warning in &published.warnings {
        report.warn(warning);
    }
    let ok = report.paint(Paint::Good, "ok");
    report.line(format!(
        "{ok} {} restored to {}: {}",
        found.name(),
        place.text(),
        published.how
    ));
    let mut undo = Vec::new();
    let word = |path: &Path| units::shell_word(&path.display().to_string());
    for (top, kept) in &published.companions {
        report.line(format!("   what was there is kept as {}", kept.display()));
        // Inside a mount point there is no single name to give back.
        if !kept.starts_with(top) {
            let aside = PathBuf::from(format!("{}.undone", top.display()));
            undo.push(format!(
                "mv -T {} {} && mv -T {} {}",
                word(top),
                word(&aside),
                word(kept),
                word(top)
            ));
        }
    }
    let undo = (!undo.is_empty()).then(|| undo.join(" && "));
    if let Some(undo) = &undo {
        report.line(format!("   to undo: {undo}"));
    }
    if published.left_out > 0 {
        return Err(Error::new(
            Kind::Partial,
            format!(
                "{} of `{}` not restored",
                units::count(published.left_out, "member"),
                found.name()
            ),
        )
        .with_hint(
            "they would have been written outside of the target, or are no files; look at them \
               with `tar -tv`",
        ));
    }
    let kept: Vec<String> = published
        .companions
        .iter()
        .map(|(_, kept)| kept.display().to_string())
        .collect();
    Ok(
        serde_json::json!({"id": found.name(), "target": place.text(), "undo": undo, "kept": kept,
            "how": published.how}),
    )
}
