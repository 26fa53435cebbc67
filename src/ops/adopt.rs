//! Dumps that another tool left become backups of a source.
//!
//! A dump gets a second name in the store, on the same inode (a hard link): no byte is copied, the
//! other tool's directory stays as it is, and its rotation takes no backup away. Each is read to
//! its end first, as a verification does; what is found inside becomes its manifest.

mod file;
mod format;
mod names;
mod search;

use self::file::open_dump;
use self::format::{HEAD, MOST_GLOBALS, check_globals, format_of};
use self::search::{ForeignDump, search_directory};
use super::content::{self, StoredDump};
use super::engines;
use super::examine::{ExaminationOptions, VerificationResult};
use super::rescue::write_rescue_files;
use super::sweep::lock_and_sweep;
use super::{Observer, Session};
use crate::catalog::Catalog;
use crate::config::{is_label, is_source_name};
use crate::engine::{CheckStatus, Depth, DumpFormat, Manifest};
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::interrupt;
use crate::ops::chain::find_previous;
use crate::ops::run::now;
use crate::pipeline::{Decoding, Measurements};
use crate::sidecar::{Dump, Level, SCHEMA, Sidecar, Status};
use crate::store::{Draft, Store};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

/// The label of adopted backups where none is chosen.
pub const ADOPTED: &str = "adopted";

/// The tag that says where an adopted dump lay.
const ORIGIN_TAG: &str = "adopted_from";

/// What is to be adopted.
#[derive(Debug, Clone)]
pub struct AdoptRequest {
    /// The directory.
    pub dir: PathBuf,
    /// The source's name, in place of that which the files' names tell.
    pub source: Option<String>,
    /// The label of the backups.
    pub label: String,
    /// The dumps are copied into the store.
    pub copy: bool,
    /// Nothing is changed, and nothing read.
    pub dry_run: bool,
}

/// Which clock told when a dump was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeOrigin {
    /// The file's name.
    Name,
    /// The file's name its day, and the file's own time the rest.
    Day,
    /// When the file was written.
    File,
}

impl TimeOrigin {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeOrigin::Name => "name",
            TimeOrigin::Day => "day",
            TimeOrigin::File => "file",
        }
    }
}

/// What became of a dump.
#[derive(Debug)]
pub enum AdoptionResult {
    /// It is a backup now, of this id; with a dry run it would be one.
    Adopted {
        id: String,
        unprovable: Option<String>,
    },
    /// It is one already.
    Present { id: String },
    /// It is damaged.
    Damaged(String),
    /// It is left as it is, and why.
    LeftOut(Error),
}

/// A dump with what became of it.
#[derive(Debug)]
pub struct Adoption {
    pub path: PathBuf,
    pub source: String,
    pub at: DateTime<Utc>,
    pub time_origin: TimeOrigin,
    pub result: AdoptionResult,
}

