//! The one way to a stored backup's bytes: to its decoded content, its list of contents, and the
//! bytes as they are stored.
//!
//! Nothing else above the store opens a dump (`tests/architecture.rs` sees to that). So whatever
//! decoding comes to need, as an earlier dump or a key, is resolved here alone.

mod cache;
mod kept_full;
mod way;

pub use cache::DumpCache;
pub use kept_full::KeptFull;
pub use way::{BackupWay, WayCare, WayDump};

use self::way::{DeltaContent, ListContent};
use super::Observer;
use crate::encryption::{AGE, DecryptionKey, Recipients};
use crate::engine::files::destination::OpenList;
use crate::engine::files::listing::Lines;
use crate::engine::{
    Check, CheckFinding, CheckSubject, ContentDigest, Contents, Database, DumpFormat, Manifest,
};
use crate::error::{Error, Kind, Result};
use crate::pipeline::delta::{DeltaReader, VCDIFF};
use crate::pipeline::{
    self, Codec, DecodeReader, Decoding, Encoding, Measurement, Measurements, Progress,
};
use crate::sidecar::{Dump, SealedPart};
use crate::store::Objects;
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// How lists of contents are packed.
pub const LIST_CODEC: Codec = Codec::Zstd { level: 3 };

/// A dump in a store, with what is known of it.
pub struct StoredDump<'a> {
    /// The objects that it is one of: a source's in a store, or a draft's while the backup is being
    /// made.
    pub objects: &'a dyn Objects,
    /// The source that it is a dump of.
    pub source: &'a str,
    /// The object's name.
    pub file: &'a str,
    /// What the sidecar says of it; `None` for a dump without one.
    pub dump: Option<&'a Dump>,
    /// How it is decoded.
    pub decoding: Decoding,
    /// What it is built on; `None` where it stands alone.
    pub way: Option<&'a BackupWay>,
    /// The format of its content, from the sidecar or the extension.
    pub format: DumpFormat,
    /// The programs that made it, with their versions.
    pub producer: Option<&'a BTreeMap<String, String>>,
    /// The manifest that the content must agree with.
    pub manifest: Option<&'a Manifest>,
    /// Facts of the database.
    pub database: Option<&'a Database>,
    /// The rest of the sidecar, where it is encrypted.
    pub sealed: Option<&'a SealedPart>,
}

impl StoredDump<'_> {
    /// The list of contents, with its object's name.
    pub fn contents(&self) -> Option<(String, &Contents)> {
        let contents = self.manifest?.tree.as_ref()?.contents.as_ref()?;
        Some((contents.file.clone(), contents))
    }

    /// Why the content can't be read here, where a key is missing for it.
    pub fn missing_key(&self) -> Option<Error> {
        let key = self.decoding.key();
        let is_missing = matches!(key, DecryptionKey::NotGiven | DecryptionKey::Unfit);
        let recipients = self.dump.map_or(&[][..], |dump| &dump.recipients);
        is_missing.then(|| key.missing(&format!("`{}`", self.file), recipients))
    }

    /// The bytes that the content will take; for a dump without a sidecar, a guess from its size.
    pub fn content_size(&self) -> u64 {
        if let Some(dump) = self.dump {
            return dump.content_size_bytes;
        }
        // Where the size can't be had, opening the dump says why.
        let size = self.objects.size(self.file).unwrap_or(0);
        if self.decoding.is_identity() {
            size
        } else {
            size.saturating_mul(3)
        }
    }
}

/// The decoded content of a stored dump, measured at both ends while it is read.
pub struct DumpContent<'a> {
    dump: Option<&'a Dump>,
    content: OpenedContent,
    /// Shows the progress until it is dropped.
    _shown: Box<dyn Any>,
}

/// The content of a full or of a delta.
enum OpenedContent {
    Full(DecodeReader),
    Delta(Box<DeltaContent>),
}

