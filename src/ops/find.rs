//! From a user's word for a backup to the dump itself: in the store, or by a path, with or without
//! a sidecar.

use super::content::{BackupWay, StoredDump, codec_of};
use super::seal::open_sidecar;
use super::way::find_way;
use crate::catalog::{self, Backup, Catalog, ListedBackup, Presence, WayState};
use crate::config::Config;
use crate::encryption::DecryptionKey;
use crate::engine::DumpFormat;
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::ops::{Observer, Session, catalog_for, time_of};
use crate::pipeline::delta::VCDIFF;
use crate::pipeline::{Codec, Decoding};
use crate::sidecar::{Dump, Sidecar, SidecarFault, Status};
use crate::signature::SignatureStatus;
use crate::store::{self, Objects, Store, StoreSettings, names};
use std::path::Path;
use std::sync::Arc;

/// A dump that a user's word for a backup led to.
pub struct ResolvedBackup {
    /// The store, or the directory above a dump that lies somewhere else.
    pub store: Arc<dyn Store>,
    /// The source's objects in it.
    pub objects: Box<dyn Objects>,
    /// The source in it.
    pub source: String,
    /// The dump's name there.
    pub file: String,
    /// What is known of it; `None` for a dump without a sidecar.
    pub backup: Option<Backup>,
    /// How it is decoded.
    pub decoding: Decoding,
    /// What it is built on; `None` where it stands alone.
    pub way: Option<BackupWay>,
    /// What the content is, as the sidecar or the extension tells.
    pub format: DumpFormat,
    /// Newer ones of the source that are not known to be good, where a source's newest good one was
    /// asked for.
    pub passed_over: Vec<NewerBackup>,
}

/// A backup that is newer than the newest one that is known to be good.
pub struct NewerBackup {
    /// Its id.
    pub id: String,
    /// What keeps it from being used.
    pub flaw: String,
    /// It could not be looked at, so that it may be the one that is meant.
    pub may_be_good: bool,
}

impl ResolvedBackup {
    /// What messages call it.
    pub fn name(&self) -> String {
        self.backup
            .as_ref()
            .map_or_else(|| self.file.clone(), |backup| backup.id().to_owned())
    }

    /// An error where the key for it is missing.
    fn require_key(&self) -> Result<()> {
        self.stored().missing_key().map_or(Ok(()), Err)
    }

    /// Warns of newer backups that are damaged, incomplete or dated ahead. One that could not be
    /// looked at is an error: it may be good, and an older one in its place would be taken for it.
    /// So is a missing key.
    pub fn settle_on_this(&self, session: &Session, observer: &dyn Observer) -> Result<()> {
        self.check_signature(session, observer)?;
        for NewerBackup {
            id,
            flaw,
            may_be_good,
        } in &self.passed_over
        {
            if *may_be_good {
                let name = self.name();
                return Err(Error::failed(format!(
                    "`{id}` is newer than `{name}`, and may be good, but {flaw}"
                ))
                .with_hint(format!(
                    "try again when it can be read; to use the older one all the same, name its \
                     id, `{name}`"
                )));
            }
            observer.warn(format!("{id} is newer, but {flaw}: it is passed over"));
        }
        self.require_key()?;
        let sidecar = self.backup.as_ref().map(|backup| &backup.sidecar);
        if sidecar.is_some_and(|sidecar| !sidecar.is_open()) {
            observer.warn(format!(
                "{}: the encrypted part of its sidecar is missing or not what was written, so that \
                 the content is compared with no count of rows or files",
                self.name()
            ));
        }
        Ok(())
    }

    /// Who signed it.
    pub fn signature(&self) -> SignatureStatus {
        match &self.backup {
            Some(backup) => backup.signature.clone(),
            None if self.store.trusted_keys().is_empty() => SignatureStatus::Unchecked,
            None => SignatureStatus::Missing,
        }
    }

    /// An error where no trusted key signed it, unless the user said that this is right.
    fn check_signature(&self, session: &Session, observer: &dyn Observer) -> Result<()> {
        let Some(objection) = self.signature().objection() else {
            return Ok(());
        };
        let name = self.name();
        if session.accepts_untrusted {
            observer.warn(format!("{name}: {objection}; used all the same"));
            return Ok(());
        }
        Err(Error::usage(format!(
            "`{name}` can't be trusted: {objection}"
        ))
        .with_hint(
            "somebody else may have put it there; take another one, or, if you know who made it, \
             add `--untrusted`",
        ))
    }

