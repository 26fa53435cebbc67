//! From a delta's sidecar to its way: the sidecars of what it is built on, down to the full.

use super::content::{BackupWay, WayDump, codec_of};
use super::seal::open_sidecar;
use crate::catalog::LONGEST_WAY;
use crate::encryption::DecryptionKey;
use crate::error::{Error, Kind, Result};
use crate::pipeline::Decoding;
use crate::sidecar::{Base, Dump, Sidecar, SidecarFault};
use crate::store::{Objects, names};

/// Finds the way of the backup `id`, which is built on `base`, among the objects of its source.
/// What keeps it from being found comes out when its content is opened or checked.
pub fn find_way(
    objects: Box<dyn Objects>,
    id: &str,
    base: &Base,
    key: &DecryptionKey,
) -> BackupWay {
    let (mut bases, mut end) = (Vec::<WayDump>::new(), Ok(()));
    let mut needing = id.to_owned();
    let mut next = Some(base.clone());
    while let Some(base) = next {
        match find_base(&*objects, &needing, &base, key) {
            Ok(_) if bases.len() == LONGEST_WAY => {
                end = Err(Error::damaged(format!(
                    "the way of `{id}` has no end: more than {LONGEST_WAY} backups are on it"
                )));
                break;
            }
            Ok(found) => {
                next = found.dump.base.clone();
                needing.clone_from(&found.id);
                bases.push(found);
            }
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    BackupWay::new(objects, bases, end)
}

/// The dump that `needing` is built on.
fn find_base(
    objects: &dyn Objects,
    needing: &str,
    base: &Base,
    key: &DecryptionKey,
) -> Result<WayDump> {
    let id = &base.id;
    let about = |kind: Kind, why: &str| {
        Error::new(kind, format!("`{needing}` is built on `{id}`, {why}")).with_hint(
            "without it only earlier or other backups restore; a copy of the store may have it",
        )
    };
    let damaged = |why: &str| about(Kind::Damaged, why);
    let bytes = match objects.read(&names::sidecar_name(id)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(damaged("which is not in the store"));
        }
        Err(error) => return Err(error),
    };
    let sidecar = Sidecar::parse(&bytes).map_err(|why| match why {
        SidecarFault::Malformed(_) => damaged(&format!("of which {why}")),
        _ => about(Kind::Failed, &format!("of which {why}")),
    })?;
    let sidecar = match key {
        DecryptionKey::Given(identities) => open_sidecar(&sidecar, objects, identities)?,
        _ => sidecar,
    };
    let contents = sidecar.contents().cloned();
    let dump = (sidecar.dump).filter(|dump| {
        sidecar.id == *id && names::is_object_of(&dump.file, id) && is_meant(dump, base)
    });
    let Some(dump) = dump else {
        return Err(damaged("and that is another one now"));
    };
    let key = match &dump.encryption {
        None => DecryptionKey::NotNeeded,
        Some(_) if matches!(key, DecryptionKey::NotNeeded) => DecryptionKey::NotGiven,
        Some(_) => key.clone(),
    };
    Ok(WayDump {
        id: id.clone(),
        decoding: Decoding::new(codec_of(&dump)?).with_key(key),
        dump,
        contents: contents.filter(|list| names::is_object_of(&list.file, id)),
    })
}

/// Whether a dump is the base that is named: the same file, or, where a copy was encrypted on its
/// way, the same content.
fn is_meant(dump: &Dump, base: &Base) -> bool {
    // Without a key the content's hash is not told.
    let is_same_content = match (&dump.content_sha256, &base.content_sha256) {
        (Some(found), Some(expected)) => found == expected,
        _ => dump.encryption.is_some(),
    };
    dump.sha256 == base.sha256 || is_same_content
}
