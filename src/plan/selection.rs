//! A path that a source of the configuration has: whoever names it means that source, with its
//! settings, its hooks and its history.

use super::{absolute, postgres, sqlite};

use crate::config::{Config, KindSettings};
use crate::engine::EngineKind;
use std::path::{Path, PathBuf};

/// The source of the configuration whose only path is exactly this. `--kind` may ask for something
/// else to be made of the path, and then it is not that source.
pub fn source_at<'a>(
    text: &str,
    kind: Option<EngineKind>,
    config: &'a Config,
    cwd: &Path,
) -> Option<&'a str> {
    if text.is_empty()
        || config.owner_of(text).is_some()
        || config.group(text).is_some()
        || postgres::is_address(text)
    {
        return None;
    }
    let paths: Vec<PathBuf> = sqlite::paths_of(text)
        .ok()?
        .into_iter()
        .map(|path| absolute(cwd, path))
        .collect();
    let is_there = |own: &Path| paths.contains(&absolute(cwd, own));
    let fits = |wanted: EngineKind| kind.is_none_or(|kind| kind == wanted);
    let mut found = config
        .sources
        .iter()
        .filter(|(_, entry)| match &entry.kind {
            KindSettings::Sqlite(own) => fits(EngineKind::Sqlite) && is_there(&own.path),
            KindSettings::Files(own) => {
                fits(EngineKind::Files) && matches!(&own.paths[..], [only] if is_there(only))
            }
            KindSettings::Postgres(_) => false,
        });
    // Two sources of one path: nobody knows which is meant.
    match (found.next(), found.next()) {
        (Some((name, _)), None) => Some(name),
        _ => None,
    }
}
