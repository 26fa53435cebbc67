//! `dbbackup cleanup`: retention decides, this carries it out, and says why each backup is kept or
//! removed.

mod brake;

use super::list::STATE_LOST;
use super::{backup, outcome_of, set_error};
use crate::catalog::{Catalog, Entry, Presence};
use crate::cli::CleanupArguments;
use crate::config::SourceFault;
use crate::engine::CheckStatus;
use crate::error::{Error, Kind, Result};
use crate::interrupt;
use crate::ops::events::remove_superseded;
use crate::ops::{Session, catalog_of, is_missed, names_in, time_of};
use crate::plan::{RetentionPolicies, SourcePlan};
use crate::report::{Outcome, Paint, Report, columns};
use crate::retention::{self, Candidate, Decision, Standing, Verdict};
use crate::sidecar::{Braked, Level, Status, Totals};
use crate::store::{Store, names};
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeSet, HashMap};

pub fn run(
    arguments: &CleanupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<Outcome> {
    let store = if arguments.dry_run {
        session.reading()?
    } else {
        session.changing()?
    };
    let names = names_in(&*store, &arguments.sources, session, report)?;
    let catalog = catalog_of(&*store, &names)?;
    let work = what_to_clean(arguments, &names, session, &catalog, &*store)?;
    let missed = if arguments.force {
        Vec::new()
    } else {
        missed_databases(&work, session, &catalog, &*store)?
    };
    let mut told = Told::default();
    let mut failed = Vec::new();
    for (source, policies) in &work {
        interrupt::check()?;
        let done = match policies {
            Ok(_) if missed.contains(source) => Ok((keep_all(source, &catalog), None)),
            Ok(policies) if arguments.dry_run => clean(
                &*store, &catalog, source, policies, arguments, session, report,
            ),
            Ok(policies) => backup::lock_and_sweep(&*store, source, session.lock_wait, report)
                .and_then(|_lock| {
                    // Again, now that nobody else can change it.
                    let catalog = Catalog::read(&*store, Some(std::slice::from_ref(source)))?;
                    clean(
                        &*store, &catalog, source, policies, arguments, session, report,
                    )
                }),
            Err(why) => Err(Error::from(why.clone()).context(source)),
        };
        let error = match done {
            Ok((done, held)) => {
                told.add(done);
                held
            }
            Err(error) => Some(error),
        };
        error.iter().for_each(|error| report.error(error));
        failed.extend(error);
    }
    told.conclude(arguments.dry_run, report);
    set_error(&failed, report);
    let kinds: Vec<Kind> = failed.iter().map(Error::kind).collect();
    // The program ends here: see `list`.
    std::mem::forget(catalog);
    Ok(outcome_of(work.len(), &kinds))
}

/// Databases of clusters that are not on their servers any more, which nobody has said is right:
/// their last backups are all that there is of them.
fn missed_databases(
    work: &[Work],
    session: &Session,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<Vec<String>> {
    let Some(config) = &session.config else {
        return Ok(Vec::new());
    };
    let clusters: BTreeSet<&str> = work
        .iter()
        .filter_map(|(source, _)| catalog.cluster_of(source))
        .collect();
    let mut missed = Vec::new();
    for cluster in clusters {
        // Its other databases tell which run was the newest.
        let whole = Catalog::read_with_members(store, &[cluster.to_owned()])?;
        for source in whole.vanished_members(cluster) {
            if is_missed(&source, &whole, store, config)? {
                missed.push(source);
            }
        }
    }
    Ok(missed)
}

fn keep_all(source: &str, catalog: &Catalog) -> Done {
    let why = || {
        vec![
            "the database is not on the server any more; `exclude_databases` says that this is \
              right"
                .to_owned(),
        ]
    };
    Done {
        kept: catalog
            .of(source)
            .map(|backup| (backup.id().to_owned(), why()))
            .collect(),
        ..Done::default()
    }
}

/// A source with its policies, or why the configuration can't say them now.
type Work = (String, std::result::Result<RetentionPolicies, SourceFault>);

/// The sources, each with its policies: the flags' for whatever is named, or all there is; else the
/// configuration's, for its own sources alone.
fn what_to_clean(
    arguments: &CleanupArguments,
    names: &[String],
    session: &Session,
    catalog: &Catalog,
    store: &dyn Store,
) -> Result<Vec<Work>> {
    // Not every directory there: only those that hold something of ours.
    let present = catalog.sources();
    let asked = if names.is_empty() {
        Vec::new()
    } else {
        catalog.members(names)
    };
    // As without a name: what has no policy in a group is kept, and the others are cleaned.
    let by_group = arguments
        .sources
        .iter()
        .any(|word| session.group(word).is_some());
    if let Some(policy) = arguments.policy.policy()? {
        let names = if asked.is_empty() { present } else { asked };
        return Ok(names
            .into_iter()
            .map(|name| (name, Ok(RetentionPolicies::for_every_label(policy.clone()))))
            .collect());
    }
    let no_policy = |text: String| {
        Error::usage(text).with_hint(
            "say what to keep, as in `--keep-last 3 --keep-daily 7`, or write a [retention] table",
        )
    };
    let Some(config) = &session.config else {
        return Err(no_policy(
            "there is no retention policy: no flag, and no configuration".into(),
        ));
    };
    if !session.store_plan()?.configured {
        return Err(no_policy(format!(
            "the store `{}` is none of the configuration's, so its policy does not hold there",
            store.name()
        )));
    }
    let mut work = Vec::new();
    for name in if asked.is_empty() { &present } else { &asked } {
        let Some((_, entry)) = config.owner_of(name) else {
            if asked.is_empty() {
                continue;
            }
            return Err(no_policy(format!(
                "`{name}` is no source of the configuration, so its policy does not hold for it"
            )));
        };
        if let Some(why) = &entry.fault {
            // It fails alone.
            work.push((name.clone(), Err(why.clone())));
            continue;
        }
        let policies = RetentionPolicies::of_source(config, entry);
        if policies.is_empty() && !asked.is_empty() && !by_group {
            return Err(no_policy(format!(
                "`{name}` has no retention policy: everything is kept"
            )));
        }
        work.push((name.clone(), Ok(policies)));
    }
    Ok(work)
}

/// Why the brake keeps everything of a source, where it does.
pub fn held(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    now: DateTime<Utc>,
) -> Result<Option<String>> {
    let decision = decide(catalog, source, policies, now, false);
    Ok(brake::look(store, catalog, source, policies, &decision, now)?.map(|on| on.why))
}

/// After a successful backup, under its lock: quiet unless something was removed or went wrong.
/// Gives back what the brake says where it holds.
pub fn after_backup(
    store: &dyn Store,
    source: &SourcePlan,
    now: DateTime<Utc>,
    report: &Report,
) -> Result<Option<Error>> {
    let catalog = catalog_of(store, std::slice::from_ref(&source.name))?;
    if source.policies.is_empty() {
        return Ok(None);
    }
    let mut decision = decide(&catalog, &source.name, &source.policies, now, false);
    let on = brake::look(
        store,
        &catalog,
        &source.name,
        &source.policies,
        &decision,
        now,
    )?;
    if let Some(on) = &on {
        brake::remember(store, &source.name, on, report);
        on.hold(&catalog, &source.name, &mut decision);
    } else {
        for warning in &decision.warnings {
            report.warn(format!("{}: {warning}", source.name));
        }
    }
    let done = carry_out(store, &catalog, &source.name, decision, false).map_err(|error| {
        let kind = if error.kind() == Kind::Interrupted {
            Kind::Interrupted
        } else {
            Kind::Partial
        };
        error
            .context("the backup was made, but retention failed")
            .with_kind(kind)
    })?;
    say_removed(&source.name, &done, report);
    if !done.deleted.is_empty() {
        let freed = units::total(done.deleted.iter().map(|gone| gone.size));
        report.note(format!(
            "{}: retention removed {}, {}",
            source.name,
            units::count(done.deleted.len() as u64, "backup"),
            units::size(freed)
        ));
    }
    Ok(on.map(|on| {
        let held = format!(
            "the backup was made, but retention is held back and removed {}: {}",
            on.nothing(),
            on.why
        );
        Error::new(Kind::Partial, held).with_hint(format!(
            "if that is right: `dbbackup cleanup --force {}`; if not, the older backups are all \
             there",
            source.name
        ))
    }))
}

/// What was kept and removed; and what the brake says, which keeps all.
fn clean(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    arguments: &CleanupArguments,
    session: &Session,
    report: &mut Report,
) -> Result<(Done, Option<Error>)> {
    let (dry_run, force) = (arguments.dry_run, arguments.force);
    let mut decision = decide(catalog, source, policies, session.now, force);
    let mut held = None;
    match brake::look(store, catalog, source, policies, &decision, session.now)? {
        Some(on) if force && !dry_run => brake::accept(store, source, &on, report),
        Some(on) if !force => {
            if !dry_run {
                brake::remember(store, source, &on, report);
            }
            on.hold(catalog, source, &mut decision);
            let text = format!(
                "{source}: retention is held back, and {} is removed: {}",
                on.nothing(),
                on.why
            );
            held = Some(
                Error::failed(text)
                    .with_hint("look at the source; if that is right, add `--force`"),
            );
        }
        _ => {}
    }
    if held.is_none() {
        for warning in &decision.warnings {
            report.warn(format!("{source}: {warning}"));
        }
    }
    for backup in catalog.of(source).filter(|backup| backup.state_lost) {
        report.warn(format!("{}: {STATE_LOST}", backup.id()));
    }
    for entry in catalog
        .unreadable
        .iter()
        .filter(|entry| entry.source == source)
    {
        report.warn(format!("{}: kept, {}", entry.id, entry.reason));
    }
    for stray in catalog.strays.iter().filter(|stray| stray.source == source) {
        report.warn(format!(
            "{}/{}: no sidecar knows this file ({}); it is never removed",
            stray.source,
            stray.name,
            units::size(stray.size)
        ));
    }
    let done = carry_out(store, catalog, source, decision, dry_run)?;
    if !dry_run {
        say_removed(source, &done, report);
    }
    Ok((done, held))
}

/// For the log, which outlives the backups.
fn say_removed(source: &str, done: &Done, report: &Report) {
    for gone in &done.deleted {
        report.story(format!(
            "{source}: removed {} ({}): {}",
            gone.id,
            units::size(gone.size),
            gone.reason
        ));
    }
}

/// With `force` every backup is taken for what it is, whatever it held before.
fn decide(
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    now: DateTime<Utc>,
    force: bool,
) -> Decision {
    let unreadable = catalog
        .unreadable
        .iter()
        .filter(|entry| entry.source == source)
        .map(|entry| Candidate {
            id: entry.id.clone(),
            at: time_of(&entry.id),
            label: names::split_id(&entry.id)
                .map_or(String::new(), |(_, label, _)| label.to_owned()),
            size_bytes: 0,
            standing: Standing::Unknown,
            pinned: false,
            proven: false,
            needs: None,
        });
    // What was said to be right is right for what came before it, too.
    let accepted = catalog
        .of(source)
        .position(|backup| backup.state.brake == Some(Braked::Accepted));
    let is_doubted = |at: usize, backup: &Entry| {
        !force && accepted.is_none_or(|accepted| at < accepted) && fell(backup, catalog)
    };
    let standing = |(at, backup): (usize, &Entry)| {
        let candidate = candidate(backup);
        match candidate.standing {
            Standing::Good if is_doubted(at, backup) => Candidate {
                standing: Standing::Doubted,
                ..candidate
            },
            _ => candidate,
        }
    };
    let candidates: Vec<Candidate> = catalog
        .of(source)
        .enumerate()
        .map(standing)
        .chain(unreadable)
        .collect();
    // The end of the second: what was made in it is no future.
    let now = now + TimeDelta::microseconds(999_999);
    retention::decide(&candidates, |label| policies.for_label(label), now)
}

/// Whether a backup held the brake and holds far less, in all, than the one that it was compared
/// with. (A clock that jumped holds the brake, too, and says nothing against what was saved.)
fn fell(backup: &Entry, catalog: &Catalog) -> bool {
    let Some(Braked::Against(earlier)) = &backup.state.brake else {
        return false;
    };
    let Some(earlier) = catalog
        .of(&backup.sidecar.source)
        .find(|other| other.id() == earlier)
    else {
        return false;
    };
    let (Some(now), Some(then)) = (&backup.sidecar.manifest, &earlier.sidecar.manifest) else {
        return false;
    };
    let files = |totals: &Totals| totals.tree.map_or(0, |tree| tree.files);
    now.rows_total < then.rows_total / 2 || files(now) < files(then) / 2
}

fn candidate(backup: &Entry) -> Candidate {
    let standing = match (backup.sidecar.status, &backup.presence) {
        _ if backup.state_lost => Standing::Unknown,
        (Status::Failed, _) => Standing::Failed,
        (_, Presence::Unknown(_)) => Standing::Unreachable,
        _ if backup.damage().is_some() => Standing::Damaged,
        (_, Presence::Missing) => Standing::Missing,
        (_, Presence::Bytes(_)) if !backup.is_whole() => Standing::OtherLength,
        (Status::Partial, _) => Standing::Partial,
        (Status::Ok, _) => Standing::Good,
    };
    Candidate {
        id: backup.id().to_owned(),
        // Those of one second in the order in which they were made.
        at: {
            let (at, number) = (
                backup.sidecar.started_at,
                names::number_in_second(backup.id()),
            );
            // A sidecar may say any date, the calendar's last one, too.
            at.checked_add_signed(TimeDelta::microseconds(number.into()))
                .unwrap_or(at)
        },
        label: backup.sidecar.label.to_string(),
        size_bytes: backup.presence.bytes(),
        standing,
        pinned: backup.state.pinned,
        proven: backup
            .verifications()
            .any(|seen| seen.status == CheckStatus::Ok && seen.level >= Level::Content),
        // No backup is built on another one yet.
        needs: None,
    }
}

struct Gone {
    id: String,
    reason: String,
    size: u64,
}

#[derive(Default)]
struct Done {
    kept: Vec<(String, Vec<String>)>,
    deleted: Vec<Gone>,
}

/// Removes, the oldest first, so that an interruption leaves the newest; but what is built on a
/// backup goes before it, and where that stays the backup does.
fn carry_out(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    decision: Decision,
    dry_run: bool,
) -> Result<Done> {
    let by_id: HashMap<&str, &Entry> = catalog
        .of(source)
        .map(|backup| (backup.id(), backup))
        .collect();
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    let mut needed: HashMap<&str, &str> = HashMap::new();
    let mut why_kept: HashMap<&str, String> = HashMap::new();
    for id in decision.removals() {
        interrupt::check()?;
        let backup = by_id.get(id);
        let files = backup.map_or(Vec::new(), |backup| backup.sidecar.files());
        let why = match needed.get(id) {
            Some(by) => Some(format!("needed by {by}")),
            None => must_stay(store, source, &files, dry_run),
        };
        if let Some(why) = why {
            why_kept.insert(id, why);
            if let Some(base) = decision.needs.get(id) {
                needed.insert(base, id);
            }
            continue;
        }
        if !dry_run {
            store.retire(source, id, &files)?;
        }
        sizes.insert(id, backup.map_or(0, |backup| backup.presence.bytes()));
    }
    let mut done = Done::default();
    for (id, verdict) in &decision.verdicts {
        let size = sizes.get(id.as_str()).copied().unwrap_or(0);
        let id = id.clone();
        match (verdict, why_kept.get(id.as_str())) {
            (Verdict::Keep(reasons), _) => {
                if let Some(backup) = by_id.get(id.as_str()).filter(|_| !dry_run) {
                    remove_superseded(store, source, &backup.state)?;
                }
                done.kept.push((id, reasons.clone()));
            }
            (Verdict::Remove(reason), Some(why)) => {
                let reasons = vec![format!("{why}; otherwise removed: {reason}")];
                done.kept.push((id, reasons));
            }
            (Verdict::Remove(reason), None) => done.deleted.push(Gone {
                id,
                reason: reason.clone(),
                size,
            }),
        }
    }
    Ok(done)
}

/// Why files can't be removed now, where they can't: what is not sure is kept.
fn must_stay(store: &dyn Store, source: &str, files: &[String], dry_run: bool) -> Option<String> {
    files.iter().find_map(|file| match store.link_target(source, file) {
        // Removing the link alone would leave what takes the room, and nothing would know it any
        // more.
        Ok(Some(place)) => Some(format!(
            "`{file}` is a link to `{}`, which is outside of the store (`dbbackup delete` removes \
             the link)",
            place.display()
        )),
        Err(error) => Some(error.message()),
        Ok(None) if dry_run => None,
        Ok(None) => match store.is_in_use(source, file) {
            Ok(true) => Some("in use right now".to_owned()),
            Ok(false) => None,
            Err(error) => Some(error.message()),
        },
    })
}

/// What is said of the whole run.
#[derive(Default)]
struct Told {
    done: Done,
}

impl Told {
    fn add(&mut self, done: Done) {
        self.done.kept.extend(done.kept);
        self.done.deleted.extend(done.deleted);
    }

    fn conclude(self, dry_run: bool, report: &mut Report) {
        let Done { kept, deleted } = self.done;
        let verb = if dry_run { "remove" } else { "removed" };
        if !report.is_json() {
            say_each(&kept, &deleted, verb, report);
        }
        let freed = units::total(deleted.iter().map(|gone| gone.size));
        let count = units::count(deleted.len() as u64, "backup");
        report.line(match dry_run {
            true => format!(
                "would remove {count}, {} kept, {} freed; nothing was done",
                kept.len(),
                units::size(freed)
            ),
            false => format!(
                "removed {count}, {} kept, {} freed",
                kept.len(),
                units::size(freed)
            ),
        });
        if !report.is_json() {
            return;
        }
        let kept: Vec<_> = kept
            .into_iter()
            .map(|(id, reasons)| serde_json::json!({"id": id, "reasons": reasons}))
            .collect();
        let count = deleted.len();
        let deleted: Vec<_> = deleted
            .into_iter()
            .map(|gone| {
                serde_json::json!({"id": gone.id, "reason": gone.reason,
                "size_bytes": gone.size})
            })
            .collect();
        report.set("dry_run", dry_run);
        report.set("kept", kept);
        report.set("deleted", deleted);
        report.set("deleted_count", count);
        report.set("total_size_freed", freed);
    }
}

/// A line for each backup, the newest first.
fn say_each(kept: &[(String, Vec<String>)], deleted: &[Gone], verb: &str, report: &Report) {
    let keeping = kept
        .iter()
        .map(|(id, reasons)| (id, report.paint(Paint::Good, "keep"), reasons.join(", ")));
    let removing = deleted.iter().map(|gone| {
        let why = format!("{} ({})", gone.reason, units::size(gone.size));
        (&gone.id, report.paint(Paint::Warning, verb), why)
    });
    let mut rows: Vec<(&String, String, String)> = keeping.chain(removing).collect();
    rows.sort_by(|a, b| b.0.cmp(a.0));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(id, word, why)| vec![word, id.clone(), why])
        .collect();
    report.lines(columns(&rows, &[]));
}