/// Opens a dump's content. Its first byte is decoded when it is asked for; a dump that is missing
/// is an error of the kind `NotFound` now, and one on its way of the kind `Damaged`.
pub fn open_content<'a>(
    stored: &StoredDump<'a>,
    threads: usize,
    observer: &dyn Observer,
) -> Result<DumpContent<'a>> {
    let object = stored.objects.open(stored.file)?;
    let progress = Progress::default();
    let title = format!("decoding {}", stored.source);
    let shown = observer.follow(&title, stored.content_size(), &progress);
    let decoding = stored.decoding.clone().with_threads(threads);
    let content = match stored.way {
        None => OpenedContent::Full(decoding.with_progress(&progress).open(object)?),
        Some(way) => {
            let content =
                DeltaContent::open(way, decoding.open_stored(object)?, threads, &progress)?;
            OpenedContent::Delta(Box::new(content))
        }
    };
    Ok(DumpContent {
        dump: stored.dump,
        content,
        _shown: shown,
    })
}

impl Read for DumpContent<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            OpenedContent::Full(decode) => decode.read(bytes),
            OpenedContent::Delta(delta) => delta.read(bytes),
        }
    }
}

impl DumpContent<'_> {
    /// Ends the reading, and says whether the stored bytes and the content are those that were
    /// written. A dump without a sidecar has nothing to compare with. Content that was not read to
    /// its end, or does not decode to it, is an error.
    pub fn finish(self) -> Result<Vec<Check>> {
        let dump = self.dump;
        let measured = self.measure()?;
        Ok(dump.map_or_else(Vec::new, |dump| {
            vec![
                check_stored(dump, &measured.stored),
                check_content(dump, &measured.content),
            ]
        }))
    }

    /// Ends the reading of a dump of which nothing is known yet, and says what was read.
    pub fn measure(self) -> Result<Measurements> {
        match self.content {
            OpenedContent::Full(decode) => decode.finish(),
            OpenedContent::Delta(delta) => delta.finish(),
        }
    }
}

/// Hashes a dump's bytes as they are stored, without decoding them.
pub fn measure_dump(stored: &StoredDump<'_>, observer: &dyn Observer) -> Result<Measurement> {
    let object = stored.objects.open(stored.file)?;
    let progress = Progress::default();
    let title = format!("checking {}", stored.source);
    let size = stored.dump.map_or(0, |dump| dump.size_bytes);
    let _shown = observer.follow(&title, size, &progress);
    pipeline::measure(object, &progress)
}

/// Writes an object as it is stored to `sink`, and measures it on the way.
pub fn copy_stored(
    objects: &dyn Objects,
    name: &str,
    sink: &mut dyn Write,
    progress: &Progress,
) -> Result<Measurement> {
    pipeline::copy_measured(objects.open(name)?, sink, progress)
}

/// Encrypts a stored object on its way to `sink`, and measures what was stored and what goes out.
pub fn copy_encrypted(
    objects: &dyn Objects,
    name: &str,
    recipients: &Arc<Recipients>,
    sink: &mut dyn Write,
    progress: &Progress,
) -> Result<(Measurement, Measurement)> {
    let object = objects.open(name)?;
    let (_, stored, sent) = pipeline::copy_sealed(object, recipients, sink, progress)?;
    Ok((stored, sent))
}

/// Hashes a file that is in no store.
pub fn measure_reader(reader: impl Read) -> Result<Measurement> {
    pipeline::measure(reader, &Progress::default())
}

/// Measures bytes that are in memory.
pub fn measure_bytes(bytes: &[u8]) -> Result<Measurement> {
    pipeline::measure(bytes, &Progress::default())
}

/// Hashes an object beside the dump as it is stored.
pub fn measure_object(stored: &StoredDump<'_>, name: &str) -> Result<Measurement> {
    let object = stored.objects.open(name)?;
    pipeline::measure(object, &Progress::default())
}

/// Opens the list of contents of a stored tree; `None` where there is none, or where it is not what
/// was written and so proves nothing.
pub fn open_list(stored: &StoredDump<'_>) -> Result<Option<Lines>> {
    Ok(open_list_content(stored)?.map(Lines::new))
}