/// What an adoption came to.
#[derive(Debug, Default)]
pub struct AdoptSummary {
    /// Each dump, the oldest of a source first.
    pub adoptions: Vec<Adoption>,
    /// What can't be read, and why.
    pub unreadable: Vec<(PathBuf, &'static str)>,
    /// How many other files there are.
    pub others: u64,
}

/// Adopts the dumps of a directory.
pub fn adopt_directory(
    request: &AdoptRequest,
    session: &Session,
    observer: &dyn Observer,
) -> Result<AdoptSummary> {
    check_names(request)?;
    let dir = &request.dir;
    if !dir.is_dir() {
        return Err(
            Error::not_found(format!("there is no directory `{}`", dir.display()))
                .with_hint("name the directory in which the other tool keeps its dumps"),
        );
    }
    let found = search_directory(dir)?;
    let mut dumps = found.dumps;
    if dumps.is_empty() && found.unreadable.is_empty() {
        return Err(Error::not_found(format!("no dump is in `{}`", dir.display())).with_hint(
            "a dump ends with .sql, .dump, .sqlite, .db or .tar, and then .gz or .zst where it is \
             packed",
        ));
    }
    rename_all(&mut dumps, request)?;
    let plan = session.store_plan()?;
    if session.encrypts_at(&plan.settings.location) {
        return Err(Error::usage(
            "the store holds encrypted backups, and what is adopted stays as it is",
        )
        .with_hint(
            Hint::from("adopt into another store, `--store DIR`, then encrypt on the way: ")
                .command(["--store", "DIR", "copy", "--missing", "--to", "STORE"]),
        ));
    }
    let store = if request.dry_run {
        None
    } else {
        Some(session.writing()?)
    };
    if let Some(store) = &store {
        store.check_signing()?;
    }
    let adopter = Adopter {
        request,
        session,
        observer,
        run: uuid::Uuid::new_v4().to_string(),
        store: store.as_deref(),
    };
    let mut summary = AdoptSummary {
        unreadable: found.unreadable,
        others: found.others,
        ..AdoptSummary::default()
    };
    let mut by_source: BTreeMap<String, Vec<ForeignDump>> = BTreeMap::new();
    for dump in dumps {
        by_source.entry(dump.source.clone()).or_default().push(dump);
    }
    for (source, dumps) in by_source {
        summary
            .adoptions
            .extend(adopter.adopt_source(&source, dumps)?);
    }
    Ok(summary)
}

fn check_names(request: &AdoptRequest) -> Result<()> {
    if !is_label(&request.label) {
        return Err(Error::usage(format!("`{}` is no label", request.label))
            .with_hint("a label has letters, digits, `.` and `-`"));
    }
    match request
        .source
        .as_deref()
        .filter(|name| !is_source_name(name))
    {
        Some(name) => Err(Error::usage(format!("`{name}` can be no source's name"))
            .with_hint("a name has letters, digits, `.`, `_` and `-`, and begins with no sign")),
        None => Ok(()),
    }
}

/// Gives all dumps the name that was asked for. Dumps of several databases can't have one.
fn rename_all(dumps: &mut [ForeignDump], request: &AdoptRequest) -> Result<()> {
    let Some(name) = &request.source else {
        return Ok(());
    };
    let names: BTreeSet<&str> = dumps.iter().map(|dump| dump.source.as_str()).collect();
    if names.len() > 1 {
        let names: Vec<&str> = names.into_iter().collect();
        return Err(Error::usage(format!(
            "the dumps are of several databases: {}",
            names.join(", ")
        ))
        .with_hint("leave `--as` out, or name a directory with those of one database"));
    }
    dumps
        .iter_mut()
        .for_each(|dump| dump.source.clone_from(name));
    Ok(())
}

/// What all adoptions of one call share.
struct Adopter<'a> {
    request: &'a AdoptRequest,
    session: &'a Session,
    observer: &'a dyn Observer,
    run: String,
    /// `None` for a dry run.
    store: Option<&'a dyn Store>,
}

/// What was read of a dump.
struct ExaminedDump {
    format: DumpFormat,
    measured: Measurements,
    manifest: Option<Manifest>,
    result: VerificationResult,
}