    /// The dump, with what is known of it.
    pub fn stored(&self) -> StoredDump<'_> {
        let sidecar = self.backup.as_ref().map(|backup| &backup.sidecar);
        // What is told without the key is too little to compare a content with.
        let open = sidecar.filter(|sidecar| sidecar.is_open());
        StoredDump {
            objects: &*self.objects,
            source: &self.source,
            file: &self.file,
            dump: sidecar.and_then(|sidecar| sidecar.dump.as_ref()),
            decoding: self.decoding.clone(),
            way: self.way.as_ref(),
            format: self.format,
            producer: sidecar.map(|sidecar| &sidecar.producer),
            manifest: open.and_then(|sidecar| sidecar.manifest.as_ref()),
            database: open.and_then(|sidecar| sidecar.database.as_ref()),
            sealed: sidecar.and_then(|sidecar| sidecar.sealed.as_ref()),
        }
    }

    /// A backup of a store, as the catalog has it.
    pub fn in_store(
        store: &Arc<dyn Store>,
        entry: &ListedBackup,
        session: &Session,
    ) -> Result<ResolvedBackup> {
        let backup = entry.whole(&**store)?;
        let source = entry.sidecar.source.to_string();
        ResolvedBackup::of_backup(Arc::clone(store), source, backup, session)
    }

    fn of_backup(
        store: Arc<dyn Store>,
        source: String,
        mut backup: Backup,
        session: &Session,
    ) -> Result<ResolvedBackup> {
        let objects = store.objects(&source);
        let key = key_for(&mut backup, &*objects, session)?;
        let Some(dump) = backup.sidecar.dump.clone() else {
            let why = backup
                .sidecar
                .error
                .as_ref()
                .map_or("it has no dump".to_owned(), |error| error.message.clone());
            return Err(
                Error::failed(format!("`{}` is a failed attempt: {why}", backup.id())).with_hint(
                    Hint::new()
                        .command(["list", &source])
                        .text(" shows the good ones"),
                ),
            );
        };
        let codec = codec_of(&dump)?;
        Ok(ResolvedBackup {
            way: (dump.base.as_ref())
                .map(|base| find_way(store.objects(&source), backup.id(), base, &key)),
            objects,
            store,
            source,
            file: dump.file.clone(),
            decoding: Decoding::new(codec).with_key(key),
            format: dump
                .format
                .parse::<DumpFormat>()
                .map_err(|unknown| Error::from(unknown).context(format!("`{}`", dump.file)))?,
            backup: Some(backup),
            passed_over: Vec::new(),
        })
    }
}

/// Whether `wanted` is a path: it has a slash, or it is no name that the store knows and a file of
/// that name is there. A database `app` in the current directory must not be taken for the backup
/// of the source `app`.
pub fn is_path(wanted: &str, session: &Session) -> bool {
    // A store that can't be read may know it: looking for it there then says what is wrong.
    let known = || match session
        .reading()
        .and_then(|store| catalog::holds(&*store, wanted))
    {
        Ok(known) => known,
        Err(error) => !matches!(error.kind(), Kind::NotFound | Kind::Usage),
    };
    wanted.contains('/') || session.cwd.join(wanted).is_file() && !known()
}

/// The backups that are newer than the newest good one.
fn newer_ones(catalog: &Catalog, source: &str, good: &ListedBackup) -> Vec<NewerBackup> {
    let newer = catalog
        .of(source)
        .take_while(|other| other.id() != good.id());
    let kept = newer.filter(|other| {
        other.sidecar.status != Status::Failed
            && other.sidecar.label != crate::retention::PRE_RESTORE
    });
    let flawed = kept.map(|other| {
        let (flaw, may_be_good) = match &other.presence {
            Presence::Unknown(why) if other.signature.is_accepted() => {
                (format!("can't be looked at ({why})"), true)
            }
            _ if !other.signature.is_accepted() => (
                format!(
                    "not to be trusted ({})",
                    other.signature.objection().unwrap_or_default()
                ),
                false,
            ),
            _ if other.good() && other.dated_ahead => (
                "dated later than its store had it (name it to use it)".to_owned(),
                false,
            ),
            _ if other.good() => (
                "dated ahead of this machine's clock (name it to use it)".to_owned(),
                false,
            ),
            _ => ("damaged or incomplete".to_owned(), false),
        };
        NewerBackup {
            id: other.id().to_owned(),
            flaw,
            may_be_good,
        }
    });
    let unreadable = catalog
        .unreadable
        .iter()
        .filter(|lost| lost.source == source && is_later_id(&lost.id, good.id()));
    let unreadable = unreadable.map(|lost| NewerBackup {
        id: lost.id.clone(),
        flaw: format!("can't be used ({})", lost.reason),
        may_be_good: lost.may_be_good,
    });
    flawed.chain(unreadable).collect()
}

/// Whether a backup was made after another one, as their ids tell.
fn is_later_id(id: &str, other: &str) -> bool {
    let place = |id| (time_of(id), names::number_in_second(id));
    place(id) > place(other)
}

