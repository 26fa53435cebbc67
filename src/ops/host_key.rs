//! The key of this machine, `host_key = true`: what is encrypted is encrypted to it, too, so that a
//! delta can be made of what only the owner of a private key could read else.
//!
//! It lies where this machine keeps its state, and is made by the first run that needs it. It is no
//! proof that anybody else can read a backup, so `key prove` knows nothing of it.

use super::Session;
use crate::durable;
use crate::encryption::{HostIdentity, Identities};
use crate::error::{Context, Error, Kind, Result};
use crate::notify::state_directory;
use crate::secret::Secret;
use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// The name of its file.
const NAME: &str = "host.key";

/// Where the key of this machine is, for this user; `None` where the user has no home.
pub fn host_key_path() -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    let state = state_directory(&|name| std::env::var_os(name), is_root);
    state.map(|state| state.join(NAME))
}

impl Session {
    /// The key of this machine, where the configuration wants one: that in its file, else a new
    /// one, which is nowhere until [`Session::keep_host_key`].
    pub fn host_key(&self) -> Result<Option<Arc<HostIdentity>>> {
        if !self.encryption_settings().host_key {
            return Ok(None);
        }
        let mut known = self
            .keys
            .host
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(Arc::new(match read_key()? {
                Some(key) => key,
                None => HostIdentity::generate()?,
            }));
        }
        Ok(known.clone())
    }

    /// Writes the key of this machine to its file, where it is wanted and is not there yet: before
    /// anything is encrypted to it.
    pub fn keep_host_key(&self) -> Result<()> {
        let Some(key) = self.host_key()? else {
            return Ok(());
        };
        let path = host_key_path().ok_or_else(no_home)?;
        if path.exists() {
            return Ok(());
        }
        write_key(&path, &key)?;
        // Another run may have been the first.
        if let Some(kept) = read_key()? {
            let known = self.keys.host.lock();
            *known.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(kept));
        }
        Ok(())
    }

    /// Whether a passphrase stands in place of recipients.
    pub fn has_passphrase(&self) -> bool {
        self.encryption_settings().has_passphrase()
    }

    /// What this machine can read its own backups with, without asking anybody: its key, or the
    /// passphrase with which it encrypts them.
    pub fn own_identities(&self) -> Result<Option<Arc<Identities>>> {
        match self.host_key()? {
            Some(key) => Ok(Some(Arc::clone(&key.identities))),
            None if self.has_passphrase() => self.identities(),
            None => Ok(None),
        }
    }
}

/// Reads the key from its file; `None` where there is none.
fn read_key() -> Result<Option<HostIdentity>> {
    let path = host_key_path().ok_or_else(no_home)?;
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = Secret::from_file(&path, NAME).map_err(|error| error.with_kind(Kind::Usage))?;
    HostIdentity::parse(text, &format!("`{}`", path.display())).map(Some)
}

fn no_home() -> Error {
    Error::usage("`host_key = true`, and there is no place for the key of this machine")
        .with_hint("set $HOME, $XDG_STATE_HOME or $STATE_DIRECTORY: it would be `host.key` there")
}

/// Writes a file for this user alone, whole from the start; one that is there stays.
fn write_key(path: &Path, key: &HostIdentity) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let what = || format!("keeping the key of this machine in `{}`", path.display());
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).with_context(what)?;
    let draft = dir.join(format!(".{NAME}.{}", std::process::id()));
    let written = durable::create_new(&draft).and_then(|mut file| {
        file.write_all(key.file_text.expose().as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(what)
    });
    let named = written.and_then(|()| match durable::rename_new(&draft, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(what),
        _ => Ok(()),
    });
    let _ = fs::remove_file(&draft);
    named?;
    durable::sync_dir(dir)
}