impl Adopter<'_> {
    /// Adopts the dumps of one source, the oldest first, under its lock.
    fn adopt_source(&self, source: &str, dumps: Vec<ForeignDump>) -> Result<Vec<Adoption>> {
        let lock_wait = self.session.lock_wait;
        let lock = |store| lock_and_sweep(store, source, lock_wait, self.observer);
        let _lock = self.store.map(lock).transpose()?;
        let mut dated = dumps
            .into_iter()
            .map(dated_dump)
            .collect::<Result<Vec<_>>>()?;
        dated.sort_by_key(|(_, at, _)| *at);
        let mut adoptions = Vec::new();
        for (dump, at, time_origin) in dated {
            interrupt::check()?;
            let result = match self.adopt(&dump, at) {
                Ok(result) => result,
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) if error.kind() == Kind::Damaged => {
                    AdoptionResult::Damaged(error.message())
                }
                Err(error) => AdoptionResult::LeftOut(error),
            };
            adoptions.push(Adoption {
                path: dump.path,
                source: source.to_owned(),
                at,
                time_origin,
                result,
            });
        }
        if let Some(store) = self.store {
            write_rescue_files(store, &[source.to_owned()], self.observer);
        }
        Ok(adoptions)
    }

    fn adopt(&self, dump: &ForeignDump, at: DateTime<Utc>) -> Result<AdoptionResult> {
        if at > self.session.now {
            return Err(Error::failed("its time is in the future")
                .with_hint("mend its name or its time, or this machine's clock"));
        }
        let mut file = open_dump(&dump.path, self.request.copy)?;
        let Some(store) = self.store else {
            let time = at.format("%Y%m%dT%H%M%SZ");
            return Ok(AdoptionResult::Adopted {
                id: format!("{}_{}_{time}", dump.source, self.request.label),
                unprovable: None,
            });
        };
        let stored = content::measure_reader(&mut file)?;
        if let Some(id) = find_same(store, &dump.source, stored.size, &stored.sha256)? {
            return Ok(AdoptionResult::Present { id });
        }
        let mut draft = store.begin_draft(&dump.source, &self.request.label, at)?;
        let name = format!("{}.adopted", draft.id());
        self.take_over(&mut *draft, &name, dump, &file)?;
        let examined = self.examine(&*draft, &name, dump)?;
        if examined.measured.stored.sha256 != stored.sha256 {
            return Err(Error::failed("it was written to while it was read")
                .with_hint("try again when the other tool has ended"));
        }
        if examined.result.status() == CheckStatus::Damaged {
            return Ok(AdoptionResult::Damaged(
                examined.result.summary().unwrap_or_default(),
            ));
        }
        // The content has told the format, which is a part of the name.
        drop(draft);
        let mut draft = store.begin_draft(&dump.source, &self.request.label, at)?;
        let extensions = [Some(examined.format.extension()), dump.codec.extension()];
        let extensions: Vec<&str> = extensions.into_iter().flatten().collect();
        let name = format!("{}.{}", draft.id(), extensions.join("."));
        self.take_over(&mut *draft, &name, dump, &file)?;
        let unprovable = match examined.result.status() {
            CheckStatus::Ok => None,
            _ => examined.result.summary(),
        };
        let sidecar = self.sidecar(draft.id(), &name, dump, at, examined)?;
        let id = sidecar.id.clone();
        draft.commit(&sidecar.to_bytes())?;
        Ok(AdoptionResult::Adopted { id, unprovable })
    }

    /// Gives the dump a name in the draft, or copies it there.
    fn take_over(
        &self,
        draft: &mut dyn Draft,
        name: &str,
        dump: &ForeignDump,
        file: &std::fs::File,
    ) -> Result<()> {
        if !self.request.copy {
            return draft.link(name, &dump.path, file);
        }
        let mut pending = draft.create(name)?;
        let mut reader = file::from_start(file)?;
        crate::stream::copy(&mut reader, &mut pending)
            .with_context(|| format!("copying `{}`", dump.path.display()))?;
        pending.finish()
    }

    /// Reads the whole of it: what it is, what is inside, and whether that is sound.
    fn examine(&self, draft: &dyn Draft, name: &str, dump: &ForeignDump) -> Result<ExaminedDump> {
        let settings = self.session.settings_of(&dump.source);
        let drill_settings = self.session.drill_settings_of(&dump.source);
        let options = ExaminationOptions {
            scratch_dir: &settings.scratch_dir,
            threads: settings.encoding().threads(),
            drill_settings: &drill_settings,
            observer: self.observer,
        };
        let mut stored = StoredDump {
            objects: draft.objects(),
            source: &dump.source,
            file: name,
            dump: None,
            decoding: Decoding::new(dump.codec),
            way: None,
            format: DumpFormat::Tar,
            producer: None,
            manifest: None,
            database: None,
            sealed: None,
        };
        stored.format = format_of(&self.beginning(&stored, HEAD)?)?;
        if stored.format == DumpFormat::GLOBALS {
            check_globals(&self.beginning(&stored, MOST_GLOBALS + 1)?)?;
        }
        let started = std::time::Instant::now();
        let size = stored.content_size();
        let mut destination = engines::trial(&stored, size, Depth::Content, &options)?;
        let mut content = content::open_content(&stored, options.threads, self.observer)?;
        destination.receive(&mut content)?;
        let measured = content.measure()?;
        let checks = destination.check(None, Depth::Content)?;
        let manifest = destination.counted();
        drop(destination);
        Ok(ExaminedDump {
            format: stored.format,
            measured,
            manifest,
            result: VerificationResult {
                level: Level::Content,
                checks,
                seconds: started.elapsed().as_secs_f64(),
            },
        })
    }

    /// The first bytes of a content.
    fn beginning(&self, stored: &StoredDump<'_>, length: usize) -> Result<Vec<u8>> {
        let content = content::open_content(stored, 1, self.observer)?;
        let mut head = Vec::new();
        content
            .take(length as u64)
            .read_to_end(&mut head)
            .map_err(Error::from)?;
        Ok(head)
    }

    fn sidecar(
        &self,
        id: &str,
        file: &str,
        dump: &ForeignDump,
        at: DateTime<Utc>,
        examined: ExaminedDump,
    ) -> Result<Sidecar> {
        let store = self
            .store
            .ok_or_else(|| Error::failed("a dry run writes nothing"))?;
        let producer = BTreeMap::from([
            ("dbbackup".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("host".to_owned(), self.session.host.clone()),
        ]);
        let origin = dump.path.display().to_string();
        let Measurements { content, stored } = examined.measured;
        Ok(Sidecar {
            schema: SCHEMA,
            requires: Vec::new(),
            id: id.to_owned(),
            run: self.run.clone(),
            run_members: Vec::new(),
            source: dump.source.clone(),
            kind: examined.format.kind().to_string(),
            label: self.request.label.clone(),
            status: Status::Ok,
            warnings: Vec::new(),
            description: None,
            tags: BTreeMap::from([(ORIGIN_TAG.to_owned(), origin)]),
            started_at: at,
            finished_at: at,
            duration_seconds: 0.0,
            dump: Some(Dump {
                file: file.to_owned(),
                format: examined.format.to_string(),
                size_bytes: stored.size,
                sha256: stored.sha256,
                content_size_bytes: content.size,
                content_sha256: Some(content.sha256),
                compression: dump.codec.name().to_owned(),
                encryption: None,
                recipients: Vec::new(),
                base: None,
                delta: None,
            }),
            database: None,
            manifest: examined.manifest,
            previous: find_previous(store, &dump.source)?,
            producer,
            verifications: vec![examined.result.to_verification(now())],
            error: None,
            sealed: None,
        })
    }
}

