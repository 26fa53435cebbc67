//! The fulls of the deltas that are verified in one command: each is decoded once for its tree.

use super::VerifyTask;
use crate::error::{Kind, Result};
use crate::ops::content::KeptFull;
use crate::ops::examine::ExaminationOptions;
use crate::ops::find::ResolvedBackup;
use crate::sidecar::Level;
use std::collections::HashMap;
use std::sync::Arc;

/// How many deltas of each full are still to be verified, and the full that is decoded now.
pub struct FullsInTurn {
    waiting: HashMap<String, usize>,
    kept: Option<Arc<KeptFull>>,
}

fn full_of(found: &ResolvedBackup) -> Option<String> {
    Some(found.way.as_ref()?.full()?.id.clone())
}

impl FullsInTurn {
    /// The fulls of what is to be verified at this level.
    pub fn of_tasks(tasks: &[VerifyTask], level: Level) -> FullsInTurn {
        let mut waiting = HashMap::new();
        // Of the way of a checksum nothing is decoded.
        for task in tasks.iter().filter(|_| level != Level::Checksum) {
            if let VerifyTask::Dump(found) = task
                && let Some(full) = full_of(found)
            {
                *waiting.entry(full).or_default() += 1;
            }
        }
        FullsInTurn {
            waiting,
            kept: None,
        }
    }

    /// Has a delta read its full from where that was decoded, where others need it, too. What keeps
    /// it from being decoded is found again by whoever reads the way.
    pub fn prepare(
        &mut self,
        found: &mut ResolvedBackup,
        options: &ExaminationOptions<'_>,
    ) -> Result<()> {
        let Some((full, way)) = full_of(found).zip(found.way.as_mut()) else {
            return Ok(());
        };
        let Some(waiting) = self.waiting.get_mut(&full) else {
            return Ok(());
        };
        *waiting -= 1;
        let is_last = *waiting == 0;
        if self.kept.as_ref().is_some_and(|kept| kept.id() != full) {
            self.kept = None;
        }
        if self.kept.is_none() && !is_last {
            let count = *waiting + 1;
            match KeptFull::decode(way, options.scratch_dir, options.threads) {
                Ok(kept) => {
                    let text = format!("`{full}` was decoded once for {count} deltas");
                    options.observer.detail(text);
                    self.kept = Some(Arc::new(kept));
                }
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    let text = format!("`{full}` is decoded for each of its deltas: {error}");
                    options.observer.detail(text);
                    self.waiting.remove(&full);
                }
            }
        }
        if let Some(kept) = &self.kept {
            way.use_kept(Arc::clone(kept));
        }
        if is_last {
            self.kept = None;
        }
        Ok(())
    }
}