/// Opens the same as the bytes that it consists of, whether it stands alone or not.
pub fn open_list_content(stored: &StoredDump<'_>) -> Result<Option<Box<dyn Read + Send>>> {
    let Some((name, contents)) = stored.contents() else {
        return Ok(None);
    };
    match measure_object(stored, &name) {
        Ok(found) if found.sha256 == contents.sha256 => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let object = stored.objects.open(&name)?;
    let decoding = stored.decoding.clone().with_codec(LIST_CODEC);
    let list = decoding.with_threads(1).open(object)?;
    if !contents.is_delta {
        return Ok(Some(Box::new(list)));
    }
    let Some(way) = stored.way else {
        return Ok(None);
    };
    let base = way.open_base_list()?;
    Ok(base.map(|base| -> Box<dyn Read + Send> {
        Box::new(ListContent(DeltaReader::new(base, list)))
    }))
}

/// Opens the list of contents as often as it is wanted.
pub fn list_opener<'a>(stored: &'a StoredDump<'_>) -> OpenList<'a> {
    Box::new(move || open_list(stored))
}

/// Compares a dump's stored bytes with those that were written.
pub fn check_stored(dump: &Dump, found: &Measurement) -> Check {
    let difference = if found.size != dump.size_bytes {
        CheckFinding::SizeDiffers {
            file: dump.file.clone(),
            expected: dump.size_bytes,
            found: found.size,
        }
    } else if found.sha256 != dump.sha256 {
        CheckFinding::HashDiffers {
            expected: dump.sha256.clone(),
            found: found.sha256.clone(),
        }
    } else {
        let finding = CheckFinding::AsWritten { size: found.size };
        return Check::ok(CheckSubject::Sha256, finding);
    };
    Check::damaged(CheckSubject::Sha256, difference)
}

/// Compares decoded content with that which was read from the source.
fn check_content(dump: &Dump, found: &Measurement) -> Check {
    let found = ContentDigest {
        size: found.size,
        sha256: found.sha256.clone(),
    };
    let expected = ContentDigest {
        size: dump.content_size_bytes,
        // Sealed, and not opened: then the size alone is compared.
        sha256: (dump.content_sha256.clone()).unwrap_or_else(|| found.sha256.clone()),
    };
    if found == expected {
        let finding = CheckFinding::DecodesAsRead { size: found.size };
        return Check::ok(CheckSubject::Content, finding);
    }
    let difference = CheckFinding::ContentDiffers { expected, found };
    Check::damaged(CheckSubject::Content, difference)
}

/// The extension of a dump: that of its format, that of a delta, and those of its encoding.
pub fn dump_extension(format: DumpFormat, is_delta: bool, encoding: &Encoding) -> String {
    let content = std::iter::once(format.extension());
    let delta = is_delta.then_some(VCDIFF);
    let all: Vec<&str> = content.chain(delta).chain(encoding.extensions()).collect();
    all.join(".")
}

/// The codec that a sidecar names.
pub fn codec_of(dump: &Dump) -> Result<Codec> {
    if let Some(encryption) = dump.encryption.as_ref().filter(|known| *known != AGE) {
        return Err(
            Error::failed(format!("`{}` is encrypted with {encryption}", dump.file))
                .with_hint("a newer dbbackup may know that"),
        );
    }
    Codec::parse(&dump.compression).map_err(|_| {
        Error::failed(format!(
            "`{}` is compressed with `{}`, which this version does not know",
            dump.file, dump.compression
        ))
    })
}

/// Describes what is inside a backup, in a few words.
pub fn describe_contents(manifest: &Manifest) -> String {
    if let Some(tree) = &manifest.tree {
        return tree.to_string();
    }
    format!(
        "{} in {}",
        crate::units::count(manifest.rows_total, "row"),
        crate::units::count(manifest.tables_total(), "table")
    )
}
