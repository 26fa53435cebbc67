//! The part of a sidecar that only a key opens. Without it is told what runs and retention need:
//! names, times, sizes, totals, and the hashes of what is stored.

use super::{Sidecar, to_json};
use crate::engine::{Database, Manifest, Tree};
use serde::{Deserialize, Serialize};

/// What stands for the error of a failed attempt whose words are sealed.
pub const SEALED_FAILURE: &str = "what it said is encrypted";

/// The object that holds the whole sidecar, encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SealedPart {
    /// Its name, in the sidecar's own directory.
    pub file: String,
    /// Bytes as stored.
    pub size_bytes: u64,
    /// SHA-256 of the file as stored, in hex.
    pub sha256: String,
}

impl Sidecar {
    /// Whether this is the whole sidecar, and not what is told without a key.
    pub fn is_open(&self) -> bool {
        let is_told = |dump: &super::Dump| dump.content_sha256.is_some();
        self.sealed.is_none() || self.dump.as_ref().is_some_and(is_told)
    }

    /// What is told without a key; `part` holds all of it.
    #[must_use]
    pub fn with_sealed_part(&self, part: SealedPart) -> Sidecar {
        Sidecar {
            sealed: Some(part),
            ..self.without_details()
        }
    }

    /// What anybody may know of an encrypted backup.
    #[must_use]
    pub fn without_details(&self) -> Sidecar {
        let mut open = Sidecar {
            warnings: Vec::new(),
            description: None,
            tags: Default::default(),
            database: self.database.as_ref().and_then(open_database),
            manifest: self.manifest.as_ref().map(open_manifest),
            ..self.clone()
        };
        open.producer.retain(|program, _| program == "dbbackup");
        if let Some(dump) = &mut open.dump {
            dump.content_sha256 = None;
            if let Some(base) = &mut dump.base {
                base.content_sha256 = None;
            }
        }
        for verification in &mut open.verifications {
            verification.detail = None;
            verification.summary = None;
        }
        if let Some(error) = &mut open.error {
            error.message = SEALED_FAILURE.to_owned();
            error.hint = None;
        }
        open
    }

    /// The whole sidecar, from the bytes of its sealed part.
    ///
    /// # Errors
    /// A sentence, where the bytes are no sidecar or that of another backup.
    pub fn with_opened_part(&self, bytes: &[u8]) -> Result<Sidecar, String> {
        let whole = Sidecar::parse(bytes).map_err(|why| why.to_string())?;
        let expected = Sidecar {
            sealed: self.sealed.clone(),
            ..whole
        };
        let part = self.sealed.clone();
        // What both tell must be the same, or one of them is another backup's.
        match part.map(|part| expected.with_sealed_part(part)) {
            Some(open) if open == *self => Ok(expected),
            _ => Err("the encrypted part of the sidecar is of another backup".to_owned()),
        }
    }

    /// The bytes of the part that is to be sealed.
    pub fn bytes_to_seal(&self) -> Vec<u8> {
        let whole = Sidecar {
            sealed: None,
            ..self.clone()
        };
        to_json(&whole)
    }
}

/// The cluster alone: it is in the names of its databases, too.
fn open_database(database: &Database) -> Option<Database> {
    database.cluster.as_ref().map(|cluster| Database {
        cluster: Some(cluster.clone()),
        ..Database::default()
    })
}

/// The totals alone, and where the list of contents is.
fn open_manifest(manifest: &Manifest) -> Manifest {
    Manifest {
        tables: Vec::new(),
        tables_total: Some(manifest.tables_total()),
        rows_total: manifest.rows_total,
        tree: manifest.tree.as_ref().map(|tree| Tree {
            changed: Vec::new(),
            ..tree.clone()
        }),
    }
}
