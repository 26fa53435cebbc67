//! One attempt at one backup, whatever its source: the dump, its verification, the sidecar; or a
//! failed attempt that says why.

use super::alignment::lines_alignment;
use super::base::DeltaBase;
use super::tree_sink::TreeSink;
use crate::catalog::{Backup, Presence, WayState};
use crate::encryption::AGE;
use crate::engine::{CheckStatus, Contents, Database, DumpFormat, Dumped, EngineKind, Source};
use crate::error::{Error, Kind, Result};
use crate::failpoint::fail_point;
use crate::interrupt;
use crate::lock::Lock;
use crate::ops::BackupEncryption;
use crate::ops::Observer;
use crate::ops::chain::find_previous;
use crate::ops::content::{DumpCache, LIST_CODEC, StoredDump, dump_extension};
use crate::ops::events::new_event;
use crate::ops::examine::{self, ExaminationOptions, to_milliseconds};
use crate::ops::run::{Run, now};
use crate::ops::seal::seal_sidecar;
use crate::ops::sweep::lock_and_sweep;
use crate::pipeline::{Decoding, Encoding, Measurements, Progress};
use crate::plan::{DrillSettings, SourcePlan};
use crate::sidecar::{
    BackupState, Change, DELTA_FEATURE, Dump, Failure, Level, SCHEMA, Sidecar, Status, Verification,
};
use crate::store::{Draft, PendingObject, Store, names};
use crate::stream;
use chrono::{DateTime, Utc};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Where the backups of a run go, what they have in common, and who hears of them.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The run.
    pub run: &'a Run,
    /// Hears of every step.
    pub observer: &'a dyn Observer,
    /// How they are encrypted there; `None`: they are not.
    pub encryption: Option<&'a BackupEncryption>,
}

impl RunContext<'_> {
    /// Takes the lock of a source, where the store has any, and removes what a killed run left.
    pub fn lock_and_sweep(&self, source: &str) -> Result<Option<Lock>> {
        lock_and_sweep(self.store, source, self.run.lock_wait, self.observer)
    }
}

/// A malformed source is a failed backup; "damaged" is the word for a backup that was found so.
fn as_failed(error: Error) -> Error {
    match error.kind() {
        Kind::Damaged => error.with_kind(Kind::Failed),
        _ => error,
    }
}

/// Everything that one attempt at a backup needs to know, whatever its source.
pub struct AttemptPlan<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The content's format.
    pub format: DumpFormat,
    /// How the content is encoded.
    pub encoding: Encoding,
    /// How it is verified before it is listed.
    pub verify_after: Option<Level>,
    /// For trial restores.
    pub scratch_dir: &'a Path,
    /// How they are made.
    pub drill_settings: &'a DrillSettings,
    /// What it is built on; `None`: it is a full.
    pub base: Option<DeltaBase>,
    /// Where its dump is kept for the next one, where that can't be read in the store.
    pub cache: Option<DumpCache>,
}

impl<'a> From<&'a SourcePlan> for AttemptPlan<'a> {
    fn from(source: &'a SourcePlan) -> Self {
        AttemptPlan {
            source: &source.name,
            format: source.kind.format(),
            encoding: source.settings.encoding(),
            verify_after: source.settings.verify_after,
            scratch_dir: &source.settings.scratch_dir,
            drill_settings: &source.drill_settings,
            base: None,
            cache: None,
        }
    }
}

/// Creates one backup of what `engine` reads, under the source's lock: the dump, its verification,
/// the sidecar. A failure leaves a failed attempt that says why.
pub fn create_backup(
    plan: &AttemptPlan<'_>,
    engine: &mut dyn Source,
    context: RunContext<'_>,
) -> Result<Backup> {
    BackupAttempt::begin(context, plan.source, plan.format.kind()).create(plan, engine)
}

/// Writes the difference of what `engine` reads, or is known to have, from the base.
fn write_delta(
    base: &DeltaBase,
    pending: Box<dyn PendingObject>,
    encoding: &Encoding,
    engine: &mut dyn Source,
) -> Result<(Box<dyn PendingObject>, Dumped, Measurements)> {
    if let Some(unchanged) = &base.unchanged {
        let (pending, measured) = encoding.write_unread_copy(pending, unchanged.measurement()?)?;
        fail_point("backup: delta written")?;
        return Ok((pending, unchanged.description(), measured));
    }
    let content = base.open(encoding.threads())?;
    let mut encode = encoding.start_delta(pending, content, base.alignment())?;
    let mut sink = TreeSink::new(&mut encode, base);
    let dumped = engine.dump_beside_base(&mut sink).map_err(as_failed)?;
    let (pending, measured) = encode.finish()?;
    fail_point("backup: delta written")?;
    Ok((pending, dumped, measured))
}

