//! A store with signatures: what this machine writes there gets one, and whoever reads it is told
//! which keys count.
//!
//! Each sidecar and event has its signature beside it, `<name>.minisig`, written before it, so that
//! nothing is ever seen without the signature that it will have. A copy keeps the signatures of
//! what is copied: who copies has not seen how it was made. Only where the copy is encrypted on the
//! way, and so has another sidecar, the copying machine signs.

use super::{
    Draft, KnownNames, Listing, Location, Objects, PendingObject, Properties, Retirement, Store,
    StoreSettings, names,
};
use crate::error::Result;
use crate::lock::Lock;
use crate::signature::{SignatureStatus, SignedObject, Signer, TrustedKeys};
use chrono::{DateTime, Utc};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// See the head of this file.
pub struct SignedStore {
    inner: Arc<dyn Store>,
    signer: Option<Signer>,
    trusted: TrustedKeys,
}

impl SignedStore {
    /// The store as it is, where neither anything is signed nor any key is trusted.
    pub fn wrap(inner: Arc<dyn Store>, settings: &StoreSettings) -> Arc<dyn Store> {
        if settings.signer.is_none() && settings.trust.is_empty() {
            return inner;
        }
        Arc::new(SignedStore {
            inner,
            signer: settings.signer.clone(),
            trusted: TrustedKeys::from(&settings.trust[..]),
        })
    }

    fn signing(&self, source: &str, inner: Box<dyn Draft>, is_copy: bool) -> Box<dyn Draft> {
        match &self.signer {
            Some(signer) => Box::new(SignedDraft {
                inner,
                source: source.to_owned(),
                signer: signer.clone(),
                events: Vec::new(),
                is_copy,
            }),
            None => inner,
        }
    }
}

/// The bytes of an object's signature.
fn sign(signer: &Signer, source: &str, name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let object = SignedObject { source, name };
    let text = signer.key()?.sign(object, bytes, Utc::now())?;
    Ok(text.into_bytes())
}

