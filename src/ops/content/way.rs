//! The bases of a delta, down to its full, and the content that all of them make together, in one
//! pass forward over each file.

use super::{DumpCache, KeptFull, LIST_CODEC};
use crate::encryption::DecryptionKey;
use crate::engine::{Check, CheckFinding, CheckStatus, CheckSubject, Contents};
use crate::error::{Error, Kind, Result};
use crate::pipeline::delta::DeltaReader;
use crate::pipeline::{
    self, Decoding, Gauge, Measurement, Measurements, Meter, Progress, StoredReader, as_damage,
};
use crate::sidecar::Dump;
use crate::store::Objects;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The backup that a delta, or a delta on its way, is built on.
pub struct WayDump {
    /// Its id.
    pub id: String,
    /// What its sidecar says of its dump.
    pub dump: Dump,
    /// Its list of contents, where it is that of a tree.
    pub contents: Option<Contents>,
    /// How that is decoded.
    pub decoding: Decoding,
}

/// The way of a delta: what it is built on, the nearest first, the full last.
pub struct BackupWay {
    objects: Box<dyn Objects>,
    bases: Vec<WayDump>,
    gap: Option<WayGap>,
    /// Where their dumps are, too, in place of another machine.
    cache: Option<DumpCache>,
    /// The content of the full, where that was decoded for several ways.
    kept: Option<Arc<KeptFull>>,
}

/// Why a way does not come to its full.
#[derive(Debug, Clone)]
struct WayGap {
    kind: Kind,
    finding: CheckFinding,
}

/// How thoroughly a way is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayCare {
    /// Its files are there, as long as they were written.
    Presence,
    /// Its files hold what was written.
    Checksum,
}

impl BackupWay {
    /// The way of these bases among the objects of their source. `end` says why it does not come
    /// to a full.
    pub fn new(objects: Box<dyn Objects>, bases: Vec<WayDump>, end: Result<()>) -> Self {
        let gap = end.err().map(|error| WayGap {
            kind: error.kind(),
            finding: CheckFinding::from(&error),
        });
        BackupWay {
            objects,
            bases,
            gap,
            cache: None,
            kept: None,
        }
    }

    /// Reads the full's content from where it was decoded, if it is that of this full.
    pub fn use_kept(&mut self, kept: Arc<KeptFull>) {
        self.kept = Some(kept);
    }

    /// The full, where the way comes to it.
    pub fn full(&self) -> Option<&WayDump> {
        self.bases.last().filter(|_| self.gap.is_none())
    }

    /// Opens the content of the full, which is compared with what was written when its last byte
    /// was read.
    pub fn open_full(&self, threads: usize) -> Result<Box<dyn Read + Send>> {
        let full = self
            .full()
            .ok_or_else(|| Error::damaged("it names no base"))?;
        if let Some(kept) = &self.kept
            && let Some(content) = kept.open(&full.id, &full.dump.sha256)?
        {
            return Ok(Box::new(content));
        }
        let file = WayFile::open(full, &self.open_dump(full), threads)?;
        Ok(Box::new(file))
    }

    /// The same, whose dumps are read from a cache, where there is one.
    pub fn with_cache(self, cache: Option<DumpCache>) -> Self {
        BackupWay { cache, ..self }
    }

    /// What the delta is built on, the nearest first.
    pub fn bases(&self) -> &[WayDump] {
        &self.bases
    }

    /// Where the dump of one of them is, for other programs.
    pub fn path(&self, base: &WayDump) -> PathBuf {
        let file = &base.dump.file;
        self.objects
            .path(file)
            .unwrap_or_else(|| PathBuf::from(file))
    }

    /// Opens the content of the nearest base. Each file is compared with what was written when its
    /// last byte was read; a missing one, or one that is not what was written, is an error of the
    /// kind `Damaged` that names it.
    pub fn open_base(&self, threads: usize) -> Result<Box<dyn Read + Send>> {
        if let Some(gap) = &self.gap {
            return Err(Error::new(gap.kind, &gap.finding));
        }
        // The full is large; the deltas are not.
        let mut content = self.open_full(threads)?;
        for base in self.bases.iter().rev().skip(1) {
            let file = WayFile::open(base, &self.open_dump(base), 1)?;
            content = Box::new(NamedErrors {
                inner: DeltaReader::new(content, file).with_whole_base(),
                id: base.id.clone(),
                file: base.dump.file.clone(),
            });
        }
        Ok(content)
    }

