//! From a user's word for a backup to the dump itself: in the store, or by a path, with or without a sidecar.

use super::examine::Stored;
use super::{Session, catalog_for};
use crate::catalog::{self, Backup, Entry};
use crate::error::{Error, Kind, Result};
use crate::pipeline::Codec;
use crate::sidecar::{Dump, Sidecar, Status, Unreadable};
use crate::store::{self, Access, LocalStore, Store};
use std::path::{Path, PathBuf};

/// A dump that was found.
pub struct Found {
    /// The store, or the directory above a dump that lies somewhere else.
    pub store: LocalStore,
    /// The directory in it.
    pub source: String,
    /// The dump's name there.
    pub file: String,
    /// What is known of it; `None` for a dump without a sidecar.
    pub backup: Option<Backup>,
    /// Its coding.
    pub codec: Codec,
    /// What the content is: `sqlite3`, or another extension.
    pub format: String,
    /// Newer ones of the source that are not good, where a source's newest good one was asked for.
    pub passed_over: Vec<String>,
}

impl Found {
    /// What messages call it.
    pub fn name(&self) -> String {
        self.backup.as_ref().map_or_else(|| self.file.clone(), |backup| backup.id().to_owned())
    }

    /// For the examination.
    pub fn stored(&self) -> Stored<'_> {
        let sidecar = self.backup.as_ref().map(|backup| &backup.sidecar);
        Stored {
            store: &self.store,
            source: &self.source,
            file: &self.file,
            dump: sidecar.and_then(|sidecar| sidecar.dump.as_ref()),
            codec: self.codec,
            format: &self.format,
            producer: sidecar.map(|sidecar| &sidecar.producer),
            manifest: sidecar.and_then(|sidecar| sidecar.manifest.as_ref()),
            database: sidecar.and_then(|sidecar| sidecar.database.as_ref()),
        }
    }

    /// A backup of a store, as the catalog has it.
    pub fn in_store(root: &Path, entry: &Entry) -> Result<Found> {
        let store = LocalStore::open(root, Access::Read)?;
        let backup = entry.whole(&store)?;
        Found::of_backup(store, entry.sidecar.source.to_string(), backup)
    }

    fn of_backup(store: LocalStore, source: String, backup: Backup) -> Result<Found> {
        let Some(dump) = backup.sidecar.dump.clone() else {
            let why = backup.sidecar.error.as_ref().map_or("it has no dump".to_owned(), |error| error.message.clone());
            return Err(Error::failed(format!("`{}` is a failed attempt: {why}", backup.id()))
                .hint(format!("`dbbackup list {source}` shows the good ones")));
        };
        let codec = codec_of(&dump)?;
        Ok(Found {
            store,
            source,
            file: dump.file.clone(),
            codec,
            format: dump.format.clone(),
            backup: Some(backup),
            passed_over: Vec::new(),
        })
    }
}

/// The codec that a sidecar names.
pub fn codec_of(dump: &Dump) -> Result<Codec> {
    if let Some(encryption) = &dump.encryption {
        return Err(
            Error::failed(format!("`{}` is encrypted with {encryption}", dump.file)).hint("a newer dbbackup may know that")
        );
    }
    Codec::parse(&dump.compression).map_err(|_| {
        Error::failed(format!("`{}` is compressed with `{}`, which this version does not know", dump.file, dump.compression))
    })
}

/// Whether `wanted` is a path: it has a slash, or it is no name that the store knows and a file of that name is there. A database `app` in the
/// current directory must not be taken for the backup of the source `app`.
pub fn is_path(wanted: &str, session: &Session) -> bool {
    let known = || session.reading().is_ok_and(|store| catalog::holds(&store, wanted));
    wanted.contains('/') || session.cwd.join(wanted).is_file() && !known()
}

/// Finds what `wanted` means.
pub fn find(wanted: &str, session: &Session) -> Result<Found> {
    if is_path(wanted, session) {
        return by_path(&session.cwd.join(wanted));
    }
    session.refuse_group(wanted)?;
    let store = session.reading()?;
    let catalog = catalog_for(&store, wanted, session.now)?;
    let entry = catalog.resolve(wanted, session.now)?;
    let source = entry.sidecar.source.to_string();
    let newest = wanted == source || wanted.strip_prefix(&source) == Some("@latest");
    let newer = catalog.of(&source).take_while(|other| newest && other.id() != entry.id());
    let passed_over = newer
        .filter(|other| other.sidecar.status != Status::Failed && other.sidecar.label != crate::retention::PRE_RESTORE)
        .map(|other| other.id().to_owned())
        .collect();
    let backup = entry.whole(&store)?;
    Ok(Found { passed_over, ..Found::of_backup(store, source, backup)? })
}

