//! The sealed part of a sidecar: written with an encrypted backup, and opened where there is a key.

use super::BackupEncryption;
use super::content::measure_bytes;
use crate::encryption::{
    DecryptionKey, Identities, MetadataDisclosure, Recipients, Sealer, Unsealer,
};
use crate::error::{Error, Result};
use crate::sidecar::{SealedPart, Sidecar};
use crate::store::{Draft, Objects, names};
use std::io::{Read, Write};
use std::sync::Arc;

/// No sealed part that is opened is longer, in bytes; a longer one is not ours.
const LONGEST_PART: u64 = 256 << 20;

/// Writes the sealed part into the draft, where the encryption wants one, and notes in `sidecar`
/// where it is. Returns the sidecar that is published.
pub fn seal_sidecar(
    draft: &mut dyn Draft,
    sidecar: &mut Sidecar,
    encryption: Option<&BackupEncryption>,
) -> Result<Sidecar> {
    let Some(encryption) = encryption else {
        return Ok(sidecar.clone());
    };
    if encryption.metadata == MetadataDisclosure::Open {
        return Ok(sidecar.clone());
    }
    let bytes = seal_bytes(&sidecar.bytes_to_seal(), &encryption.recipients)?;
    let file = names::sealed_name(draft.id());
    let mut pending = draft.create(&file)?;
    pending.write_all(&bytes)?;
    pending.finish()?;
    let measured = measure_bytes(&bytes)?;
    let part = SealedPart {
        file,
        size_bytes: measured.size,
        sha256: measured.sha256,
    };
    let open = sidecar.with_sealed_part(part.clone());
    sidecar.sealed = Some(part);
    Ok(open)
}

/// Encrypts what is in memory.
pub fn seal_bytes(bytes: &[u8], recipients: &Arc<Recipients>) -> Result<Vec<u8>> {
    let mut sealer = Sealer::new(Some(recipients), Vec::new())?;
    sealer.write_all(bytes)?;
    Ok(sealer.finish()?)
}

/// The whole sidecar of a backup of which this much is told without a key. A key that does not fit
/// is an error of the kind `Sealed`.
pub fn open_sidecar(
    sidecar: &Sidecar,
    objects: &dyn Objects,
    identities: &Arc<Identities>,
) -> Result<Sidecar> {
    let Some(part) = &sidecar.sealed else {
        return Ok(sidecar.clone());
    };
    let damaged =
        |why: &dyn std::fmt::Display| Error::damaged(format!("`{}` is damaged: {why}", part.file));
    let mut stored = Vec::new();
    objects
        .open(&part.file)?
        .take(LONGEST_PART)
        .read_to_end(&mut stored)?;
    // Anybody can encrypt something to our recipients; the sidecar, which may be signed, says what.
    if measure_bytes(&stored)?.sha256 != part.sha256 {
        return Err(damaged(&"it is not what was written"));
    }
    let mut bytes = Vec::new();
    let key = DecryptionKey::Given(Arc::clone(identities));
    Unsealer::new(&key, &stored[..])?
        .take(LONGEST_PART)
        .read_to_end(&mut bytes)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => damaged(&error),
            _ => error.into(),
        })?;
    sidecar
        .with_opened_part(&bytes)
        .map_err(|why| damaged(&why))
}