/// Keeps on this machine what the next backup is built on, and nothing else.
fn settle_cache(sidecar: &Sidecar, plan: &AttemptPlan<'_>) {
    if let (Some(cache), Some(dump)) = (&plan.cache, &sidecar.dump) {
        let bases = plan.base.iter().flat_map(|base| base.way.bases());
        let way: Vec<&Dump> = bases.map(|below| &below.dump).collect();
        cache.settle(dump, &way);
    }
}

/// What an engine notes about its dump for this run alone; the sidecar does not keep it so.
#[derive(Default)]
pub struct DumpNotes {
    /// Those of the sidecar's warnings that are shown as warnings now.
    pub warnings: Vec<String>,
    /// Those of the sidecar's warnings that need not be.
    pub notes: Vec<String>,
    /// What an incomplete dump lacks, in a few words.
    pub lacks: Option<String>,
}

/// One attempt at one backup.
pub struct BackupAttempt<'a> {
    context: RunContext<'a>,
    source: &'a str,
    kind: EngineKind,
    cluster: Option<String>,
    keeps_failure: bool,
    started: Instant,
    at: DateTime<Utc>,
    /// The id of the failed attempt that was recorded.
    failed: OnceCell<String>,
    notes: OnceCell<DumpNotes>,
}

impl<'a> BackupAttempt<'a> {
    /// Begins an attempt now: its id and its duration count from here.
    pub fn begin(context: RunContext<'a>, source: &'a str, kind: EngineKind) -> Self {
        BackupAttempt {
            context,
            source,
            kind,
            cluster: None,
            keeps_failure: true,
            started: Instant::now(),
            at: now(),
            failed: OnceCell::new(),
            notes: OnceCell::new(),
        }
    }

    /// The same attempt for a database of `cluster`. A failed attempt, too, names its cluster, as
    /// the store alone tells the history.
    pub fn with_cluster(self, cluster: Option<&str>) -> Self {
        BackupAttempt {
            cluster: cluster.map(str::to_owned),
            ..self
        }
    }

    /// The same attempt; `keeps_failure` says whether a failure goes into the store's history.
    pub fn with_failure_kept(self, keeps_failure: bool) -> Self {
        BackupAttempt {
            keeps_failure,
            ..self
        }
    }

    /// Creates the backup, or records a failed attempt that says why there is none.
    pub fn create(&self, plan: &AttemptPlan<'_>, engine: &mut dyn Source) -> Result<Backup> {
        self.try_create(plan, engine).inspect_err(|error| {
            // Then a full is made in place of the delta.
            let is_of_base = plan.base.as_ref().is_some_and(DeltaBase::has_failed);
            if !is_of_base || error.kind() == Kind::Interrupted {
                self.record_failure(error);
            }
        })
    }

    fn try_create(&self, plan: &AttemptPlan<'_>, engine: &mut dyn Source) -> Result<Backup> {
        let mut draft = self.begin_draft()?;
        let id = draft.id().to_owned();
        let encoding = self.encrypted(plan.encoding.clone());
        let file = format!(
            "{id}.{}",
            dump_extension(plan.format, plan.base.is_some(), &encoding)
        );
        self.context
            .observer
            .detail(format!("{}: writing {file}", self.source));
        let (mut dumped, measured) =
            self.write_dump(&mut *draft, &file, &encoding, plan, engine)?;
        self.write_contents(&mut *draft, &mut dumped, plan.base.as_ref())?;
        let sidecar = self.complete_sidecar(&id, &file, plan, dumped, measured)?;
        self.verify_and_publish(draft, sidecar, &file, plan)
    }

    /// The same encoding, encrypted as the store wants it.
    fn encrypted(&self, encoding: Encoding) -> Encoding {
        let encryption = self.context.encryption;
        encoding.with_recipients(encryption.map(|encryption| &encryption.recipients))
    }

    /// How the new dump is decoded here, as far as this machine has a key for it.
    fn decoding(&self, plan: &AttemptPlan<'_>) -> Decoding {
        let decoding = self.encrypted(plan.encoding.clone()).decoding();
        match self.context.encryption {
            Some(encryption) => decoding.with_key(encryption.own_key()),
            None => decoding,
        }
    }