fn by_path(path: &Path) -> Result<Found> {
    let path = path.canonicalize().map_err(|error| {
        let missing = Error::from(error).kind_of(Kind::NotFound);
        missing.context(format!("the dump `{}`", path.display())).hint("name the path of a dump or of its sidecar")
    })?;
    if path.is_dir() {
        return Err(Error::usage(format!("`{}` is a directory", path.display()))
            .hint("name the path of a dump or of its sidecar, or a source of the store"));
    }
    let (dir, name) = (path.parent().unwrap_or(Path::new("/")), file_name(&path));
    let root = dir.parent().unwrap_or(Path::new("/"));
    let source = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let store = LocalStore::around(root);
    if let Some(backup) = sidecar_of(&store, &source, dir, &name)? {
        return Found::of_backup(store, source, backup);
    }
    let (codec, format) = decoding_of(&name)?;
    for end in ["-wal", "-journal"] {
        let companion = dir.join(format!("{name}{end}"));
        if codec == Codec::None && companion.metadata().is_ok_and(|found| found.len() > 0) {
            return Err(Error::failed(format!(
                "`{}` is a live database: `{}` belongs to it",
                path.display(),
                companion.display()
            ))
            .hint(format!("back it up, then restore that: `dbbackup --store DIR backup {}`", path.display())));
        }
    }
    Ok(Found { store, source, file: name, backup: None, codec, format, passed_over: Vec::new() })
}

/// The backup that a dump's or sidecar's path belongs to, wherever it lies.
fn sidecar_of(store: &LocalStore, source: &str, dir: &Path, name: &str) -> Result<Option<Backup>> {
    let named_itself = name.ends_with(".json");
    let sidecar = if named_itself {
        name.to_owned()
    } else {
        match store::id_of(name) {
            Some(id) if dir.join(store::sidecar_name(id)).is_file() => store::sidecar_name(id),
            _ => return Ok(None),
        }
    };
    let bytes = store.read(source, &sidecar)?;
    let sidecar = match Sidecar::parse(&bytes) {
        Ok(sidecar) => sidecar,
        Err(why) if named_itself => {
            let kind = if matches!(why, Unreadable::Malformed(_)) { Kind::Damaged } else { Kind::Failed };
            return Err(Error::new(kind, format!("`{}`: {why}", dir.join(name).display()))
                .hint("its dump restores without the sidecar: name the dump's file, with `--to`"));
        }
        // The dump itself was named: it restores without its sidecar.
        Err(_) => return Ok(None),
    };
    let belongs = sidecar.dump.as_ref().is_some_and(|dump| named_itself || dump.file == name);
    if !belongs && sidecar.status != Status::Failed {
        return Ok(None);
    }
    let state = store.read(source, &store::state_name(&sidecar.id)).ok();
    let state = state.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let stored_size = sidecar.dump.as_ref().and_then(|dump| dir.join(&dump.file).metadata().ok()).map(|found| found.len());
    Ok(Some(Backup { sidecar, state, state_lost: false, stored_size }))
}

/// What the extensions say, outermost last.
fn decoding_of(name: &str) -> Result<(Codec, String)> {
    if let Some(plain) = name.strip_suffix(".age") {
        return Err(
            Error::failed(format!("`{name}` is encrypted")).hint(format!("decrypt it first: `age -d -i KEY -o {plain} {name}`"))
        );
    }
    let extension =
        |name: &str| Path::new(name).extension().map(|found| found.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match Codec::from_extension(&extension(name)) {
        Some(codec) => Ok((codec, extension(&name[..name.rfind('.').unwrap_or(name.len())]))),
        None => Ok((Codec::None, extension(name))),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where the dump lies.
pub fn path_of(found: &Found) -> PathBuf {
    found.store.locate(&found.source, &found.file).unwrap_or_else(|| found.file.clone().into())
}