/// Finds the backup that a user's word means.
pub fn find_backup(wanted: &str, session: &Session) -> Result<ResolvedBackup> {
    if is_path(wanted, session) {
        return by_path(&session.cwd.join(wanted), session);
    }
    session.refuse_group(wanted)?;
    let store = session.reading()?;
    let catalog = catalog_for(&*store, wanted, session.now)?;
    let entry = catalog.resolve(wanted, session.now)?;
    let source = entry.sidecar.source.to_string();
    let newest = wanted == source || wanted.strip_prefix(&source) == Some("@latest");
    let passed_over = if newest {
        newer_ones(&catalog, &source, entry)
    } else {
        Vec::new()
    };
    let backup = entry.whole(&*store)?;
    Ok(ResolvedBackup {
        passed_over,
        ..ResolvedBackup::of_backup(store, source, backup, session)?
    })
}

/// The directory above that of a dump as a store, with the dump's own as a source in it.
fn directory_as_store<'p>(path: &'p Path, session: &Session) -> (Arc<dyn Store>, String, &'p Path) {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let root = dir.parent().unwrap_or(Path::new("/"));
    (
        store::unchecked_directory(root, &signatures_at(root, session)),
        dir.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        dir,
    )
}

/// The settings of the store in a directory: what is named by its path there needs the same
/// signature as what is named by its id.
fn signatures_at(root: &Path, session: &Session) -> StoreSettings {
    let is_here = |settings: &&StoreSettings| {
        let place = settings.resolved(&session.cwd).location;
        let place = place.local_path().map(Path::to_path_buf);
        place.is_some_and(|place| place.canonicalize().is_ok_and(|place| place == root))
    };
    let config = session.config.as_ref();
    let stores = config.into_iter().flat_map(Config::all_stores);
    let settings = stores.map(|(_, settings)| settings).find(is_here);
    settings.cloned().unwrap_or_default()
}

fn by_path(path: &Path, session: &Session) -> Result<ResolvedBackup> {
    // By its own name in its directory, where it is a link.
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|found| found.is_symlink());
    let linked = path
        .parent()
        .filter(|_| is_link)
        .and_then(|dir| Some(dir.canonicalize().ok()?.join(path.file_name()?)));
    let path = path.canonicalize().map_err(|error| {
        let missing = Error::from(error).with_kind(Kind::NotFound);
        missing
            .context(format!("the dump `{}`", path.display()))
            .with_hint("name the path of a dump or of its sidecar")
    })?;
    if path.is_dir() {
        return Err(Error::usage(format!("`{}` is a directory", path.display()))
            .with_hint("name the path of a dump or of its sidecar, or a source of the store"));
    }
    // A dump that was moved to a larger disk has its sidecar where it is linked from; a link to a
    // dump in a store, where it leads.
    for path in linked.iter().chain([&path]) {
        let (store, source, dir) = directory_as_store(path, session);
        if let Some(backup) = sidecar_of(&*store, &source, dir, &file_name(path))? {
            return ResolvedBackup::of_backup(store, source, backup, session);
        }
    }
    let ((store, source, dir), name) = (directory_as_store(&path, session), file_name(&path));
    let (decoding, extension) = decoding_of(&name, session)?;
    for end in ["-wal", "-journal"] {
        let companion = dir.join(format!("{name}{end}"));
        let size = match companion.metadata() {
            Ok(found) => found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => {
                return Err(error).with_context(|| format!("looking at `{}`", companion.display()));
            }
        };
        if decoding.is_identity() && size > 0 {
            return Err(Error::failed(format!(
                "`{}` is a live database: `{}` belongs to it",
                path.display(),
                companion.display()
            ))
            .with_hint(
                Hint::new()
                    .text("back it up, then restore that: ")
                    .command(["--store", "DIR", "backup", &path.to_string_lossy()]),
            ));
        }
    }
    Ok(ResolvedBackup {
        objects: store.objects(&source),
        store,
        source,
        file: name,
        backup: None,
        decoding,
        way: None,
        format: DumpFormat::from_extension(&extension),
        passed_over: Vec::new(),
    })
}

