//! The keys: can backups be encrypted, is there more than one who can read them, and was a private
//! key shown to fit?

use super::Diagnosis;
use crate::catalog::{Catalog, ListedBackup};
use crate::config::Incremental;
use crate::error::Hint;
use crate::ops::Session;
use crate::plan::StorePlan;

/// Checks what encrypts the backups of the store, where it is to have encrypted ones.
pub fn check_encryption(
    plan: &StorePlan,
    catalog: &Catalog,
    session: &Session,
    diagnosis: &mut Diagnosis,
) {
    const CHECK: &str = "encryption";
    if let Err(error) = session.check_encryption() {
        return diagnosis.problem("store", CHECK, &error);
    }
    let encryption = match session.encryption_at(plan.location()) {
        Ok(Some(encryption)) => encryption,
        Ok(None) => return,
        Err(error) => return diagnosis.problem("store", CHECK, &error),
    };
    let recipients = encryption.recipients.fingerprints();
    let detail = format!("backups are encrypted to {}", recipients.join(", "));
    let own = encryption.own_identities.as_ref();
    let is_of_others = |one: &&String| own.is_none_or(|own| !own.fingerprints().contains(one));
    let is_of_passphrase = session.has_passphrase();
    match recipients
        .iter()
        .filter(|one| is_of_passphrase || is_of_others(one))
        .count()
    {
        1 => diagnosis.warning(
            "store",
            CHECK,
            format!("{detail} alone: whoever loses that private key loses them"),
            "add a second recipient, whose private key lies in a safe",
        ),
        _ => diagnosis.ok("store", CHECK, detail),
    }
    let has_encrypted = catalog.backups().any(|backup| backup.is_encrypted());
    let is_proven = |backup: &ListedBackup| !backup.state.keys_proven.is_empty();
    if has_encrypted && !catalog.backups().any(is_proven) {
        diagnosis.warning(
            "store",
            "key",
            "no private key was ever shown to open a backup",
            Hint::new()
                .text("where it is: ")
                .command(["key", "prove", "--identity", "FILE"]),
        );
    }
    check_deltas(encryption.own_identities.is_some(), session, diagnosis);
    warn_of_private_keys(session, diagnosis);
}

/// Checks whether this machine can read what deltas are built on, where deltas are asked for.
fn check_deltas(can_read: bool, session: &Session, diagnosis: &mut Diagnosis) {
    const CHECK: &str = "deltas";
    let config = session.config.as_ref();
    let mut sources = config.into_iter().flat_map(|config| &config.sources);
    if !sources.any(|(_, source)| source.backup.incremental == Incremental::Always) {
        return;
    }
    if can_read {
        let text = "this machine can read what it encrypts, so deltas are made";
        return diagnosis.ok("store", CHECK, text);
    }
    diagnosis.warning(
        "store",
        CHECK,
        "`incremental = true`, but this machine can't read what it encrypts: each backup is a full",
        "`host_key = true` in [encryption] encrypts to a key of this machine, too; who takes it \
         over can then read the backups that it made",
    );
}

/// The machine that makes backups needs no private key; one that lies there is a thief's.
fn warn_of_private_keys(session: &Session, diagnosis: &mut Diagnosis) {
    let config = session.config.as_ref();
    let file = config.and_then(|config| config.encryption.identity_file.as_ref());
    let Some(file) = file.filter(|file| file.exists()) else {
        return;
    };
    diagnosis.warning(
        "configuration",
        "identity_file",
        format!(
            "the private key `{}` lies on this machine: who takes it over can read every backup",
            file.display()
        ),
        "keep it where backups are read, and give it there with `--identity FILE`",
    );
}
