//! A source in which nothing has changed: its backup is a delta that copies all of its base, and
//! nothing is read for it, neither the source nor the base.

use super::attempt::RunContext;
use super::base::whole_sidecar;
use crate::catalog::ListedBackup;
use crate::engine::Dumped;
use crate::error::{Error, Result};
use crate::ops::engines::Engine;
use crate::pipeline::Measurement;
use crate::sidecar::{Base, Sidecar};

/// So many deltas may be on the way of a backup without changes, itself included. Its base is not
/// the one that its number has, and what is built on it later has a longer way by that. A delta by
/// its number needs fewer in a year of hours.
const DEEPEST: u64 = 8;

/// A backup whose content the source still has.
pub struct UnchangedContent {
    sidecar: Box<Sidecar>,
}

/// Finds the backup that a delta without changes is built on; `None` where something may have
/// changed. `usable` are those that may be bases, the newest first.
///
/// The newest one has the content. Where that only copies its own base, that one is taken: so the
/// way does not grow with every hour in which nobody writes.
pub fn find_unchanged<'a>(
    engine: &Engine,
    usable: &[&'a ListedBackup],
    context: RunContext<'_>,
) -> Result<Option<(&'a ListedBackup, UnchangedContent)>> {
    let Some(newest) = usable.first().copied() else {
        return Ok(None);
    };
    let Some(sidecar) = whole_sidecar(newest, context)? else {
        return Ok(None);
    };
    let database = sidecar.database.as_ref();
    if !database.is_some_and(|database| engine.is_unchanged_since(database)) {
        return Ok(None);
    }
    let content = sidecar
        .dump
        .as_ref()
        .and_then(|dump| dump.content_sha256.clone());
    let (Some(content), Some(_)) = (content, &sidecar.manifest) else {
        return Ok(None);
    };
    let has_content = |base: &&Base| base.content_sha256.as_ref() == Some(&content);
    let (mut holder, mut below) = (newest, base_of(&sidecar).cloned());
    while let Some(base) = below.as_ref().filter(has_content) {
        let Some(found) = usable.iter().find(|backup| backup.id() == base.id) else {
            break;
        };
        let Some(sidecar) = whole_sidecar(found, context)? else {
            break;
        };
        below = base_of(&sidecar).cloned();
        holder = found;
    }
    let depth = holder
        .sidecar
        .dump
        .as_ref()
        .and_then(|dump| dump.delta.as_ref());
    if depth.is_some_and(|position| position.depth >= DEEPEST) {
        return Ok(None);
    }
    let sidecar = Box::new(sidecar);
    Ok(Some((holder, UnchangedContent { sidecar })))
}

fn base_of(sidecar: &Sidecar) -> Option<&Base> {
    sidecar.dump.as_ref()?.base.as_ref()
}

impl UnchangedContent {
    /// The backup that has it.
    pub fn id(&self) -> &str {
        &self.sidecar.id
    }

    /// What was measured of it when it was read.
    pub fn measurement(&self) -> Result<Measurement> {
        let dump = self.sidecar.dump.as_ref();
        dump.and_then(|dump| {
            Some(Measurement {
                size: dump.content_size_bytes,
                sha256: dump.content_sha256.clone()?,
            })
        })
        .ok_or_else(|| Error::failed(format!("`{}` does not tell its content", self.id())))
    }

    /// What was found out about it when it was read.
    pub fn description(&self) -> Dumped {
        let sidecar = &self.sidecar;
        let is_of_run = |name: &str| ["dbbackup", "host"].contains(&name);
        let producer = sidecar.producer.iter();
        Dumped {
            manifest: sidecar.manifest.clone().unwrap_or_default(),
            database: sidecar.database.clone().unwrap_or_default(),
            producer: producer
                .filter(|(name, _)| !is_of_run(name))
                .map(|(name, version)| (name.clone(), version.clone()))
                .collect(),
            warnings: sidecar.warnings.clone(),
            ..Dumped::default()
        }
    }
}
