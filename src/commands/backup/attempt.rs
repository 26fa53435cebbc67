//! One attempt at one backup, whatever its source: the dump, its verification, the sidecar; or a
//! failed attempt that says why.

use crate::catalog::{Backup as Entry, Presence};
use crate::engine::{
    CheckStatus, Contents, Database, DumpFormat, Dumped, EngineKind, Source, whole_second,
};
use crate::error::{Error, Kind, Result};
use crate::failpoint::fail_point;
use crate::interrupt;
use crate::lock::Lock;
use crate::ops::content::StoredDump;
use crate::ops::engines::LIST_CODEC;
use crate::ops::events::new_event;
use crate::ops::examine::{self, ExaminationOptions, to_milliseconds};
use crate::pipeline::{Codec, Encoding, Measurements, Progress};
use crate::plan::{Proving, SourcePlan};
use crate::report::Report;
use crate::sidecar::{
    BackupState, Change, Dump, Failure, Level, SCHEMA, Sidecar, Status, Verification,
};
use crate::store::{Draft, Store, names};
use crate::stream;
use chrono::{DateTime, Utc};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the backups of one run have in common.
#[derive(Clone)]
pub struct Run {
    /// The run's id.
    pub id: String,
    /// Its sources, where it saves all databases of a server.
    pub members: Vec<String>,
    /// This machine.
    pub host: String,
    /// Why the backups are made.
    pub label: String,
    /// Free text.
    pub description: Option<String>,
    /// The user's keys and values.
    pub tags: BTreeMap<String, String>,
    /// Whether they are pinned from the start.
    pub pinned: bool,
    /// How long another run's lock is waited for.
    pub lock_wait: Duration,
    /// The configuration's file, for hooks.
    pub config: Option<PathBuf>,
}

/// Takes the source's lock, where the store has any, and removes what a killed run left.
pub fn lock_and_sweep(
    store: &dyn Store,
    source: &str,
    wait: Duration,
    report: &Report,
) -> Result<Option<Lock>> {
    let lock = store.lock(source, wait)?;
    let swept = store.sweep(source, &|bytes| {
        Sidecar::parse(bytes)
            .map(|sidecar| sidecar.files())
            .unwrap_or_default()
    })?;
    for name in swept {
        report.detail(format!(
            "{source}: removed `{name}`, left by a run that was killed"
        ));
    }
    Ok(lock)
}

pub fn extension(source: &SourcePlan) -> String {
    dump_extension(source.kind.format(), source.settings.compression)
}

fn dump_extension(format: DumpFormat, codec: Codec) -> String {
    let content = format.extension();
    codec
        .extension()
        .map_or(content.to_owned(), |coding| format!("{content}.{coding}"))
}

/// What one backup is made of, whatever its source.
pub struct Making<'a> {
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
    pub proving: &'a Proving,
}

impl<'a> Making<'a> {
    /// As the plan has it.
    pub fn of(source: &'a SourcePlan) -> Self {
        Making {
            source: &source.name,
            format: source.kind.format(),
            encoding: source.settings.encoding(),
            verify_after: source.settings.verify_after,
            scratch_dir: &source.settings.scratch_dir,
            proving: &source.proving,
        }
    }
}

/// Makes one backup of what `engine` reads, under the source's lock: the dump, its verification,
/// the sidecar. A failure leaves a failed attempt that says why.
pub fn make(
    making: &Making<'_>,
    engine: &mut dyn Source,
    store: &dyn Store,
    run: &Run,
    report: &Report,
) -> Result<Entry> {
    Attempt::begin(store, run, making.source, making.format.kind()).make(making, engine, report)
}

/// What a dump says of itself that only the run needs.
#[derive(Default)]
pub struct Said {
    /// Those of the sidecar's warnings that nobody need be warned of now.
    pub notes: Vec<String>,
    /// What an incomplete one lacks, in a few words.
    pub lacks: Option<String>,
}

/// One attempt at one backup.
pub struct Attempt<'a> {
    store: &'a dyn Store,
    run: &'a Run,
    source: &'a str,
    kind: EngineKind,
    cluster: Option<String>,
    leaves_failure: bool,
    started: Instant,
    at: DateTime<Utc>,
    /// What the failed attempt that was left is called.
    failed: OnceCell<String>,
    /// What the dump said of itself.
    said: OnceCell<Said>,
}

impl<'a> Attempt<'a> {
    /// It begins now.
    pub fn begin(store: &'a dyn Store, run: &'a Run, source: &'a str, kind: EngineKind) -> Self {
        Attempt {
            store,
            run,
            source,
            kind,
            cluster: None,
            leaves_failure: true,
            started: Instant::now(),
            at: now(),
            failed: OnceCell::new(),
            said: OnceCell::new(),
        }
    }

