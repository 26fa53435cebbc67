//! The keys: can backups be encrypted, is there more than one who can read them, and was a private
//! key shown to fit?

use super::Diagnosis;
use crate::catalog::{Catalog, ListedBackup};
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
    match recipients.len() {
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
    warn_of_private_keys(session, diagnosis);
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
