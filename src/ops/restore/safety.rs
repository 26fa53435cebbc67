//! What becomes of the content that a restore replaces.

use super::context::RestoreContext;
use crate::durable::{self, SteadyFile};
use crate::engine::sqlite::destination::directory_of;
use crate::engine::{DumpFormat, Source};
use crate::error::{Context, Error, Result};
use crate::lock::Lock;
use crate::ops::backup::{AttemptPlan, RunContext, create_backup};
use crate::ops::run::{Run, now};
use crate::ops::sweep::lock_and_sweep;
use crate::ops::{Observer, Session};
use crate::retention::PRE_RESTORE;
use crate::sidecar::Level;
use crate::store::{Location, Store};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What happens to the content that is there.
pub enum Safety {
    /// There is none, or it is not to be kept.
    None,
    /// The destination sets it aside where it is.
    Aside,
    /// A safety backup in a store.
    Store {
        /// The store.
        store: Arc<dyn Store>,
        /// The source that the backup is of.
        source: String,
        /// The content's format.
        format: DumpFormat,
    },
    /// A plain copy beside it, where there is no store.
    Beside(PathBuf),
}

/// A backup that is to be made of what a restore replaces.
pub struct SafetyBackup<'a> {
    /// The store that it goes to.
    pub store: &'a dyn Store,
    /// The source that it is of; its lock is held.
    pub source: &'a str,
    /// The content's format.
    pub format: DumpFormat,
}

/// Makes a safety backup of a source; gives its id.
pub type CreateSafetyBackup<'a> = &'a dyn Fn(&SafetyBackup<'_>, &mut dyn Source) -> Result<String>;

/// Creates a backup of what is about to be replaced, under the source's lock; gives its id.
pub fn create_safety_backup(
    backup: &SafetyBackup<'_>,
    old: &mut dyn Source,
    session: &Session,
    observer: &dyn Observer,
) -> Result<String> {
    let source = backup.source;
    let settings = session.settings_of(source);
    let plan = AttemptPlan {
        source,
        format: backup.format,
        encoding: settings.encoding(),
        verify_after: Some(Level::Checksum),
        scratch_dir: &settings.scratch_dir,
        drill_settings: &session.drill_settings_of(source),
        base: None,
        cache: None,
    };
    let run = Run {
        id: format!("{}-restore", session.now.format("%Y%m%dT%H%M%SZ")),
        started_at: now(),
        members: Vec::new(),
        host: session.host.clone(),
        label: PRE_RESTORE.to_owned(),
        description: Some("what a restore replaced".to_owned()),
        tags: BTreeMap::new(),
        pinned: true,
        full: true,
        reread: false,
        lock_wait: session.lock_wait,
        config: None,
    };
    let encryption = session.encryption_at(backup.store.location())?;
    let context = RunContext {
        store: backup.store,
        run: &run,
        observer,
        encryption: encryption.as_ref(),
    };
    let created = create_backup(&plan, old, context)
        .context("the safety backup failed, so nothing was replaced")
        .with_hint("mend that, or do without it: `--no-safety-backup`")?;
    Ok(created.sidecar.id)
}

/// The old content, kept.
pub enum KeptContent {
    /// A safety backup in a store.
    Backup {
        /// Its id.
        id: String,
        /// Where the store is.
        store: Location,
    },
    /// A copy.
    File(PathBuf),
}

impl Safety {
    /// Takes the lock of the safety backup's source before anything else, so that a run that holds
    /// it ends this one early.
    pub fn lock(&self, context: RestoreContext<'_>) -> Result<Option<Lock>> {
        match self {
            Safety::Store { store, source, .. } => {
                let wait = context.session.lock_wait;
                lock_and_sweep(&**store, source, wait, context.observer)
            }
            Safety::None | Safety::Aside | Safety::Beside(_) => Ok(None),
        }
    }

    /// Keeps the old content.
    pub fn keep(&self, old: &mut dyn Source, context: RestoreContext<'_>) -> Result<KeptContent> {
        match self {
            Safety::None | Safety::Aside => Err(Error::failed("there is nothing to keep")),
            Safety::Beside(path) => {
                keep_beside(old, path).map(|()| KeptContent::File(path.clone()))
            }
            Safety::Store {
                store,
                source,
                format,
            } => {
                let backup = SafetyBackup {
                    store: &**store,
                    source,
                    format: *format,
                };
                Ok(KeptContent::Backup {
                    id: (context.create_safety_backup)(&backup, old)?,
                    store: store.location().clone(),
                })
            }
        }
    }
}

fn keep_beside(old: &mut dyn Source, path: &Path) -> Result<()> {
    write_copy(old, path).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

fn write_copy(old: &mut dyn Source, path: &Path) -> Result<()> {
    let mut file = SteadyFile::new(durable::create_new(path)?);
    old.dump(&mut file)?;
    file.finish()?;
    durable::sync_dir(directory_of(path))
}

/// Tells where a safety backup is kept, and how it is got rid of.
pub fn safety_backup_text(id: &str, program: &str) -> String {
    format!(
        "   what was there is kept as {id}, a `{PRE_RESTORE}` backup, pinned; `{program} delete \
         {id} --force` removes it"
    )
}