    fn fingerprints(&self) -> Vec<String> {
        let encryption = self.context.encryption;
        encryption.map_or_else(Vec::new, |encryption| {
            encryption.recipients.fingerprints().to_vec()
        })
    }

    fn begin_draft(&self) -> Result<Box<dyn Draft>> {
        let label = &self.context.run.label;
        self.context.store.begin_draft(self.source, label, self.at)
    }

    /// The content, through the pipeline, durable in the draft.
    fn write_dump(
        &self,
        draft: &mut dyn Draft,
        file: &str,
        encoding: &Encoding,
        plan: &AttemptPlan<'_>,
        engine: &mut dyn Source,
    ) -> Result<(Dumped, Measurements)> {
        let progress = Progress::default();
        let _bar = self.context.observer.follow(
            &format!("backing up {}", self.source),
            engine.estimate(),
            &progress,
        );
        let pending = draft.create(file)?;
        let pending = match &plan.cache {
            Some(cache) => cache.tee(pending),
            None => pending,
        };
        fail_point("backup: draft begun")?;
        let encoding = encoding.clone().with_progress(&progress);
        let (pending, dumped, measured) = match &plan.base {
            None => {
                let mut encode = encoding.start(pending)?;
                let dumped = engine.dump(&mut encode).map_err(as_failed)?;
                let (pending, measured) = encode.finish()?;
                (pending, dumped, measured)
            }
            Some(base) => write_delta(base, pending, &encoding, engine)?,
        };
        pending.finish()?;
        Ok((dumped, measured))
    }

    /// The list of what is inside, where the source made one: beside the dump, durable in the
    /// draft. That of a delta is the difference from the list of its base.
    fn write_contents(
        &self,
        draft: &mut dyn Draft,
        dumped: &mut Dumped,
        base: Option<&DeltaBase>,
    ) -> Result<()> {
        let (Some(mut list), Some(tree)) = (dumped.contents.take(), dumped.manifest.tree.as_mut())
        else {
            return Ok(());
        };
        let encoding = self.encrypted(Encoding::new(LIST_CODEC));
        let base_list = match base {
            Some(base) => base.way.open_base_list()?,
            None => None,
        };
        let is_delta = base_list.is_some();
        let mut file = names::contents_name(draft.id(), is_delta);
        if encoding.recipients().is_some() {
            file = format!("{file}.{AGE}");
        }
        let pending = draft.create(&file)?;
        let (pending, measured) = match base_list {
            None => {
                let mut encode = encoding.start(pending)?;
                stream::copy(&mut list, &mut encode)?;
                encode.finish()?
            }
            Some(base_list) => {
                let mut encode = encoding.start_delta(pending, base_list, lines_alignment())?;
                stream::copy(&mut list, &mut encode)?;
                encode.finish()?
            }
        };
        pending.finish()?;
        fail_point("backup: list written")?;
        tree.contents = Some(Contents {
            file,
            size_bytes: measured.stored.size,
            sha256: measured.stored.sha256,
            is_delta,
        });
        Ok(())
    }

    fn complete_sidecar(
        &self,
        id: &str,
        file: &str,
        plan: &AttemptPlan<'_>,
        dumped: Dumped,
        measured: Measurements,
    ) -> Result<Sidecar> {
        interrupt::check()?;
        let status = match dumped.lacks {
            Some(_) => Status::Partial,
            None => Status::Ok,
        };
        let mut sidecar = self.new_sidecar(id, status);
        let both = dumped.warnings.iter().chain(&dumped.notes);
        sidecar.warnings = both.cloned().collect();
        let _ = self.notes.set(DumpNotes {
            warnings: dumped.warnings,
            notes: dumped.notes,
            lacks: dumped.lacks,
        });
        sidecar.producer.extend(dumped.producer);
        if plan.base.is_some() {
            sidecar.requires.push(DELTA_FEATURE.to_owned());
        }
        sidecar.dump = Some(Dump {
            file: file.to_owned(),
            format: plan.format.to_string(),
            size_bytes: measured.stored.size,
            sha256: measured.stored.sha256,
            content_size_bytes: measured.content.size,
            content_sha256: Some(measured.content.sha256),
            compression: plan.encoding.codec().name().to_owned(),
            encryption: self.context.encryption.map(|_| AGE.to_owned()),
            recipients: self.fingerprints(),
            base: plan.base.as_ref().map(|base| base.base.clone()),
            delta: plan
                .base
                .as_ref()
                .map(|base| base.position(measured.stored.size)),
        });
        sidecar.database = Some(dumped.database);
        sidecar.manifest = Some(dumped.manifest);
        sidecar.previous = find_previous(self.context.store, self.source)?;
        Ok(sidecar)
    }

