//! The last step of a restore: the unpacked tree gets its name, or is exchanged with the old one.

use crate::durable;
use crate::engine::Published;
use crate::engine::files::swap::{self, Staged};
use crate::engine::files::unpack::TREE;
use crate::error::{Context, Result};
use crate::scratch::Scratch;
use crate::units;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Gives the target directory the tree that was unpacked for it. With `inside`, the target is there
/// already.
pub fn publish_directory(target: &Path, scratch: &Scratch, inside: bool) -> Result<()> {
    let tree = scratch.join(TREE);
    if tree.symlink_metadata().is_err() {
        // An archive of nothing is an empty directory.
        std::fs::create_dir(&tree).with_context(|| format!("making `{}`", tree.display()))?;
    }
    if scratch.path().is_dir() {
        let directory = File::open(scratch.path())
            .with_context(|| format!("opening `{}`", scratch.path().display()))?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&directory)
            .with_context(|| format!("syncing `{}`", target.display()))?;
        drop(directory);
    }
    if !inside {
        durable::rename_new(&tree, target)
            .with_context(|| format!("naming the restored files `{}`", target.display()))?;
        return durable::sync_dir(target.parent().unwrap_or(Path::new("/")));
    }
    let context = || format!("moving the restored files to `{}`", target.display());
    for entry in std::fs::read_dir(&tree).with_context(context)? {
        let name = entry.with_context(context)?.file_name();
        durable::rename_new(&tree.join(&name), &target.join(&name)).with_context(context)?;
    }
    durable::sync_dir(target)
}

/// Exchanges one top path after another. If one fails, those before it are put back.
pub fn publish_origin(
    staged: Vec<(PathBuf, Staged)>,
    keep_nothing: bool,
    published: &mut Published,
) -> Result<()> {
    for (_, place) in &staged {
        place.sync()?;
    }
    let mut done: Vec<Staged> = Vec::new();
    for (top, place) in staged {
        if !place.is_filled() {
            published.warnings.push(format!(
                "nothing in the backup is of `{}`: it was left as it is",
                top.display()
            ));
            continue;
        }
        let swapped = place.swap();
        done.push(place);
        if let Err(error) = swapped {
            let stuck: Vec<String> = done
                .into_iter()
                .rev()
                .filter_map(|place| place.undo().err())
                .map(|error| error.message())
                .collect();
            return Err(match stuck.is_empty() {
                true => error.context("nothing was restored, and all is as it was"),
                false => error.context(format!(
                    "nothing was restored, but not all could be put back: {}",
                    stuck.join("; ")
                )),
            });
        }
    }
    published.how = format!("exchanged {}", units::count(done.len() as u64, "path"));
    for place in done {
        let top = place.top.clone();
        match place.finish() {
            Some(kept) if keep_nothing => swap::remove_kept(&kept)?,
            Some(kept) => published.companions.push((top, kept)),
            None => {}
        }
    }
    Ok(())
}