/// When a dump was made: its name says it, or the time at which it was written.
fn dated_dump(dump: ForeignDump) -> Result<(ForeignDump, DateTime<Utc>, TimeOrigin)> {
    let what = || format!("looking at `{}`", dump.path.display());
    let written = dump
        .path
        .symlink_metadata()
        .and_then(|found| found.modified());
    let written = crate::engine::whole_second(written.with_context(what)?.into());
    let named = dump
        .time
        .and_then(|time| Some((time, time.moment(written)?)));
    Ok(match named {
        Some((time, at)) if time.has_time() => (dump, at, TimeOrigin::Name),
        Some((_, at)) => (dump, at, TimeOrigin::Day),
        None => (dump, written, TimeOrigin::File),
    })
}

/// The backup of a source that has these very bytes.
fn find_same(store: &dyn Store, source: &str, size: u64, sha256: &str) -> Result<Option<String>> {
    let catalog = Catalog::read(store, Some(&[source.to_owned()]))?;
    for backup in catalog.of(source) {
        if backup
            .sidecar
            .dump
            .as_ref()
            .is_none_or(|dump| dump.size_bytes != size)
        {
            continue;
        }
        let whole = backup.whole(store)?;
        if whole.sidecar.dump.is_some_and(|dump| dump.sha256 == sha256) {
            return Ok(Some(backup.id().to_owned()));
        }
    }
    Ok(None)
}
