//! The brake in a store: which earlier backups the newest one is compared with, and what is
//! remembered of it. It stays on from backup to backup until what is missing is there again, or
//! `cleanup --force` says that all is right: else one more run would remove what the first one
//! kept.

use crate::catalog::{Catalog, ListedBackup};
use crate::engine::EngineKind;
use crate::error::{Error, Kind, Result};
use crate::ops::events::add_event;
use crate::ops::{Observer, time_of};
use crate::plan::RetentionPolicies;
use crate::retention::PRE_RESTORE;
use crate::retention::{Brake, ContentSummary, Jump, TableTotals, find_jumps, find_shrinkage};
use crate::retention::{Decision, RetentionPolicy, Verdict};
use crate::sidecar::{Braked, Change, Sidecar, Totals};
use crate::store::{Store, names};
use crate::units;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many backups are compared table by table with the one before; further back the totals tell.
/// Each run keeps in mind what it finds, so these are runs without retention.
const TABLE_BY_TABLE: usize = 100;

/// A brake that holds: nothing must be removed of some labels.
#[derive(Debug)]
pub struct BrakeHold {
    /// The newest good backup of the source.
    newest: String,
    /// The one that it is compared with.
    against: String,
    /// What is wrong.
    pub why: String,
    /// The labels whose brake holds.
    labels: BTreeSet<String>,
    /// Whether that is every label that has a policy.
    all: bool,
}

impl BrakeHold {
    /// Names what is removed: `nothing`, or nothing of which labels.
    pub fn what_is_removed(&self) -> String {
        let quoted: Vec<String> = self
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        if self.all {
            "nothing".to_owned()
        } else {
            format!("nothing labelled {}", quoted.join(" or "))
        }
    }

    /// Turns every removal of the labels whose brake holds into a backup that is kept.
    pub fn apply(&self, catalog: &Catalog, source: &str, decision: &mut Decision) {
        let of_labels = catalog
            .of(source)
            .filter(|backup| self.labels.contains(backup.sidecar.label.as_str()));
        let held: BTreeSet<&str> = of_labels.map(ListedBackup::id).collect();
        for (id, verdict) in &mut decision.verdicts {
            if matches!(verdict, Verdict::Remove(_)) && held.contains(id.as_str()) {
                *verdict = Verdict::Keep(vec!["retention is held back".to_owned()]);
            }
        }
        decision.keep_what_is_needed();
    }
}

/// Finds out whether the newest good backup of the source holds far less than one before a fall, or
/// was made by a clock that jumped. The brake of each label decides for its own removals, whatever
/// label the newest backup has.
///
/// Every fall in the history counts, back to what was last accepted: whoever did not look when it
/// came (another label's policy, a run without cleanup, one that was killed), or removed the backup
/// that a look was about, must not let the next run take the small one for the measure. A source
/// that shrinks slowly has no fall.
pub fn find_hold(
    store: &dyn Store,
    catalog: &Catalog,
    source: &str,
    policies: &RetentionPolicies,
    decision: &Decision,
    now: DateTime<Utc>,
) -> Result<Option<BrakeHold>> {
    // What a wrong clock dated ahead is no measure of anything.
    let counts = |backup: &&ListedBackup| {
        backup.good()
            && backup.sidecar.label != PRE_RESTORE
            && backup.sidecar.started_at <= now
            && !backup.dated_ahead
    };
    let all: Vec<&ListedBackup> = catalog.of(source).filter(counts).collect();
    let accepted = all
        .iter()
        .position(|backup| backup.state.brake == Some(Braked::Accepted));
    let known = &all[..accepted.map_or(all.len(), |at| at + 1)];
    let [newest, _, ..] = known[..] else {
        return Ok(None);
    };
    let labels: BTreeSet<&str> = catalog
        .of(source)
        .map(|backup| backup.sidecar.label.as_str())
        .collect();
    let policy_of = |label: &str| {
        policies
            .for_label(label)
            .filter(|policy| !policy.is_empty())
    };
    let with_policy: Vec<(&str, &RetentionPolicy)> = labels
        .iter()
        .filter_map(|label| Some((*label, policy_of(label)?)))
        .collect();
    let moments: Vec<DateTime<Utc>> = all.iter().map(|backup| backup.sidecar.started_at).collect();
    let jumps = find_jumps(&moments, known.len());
    let mut history = History {
        store,
        source,
        known,
        contents: HashMap::new(),
        falls: Vec::new(),
    };
    let mut hold: Option<BrakeHold> = None;
    for (label, policy) in &with_policy {
        let Some((against, why)) = (match history.find_fall(&policy.brake())? {
            Some(found) => Some(found),
            None => aged_by_a_jump(label, policy, &jumps, known, catalog, source, decision),
        }) else {
            continue;
        };
        let hold = hold.get_or_insert_with(|| BrakeHold {
            newest: newest.id().to_owned(),
            against,
            why,
            labels: BTreeSet::new(),
            all: false,
        });
        hold.labels.insert((*label).to_owned());
    }
    Ok(hold.map(|hold| BrakeHold {
        all: hold.labels.len() == with_policy.len(),
        ..hold
    }))
}