    /// A failure, too, must tell whose it is: the store alone tells the history.
    pub fn of_cluster(self, cluster: Option<&str>) -> Self {
        Attempt {
            cluster: cluster.map(str::to_owned),
            ..self
        }
    }

    /// Whether a failure is kept in the store's history.
    pub fn leaving_failure(self, leaves_failure: bool) -> Self {
        Attempt {
            leaves_failure,
            ..self
        }
    }

    /// The backup; or a failed attempt that says why there is none.
    pub fn make(
        &self,
        making: &Making<'_>,
        engine: &mut dyn Source,
        report: &Report,
    ) -> Result<Entry> {
        self.try_make(making, engine, report)
            .inspect_err(|error| self.remember_failure(error, report))
    }

    fn try_make(
        &self,
        making: &Making<'_>,
        engine: &mut dyn Source,
        report: &Report,
    ) -> Result<Entry> {
        let mut draft = self
            .store
            .begin_draft(self.source, &self.run.label, self.at)?;
        let id = draft.id().to_owned();
        let file = format!(
            "{id}.{}",
            dump_extension(making.format, making.encoding.codec())
        );
        report.detail(format!("{}: writing {file}", self.source));
        let (mut dumped, measured) = self.write_dump(&mut *draft, &file, making, engine, report)?;
        self.write_contents(&mut *draft, &mut dumped)?;
        let sidecar = self.describe(&id, &file, making, dumped, measured)?;
        self.verify_and_publish(draft, sidecar, &file, making, report)
    }

    /// The content, through the pipeline, durable in the draft.
    fn write_dump(
        &self,
        draft: &mut dyn Draft,
        file: &str,
        making: &Making<'_>,
        engine: &mut dyn Source,
        report: &Report,
    ) -> Result<(Dumped, Measurements)> {
        let progress = Progress::default();
        let _bar = report.bar(
            &format!("backing up {}", self.source),
            engine.estimate(),
            &progress,
        );
        let pending = draft.create(file)?;
        fail_point("backup: draft begun")?;
        let encoding = making.encoding.clone().with_progress(&progress);
        let mut encode = encoding.start(pending);
        // A malformed source is a failed backup; "damaged" is the word for a backup that was found
        // so.
        let dumped = engine
            .dump(&mut encode)
            .map_err(|error| match error.kind() {
                Kind::Damaged => error.with_kind(Kind::Failed),
                _ => error,
            })?;
        let (pending, measured) = encode.finish()?;
        pending.finish()?;
        Ok((dumped, measured))
    }

    /// The list of what is inside, where the source made one: beside the dump, durable in the draft.
    fn write_contents(&self, draft: &mut dyn Draft, dumped: &mut Dumped) -> Result<()> {
        let (Some(mut list), Some(tree)) = (dumped.contents.take(), dumped.manifest.tree.as_mut())
        else {
            return Ok(());
        };
        let file = names::contents_name(draft.id());
        let pending = draft.create(&file)?;
        let mut encode = Encoding::new(LIST_CODEC).start(pending);
        stream::copy(&mut list, &mut encode)?;
        let (pending, measured) = encode.finish()?;
        pending.finish()?;
        tree.contents = Some(Contents {
            file,
            size_bytes: measured.stored.size,
            sha256: measured.stored.sha256,
        });
        Ok(())
    }

    fn describe(
        &self,
        id: &str,
        file: &str,
        making: &Making<'_>,
        dumped: Dumped,
        measured: Measurements,
    ) -> Result<Sidecar> {
        interrupt::check()?;
        let mut sidecar = self.blank(
            id,
            if dumped.lacks.is_some() {
                Status::Partial
            } else {
                Status::Ok
            },
        );
        sidecar.warnings = dumped.warnings;
        sidecar.warnings.extend(dumped.notes.iter().cloned());
        let _ = self.said.set(Said {
            notes: dumped.notes,
            lacks: dumped.lacks,
        });
        sidecar.producer.extend(dumped.producer);
        sidecar.dump = Some(Dump {
            file: file.to_owned(),
            format: making.format.to_string(),
            size_bytes: measured.stored.size,
            sha256: measured.stored.sha256,
            content_size_bytes: measured.content.size,
            content_sha256: measured.content.sha256,
            compression: making.encoding.codec().name().to_owned(),
            encryption: None,
            base: None,
        });
        sidecar.database = Some(dumped.database);
        sidecar.manifest = Some(dumped.manifest);
        Ok(sidecar)
    }

