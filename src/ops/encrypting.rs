//! What a session has for encryption: private keys and recipients, read once, and the rule which
//! stores get encrypted backups.

use super::{BackupEncryption, Session};
use crate::config::MAIN_STORE;
use crate::encryption::{EncryptionSettings, Identities, IdentitySource, Recipients};
use crate::error::Result;
use crate::store::Location;
use std::sync::{Arc, PoisonError};

impl Session {
    pub(super) fn encryption_settings(&self) -> EncryptionSettings {
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
        let host = self.host_key()?;
        let host = host.as_ref().map(|key| key.recipient.as_str());
        let mut known = self
            .keys
            .recipients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Recipients::from_settings(
            &self.encryption_settings(),
            host,
        )?);
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
            own_identities: self.own_identities()?,
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