/// The backup that a dump's or sidecar's path belongs to, wherever it lies.
fn sidecar_of(store: &dyn Store, source: &str, dir: &Path, name: &str) -> Result<Option<Backup>> {
    let named_itself = name.ends_with(".json");
    let sidecar_name = if named_itself {
        name.to_owned()
    } else {
        match names::id_of(name) {
            Some(id) => names::sidecar_name(id),
            None => return Ok(None),
        }
    };
    let bytes = match store.read(source, &sidecar_name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Kind::NotFound && !named_itself => return Ok(None),
        // What is checked by the sidecar must not go unchecked because of a disk's hiccup.
        Err(error) if !named_itself => {
            return Err(error.with_hint(
                "the sidecar is there; to do without it, copy the dump into another directory",
            ));
        }
        Err(error) => return Err(error),
    };
    let sidecar = match Sidecar::parse(&bytes) {
        Ok(sidecar) => sidecar,
        Err(why) if named_itself => {
            let kind = if matches!(why, SidecarFault::Malformed(_)) {
                Kind::Damaged
            } else {
                Kind::Failed
            };
            return Err(
                Error::new(kind, format!("`{}`: {why}", dir.join(name).display())).with_hint(
                    "its dump restores without the sidecar: name the dump's file, with `--to`",
                ),
            );
        }
        // The dump itself was named: it restores without its sidecar.
        Err(_) => return Ok(None),
    };
    let belongs = sidecar
        .dump
        .as_ref()
        .is_some_and(|dump| named_itself || dump.file == name);
    if !belongs && sidecar.status != Status::Failed {
        return Ok(None);
    }
    let state = catalog::read_state(store, source, &sidecar.id);
    let signature = catalog::judge_signature(store, source, &sidecar_name, &bytes)?;
    let presence = sidecar.dump.as_ref().map_or(Presence::Missing, |dump| {
        Presence::of(store.size(source, &dump.file))
    });
    Ok(Some(Backup {
        sidecar,
        state_lost: state.is_err(),
        state: state.unwrap_or_default(),
        presence,
        way: WayState::Whole,
        signature,
        dated_ahead: false,
        digest: None,
    }))
}

/// What the extensions say, outermost last: how it is decoded, and the content's own extension.
fn decoding_of(name: &str, session: &Session) -> Result<(Decoding, String)> {
    let (name, key) = match name.strip_suffix(".age") {
        Some(inner) => (inner, key_of(session)?),
        None => (name, DecryptionKey::NotNeeded),
    };
    let extension = |name: &str| {
        Path::new(name)
            .extension()
            .map(|found| found.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default()
    };
    let outer = extension(name);
    let (codec, extension) = match Codec::from_extension(&outer) {
        Some(codec) => (
            codec,
            extension(&name[..name.rfind('.').unwrap_or(name.len())]),
        ),
        None => (Codec::None, outer),
    };
    if extension == VCDIFF {
        return Err(Error::failed(format!(
            "`{name}` is a delta, and no sidecar says what it is built on"
        ))
        .with_hint(
            "with its base it is recovered by hand: `xdelta3 -d -c -s BASE DELTA`, both \
             decompressed",
        ));
    }
    Ok((Decoding::new(codec).with_key(key), extension))
}

/// The key for what is encrypted.
fn key_of(session: &Session) -> Result<DecryptionKey> {
    let identities = match session.identities()? {
        Some(identities) => Some(identities),
        // What this machine has made it may read again.
        None => session.own_identities()?,
    };
    Ok(identities.map_or(DecryptionKey::NotGiven, DecryptionKey::Given))
}

/// Gives a backup its whole sidecar, where a key is given that opens the sealed part.
pub fn open_sealed_part(
    backup: &mut Backup,
    objects: &dyn Objects,
    session: &Session,
) -> Result<()> {
    key_for(backup, objects, session).map(drop)
}

/// Gives a backup its whole sidecar, as [`open_sealed_part`] does, and finds what it is built on.
pub fn open_with_way(
    backup: &mut Backup,
    objects: Box<dyn Objects>,
    session: &Session,
) -> Result<Option<BackupWay>> {
    let key = key_for(backup, &*objects, session)?;
    let base = backup
        .sidecar
        .dump
        .as_ref()
        .and_then(|dump| dump.base.as_ref());
    Ok(base.map(|base| find_way(objects, backup.id(), base, &key)))
}

/// The key for a backup, which is tried on the sealed part of its sidecar, where there is one: then
/// the backup has its whole sidecar.
fn key_for(backup: &mut Backup, objects: &dyn Objects, session: &Session) -> Result<DecryptionKey> {
    let is_encrypted = |dump: &Dump| dump.encryption.is_some();
    let sidecar = &backup.sidecar;
    if sidecar.sealed.is_none() && !sidecar.dump.as_ref().is_some_and(is_encrypted) {
        return Ok(DecryptionKey::NotNeeded);
    }
    let key = key_of(session)?;
    let DecryptionKey::Given(identities) = &key else {
        return Ok(key);
    };
    match open_sidecar(&backup.sidecar, objects, identities) {
        Ok(whole) => backup.sidecar = whole,
        Err(error) if error.kind() == Kind::Sealed => return Ok(DecryptionKey::Unfit),
        // Its dump may be whole: that is for those to find who read it.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Damaged) => {}
        Err(error) => return Err(error),
    }
    Ok(key)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Where the dump lies, as messages name it.
pub fn place_of(found: &ResolvedBackup) -> String {
    found.store.location().object(&found.source, &found.file)
}