impl Store for SignedStore {
    fn location(&self) -> &Location {
        self.inner.location()
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn trusted_keys(&self) -> &TrustedKeys {
        &self.trusted
    }

    fn signs(&self) -> bool {
        self.signer.is_some()
    }

    fn own_signature(&self) -> Result<SignatureStatus> {
        match &self.signer {
            Some(signer) => Ok(self.trusted.status_of(signer.key()?.verifying_key())),
            None if self.trusted.is_empty() => Ok(SignatureStatus::Unchecked),
            None => Ok(SignatureStatus::Missing),
        }
    }

    fn sources(&self) -> Result<Vec<String>> {
        self.inner.sources()
    }

    fn list(&self, source: &str) -> Result<Listing> {
        self.inner.list(source)
    }

    fn objects(&self, source: &str) -> Box<dyn Objects> {
        self.inner.objects(source)
    }

    fn write_once(&self, source: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(signer) = self
            .signer
            .as_ref()
            .filter(|_| names::event_id(name).is_some())
        else {
            return self.inner.write_once(source, name, bytes);
        };
        let signature = sign(signer, source, name, bytes)?;
        let signature_name = names::signature_name(name);
        self.inner.write_once(source, &signature_name, &signature)?;
        self.inner.write_once(source, name, bytes).inspect_err(|_| {
            // One that stays is swept later.
            let _ = self.inner.remove(source, &signature_name);
        })
    }

    fn remove(&self, source: &str, name: &str) -> Result<()> {
        self.inner.remove(source, name)
    }

    fn begin_draft(&self, source: &str, label: &str, at: DateTime<Utc>) -> Result<Box<dyn Draft>> {
        let draft = self.inner.begin_draft(source, label, at)?;
        Ok(self.signing(source, draft, false))
    }

    fn begin_copy(&self, source: &str, id: &str) -> Result<Box<dyn Draft>> {
        let draft = self.inner.begin_copy(source, id)?;
        Ok(self.signing(source, draft, true))
    }

    fn retire(
        &self,
        source: &str,
        id: &str,
        objects: &[String],
        known: Option<&KnownNames>,
    ) -> Result<Retirement> {
        self.inner.retire(source, id, objects, known)
    }

    fn is_retired(&self, source: &str, id: &str) -> Result<bool> {
        self.inner.is_retired(source, id)
    }

    fn sweep(&self, source: &str, named_by: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Vec<String>> {
        self.inner.sweep(source, named_by)
    }

    fn lock(&self, source: &str, wait: Duration) -> Result<Option<Lock>> {
        self.inner.lock(source, wait)
    }

    fn is_locked(&self, source: &str) -> bool {
        self.inner.is_locked(source)
    }

    fn may_write(&self, source: &str) -> bool {
        self.inner.may_write(source)
    }

    fn is_in_use(&self, source: &str, name: &str) -> Result<bool> {
        self.inner.is_in_use(source, name)
    }

    fn link_target(&self, source: &str, name: &str) -> Result<Option<PathBuf>> {
        self.inner.link_target(source, name)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.inner.free_space()
    }

    fn read_common(&self, name: &str) -> Result<Vec<u8>> {
        self.inner.read_common(name)
    }

    fn replace_common(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner.replace_common(name, bytes)
    }
}

/// A draft whose sidecar and events are signed when it is committed.
struct SignedDraft {
    inner: Box<dyn Draft>,
    source: String,
    signer: Signer,
    /// The names of its events.
    events: Vec<String>,
    /// Its sidecar has the signature that it was copied with.
    is_copy: bool,
}

impl SignedDraft {
    fn add_signature(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let signature = sign(&self.signer, &self.source, name, bytes)?;
        let mut pending = self.inner.create(&names::signature_name(name))?;
        pending.write_all(&signature)?;
        pending.finish()
    }
}

impl Draft for SignedDraft {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn create(&mut self, name: &str) -> Result<Box<dyn PendingObject>> {
        if names::event_id(name).is_some() {
            self.events.push(name.to_owned());
        }
        self.inner.create(name)
    }

    fn link(&mut self, name: &str, path: &Path, file: &File) -> Result<()> {
        self.inner.link(name, path, file)
    }

    fn objects(&self) -> &dyn Objects {
        self.inner.objects()
    }

    fn sign_copy(&mut self) {
        self.is_copy = false;
    }

    fn commit(mut self: Box<Self>, sidecar: &[u8]) -> Result<()> {
        for event in std::mem::take(&mut self.events) {
            let bytes = self.inner.objects().read(&event)?;
            self.add_signature(&event, &bytes)?;
        }
        if !self.is_copy {
            let name = names::sidecar_name(self.id());
            self.add_signature(&name, sidecar)?;
        }
        self.inner.commit(sidecar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SigningKey;
    use crate::store::{
        Access, DeletePermission, LocalStore, RemovalLimit, crash_after, store_in_memory,
    };
    use chrono::TimeDelta;

    /// A store that signs and trusts its own key alone, over a local one and over one in memory.
    fn signed_stores(dir: &tempfile::TempDir) -> [Arc<dyn Store>; 2] {
        let local = LocalStore::open(&dir.path().join("store"), Access::Write).unwrap();
        let remote = store_in_memory(DeletePermission::Allowed, RemovalLimit::default());
        let stores: [Arc<dyn Store>; 2] = [Arc::new(local), remote];
        stores.map(|store| {
            let key = SigningKey::generate().unwrap();
            let settings = StoreSettings {
                trust: vec![key.verifying_key().clone()],
                signer: Some(Signer::from(key)),
                ..StoreSettings::default()
            };
            SignedStore::wrap(store, &settings)
        })
    }

    fn named_by(bytes: &[u8]) -> Vec<String> {
        vec![String::from_utf8(bytes.to_vec()).unwrap()]
    }

    fn publish(store: &dyn Store, at: DateTime<Utc>) -> Result<String> {
        let mut draft = store.begin_draft("app", "daily", at)?;
        let id = draft.id().to_owned();
        let dump = format!("{id}.sqlite3.gz");
        for name in [dump.clone(), names::event_name(&id, at, 1)] {
            let mut pending = draft.create(&name)?;
            pending.write_all(b"content")?;
            pending.finish()?;
        }
        draft.commit(dump.as_bytes())?;
        Ok(id)
    }

    /// Whatever is listed counts, and no signature is alone.
    fn assert_signed(store: &dyn Store, after: &str) {
        let listed = store.list("app").unwrap().objects;
        let signed = listed
            .iter()
            .filter(|name| names::sidecar_id(name).is_some() || names::event_id(name).is_some());
        for name in signed {
            let bytes = store.read("app", name).unwrap();
            let signature = store.read("app", &names::signature_name(name)).ok();
            let object = SignedObject {
                source: "app",
                name,
            };
            let found = store
                .trusted_keys()
                .judge(object, &bytes, signature.as_deref());
            assert!(
                matches!(found, SignatureStatus::Trusted(_)),
                "{after}: {name}: {found:?}"
            );
        }
        let alone = listed.iter().find(|name| {
            names::signed_name(name).is_some_and(|of| !listed.iter().any(|other| other == of))
        });
        assert_eq!(alone, None, "{after}");
    }

    #[test]
    fn nothing_is_listed_unsigned_at_whichever_step_a_run_is_killed() {
        // So old that the signature of an event that was not written is nobody's any more.
        let at = Utc::now() - TimeDelta::days(3);
        for kind in 0..2 {
            for steps in 0.. {
                let dir = tempfile::tempdir().unwrap();
                let store = &signed_stores(&dir)[kind];
                let _lock = store.lock("app", Duration::ZERO).unwrap();
                let first = publish(&**store, at - TimeDelta::days(1)).unwrap();
                crash_after(Some(steps));
                let work = || -> Result<()> {
                    let id = publish(&**store, at)?;
                    let event = names::event_name(&id, at, 2);
                    store.write_once("app", &event, b"verified")?;
                    let dump = format!("{id}.sqlite3.gz");
                    store.retire("app", &id, &[dump], None).map(drop)
                };
                let result = work();
                crash_after(None);
                store.sweep("app", &named_by).unwrap();
                assert_signed(&**store, &format!("killed after step {steps}"));
                let listed = store.list("app").unwrap().objects;
                let kept = listed.iter().filter(|name| name.starts_with(&first));
                assert_eq!(kept.count(), 5, "dump, sidecar, event, and two signatures");
                if result.is_ok() {
                    assert_eq!(listed.len(), 5);
                    break;
                }
            }
        }
    }

    #[test]
    fn a_copy_keeps_its_signature_unless_its_sidecar_is_another() {
        let dir = tempfile::tempdir().unwrap();
        for store in signed_stores(&dir) {
            let _lock = store.lock("app", Duration::ZERO).unwrap();
            for (id, is_signed) in [
                ("app_daily_20261120T020000Z", false),
                ("app_daily_20261121T020000Z", true),
            ] {
                let mut draft = store.begin_copy("app", id).unwrap();
                if is_signed {
                    draft.sign_copy();
                }
                draft.commit(b"{}").unwrap();
                let name = names::signature_name(&names::sidecar_name(id));
                assert_eq!(store.read("app", &name).is_ok(), is_signed);
            }
        }
    }
}