/// The backup before a jump of the clock, and what is said of it, where backups of this label would
/// go that only the jump has made old.
fn aged_by_a_jump(
    label: &str,
    policy: &RetentionPolicy,
    jumps: &[Jump],
    known: &[&ListedBackup],
    catalog: &Catalog,
    source: &str,
    decision: &Decision,
) -> Option<(String, String)> {
    policy.brake().percent?;
    let of_label: BTreeMap<&str, &ListedBackup> = catalog
        .of(source)
        .filter(|backup| backup.sidecar.label == *label)
        .map(|backup| (backup.id(), backup))
        .collect();
    let is_due_to = |jump: &Jump| {
        decision.aged.iter().any(|(id, at, edge)| {
            let without_it = at
                .checked_add_signed(jump.surplus())
                .is_none_or(|at| at >= *edge);
            *at <= jump.before && without_it && of_label.contains_key(id.as_str())
        })
    };
    let jump = jumps.iter().find(|jump| is_due_to(jump))?;
    let before = known
        .iter()
        .find(|backup| backup.sidecar.started_at == jump.before)?;
    let seconds = |span: chrono::TimeDelta| units::elapsed(span.num_seconds() as f64);
    let why = format!(
        "after {} none was made for {}, where one was made every {}: the clock jumped, or there \
         was a long pause, and only that made them old",
        before.id(),
        seconds(jump.after - jump.before),
        seconds(jump.usual)
    );
    Some((before.id().to_owned(), why))
}

/// The good backups of a source, the newest first, back to the one that was last accepted.
struct History<'a> {
    store: &'a dyn Store,
    source: &'a str,
    known: &'a [&'a ListedBackup],
    /// What was read of them.
    contents: HashMap<&'a str, ContentSummary>,
    /// What was found by the brakes that were asked already: most labels share one.
    falls: Vec<(Brake, Option<(String, String)>)>,
}

impl<'a> History<'a> {
    /// Finds the backup of which the newest lacks much, and what it lacks, as this brake sees it.
    fn find_fall(&mut self, brake: &Brake) -> Result<Option<(String, String)>> {
        if let Some((_, found)) = self.falls.iter().find(|(known, _)| known == brake) {
            return Ok(found.clone());
        }
        let found = self.search_fall(brake)?;
        self.falls.push((brake.clone(), found.clone()));
        Ok(found)
    }

    fn search_fall(&mut self, brake: &Brake) -> Result<Option<(String, String)>> {
        let Some(percent) = brake.percent else {
            return Ok(None);
        };
        let known = self.known;
        let newest = known[0];
        let mut measures: Vec<&ListedBackup> = vec![known[1]];
        for (at, pair) in known.windows(2).enumerate() {
            let (after, before) = (pair[0], pair[1]);
            if has_shrunk(before, after, percent)
                || at < TABLE_BY_TABLE && self.compare(before, after, brake)?.is_some()
            {
                measures.push(before);
            }
        }
        measures.extend(known.iter().filter_map(|backup| {
            match &backup.state.brake {
                // The backup that a look was about; where it is gone, the one before it.
                Some(Braked::Against(id)) => known
                    .iter()
                    .find(|other| other.id() == id || other.sidecar.started_at < time_of(id))
                    .copied(),
                _ => None,
            }
        }));
        let mut seen = BTreeSet::from([newest.id()]);
        for measure in measures
            .into_iter()
            .filter(|measure| seen.insert(measure.id()))
        {
            if let Some(why) = self.compare(measure, newest, brake)? {
                return Ok(Some((measure.id().to_owned(), why)));
            }
        }
        Ok(None)
    }

