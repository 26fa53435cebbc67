//! The key on trial: it opens the newest encrypted backup of each source, and that is noted beside
//! the backup. So a key that was lost, or never fitted, is found out before it is needed.

use super::content::open_content;
use super::events::add_event;
use super::find::ResolvedBackup;
use super::{Observer, Session};
use crate::catalog::{Catalog, ListedBackup};
use crate::encryption::Identities;
use crate::error::{Error, Hint, Kind, Result};
use crate::interrupt;
use crate::sidecar::Change;
use crate::store::Store;
use std::io::Read;
use std::sync::Arc;

/// So much of each dump is decrypted, in bytes: several of the pieces that age authenticates.
const TASTE: u64 = 1 << 20;

/// A backup that a key opened.
#[derive(Debug)]
pub struct OpenedBackup {
    /// Its source.
    pub source: String,
    /// Its id.
    pub id: String,
    /// The recipient whose private key it was.
    pub recipient: String,
}

/// What came of the trial.
#[derive(Debug, Default)]
pub struct KeyProofSummary {
    /// What was opened.
    pub opened: Vec<OpenedBackup>,
    /// What could not be, by its source; the observer has heard of it.
    pub failed: Vec<(String, Error)>,
}

/// Opens the newest encrypted backup of each source of the store in use with the private keys that
/// are given. One that does not open is in the summary, and the others are tried all the same.
pub fn prove_keys(session: &Session, observer: &dyn Observer) -> Result<KeyProofSummary> {
    let Some(identities) = session.identities()? else {
        return Err(
            Error::usage("no private key is given, so none can be proven").with_hint(
                "give the file with the private key: `--identity FILE`, or `identity_file` in \
             [encryption]",
            ),
        );
    };
    let store = session.reading()?;
    let catalog = Catalog::read(&*store, None)?;
    let mut summary = KeyProofSummary::default();
    for source in catalog.sources() {
        interrupt::check()?;
        let is_meant = |backup: &&ListedBackup| backup.good() && backup.is_encrypted();
        let Some(newest) = catalog.of(&source).find(is_meant) else {
            continue;
        };
        match open_backup(&store, newest, &identities, session, observer) {
            Ok(recipient) => {
                let id = newest.id().to_owned();
                observer.line(format!("{id}: opened with the key of {recipient}"));
                summary.opened.push(OpenedBackup {
                    source,
                    id,
                    recipient,
                });
            }
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                let error = error.context(newest.id());
                observer.fail(&error);
                summary.failed.push((source, error));
            }
        }
    }
    if summary.opened.is_empty() && summary.failed.is_empty() {
        return Err(Error::not_found(format!(
            "the store `{}` holds no encrypted backup",
            store.name()
        ))
        .with_hint(Hint::new().command(["list"]).text(" shows what there is")));
    }
    Ok(summary)
}

/// Opens one backup, and notes that; returns whose key it was.
fn open_backup(
    store: &Arc<dyn Store>,
    listed: &ListedBackup,
    identities: &Identities,
    session: &Session,
    observer: &dyn Observer,
) -> Result<String> {
    let found = ResolvedBackup::in_store(store, listed, session)?;
    let stored = found.stored();
    if let Some(error) = stored.missing_key() {
        return Err(error);
    }
    let mut content = open_content(&stored, 1, observer)?;
    std::io::copy(&mut content.by_ref().take(TASTE), &mut std::io::sink())?;
    let recipients = stored.dump.map_or(&[][..], |dump| &dump.recipients);
    let own = identities.fingerprints();
    let known = recipients.iter().find(|one| own.contains(one)).cloned();
    // The key of a plugin does not tell whose it is; where there is one recipient it is that one's.
    let recipient = known.unwrap_or_else(|| match recipients {
        [only] => only.clone(),
        _ => "a key that does not tell its public half".to_owned(),
    });
    let (source, id) = (&found.source, listed.id());
    match store.may_write(source) {
        true => add_event(&**store, source, id, Change::KeyProven(recipient.clone()))?,
        false => observer.warn(format!(
            "{id}: it was opened, but that can't be noted: the store is read-only"
        )),
    }
    Ok(recipient)
}

/// Whether a private key was ever shown to open a backup of one of these sources.
pub fn is_key_proven(store: &dyn Store, sources: &[String]) -> Result<bool> {
    let catalog = Catalog::read(store, Some(sources))?;
    let mut all = sources.iter().flat_map(|source| catalog.of(source));
    Ok(all.any(|backup| backup.is_encrypted() && super::prune::has_proven_key(backup)))
}