    fn verify_and_publish(
        &self,
        mut draft: Box<dyn Draft>,
        mut sidecar: Sidecar,
        file: &str,
        plan: &AttemptPlan<'_>,
    ) -> Result<Backup> {
        let is_confirmed = self.context.store.properties().confirms_writes;
        match plan.verify_after {
            // The store has just proven that it holds what was written.
            Some(Level::Checksum) if is_confirmed => {
                sidecar.verifications.push(Verification::confirmed(now()));
            }
            Some(level) => {
                let found = self.verify(&*draft, &sidecar, file, level, plan)?;
                sidecar.verifications.push(found);
            }
            None => {}
        }
        sidecar.finished_at = now();
        sidecar.duration_seconds = to_milliseconds(self.started.elapsed().as_secs_f64());
        let mut state = BackupState::default();
        if self.context.run.pinned {
            // In the draft: a crash must not leave a listed backup without its pin.
            let (name, event) = new_event(&sidecar.id, Change::Pinned, None);
            let mut pending = draft.create(&name)?;
            pending.write_all(&event.to_bytes())?;
            pending.finish()?;
            state = BackupState::from_events(vec![(name, event)]);
        }
        let open = seal_sidecar(&mut *draft, &mut sidecar, self.context.encryption)?;
        draft.commit(&open.to_bytes())?;
        self.must_have_way(&sidecar, plan)?;
        settle_cache(&sidecar, plan);
        let presence = sidecar
            .dump
            .as_ref()
            .map_or(Presence::Missing, |dump| Presence::Bytes(dump.size_bytes));
        Ok(Backup {
            sidecar,
            state,
            state_lost: false,
            presence,
            way: WayState::Whole,
            signature: self.context.store.own_signature()?,
            dated_ahead: false,
            digest: None,
        })
    }

    /// An error where what the new backup is built on is being removed by a machine that had not
    /// seen it yet: without locks either sees the other. Then it goes again, and a full takes its
    /// place.
    fn must_have_way(&self, sidecar: &Sidecar, plan: &AttemptPlan<'_>) -> Result<()> {
        let store = self.context.store;
        let Some(base) = plan.base.as_ref().filter(|_| !store.properties().locks) else {
            return Ok(());
        };
        for below in base.way.bases() {
            let name = names::sidecar_name(&below.id);
            let is_gone = match store.objects(self.source).size(&name) {
                Err(error) if error.kind() == Kind::NotFound => true,
                _ => store.is_retired(self.source, &below.id).unwrap_or(false),
            };
            if is_gone {
                base.note_failure();
                let _ = store.retire(self.source, &sidecar.id, &sidecar.files(), None);
                let text = format!("`{}` is being removed by another machine", below.id);
                return Err(Error::failed(text));
            }
        }
        Ok(())
    }

    /// A dump that fails its first verification is never listed.
    fn verify(
        &self,
        draft: &dyn Draft,
        sidecar: &Sidecar,
        file: &str,
        level: Level,
        plan: &AttemptPlan<'_>,
    ) -> Result<Verification> {
        let stored = StoredDump {
            objects: draft.objects(),
            source: self.source,
            file,
            dump: sidecar.dump.as_ref(),
            decoding: self.decoding(plan),
            way: plan.base.as_ref().map(|base| &*base.way),
            format: plan.format,
            producer: Some(&sidecar.producer),
            manifest: sidecar.manifest.as_ref(),
            database: sidecar.database.as_ref(),
            sealed: sidecar.sealed.as_ref(),
        };
        let options = ExaminationOptions {
            scratch_dir: plan.scratch_dir,
            threads: plan.encoding.threads(),
            drill_settings: plan.drill_settings,
            observer: self.context.observer,
        };
        // Whatever is wrong with a delta, a full is the answer.
        let note = || plan.base.iter().for_each(DeltaBase::note_failure);
        let finding = examine::verify(&stored, level, &options).inspect_err(|_| note())?;
        if matches!(finding.status(), CheckStatus::Damaged | CheckStatus::Error) {
            note();
        }
        let wrong = || finding.wrong().unwrap_or_default();
        match finding.status() {
            CheckStatus::Ok | CheckStatus::Unprovable | CheckStatus::Incomplete => {
                Ok(finding.to_verification(now()))
            }
            CheckStatus::Damaged if finding.was_corrupt_when_saved() => {
                let text = format!("the new backup {}: {}", examine::CORRUPT_THEN, wrong());
                Err(Error::damaged(text).with_hint(
                    "nothing was listed and nothing removed; look at the database itself (`PRAGMA \
                     integrity_check`), an older backup may be good",
                ))
            }
            CheckStatus::Damaged => Err(Error::damaged(format!(
                "the new backup failed its \
                verification: {}",
                wrong()
            ))
            .with_hint(
                "nothing was listed and nothing removed; check the database itself (`PRAGMA \
                 integrity_check`, `pg_amcheck`), and the store's disk",
            )),
            CheckStatus::Error => Err(Error::failed(format!(
                "the new backup could not be verified: \
                {}",
                wrong()
            ))
            .with_hint("mend that, or choose another `verify_after`; nothing was listed")),
        }
    }

