//! Which keys each kind of source has, and how they are read. A new kind is one more row here.

use super::section::Section;
use super::strict::{fields, suggestion};
use super::value;
use super::{FilesKeys, KindKeys, PostgresKeys};
use crate::engine::EngineKind;
use crate::error::Result;
use serde::Deserialize;
use std::path::PathBuf;
use toml::de::DeValue;

/// One kind of source.
pub(super) struct Kind {
    kind: EngineKind,
    /// The keys that only this kind has.
    pub keys: fn() -> &'static [&'static str],
    /// Reads them.
    pub read: fn(&mut Section<'_>) -> Result<KindKeys>,
}

const KINDS: &[Kind] = &[
    Kind {
        kind: EngineKind::Sqlite,
        keys: fields::<SqliteKeys>,
        read: sqlite,
    },
    Kind {
        kind: EngineKind::Postgres,
        keys: fields::<PostgresKeys>,
        read: postgres,
    },
    Kind {
        kind: EngineKind::Files,
        keys: fields::<FilesKeys>,
        read: files,
    },
];

/// The keys of every kind, for a table that names none.
pub(super) fn keys_of_all() -> Vec<&'static str> {
    KINDS
        .iter()
        .flat_map(|kind| (kind.keys)())
        .copied()
        .collect()
}

/// The kind that a source's table names.
pub(super) fn kind_of(section: &mut Section<'_>) -> Result<&'static Kind> {
    let names: Vec<&str> = KINDS.iter().map(|row| row.kind.as_str()).collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let listed = match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    };
    let Some(entry) = section.take("kind") else {
        // Which keys are valid hangs on the kind, so it can't be left to the environment.
        let error = if section.has("kind") {
            section.error("kind", "depends on a variable that is not set")
        } else {
            section.error_here(format!("{} has no `kind`", section.header))
        };
        return Err(error.with_hint(format!("write kind = {listed}")));
    };
    let DeValue::String(name) = entry.value.get_ref() else {
        return Err(section.error("kind", format!("expected {listed}")));
    };
    KINDS
        .iter()
        .find(|row| row.kind.as_str() == name)
        .ok_or_else(|| {
            let message = format!(
                "this version knows only {listed}, not `{}`",
                name.escape_debug()
            );
            section
                .error("kind", message)
                .with_hint(suggestion(name, &names, "valid kinds"))
        })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SqliteKeys {
    #[serde(deserialize_with = "value::path")]
    path: Option<PathBuf>,
}

fn sqlite(section: &mut Section<'_>) -> Result<KindKeys> {
    let keys: SqliteKeys = section.read()?;
    Ok(KindKeys::Sqlite {
        path: section.required_path("path", keys.path)?,
    })
}

fn postgres(section: &mut Section<'_>) -> Result<KindKeys> {
    let mut keys: PostgresKeys = section.read()?;
    keys.password_file = section.place("password_file", keys.password_file)?;
    keys.bin_dir = section.place("bin_dir", keys.bin_dir)?;
    let ways = [
        keys.password.is_some(),
        keys.password_file.is_some(),
        keys.password_command.is_some(),
    ];
    if ways.iter().filter(|there| **there).count() > 1 {
        return Err(section.error_here(format!(
            "{} gives the password in more than one way",
            section.header
        )));
    }
    let one_of_a_cluster = [
        ("exclude_databases", !keys.exclude_databases.is_empty()),
        ("globals", keys.globals == Some(true)),
    ];
    if let Some((key, _)) = one_of_a_cluster
        .iter()
        .find(|(_, written)| *written && !keys.is_cluster())
    {
        return Err(section
            .error(key, "it needs `databases`")
            .with_hint("add databases = [\"*\"]"));
    }
    if keys.prefix_url.is_some() && keys.command_prefix.is_empty() {
        return Err(section.error("prefix_url", "it needs `command_prefix`"));
    }
    Ok(KindKeys::Postgres(Box::new(keys)))
}

fn files(section: &mut Section<'_>) -> Result<KindKeys> {
    let mut keys: FilesKeys = section.read()?;
    if keys.paths.is_empty() && !section.has("paths") {
        return Err(section
            .error_here(format!("{} has no `paths`", section.header))
            .with_hint("write paths = [\"/srv/app/uploads\"]"));
    }
    for path in &mut keys.paths {
        if path.is_empty() {
            return Err(section.error("paths", "expected a path, found an empty string"));
        }
        let absolute = section
            .place("paths", Some(PathBuf::from(path.as_str())))?
            .unwrap_or_default();
        *path = absolute.to_string_lossy().into_owned();
    }
    Ok(KindKeys::Files(keys))
}