    fn verify_and_publish(
        &self,
        mut draft: Box<dyn Draft>,
        mut sidecar: Sidecar,
        file: &str,
        making: &Making<'_>,
        report: &Report,
    ) -> Result<Entry> {
        if let Some(level) = making.verify_after {
            sidecar
                .verifications
                .push(self.verify(&*draft, &sidecar, file, level, making, report)?);
        }
        sidecar.finished_at = now();
        sidecar.duration_seconds = to_milliseconds(self.started.elapsed().as_secs_f64());
        let mut state = BackupState::default();
        if self.run.pinned {
            // In the draft: a crash must not leave a listed backup without its pin.
            let (name, event) = new_event(&sidecar.id, Change::Pinned, None);
            let mut pending = draft.create(&name)?;
            pending.write_all(&event.to_bytes())?;
            pending.finish()?;
            state = BackupState::from_events(vec![(name, event)]);
        }
        draft.commit(&sidecar.to_bytes())?;
        let presence = sidecar
            .dump
            .as_ref()
            .map_or(Presence::Missing, |dump| Presence::Bytes(dump.size_bytes));
        Ok(Entry {
            sidecar,
            state,
            state_lost: false,
            presence,
        })
    }

    /// A dump that fails its first verification is never listed.
    fn verify(
        &self,
        draft: &dyn Draft,
        sidecar: &Sidecar,
        file: &str,
        level: Level,
        making: &Making<'_>,
        report: &Report,
    ) -> Result<Verification> {
        let stored = StoredDump {
            objects: draft.objects(),
            source: self.source,
            file,
            dump: sidecar.dump.as_ref(),
            decoding: making.encoding.decoding(),
            format: making.format,
            producer: Some(&sidecar.producer),
            manifest: sidecar.manifest.as_ref(),
            database: sidecar.database.as_ref(),
        };
        let means = ExaminationOptions {
            scratch_dir: making.scratch_dir,
            threads: making.encoding.threads(),
            proving: making.proving,
            observer: report,
        };
        let finding = examine::verify(&stored, level, &means)?;
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

    fn blank(&self, id: &str, status: Status) -> Sidecar {
        let producer = BTreeMap::from([
            ("dbbackup".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("host".to_owned(), self.run.host.clone()),
        ]);
        Sidecar {
            schema: SCHEMA,
            requires: Vec::new(),
            id: id.to_owned(),
            run: self.run.id.clone(),
            run_members: self.run.members.clone(),
            source: self.source.to_owned(),
            kind: self.kind.to_string(),
            label: self.run.label.clone(),
            status,
            warnings: Vec::new(),
            description: self.run.description.clone(),
            tags: self.run.tags.clone(),
            started_at: self.at,
            finished_at: now(),
            duration_seconds: to_milliseconds(self.started.elapsed().as_secs_f64()),
            dump: None,
            database: None,
            manifest: None,
            producer,
            verifications: Vec::new(),
            error: None,
        }
    }

    /// What the dump said of itself; `None` where there is none.
    pub fn said(&self) -> Option<&Said> {
        self.said.get()
    }

    /// The id of the failed attempt that it left.
    pub fn failed_id(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    /// Leaves the failed attempt in the store's history; where even that can't be written the exit
    /// code tells.
    pub fn remember_failure(&self, error: &Error, report: &Report) {
        // What could be interrupted was there, and so was what filled the disk.
        let was_there = error.kind() == Kind::Interrupted
            || error.io_kind() == Some(std::io::ErrorKind::StorageFull);
        if !self.leaves_failure && !was_there {
            return report.detail(format!(
                "{}: the store has no backup of it, so the failure is not kept there",
                self.source
            ));
        }
        let remember = || -> Result<()> {
            let draft = self
                .store
                .begin_draft(self.source, &self.run.label, self.at)?;
            let mut sidecar = self.blank(draft.id(), Status::Failed);
            sidecar.database = self.cluster.clone().map(|cluster| Database {
                cluster: Some(cluster),
                ..Database::default()
            });
            sidecar.error = Some(Failure {
                message: error.message(),
                hint: error.hint().map(ToString::to_string),
            });
            draft.commit(&sidecar.to_bytes())?;
            report.story(format!(
                "{}: failed attempt {} kept",
                self.source, sidecar.id
            ));
            let _ = self.failed.set(sidecar.id);
            Ok(())
        };
        if let Err(second) = remember() {
            report.detail(format!(
                "{}: the failure could not be written to the store: {second}",
                self.source
            ));
        }
    }
}

/// This moment, in whole seconds.
pub fn now() -> DateTime<Utc> {
    whole_second(Utc::now())
}