    /// What opens the dump of one of them.
    fn open_dump<'a>(
        &'a self,
        base: &'a WayDump,
    ) -> impl Fn() -> Result<Box<dyn Read + Send>> + 'a {
        move || match &self.cache {
            Some(cache) => cache.open(&base.dump, &*self.objects),
            None => self.objects.open(&base.dump.file),
        }
    }

    /// Opens the list of contents of the nearest base; `None` where there is none, or where one
    /// that it needs is not what was written.
    pub fn open_base_list(&self) -> Result<Option<Box<dyn Read + Send>>> {
        let lists = self.base_lists();
        if lists.is_empty() || self.find_list_fault()?.is_some() {
            return Ok(None);
        }
        let mut content: Option<Box<dyn Read + Send>> = None;
        for (base, list) in lists.into_iter().rev() {
            let object = self.objects.open(&list.file)?;
            let decoding = base.decoding.clone().with_codec(LIST_CODEC);
            let decode = decoding.with_threads(1).open_stored(object)?;
            content = Some(match content {
                None => Box::new(decode),
                Some(below) => Box::new(ListContent(DeltaReader::new(below, decode))),
            });
        }
        Ok(content)
    }

    /// Finds what is wrong with the lists that that of the nearest base is made of.
    pub fn find_list_fault(&self) -> Result<Option<CheckFinding>> {
        for (_, list) in self.base_lists() {
            let file = list.file.clone();
            let found = match self.objects.open(&file) {
                Ok(object) => pipeline::measure(object, &Progress::default())?,
                Err(error) if error.kind() == Kind::NotFound => {
                    return Ok(Some(CheckFinding::ListMissing { file }));
                }
                Err(error) => return Err(error),
            };
            if (found.size, &found.sha256) != (list.size_bytes, &list.sha256) {
                return Ok(Some(CheckFinding::ListDiffers { file }));
            }
        }
        Ok(None)
    }

    /// The lists that that of the nearest base is made of, down to a whole one; none where they do
    /// not come to one.
    fn base_lists(&self) -> Vec<(&WayDump, &Contents)> {
        let mut lists = Vec::new();
        for base in &self.bases {
            let Some(list) = &base.contents else { break };
            lists.push((base, list));
            if !list.is_delta {
                return lists;
            }
        }
        Vec::new()
    }

    /// Looks at every file on the way.
    pub fn check(&self, care: WayCare) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        for base in &self.bases {
            checks.extend(self.check_base(base, care)?);
        }
        if let Some(gap) = &self.gap {
            let status = match gap.kind {
                Kind::Damaged => CheckStatus::Damaged,
                _ => CheckStatus::Error,
            };
            checks.push(Check::new(CheckSubject::Way, status, gap.finding.clone()));
        }
        if checks.is_empty() {
            let bases = self.bases.len() as u64;
            let complete = CheckFinding::WayComplete { bases };
            checks.push(Check::ok(CheckSubject::Way, complete));
        }
        Ok(checks)
    }

    fn check_base(&self, base: &WayDump, care: WayCare) -> Result<Option<Check>> {
        let (id, file) = (base.id.clone(), base.dump.file.clone());
        let measured = match care {
            WayCare::Presence => self.objects.size(&file).map(|size| Measurement {
                size,
                sha256: base.dump.sha256.clone(),
            }),
            WayCare::Checksum => (self.objects.open(&file))
                .and_then(|object| pipeline::measure(object, &Progress::default())),
        };
        let finding = match measured {
            Ok(found) if is_as_written(&base.dump, &found) => return Ok(None),
            Ok(_) => CheckFinding::BaseDiffers { id, file },
            Err(error) if error.kind() == Kind::NotFound => CheckFinding::BaseMissing { id, file },
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            // The others on the way are looked at all the same.
            Err(error) => {
                let why = CheckFinding::Failure {
                    message: format!("{id}: `{file}`: {error}"),
                    hint: error.hint().map(ToString::to_string),
                };
                return Ok(Some(Check::new(CheckSubject::Way, CheckStatus::Error, why)));
            }
        };
        Ok(Some(Check::damaged(CheckSubject::Way, finding)))
    }
}

fn is_as_written(dump: &Dump, found: &Measurement) -> bool {
    (found.size, &found.sha256) == (dump.size_bytes, &dump.sha256)
}