    /// The sidecar of this attempt, without a dump.
    fn new_sidecar(&self, id: &str, status: Status) -> Sidecar {
        let producer = BTreeMap::from([
            ("dbbackup".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("host".to_owned(), self.context.run.host.clone()),
        ]);
        Sidecar {
            schema: SCHEMA,
            requires: Vec::new(),
            id: id.to_owned(),
            run: self.context.run.id.clone(),
            run_members: self.context.run.members.clone(),
            source: self.source.to_owned(),
            kind: self.kind.to_string(),
            label: self.context.run.label.clone(),
            status,
            warnings: Vec::new(),
            description: self.context.run.description.clone(),
            tags: self.context.run.tags.clone(),
            started_at: self.at,
            finished_at: now(),
            duration_seconds: to_milliseconds(self.started.elapsed().as_secs_f64()),
            dump: None,
            database: None,
            manifest: None,
            previous: None,
            producer,
            verifications: Vec::new(),
            error: None,
            sealed: None,
        }
    }

    /// The source's name.
    pub fn source(&self) -> &str {
        self.source
    }

    /// What the sidecar calls the source's kind.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// What the engine noted about the dump; `None` where there is no dump.
    pub fn notes(&self) -> Option<&DumpNotes> {
        self.notes.get()
    }

    /// The id of the failed attempt that was recorded.
    pub fn failed_id(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    /// Records a failed attempt in the store's history. Where even that can't be written, the
    /// run's outcome alone tells of the failure.
    pub fn record_failure(&self, error: &Error) {
        // What could be interrupted was there, and so was what filled the disk.
        let was_there = error.kind() == Kind::Interrupted
            || error.io_kind() == Some(std::io::ErrorKind::StorageFull);
        let observer = self.context.observer;
        if !self.keeps_failure && !was_there {
            return observer.detail(format!(
                "{}: the store has no backup of it, so the failure is not kept there",
                self.source
            ));
        }
        match self.publish_failure(error) {
            Ok(id) => {
                observer.step(format!("{}: failed attempt {id} kept", self.source));
                // A second failure of one attempt changes nothing about the first one's id.
                let _ = self.failed.set(id);
            }
            Err(second) => observer.detail(format!(
                "{}: the failure could not be written to the store: {second}",
                self.source
            )),
        }
    }

    /// Writes the sidecar of a failed attempt; returns its id.
    fn publish_failure(&self, error: &Error) -> Result<String> {
        let mut draft = self.begin_draft()?;
        let mut sidecar = self.new_sidecar(draft.id(), Status::Failed);
        sidecar.database = self.cluster.clone().map(|cluster| Database {
            cluster: Some(cluster),
            ..Database::default()
        });
        sidecar.error = Some(Failure {
            message: error.message(),
            hint: error.hint().map(ToString::to_string),
        });
        let open = match seal_sidecar(&mut *draft, &mut sidecar, self.context.encryption) {
            Ok(open) => open,
            // Encryption itself may be what failed: that it did is told, and nothing else.
            Err(_) => {
                drop(draft);
                draft = self.begin_draft()?;
                Sidecar {
                    id: draft.id().to_owned(),
                    ..sidecar.without_details()
                }
            }
        };
        draft.commit(&open.to_bytes())?;
        Ok(open.id)
    }
}
