//! The keys of a session: whom the backups of a store are encrypted to, and what opens them.

use crate::encryption::{
    AskPassphrase, DecryptionKey, HostIdentity, Identities, IdentitySource, MetadataDisclosure,
    Recipients,
};
use crate::error::{Error, Hint, Result};
use crate::store::Store;
use std::sync::{Arc, Mutex};

/// Keys that were read, each once for the whole run, and where private ones come from.
#[derive(Clone)]
pub struct KeyRing {
    /// What goes before the configuration.
    pub(super) named: Option<IdentitySource>,
    pub(super) ask: AskPassphrase,
    pub(super) identities: Arc<Mutex<Option<Arc<Identities>>>>,
    pub(super) recipients: Arc<Mutex<Option<Arc<Recipients>>>>,
    pub(super) host: Arc<Mutex<Option<Arc<HostIdentity>>>>,
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
            host: Arc::default(),
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
    /// What this machine can read them with again; `None`: it can't.
    pub own_identities: Option<Arc<Identities>>,
}

impl BackupEncryption {
    /// The key of this machine for what it encrypts.
    pub fn own_key(&self) -> DecryptionKey {
        match &self.own_identities {
            Some(identities) => DecryptionKey::Given(Arc::clone(identities)),
            None => DecryptionKey::NotGiven,
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