/// A file on the way, decoded; at its end it is compared with what was written.
struct WayFile {
    decode: StoredReader,
    stored: Gauge,
    id: String,
    dump: Dump,
    is_checked: bool,
}

impl WayFile {
    fn open(
        base: &WayDump,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>>,
        threads: usize,
    ) -> Result<WayFile> {
        let WayDump {
            id, dump, decoding, ..
        } = base;
        if matches!(
            decoding.key(),
            DecryptionKey::NotGiven | DecryptionKey::Unfit
        ) {
            return Err(decoding
                .key()
                .missing(&format!("`{}`", dump.file), &dump.recipients));
        }
        let object = open().map_err(|error| match error.kind() {
            Kind::NotFound => base_error(&CheckFinding::BaseMissing {
                id: id.clone(),
                file: dump.file.clone(),
            }),
            _ => error,
        })?;
        let decode = decoding.clone().with_threads(threads).open_stored(object)?;
        Ok(WayFile {
            stored: decode.stored_gauge(),
            decode,
            id: id.clone(),
            dump: dump.clone(),
            is_checked: false,
        })
    }
}

impl Read for WayFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.decode.read(buffer))
            .map_err(|error| name_error(error, &self.id, &self.dump.file))?;
        if count == 0 && !buffer.is_empty() && !self.is_checked {
            self.is_checked = true;
            if !is_as_written(&self.dump, &self.stored.reset()) {
                let finding = CheckFinding::BaseDiffers {
                    id: self.id.clone(),
                    file: self.dump.file.clone(),
                };
                return Err(base_error(&finding).into());
            }
        }
        Ok(count)
    }
}

/// The error of a file that is missing or has other bytes.
fn base_error(finding: &CheckFinding) -> Error {
    Error::damaged(finding)
}

/// A list of contents that is made of others.
pub struct ListContent<R>(pub R);

impl<R: Read> Read for ListContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(as_damage)
    }
}

/// The content of a delta on the way, whose errors name the file.
struct NamedErrors<R> {
    inner: R,
    id: String,
    file: String,
}

impl<R: Read> Read for NamedErrors<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(as_damage);
        read.map_err(|error| name_error(error, &self.id, &self.file))
    }
}

/// Puts the file before an error about it; one that names a file of the way has been here before.
fn name_error(error: io::Error, id: &str, file: &str) -> io::Error {
    let error = Error::from(error);
    if error.kind() != Kind::Damaged || error.cause::<BaseFault>().is_some() {
        return error.into();
    }
    let fault = BaseFault {
        id: id.to_owned(),
        file: file.to_owned(),
        why: error.message(),
    };
    Error::from_cause(Kind::Damaged, fault).into()
}

/// What is wrong with a file on the way.
#[derive(Debug)]
struct BaseFault {
    id: String,
    file: String,
    why: String,
}

impl std::fmt::Display for BaseFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BaseFault { id, file, why } = self;
        write!(
            f,
            "the dump `{file}` of `{id}`, on which it is built: {why}"
        )
    }
}

impl std::error::Error for BaseFault {}

/// The content of a delta while it is read, measured.
pub struct DeltaContent {
    reader: Meter<DeltaReader<Box<dyn Read + Send>, StoredReader>>,
    content: Gauge,
    stored: Gauge,
    progress: Progress,
}

impl DeltaContent {
    /// The content that the delta, whose bytes `decode` gives, makes of its way.
    pub fn open(
        way: &BackupWay,
        decode: StoredReader,
        threads: usize,
        progress: &Progress,
    ) -> Result<DeltaContent> {
        let base = way.open_base(threads)?;
        let stored = decode.stored_gauge();
        let (reader, content) = Meter::new(DeltaReader::new(base, decode).with_whole_base());
        Ok(DeltaContent {
            reader,
            content,
            stored,
            progress: Progress::clone(progress),
        })
    }

    /// What was measured; the content must have been read to its end.
    pub fn finish(mut self) -> Result<Measurements> {
        let rest = io::copy(&mut self.reader, &mut io::sink()).map_err(as_damage)?;
        if rest > 0 {
            return Err(Error::damaged(format!(
                "{rest} bytes of content were left unread"
            )));
        }
        Ok(Measurements {
            content: self.content.reset(),
            stored: self.stored.reset(),
        })
    }
}

impl Read for DeltaContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer).map_err(as_damage)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
