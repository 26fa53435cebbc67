//! What lies in a tree that a restore would exchange.

use crate::config::{Config, KindSettings};
use crate::error::{Error, Result};
use crate::ops::Session;
use crate::ops::content;
use crate::ops::find::ResolvedBackup;
use std::path::{Path, PathBuf};

/// Refuses to exchange a tree in which something else lies, as it is exchanged as a whole: a store
/// that lies there would go, and so would what another source is to save and this backup has left
/// out.
pub fn refuse_what_lies_inside(
    found: &ResolvedBackup,
    tops: &[PathBuf],
    session: &Session,
) -> Result<()> {
    let inside = |path: &Path| {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let top = tops
            .iter()
            .find(|top| real.starts_with(top.canonicalize().unwrap_or_else(|_| top.to_path_buf())));
        top.filter(|_| path.symlink_metadata().is_ok()).cloned()
    };
    let hint = "restore with `--to` beside it, and copy from there what is needed";
    let configured = session.config.iter().flat_map(Config::all_stores);
    let configured = configured.map(|(_, settings)| settings.location.clone());
    let in_use = session.store_plan().ok().map(|plan| plan.settings.location);
    for store in configured
        .chain(in_use)
        .chain([found.store.location().clone()])
    {
        if let Some(top) = store.local_path().and_then(inside) {
            return Err(Error::usage(format!(
                "the store `{store}` lies in `{}`, which would be exchanged as a whole",
                top.display()
            ))
            .with_hint(hint));
        }
    }
    let sources = session
        .config
        .iter()
        .flat_map(|config| &config.sources)
        .filter(|(name, _)| *name != found.source);
    let mut others: Vec<(&str, PathBuf)> = Vec::new();
    for (name, entry) in sources {
        match &entry.kind {
            KindSettings::Sqlite(own) => others.push((name, own.path.clone())),
            KindSettings::Files(own) => others.extend(
                own.paths
                    .iter()
                    .map(|path| (name.as_str(), PathBuf::from(path))),
            ),
            KindSettings::Postgres(_) => {}
        }
    }
    let others: Vec<(&str, PathBuf, PathBuf)> = others
        .into_iter()
        .filter_map(|(name, path)| inside(&path).map(|top| (name, path, top)))
        .collect();
    for (name, path, top) in others {
        if !lists(found, &path)? {
            let text = format!(
                "`{}` of the source `{name}` lies in `{}`, which would be exchanged as a whole, \
                 and is not in this backup",
                path.display(),
                top.display()
            );
            return Err(Error::usage(text).with_hint(hint));
        }
    }
    Ok(())
}

/// Tells whether the backup holds a path.
fn lists(found: &ResolvedBackup, path: &Path) -> Result<bool> {
    use std::os::unix::ffi::OsStrExt;
    let Some(mut list) = content::open_list(&found.stored()).ok().flatten() else {
        return Ok(false);
    };
    let name = path.as_os_str().as_bytes();
    let name = name.strip_prefix(b"/").unwrap_or(name);
    while let Some(line) = list.next_stored()? {
        if line.path_bytes() == name {
            return Ok(true);
        }
    }
    Ok(false)
}