    fn compare(
        &mut self,
        before: &'a ListedBackup,
        after: &'a ListedBackup,
        brake: &Brake,
    ) -> Result<Option<String>> {
        for id in [before.id(), after.id()] {
            if !self.contents.contains_key(id) {
                self.contents
                    .insert(id, contents(self.store, self.source, id)?);
            }
        }
        Ok(find_shrinkage(
            &self.contents[before.id()],
            &self.contents[after.id()],
            brake,
        ))
    }
}

/// Whether a backup holds far less than the one before it, or a table less, as far as the totals
/// tell.
fn has_shrunk(before: &ListedBackup, after: &ListedBackup, percent: u8) -> bool {
    let less = |old: u64, new: u64| u128::from(new) * 100 < u128::from(old) * u128::from(percent);
    let bytes = |backup: &ListedBackup| {
        backup
            .sidecar
            .dump
            .as_ref()
            .map_or(0, |dump| dump.content_size_bytes)
    };
    let (old, new) = (
        before.sidecar.manifest.unwrap_or_default(),
        after.sidecar.manifest.unwrap_or_default(),
    );
    let files = |totals: &Totals| totals.tree.map_or(0, |tree| tree.files);
    less(bytes(before), bytes(after))
        || less(old.rows_total, new.rows_total)
        || less(files(&old), files(&new))
        || new.tables < old.tables
}

/// What a backup holds, from its whole sidecar.
fn contents(store: &dyn Store, source: &str, id: &str) -> Result<ContentSummary> {
    let bytes = store.read(source, &names::sidecar_name(id))?;
    let sidecar = Sidecar::parse(&bytes).map_err(|why| Error::failed(format!("`{id}`: {why}")))?;
    let manifest = sidecar.manifest.unwrap_or_default();
    // A server's rows may be left uncounted; a dump without any table says so by its size.
    let is_sealed = manifest.tables_total.is_some();
    let uncounted = manifest.tables.is_empty() && sidecar.kind != EngineKind::Sqlite.as_str();
    let totals = TableTotals {
        tables: manifest.tables_total(),
        rows: manifest.rows_total,
    };
    // Older manifests have the rows of virtual tables, which are not counted any more: none is
    // lost.
    let counted = |table: &crate::engine::Table| table.compare && table.kind != "virtual table";
    let tables = manifest
        .tables
        .into_iter()
        .filter(counted)
        .filter_map(|table| Some((table.name, table.rows?)))
        .collect();
    Ok(ContentSummary {
        id: id.to_owned(),
        bytes: sidecar.dump.map_or(0, |dump| dump.content_size_bytes),
        counts: manifest.tree.map_or(Vec::new(), |tree| {
            vec![("file", tree.files), ("SQLite database", tree.databases)]
        }),
        tables: (!uncounted && !is_sealed).then_some(tables),
        totals: (totals.tables > 0).then_some(totals),
    })
}

/// Keeps in mind what the newest backup was compared with; the source's lock is held.
pub fn remember(store: &dyn Store, source: &str, hold: &BrakeHold, observer: &dyn Observer) {
    let against = Braked::Against(hold.against.clone());
    record(store, source, &hold.newest, against, observer);
}

/// All is right with the newest good backup: it is what later ones are compared with. The source's
/// lock is held.
pub fn accept(store: &dyn Store, source: &str, hold: &BrakeHold, observer: &dyn Observer) {
    record(store, source, &hold.newest, Braked::Accepted, observer);
}

fn record(store: &dyn Store, source: &str, id: &str, braked: Braked, observer: &dyn Observer) {
    let done = add_event(store, source, id, Change::Brake(braked));
    // On a full disk: the next look is then at two backups only.
    if let Err(error) = done.or_else(|error| {
        if error.kind() == Kind::NotFound {
            Ok(())
        } else {
            Err(error)
        }
    }) {
        observer.warn(format!(
            "{id}: that it shrank was not kept in mind: {error}"
        ));
    }
}
