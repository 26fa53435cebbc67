//! The keys of a session: whom the backups of a store are encrypted to, and what opens them.

use super::Session;
use crate::config::MAIN_STORE;
use crate::encryption::{
    AskPassphrase, EncryptionSettings, Identities, IdentitySource, MetadataDisclosure, Recipients,
};
use crate::error::{Error, Hint, Result};
use crate::store::{Location, Store};
use std::sync::{Arc, Mutex, PoisonError};

/// Keys that were read, each once for the whole run, and where private ones come from.
#[derive(Clone)]
pub struct KeyRing {
    /// What goes before the configuration.
    named: Option<IdentitySource>,
    ask: AskPassphrase,
    identities: Arc<Mutex<Option<Arc<Identities>>>>,
    recipients: Arc<Mutex<Option<Arc<Recipients>>>>,
}

impl Default for KeyRing {
    /// Without a private key of its own, and with nobody to ask.
    fn default() -> Self {
        KeyRing::new(None, Arc::new(|_| None))
    }
}

impl KeyRing {
    /// Private keys come from `named`, else from the configuration; `ask` gets their passphrases.
    pub fn new(named: Option<IdentitySource>, ask: AskPassphrase) -> KeyRing {
        KeyRing {
            named,
            ask,
            identities: Arc::default(),
            recipients: Arc::default(),
        }
    }
}

/// How the backups of a store are encrypted.
#[derive(Debug, Clone)]
pub struct BackupEncryption {
    /// To whom.
    pub recipients: Arc<Recipients>,
    /// What their sidecars tell.
    pub metadata: MetadataDisclosure,
}

impl Session {
    fn encryption_settings(&self) -> EncryptionSettings {
        let config = self.config.as_ref();
        config.map_or_else(EncryptionSettings::default, |config| {
            config.encryption.clone()
        })
    }

    /// The private keys that are named, read when they are first wanted; `None` where none is.
    pub fn identities(&self) -> Result<Option<Arc<Identities>>> {
        let settings = self.encryption_settings();
        let source = self.keys.named.clone();
        let Some(source) = source.or_else(|| IdentitySource::from_settings(&settings)) else {
            return Ok(None);
        };
        let mut known = self
            .keys
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(Arc::new(Identities::read(
                &source,
                &settings,
                &self.keys.ask,
            )?));
        }
        Ok(known.clone())
    }

    /// The recipients of the configuration.
    pub fn recipients(&self) -> Result<Arc<Recipients>> {
        let mut known = self
            .keys
            .recipients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Recipients::from_settings(&self.encryption_settings())?);
        *known = Some(Arc::clone(&read));
        Ok(read)
    }

    /// How backups are encrypted in the store at a place; `None` where they are not.
    pub fn encryption_at(&self, location: &Location) -> Result<Option<BackupEncryption>> {
        if !self.encrypts_at(location) {
            return Ok(None);
        }
        Ok(Some(BackupEncryption {
            recipients: self.recipients()?,
            metadata: self.encryption_settings().metadata,
        }))
    }

    /// Whether backups are to be encrypted in the store at a place: the store says it, else
    /// `stores` in `[encryption]`, else they are wherever there are recipients. A place that the
    /// configuration does not name is like any other.
    pub fn encrypts_at(&self, location: &Location) -> bool {
        let Some(config) = &self.config else {
            return false;
        };
        let store = config
            .all_stores()
            .find(|(_, settings)| settings.location.resolved(&self.cwd) == *location);
        if let Some(told) = store.and_then(|(_, settings)| settings.encrypt) {
            return told;
        }
        let encryption = &config.encryption;
        let name = store.map(|(name, _)| name.unwrap_or(MAIN_STORE));
        encryption.names_recipients()
            && match (&encryption.stores, name) {
                (None, _) => true,
                (Some(stores), Some(name)) => stores.iter().any(|store| store == name),
                (Some(_), None) => false,
            }
    }

    /// An error where encryption is configured and can't be done: then no run begins, as one of its
    /// stores would get something in the clear, or nothing.
    pub fn check_encryption(&self) -> Result<()> {
        match self.encryption_settings().names_recipients() {
            true => self.recipients().map(drop),
            false => Ok(()),
        }
    }
}

/// Refuses to put a plain backup into a store that has none but encrypted ones: it would be a slip
/// that nobody notices. Told by the names of dumps.
pub fn refuse_plain(store: &dyn Store) -> Result<()> {
    let mut has_encrypted = false;
    for source in store.sources()? {
        let listing = store.list(&source)?;
        for name in &listing.objects {
            if !crate::catalog::looks_like_a_dump(name) {
                continue;
            }
            if !name.ends_with(".age") {
                return Ok(());
            }
            has_encrypted = true;
        }
    }
    if !has_encrypted {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the store `{}` holds encrypted backups alone, and this one would be plain",
        store.name()
    ))
    .with_hint(Hint::new().text(
        "use the configuration that names the `recipients`; `--plain` stores it all the same",
    )))
}
