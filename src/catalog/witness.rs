//! What came later to a backup, and who says so: events, each judged by its signature where the
//! store trusts some keys alone.

use crate::error::{Error, Kind, Result};
use crate::sidecar::{BackupEvent, BackupState};
use crate::signature::{SignatureStatus, SignedObject, TrustedKeys};
use crate::store::{Objects, Store, names};

/// Tells who signed the objects of a source.
pub(super) struct Witness<'a> {
    /// The source.
    pub source: &'a str,
    /// Its objects.
    pub objects: &'a dyn Objects,
    /// The keys whose signatures count.
    pub keys: &'a TrustedKeys,
}

impl Witness<'_> {
    /// Judges the signature of an object with these bytes. One that can't be read is an error: it
    /// may be there.
    pub fn judge(&self, name: &str, bytes: &[u8]) -> Result<SignatureStatus> {
        if self.keys.is_empty() {
            return Ok(SignatureStatus::Unchecked);
        }
        let object = SignedObject {
            source: self.source,
            name,
        };
        let signature = self.read_signature(name)?;
        Ok(self.keys.judge(object, bytes, signature.as_deref()))
    }

    /// The signature of an object; `None` where there is none. It is asked for by its name, as a
    /// list may be short, and twice: a store that is wrong once must not make a signed backup a
    /// stranger's.
    fn read_signature(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let signature = names::signature_name(name);
        for _ in 0..2 {
            match self.objects.read(&signature) {
                Err(error) if error.kind() == Kind::NotFound => {}
                read => return read.map(Some),
            }
        }
        Ok(None)
    }
}

/// Reads an object that was listed; `false` where it was taken away meanwhile. One that is listed
/// still is asked for once more: a store that is wrong once must not make a backup vanish.
pub(super) fn read_listed(objects: &dyn Objects, name: &str, bytes: &mut Vec<u8>) -> Result<bool> {
    match objects.read_into(name, bytes) {
        Err(error) if error.kind() == Kind::NotFound => {}
        read => return read.map(|()| true),
    }
    if !objects.names()?.iter().any(|listed| listed == name) {
        return Ok(false);
    }
    objects.read_into(name, bytes).map(|()| true)
}

/// The state after the events of these names, and why one can't be read, where one can't. One that
/// is taken away meanwhile is none, and nor is one that no trusted key signed. But where a
/// signature is there and wrong, the event may be a pin that was damaged.
pub(super) fn state_after(
    events: &[&str],
    witness: &Witness<'_>,
    bytes: &mut Vec<u8>,
) -> (BackupState, Option<Error>) {
    if events.is_empty() {
        return (BackupState::default(), None);
    }
    let (mut known, mut unreadable, mut ignored) = (Vec::new(), None, 0);
    for name in events {
        match read_listed(witness.objects, name, bytes) {
            Ok(true) => match (witness.judge(name, bytes), BackupEvent::parse(bytes)) {
                (Ok(SignatureStatus::Missing | SignatureStatus::Untrusted(_)), _) => ignored += 1,
                (Ok(SignatureStatus::Wrong(why)), _) => unreadable = Some(forged_event(name, why)),
                (Ok(_), Some(event)) => known.push(((*name).to_owned(), event)),
                (Ok(_), None) => unreadable = Some(damaged_event(name)),
                (Err(error), _) => unreadable = Some(error),
            },
            Ok(false) => {}
            Err(error) => unreadable = Some(error),
        }
    }
    let state = BackupState {
        ignored,
        ..BackupState::from_events(known)
    };
    (state, unreadable)
}

fn forged_event(name: &str, why: &str) -> Error {
    Error::failed(format!(
        "the signature of the event `{name}` is wrong: {why}"
    ))
    .with_hint(format!(
        "remove `{name}`: what it held, a pin or a verification, is lost, the backup is not"
    ))
}

fn damaged_event(name: &str) -> Error {
    Error::failed(format!(
        "the event `{name}` is damaged, or of a newer version"
    ))
    .with_hint(format!(
        "remove `{name}`: what it held, a pin or a verification, is lost, the backup is not"
    ))
}

/// Reads the state of one backup; an event that can't be read is an error.
pub fn read_state(store: &dyn Store, source: &str, id: &str) -> Result<BackupState> {
    let objects = store.objects(source);
    let all = objects.names()?;
    let events: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|name| names::event_id(name) == Some(id))
        .collect();
    let witness = Witness {
        source,
        objects: &*objects,
        keys: store.trusted_keys(),
    };
    let (state, unreadable) = state_after(&events, &witness, &mut Vec::new());
    unreadable.map_or(Ok(state), Err)
}

/// Judges the signature of an object of a source that has these bytes.
pub fn judge_signature(
    store: &dyn Store,
    source: &str,
    name: &str,
    bytes: &[u8],
) -> Result<SignatureStatus> {
    let witness = Witness {
        source,
        objects: &*store.objects(source),
        keys: store.trusted_keys(),
    };
    witness.judge(name, bytes)
}
